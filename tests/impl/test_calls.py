"""The seam is honest: what the POSIX back end asks of the kernel is what the seam was asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.impl.disks import PARTS, WatchedDisk, open_store

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = """
import sys
from pathlib import Path
from tests.impl.disks import PARTS, open_store
with open_store(Path(sys.argv[1]), form=sys.argv[2]) as store:
    Path(sys.argv[1], "begin").mkdir()
    store.save(42, PARTS)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="strace traces Linux system calls")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("form", ["record", "rename"])
def test_the_kernel_sees_the_calls_of_the_seam_in_their_order(tmp_path: Path, form: str) -> None:
    """mkdir, create, write, fsync, rename and nothing else that changes a file system."""
    real, watched, log = tmp_path / "real", tmp_path / "watched", tmp_path / "strace"
    real.mkdir()
    watched.mkdir()
    calls = "mkdir,mkdirat,openat,write,fsync,fdatasync,sync,rename,renameat,renameat2,unlink,"
    calls += "unlinkat,rmdir,truncate,ftruncate,link,linkat,symlink,symlinkat,pwrite64,writev"
    command = ["strace", "-f", "-y", "-e", f"trace={calls}", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-B", "-c", PROGRAM, str(real), form],
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
    with open_store(watched, form="record" if form == "record" else "rename", disk=disk) as store:
        disk.calls.clear()
        store.save(42, PARTS)
        asked = disk.changes()

    lines = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    start = next(n for n, line in enumerate(lines) if "/begin" in line)
    seen = [call for line in lines[start + 1 :] if (call := _call(line, str(real)))]
    # close() changes nothing on a disk, and the kernel does not tell it from any other close.
    wanted = [call.replace("fsync_dir ", "fsync ") for call in asked if "close" not in call]
    assert len(wanted) > 10
    assert seen == wanted


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
