"""What is no valid group ends no load, no prune and no save, and does not fill the disk."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lastgood import Event, LatestN, StorageError, Store
from lastgood.backends.posix import PosixDisk
from lastgood.protocol.plan import FORMS, Form
from tests.impl.disks import (
    EXT4,
    PARTS,
    Fault,
    Unsynced,
    WatchedDisk,
    failing,
    fill,
    names_aside,
    names_in,
    open_store,
    tree,
)

DEAD = "attempt-gen-00000009-step-00000009"


def group(number: int) -> str:
    return f"gen-{number:08d}-step-{number:08d}"


def damage(store: Path, number: int) -> None:
    (store / group(number) / "model").write_bytes(b"weight?")


def put_dead(store: Path) -> None:
    """A dead attempt that foreign code has filled."""
    folder = store / DEAD / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(b"half")
    (store / DEAD / "MANIFEST").write_bytes(b"not yet")
    (store / DEAD / "out").symlink_to("../..")
    (store / DEAD / "two\nlines").touch()


def kinds(told: Iterable[Event], *wanted: str) -> list[tuple[str, str, str]]:
    return [(e.kind, e.fields["name"], e.fields["reason"]) for e in told if e.kind in wanted]


CANNOT = [
    failing("mkdir", "quarantine", errno.ENOSPC),
    failing("mkdir", "quarantine", errno.EROFS),
    failing("rename", group(3), errno.EIO),
    failing("rename", group(3), errno.EACCES),
]


@pytest.mark.parametrize("call", ["kind", "names"])
def test_damage_that_cannot_be_set_aside_is_not_called_no_damage(tmp_path: Path, call: str) -> None:
    damage(fill(tmp_path, (1, 2, 3)), 3)
    (tmp_path / "store" / "quarantine").mkdir()
    told: list[Event] = []
    disk = WatchedDisk(tmp_path, failing(call, "quarantine", errno.EIO))
    with open_store(tmp_path, disk=disk, on_event=told.append) as store:
        store.load_latest()
    (said,) = [each.fields["detail"] for each in told if each.kind == "not_set_aside"]

    assert "it is damaged (sha_mismatch:model" in said
    assert "EIO" in said
    assert "Mend the disk" in said
    assert "no sign of damage" not in said


@pytest.mark.parametrize("fault", CANNOT)
def test_what_cannot_be_set_aside_ends_no_load_no_prune_and_no_repair(
    tmp_path: Path, fault: Fault
) -> None:
    store_path = fill(tmp_path, (1, 2, 3))
    damage(store_path, 3)
    put_dead(store_path)
    told: list[Event] = []
    disk = WatchedDisk(tmp_path, fault)
    with open_store(tmp_path, disk=disk, on_event=told.append) as store:
        loaded = store.load_latest()
        assert loaded is not None
        assert [each.reason for each in loaded.rejected] == ["attempt", "sha_mismatch:model"]
        assert kinds(told, "not_set_aside") == [("not_set_aside", group(3), "not_set_aside")]
        assert kinds(told, "discarded") == [("discarded", DEAD, "attempt")]
        assert not [each for each in told if each.kind == "quarantined"]
        pruning = store.prune(LatestN(1))
        assert pruning is not None
        assert [each.name for each in pruning.stuck] == [group(3)]
        assert [str(each.name) for each in pruning.given_up] == [group(1)]
        dry = store.prune(LatestN(1), dry_run=True)
        disk.fault = lambda _call, _path: None
        assert dry is not None
        assert [str(each.name) for each in dry.kept] == [group(2)]
        disk.fault = fault
        repaired = store.repair()
        assert ([e.name for e in repaired.stuck], repaired.moved) == ([group(3)], ())
        # Its generation is taken, it is counted for nothing, and the store is open.
        assert store.save(10, PARTS).generation == 10
        assert store.load().generation == 10
    assert names_in(store_path)[:2] == [group(2), group(3)]


@pytest.mark.parametrize("kind", ["file", "symlink", "unlisted", "unread"])
def test_a_quarantine_that_takes_nothing_ends_no_load_and_no_prune(
    tmp_path: Path, kind: str
) -> None:
    store_path = fill(tmp_path, (1, 2, 3))
    damage(store_path, 3)
    folder, disk = store_path / "quarantine", WatchedDisk(tmp_path)
    if kind == "file":
        folder.touch()
    elif kind == "symlink":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        number = errno.EACCES if kind == "unlisted" else errno.EIO
        disk.fault = failing("names", "quarantine", number)
    told: list[Event] = []
    with open_store(tmp_path, disk=disk, on_event=told.append) as store:
        assert store.load().step == 2
        pruning = store.prune(LatestN(1))
        assert pruning is not None
        dry = store.prune(LatestN(1), dry_run=True)
        assert dry is not None
        for answer in (pruning, dry):
            assert [(e.name, e.reason) for e in answer.stuck] == [(group(3), "not_set_aside")]
        assert [each.name for each in store.repair().stuck] == [group(3)]
        assert kinds(told, "not_set_aside")[0][1] == group(3)
        if kind in ("file", "symlink"):
            assert store.save(4, PARTS).generation == 4
    assert (store_path / group(3) / "model").read_bytes() == b"weight?"
    assert not list((tmp_path / "elsewhere").iterdir()) if kind == "symlink" else True


def test_the_receipt_of_a_save_notes_what_its_retention_could_not_set_aside(
    tmp_path: Path,
) -> None:
    store_path = fill(tmp_path, (1, 2))
    put_dead(store_path)
    disk = WatchedDisk(tmp_path, failing("unlink", "part", errno.EIO))
    with open_store(tmp_path, disk=disk, keep=LatestN(1)) as store:
        receipt = store.save(3, PARTS)
        assert [DEAD in note and "EIO" in note for note in receipt.notes] == [True]
        assert {*receipt.pruned} == {group(1), group(2)}
    with open_store(tmp_path) as store:
        assert store.load().step == 3
    assert names_in(store_path) == ["gen-00000010-step-00000003", "lock"]


@pytest.mark.parametrize("act", ["load", "prune", "repair", "save", "attempt"])
def test_a_dead_attempt_is_deleted_by_whatever_comes_first(tmp_path: Path, act: str) -> None:
    store_path = fill(tmp_path, (1, 2))
    put_dead(store_path)
    outside = tree(tmp_path)
    told: list[Event] = []
    with open_store(tmp_path, on_event=told.append) as store:
        if act == "attempt":
            with store.attempt(3) as folder:
                assert not (store_path / DEAD).exists()
                (folder.path / "part").touch()
        else:
            acts: dict[str, Callable[[], object]] = {
                "load": store.load_latest,
                "prune": lambda: store.prune(LatestN(5)),
                "repair": store.repair,
                "save": lambda: store.save(3, PARTS),
            }
            acts[act]()
        assert kinds(told, "discarded") == [("discarded", DEAD, "attempt")]
        # This process has seen its generation: it does not give it.
        assert store.save(4, PARTS).generation >= 10
    left = tree(tmp_path)
    assert not [name for name in left if "attempt" in name or "quarantine" in name]
    assert {name: outside[name] for name in outside if "gen-0000000[12]" in name}.items() <= (
        left.items()
    )


def test_an_attempt_that_is_no_directory_is_set_aside_and_not_followed(tmp_path: Path) -> None:
    store_path = fill(tmp_path, (1,))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (store_path / DEAD).symlink_to(tmp_path / "mine")
    with open_store(tmp_path) as store:
        assert store.load().step == 1
    assert (tmp_path / "mine" / "file").exists()
    assert (store_path / "quarantine" / DEAD).is_symlink()


def test_an_attempt_beside_its_own_group_stays_until_that_has_gone(tmp_path: Path) -> None:
    """A rename that is torn may leave one directory under both names."""
    store_path = fill(tmp_path, (1, 2))
    beside = f"attempt-{group(1)}"
    (store_path / beside).mkdir()
    told: list[Event] = []
    with open_store(tmp_path, on_event=told.append) as store:
        assert store.load().step == 2
        assert kinds(told, "not_set_aside") == [("not_set_aside", beside, "beside_its_group")]
        store.prune(LatestN(1))
        store.prune(LatestN(1))
    assert names_in(store_path) == [group(2), "lock"]


def uncommitted(store: Path, *numbers: int) -> None:
    for number in numbers:
        (store / group(number)).mkdir(parents=True)
        (store / group(number) / "model").write_bytes(b"half %d" % number)


def test_quarantine_keeps_the_newest_group_without_a_manifest_only(tmp_path: Path) -> None:
    store_path = fill(tmp_path, (1, 2), form="record")
    uncommitted(store_path, 3, 4)
    with open_store(tmp_path, form="record") as store:
        store.load_latest()
        assert names_aside(store_path) == [group(4)]
    uncommitted(store_path, 5)
    damage(store_path, 2)
    told: list[Event] = []
    with open_store(tmp_path, form="record", on_event=told.append) as store:
        assert store.load().step == 1
    assert names_aside(store_path) == [group(2), group(5)]
    assert kinds(told, "discarded") == [("discarded", f"quarantine/{group(4)}", "no_commit")]


def test_an_unread_manifest_in_quarantine_is_not_a_missing_one(tmp_path: Path) -> None:
    store_path = fill(tmp_path, (1,), form="record")
    uncommitted(store_path, 3)
    uncommitted(store_path / "quarantine", 2)
    disk = WatchedDisk(tmp_path, failing("kind", f"quarantine/{group(2)}/MANIFEST", errno.EIO))
    with open_store(tmp_path, form="record", disk=disk) as store:
        assert store.load().step == 1
    assert names_in(store_path / "quarantine")[:2] == [group(2), group(3)]


@pytest.mark.parametrize("call", ["mkdir", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_for_want_of_room_the_newest_without_a_manifest_is_deleted_too(
    tmp_path: Path, call: str, number: int
) -> None:
    store_path = fill(tmp_path, (1,), form="record")
    uncommitted(store_path, 2, 3)
    told: list[Event] = []
    ending = "quarantine" if call == "mkdir" else group(3)
    disk = WatchedDisk(tmp_path, failing(call, ending, number))
    with open_store(tmp_path, form="record", disk=disk, on_event=told.append) as store:
        assert store.load().step == 1
        assert store.save(4, PARTS).generation == 4
    assert {name for _, name, _ in kinds(told, "discarded")} == {group(2), group(3)}
    assert not {group(2), group(3)} & {*names_in(store_path)}


class SmallDisk(PosixDisk):
    """A disk with room for so many bytes below a directory."""

    def __init__(self, root: Path, room_bytes: int) -> None:
        super().__init__(EXT4)
        self._root, self._room_bytes = root, room_bytes

    def free_bytes(self, path: str) -> int:
        found = [p.lstat().st_size for p in self._root.rglob("*") if p.is_file()]
        return self._room_bytes - sum(found)

    def write(self, path: str, data: bytes | memoryview) -> None:
        if self.free_bytes(path) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        super().write(path, data)

    def preallocate(self, path: str, size_bytes: int) -> None:
        """Space is counted by what was written."""

    def _sync(self, fd: int) -> None:
        """Only processes die here."""


SIZE_BYTES = 8 << 20


def save_and_die(root: Path, form: Form, step: int) -> None:
    """Save 8 MiB in a fork that is killed when its part is written."""

    class Dying(SmallDisk):
        def fsync(self, path: str) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            open_store(root, form=form, disk=Dying(root, 4 * SIZE_BYTES)).save(step, content())
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def content() -> dict[str, bytes]:
    return {"model": bytes(SIZE_BYTES)}


@pytest.mark.skipif(sys.platform != "linux", reason="forks of a process with threads")
@pytest.mark.parametrize("form", FORMS)
def test_six_kills_in_a_save_leave_room_for_the_seventh(tmp_path: Path, form: Form) -> None:
    """The disk has room for four saves. No process here ever loads."""
    with open_store(tmp_path, form=form, disk=SmallDisk(tmp_path, 4 * SIZE_BYTES)) as store:
        store.save(1, content())
    for step in range(2, 8):
        save_and_die(tmp_path, form, step)
    with open_store(tmp_path, form=form, disk=SmallDisk(tmp_path, 4 * SIZE_BYTES)) as store:
        assert store.save(8, content()).step == 8
        assert store.load().step == 8


def test_a_save_that_finds_no_room_says_what_would_free_some(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path, 3 * SIZE_BYTES)
    with open_store(tmp_path, disk=disk) as store:
        store.save(1, content())
        (store.path / "quarantine" / group(9)).mkdir(parents=True)
        (store.path / "quarantine" / group(9) / "model").write_bytes(bytes(SIZE_BYTES))
        with pytest.raises(StorageError, match=r"lastgood prune.*lastgood purge") as refused:
            store.save(2, {"model": bytes(2 * SIZE_BYTES)})
        usage = store.quarantine_usage()
        assert usage.size_bytes >= SIZE_BYTES
        assert f"set aside takes {usage.entries[0].size_bytes:,} bytes" in str(refused.value)

        def parts() -> dict[str, Iterable[bytes]]:
            return {"model": iter([bytes(SIZE_BYTES), bytes(SIZE_BYTES)])}

        with pytest.raises(StorageError, match=r"ENOSPC.*lastgood prune.*lastgood purge"):
            store.save(2, parts())


def test_an_open_attempt_is_deleted_by_no_call_of_another_thread(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with open_store(tmp_path, disk=Unsynced(tmp_path)) as store, ThreadPoolExecutor(1) as pool:
        store.save(1, PARTS)
        with store.attempt(2) as folder:
            (folder.path / "part").write_bytes(b"x")
            waiting = pool.submit(Store.load_latest, store)
            assert folder.path.is_dir()
            assert not waiting.done()
        loaded = waiting.result(timeout=60)
    assert loaded is not None
    assert loaded.step == 2
