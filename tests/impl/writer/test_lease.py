"""Who holds the lease, who may not take it, and what gives it back."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import lastgood
from lastgood import LeaseError, Store
from lastgood.backends.posix import PosixDisk
from tests import ROOT
from tests.impl.disks import EXT4, PARTS, WEAK, fill, open_store, tree
from tests.impl.forks import Child, become_nobody

TIMEOUT_S = 60
HOLD = """
import sys
from pathlib import Path
from tests.impl.disks import open_store
with open_store(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.readline()
"""


def error_at(root: Path) -> str:
    with pytest.raises(LeaseError) as caught:
        open_store(root)
    return str(caught.value)


def test_the_error_names_the_process_that_holds_the_lease(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT / "impl", ROOT]))},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        said = error_at(tmp_path)
        holder.communicate("\n", timeout=TIMEOUT_S)

    assert "another live process is its writer" in said
    assert f"pid {holder.pid} on {socket.gethostname()}, since 20" in said
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\. Nothing was changed", said)
    assert (tmp_path / "store" / "lock").read_bytes() == b""  # it was given back
    open_store(tmp_path).close()


def test_a_second_opening_in_one_process_is_said_to_be_that(tmp_path: Path) -> None:
    with open_store(tmp_path):
        said = error_at(tmp_path)

    assert "this process already has it open for writing, since 20" in said
    assert "close() it first" in said
    assert "another" not in said


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff\xfe",
        b"[" * 900,
        b"x" * 5000,
        b'{"pid": 1}',
        b'{"pid": true, "host": "a", "since_s": 1}',
        b'{"pid": 1, "host": "a\\u001b[2J", "since_s": 1}',
        json.dumps({"pid": 1, "host": "h" * 300, "since_s": 1}).encode(),
        json.dumps({"pid": 1, "host": "h", "since_s": 1 << 70}).encode(),
    ],
)
def test_whatever_a_lock_file_says_the_lease_is_refused_in_words(
    tmp_path: Path, note: bytes
) -> None:
    class Unknowing(PosixDisk):
        """Whose lock it is, it does not know: as if it were another process's."""

        def holds(self, path: str) -> bool:
            return False

    with open_store(tmp_path, disk=Unknowing(EXT4)) as store:
        (store.path / "lock").write_bytes(note)
        with pytest.raises(LeaseError, match=r"another live process is its writer.*lock'\)\. Not"):
            open_store(tmp_path, disk=Unknowing(EXT4))


def test_a_time_that_no_calendar_has_is_a_number(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        note = {"pid": 7, "host": "h", "since_s": 1 << 61}
        (store.path / "lock").write_text(json.dumps(note))
        assert f"since {1 << 61} s" in error_at(tmp_path)


def test_a_lock_file_that_cannot_be_written_is_held_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        store = open_store(tmp_path)
    with store:
        assert "this process already has it open for writing. Nothing" in error_at(tmp_path)


def test_a_warning_that_is_made_an_error_leaves_no_lease_held(tmp_path: Path) -> None:
    kept = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            open_store(tmp_path, disk=PosixDisk(WEAK))
        except lastgood.LastgoodWarning as warning:
            kept = warning  # as a notebook keeps it, with all its frames

    assert kept is not None
    with open_store(tmp_path) as store:
        assert store.save(1, PARTS).generation == 1


def as_nobody(call: Callable[[], object]) -> str:
    """What a call raises for a user who may do little."""

    def said() -> str:
        become_nobody()
        try:
            return f"no error: {call()!r}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"

    return str(Child(said).answer())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("lock_mode", [0o644, 0o666])
def test_somebody_who_may_only_read_takes_no_lock(tmp_path: Path, lock_mode: int) -> None:
    store = fill(tmp_path, [1])
    for folder in (store, *store.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    (store / "lock").chmod(lock_mode)
    before = tree(tmp_path)

    said = as_nobody(lambda: Store(store, disk=PosixDisk(EXT4)))
    assert said.startswith("StorageError: ")
    assert "this user may not write to it" in said
    assert "no lock was taken" in said
    assert "open_read_only()" in said
    assert tree(tmp_path) == before
    loaded = as_nobody(lambda: lastgood.open_read_only(store).load_latest())
    assert loaded.startswith("no error: <Loaded gen-00000001")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_store_that_may_not_be_made_points_to_reading(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)

    said = as_nobody(lambda: open_store(tmp_path))
    assert said.startswith("StorageError: ")
    assert "EACCES" in said
    assert "open_read_only()" in said


@pytest.mark.parametrize(
    "content", [b"a stranger's", b"\0" * 60, b"x" * 5000, b'{"pid": 1' + b" " * 2000]
)
def test_what_is_no_note_is_not_written_over(tmp_path: Path, content: bytes) -> None:
    open_store(tmp_path).close()
    lock = tmp_path / "store" / "lock"
    lock.write_bytes(content)
    with open_store(tmp_path) as store:
        assert store.save(1, PARTS).generation == 1
        assert lock.read_bytes() == content
    assert lock.read_bytes() == content


def test_a_lock_file_that_is_a_link_to_another_file_is_not_written_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"")
    open_store(tmp_path).close()
    (tmp_path / "store" / "lock").unlink()
    (tmp_path / "store" / "lock").hardlink_to(mine)
    with open_store(tmp_path):
        assert mine.read_bytes() == b""


@pytest.mark.parametrize("left", [b'{"pid": 12, "ho', b""])
def test_what_a_crash_left_of_a_note_is_written_over(tmp_path: Path, left: bytes) -> None:
    open_store(tmp_path).close()
    lock = tmp_path / "store" / "lock"
    lock.write_bytes(left)
    with open_store(tmp_path):
        assert json.loads(lock.read_bytes())["pid"] == os.getpid()
