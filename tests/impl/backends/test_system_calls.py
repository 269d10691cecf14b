"""The seam is honest: what the POSIX back end asks of the kernel is what the seam was asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood import LatestN, Store
from lastgood.protocol.plan import FORMS, MODES, Form, Mode
from tests import ROOT
from tests.impl.disks import PARTS, WatchedDisk, open_store

PROGRAM = """
import sys
from pathlib import Path
from lastgood import LatestN
from tests.impl.disks import PARTS, open_store
from tests.impl.backends.test_system_calls import WORKS, begin
root, form, mode, work = Path(sys.argv[1]), *sys.argv[2:]
begin(root, form)
with open_store(root, form=form, mode=mode) as store:
    Path(root, "begin").mkdir()
    WORKS[work](store)
    Path(root, "end").mkdir()
"""
TRACED = (
    "mkdir,mkdirat,openat,write,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,unlink,"
    "unlinkat,rmdir,truncate,ftruncate,link,linkat,symlink,symlinkat,pwrite64,writev,fallocate,"
    "sync_file_range,copy_file_range,sendfile,msync"
)


def begin(root: Path, form: Form) -> None:
    """A store with two groups, the newer one damaged."""
    with open_store(root, form=form) as store:
        for step in (1, 2):
            store.save(step, PARTS)
    (root / "store" / "gen-00000002-step-00000002" / "model").write_bytes(b"WEIGHTS")


def save(store: Store) -> None:
    store.save(42, PARTS)


def attempt(store: Store) -> None:
    with store.attempt(42) as attempt:
        (attempt.path / "model").write_bytes(b"weights")


def prune(store: Store) -> None:
    store.save(42, PARTS)
    store.prune(LatestN(1))


def load(store: Store) -> None:
    store.load(1)


def recover(store: Store) -> None:
    store.load_latest()


def repair(store: Store) -> None:
    store.repair()


WORKS: dict[str, Callable[[Store], None]] = {
    work.__name__: work for work in (save, attempt, prune, load, recover, repair)
}
CASES = [
    *((form, mode, "save") for form in FORMS for mode in MODES),
    *(("rename", mode, "recover") for mode in MODES),
    *((form, "atomic_dirsync", work) for form in FORMS for work in ("prune", "attempt")),
    ("rename", "unsafe", "prune"),
    ("rename", "atomic_dirsync", "load"),
    ("rename", "atomic_dirsync", "repair"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="strace traces Linux system calls")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("form", "mode", "work"), CASES)
def test_the_kernel_sees_the_calls_of_the_seam_in_their_order(
    tmp_path: Path, form: Form, mode: Mode, work: str
) -> None:
    """mkdir, create, write, fsync, rename, unlink, rmdir: nothing else changes a file system."""
    real, watched, log = tmp_path / "real", tmp_path / "watched", tmp_path / "strace"
    real.mkdir()
    watched.mkdir()
    command = ["strace", "-f", "-y", "-e", f"trace={TRACED}", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-B", "-c", PROGRAM, str(real), form, mode, work],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT / "impl", ROOT]))},
        check=False,
    )
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    disk = WatchedDisk(watched)
    begin(watched, form)
    with open_store(watched, form=form, mode=mode, disk=disk) as store:
        disk.calls.clear()
        WORKS[work](store)
        asked = disk.changes()

    lines = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    start, end = (next(n for n, line in enumerate(lines) if f"/{w}" in line) for w in WORDS)
    seen = [call for line in lines[start + 1 : end] if (call := _call(line, str(real)))]
    # close() changes nothing on a disk, and the kernel does not tell it from any other close.
    wanted = [call.replace("fsync_dir ", "fsync ") for call in asked if "close" not in call]
    if work == "attempt":
        # What foreign code did, the seam was not asked for.
        home = f"store/{'attempt-' if form == 'rename' else ''}gen-00000003-step-00000042"
        wanted[1:1] = [f"create {home}/model", f"write {home}/model"]
    assert len(wanted) > 4 or work == "load" or mode == "unsafe"
    assert seen == wanted


WORDS = ("begin", "end")


def _call(line: str, root: str) -> str | None:
    """One line of strace in the words of the seam; None where it changes nothing."""
    name, _, rest = line.partition("(")
    if root not in rest or (name == "openat" and "O_CREAT" not in rest):
        return None
    paths = [piece.partition('"')[0] for piece in rest.split(root + "/")[1:]]
    below = [path.partition(">")[0] for path in paths]
    words = {"mkdirat": "mkdir", "openat": "create", "renameat": "rename", "renameat2": "rename"}
    # openat answers with the descriptor's path: only its first path was asked for.
    return " ".join([words.get(name, name), *(below[:1] if name == "openat" else below)])
