"""A disk that fails: never taken for damage, never forgotten, never retried."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

import lastgood
from lastgood import StorageError
from lastgood.protocol.plan import FORMS, Form
from lastgood.recovery.newer_format import list_unjudged
from lastgood.recovery.partial_load import check_entry_kinds
from tests.impl.disks import PARTS, Fault, WatchedDisk, failing, fill, open_store, tree

SYNCS = [
    ("fsync", "model"),
    ("fsync", "optim/adam"),
    ("fsync", "MANIFEST"),
    ("close", "MANIFEST"),
    ("fsync_dir", "optim"),
    ("fsync_dir", "step-00000002"),
    ("fsync_dir", "store"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("call", "ending"), SYNCS)
def test_a_failed_sync_closes_the_store_and_hides_the_attempt(
    tmp_path: Path, form: Form, call: str, ending: str
) -> None:
    """The pages may be clean and lost: the next process must not find the group in memory."""
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form=form, disk=disk) as store:
        store.save(1, PARTS)
        disk.fault = failing(call, ending)
        with pytest.raises(StorageError, match=r"EIO.*earlier groups are intact.*closed to writ"):
            store.save(2, PARTS)
        disk.fault = lambda _call, _path: None
        disk.calls.clear()
        with pytest.raises(StorageError, match="closed to writing"):
            store.save(3, PARTS)
        loaded = store.load_latest()
        assert disk.changes() == []
        assert loaded is not None
        assert loaded.generation == 1
    with open_store(tmp_path, form=form) as store:
        loaded = store.load_latest()
        assert loaded is not None
        assert loaded.generation == 1
        assert store.save(4, PARTS).generation == 3


@pytest.mark.parametrize("form", FORMS)
def test_a_failed_sync_is_tried_once_only(tmp_path: Path, form: Form) -> None:
    disk = WatchedDisk(tmp_path, failing("fsync", "model"))
    with open_store(tmp_path, form=form, disk=disk) as store, pytest.raises(StorageError):
        store.save(1, PARTS)

    assert len([call for call in disk.calls if call.startswith("fsync ")]) == 1


def test_a_failed_rename_closes_the_store(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path, failing("rename", "attempt-gen-00000001-step-00000001"))
    with open_store(tmp_path, disk=disk) as store:
        with pytest.raises(StorageError, match=r"save of gen-00000001-step-00000001 failed"):
            store.save(1, PARTS)
        with pytest.raises(StorageError, match="closed to writing"):
            store.save(2, PARTS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["model", "optim/adam", "MANIFEST"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_costs_the_attempt_and_nothing_else(
    tmp_path: Path, form: Form, ending: str, number: int
) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form=form, disk=disk) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)
        disk.fault = failing("write", ending, number)
        with pytest.raises(
            StorageError, match=rf"{errno.errorcode[number]}.*Nothing of it is left.*usable"
        ):
            store.save(2, PARTS)
        assert tree(tmp_path) == before

        disk.fault = lambda _call, _path: None
        assert store.save(3, PARTS).generation == 3


@pytest.mark.parametrize(
    ("call", "ending", "number"),
    [
        (call, ending, number)
        for call, ending in [
            ("read", "MANIFEST"),
            ("digest", "optim/adam"),
            ("kind", "gen-00000002-step-00000002"),
            ("kind", "optim"),
            ("names", "store"),
        ]
        for number in (errno.EIO, errno.EACCES, errno.EMFILE, errno.ENOMEM)
        # What cannot be read of a group is that group's trouble: see test_unreadable.
        if call == "names" or number != errno.EIO
    ],
)
def test_an_error_of_the_disk_is_not_damage(
    tmp_path: Path, call: str, ending: str, number: int
) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        store.save(2, PARTS)
    before = tree(tmp_path)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = failing(call, ending, number)
        with pytest.raises(StorageError, match=f"{errno.errorcode[number]}.*no sign of damage"):
            store.load_latest()
    reader = lastgood.open_read_only(tmp_path / "store", disk=disk)
    with pytest.raises(StorageError, match="no sign of damage"):
        reader.load_latest()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("call", "ending"), [("fsync", "model"), ("fsync", "MANIFEST"), ("fsync_dir", "store")]
)
def test_a_recovery_that_cannot_sync_moves_nothing_and_closes_the_store(
    tmp_path: Path, call: str, ending: str
) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        store.save(2, PARTS)
    (tmp_path / "store" / "gen-00000002-step-00000002" / "model").unlink()
    before = tree(tmp_path)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = failing(call, ending)
        with pytest.raises(StorageError, match="recovery of gen-00000001"):
            store.load_latest()
        with pytest.raises(StorageError, match="closed to writing"):
            store.save(3, PARTS)

    assert tree(tmp_path) == before


def test_an_ancestor_that_may_not_be_opened_is_noted_in_every_receipt(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    disk.fault = failing("fsync_dir", str(tmp_path.resolve().parent), errno.EACCES)
    with open_store(tmp_path, disk=disk) as store:
        receipt = store.save(1, PARTS)

    assert len(receipt.notes) == 1
    assert repr(str(tmp_path.resolve().parent)) in receipt.notes[0]
    assert [call for call in disk.calls if call.startswith("fsync_dir")][:2] == [
        "fsync_dir .",
        f"fsync_dir {tmp_path.resolve().parent}",
    ]


def test_an_ancestor_that_cannot_be_synced_ends_the_open_and_frees_the_lease(
    tmp_path: Path,
) -> None:
    disk = WatchedDisk(tmp_path, failing("fsync_dir", "."))
    disk.fault = lambda call, path: errno.EIO if (call, path) == ("fsync_dir", ".") else None
    with pytest.raises(StorageError, match="EIO"):
        open_store(tmp_path, disk=disk)
    with open_store(tmp_path) as store:
        assert store.save(1, PARTS).generation == 1


GROUP = "gen-00000002-step-00000002"


def sync_fails_and(*others: tuple[str, str, int]) -> Fault:
    """The store's own fsync fails after a group was named, and then all that is given."""
    faults = [failing("fsync_dir", "store"), *(failing(*other) for other in others)]
    return lambda call, path: next((n for f in faults if (n := f(call, path)) is not None), None)


CANNOT_MOVE = [
    [("mkdir", "quarantine", errno.ENOSPC)],
    [("mkdir", "quarantine", errno.EROFS)],
    [("rename", f"/{GROUP}", errno.EROFS)],
    [("names", "store", errno.EIO)],
    [("kind", GROUP, errno.EIO), ("names", "store", errno.EACCES)],
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("others", CANNOT_MOVE)
def test_an_attempt_that_cannot_be_moved_loses_its_manifest(
    tmp_path: Path, form: Form, others: list[tuple[str, str, int]]
) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form=form, disk=disk) as store:
        store.save(1, PARTS)
        disk.fault = sync_fails_and(*others)
        with pytest.raises(StorageError, match=r"EIO.*closed to writing") as caught:
            store.save(2, PARTS)
        assert "out of sight" not in str(caught.value)
    loaded = lastgood.open_read_only(tmp_path / "store").load_latest()

    assert loaded is not None
    assert loaded.generation == 1
    assert [each.reason for each in loaded.rejected] == ["no_commit"]


def test_a_quarantine_that_is_a_file_does_not_replace_the_first_error(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form="record", disk=disk) as store:
        store.save(1, PARTS)
        (store.path / "quarantine").touch()
        disk.fault = sync_fails_and()
        with pytest.raises(StorageError, match=r"save of gen-00000002.*EIO.*closed to writing"):
            store.save(2, PARTS)
        assert not (store.path / GROUP / "MANIFEST").exists()


@pytest.mark.parametrize("form", FORMS)
def test_an_attempt_that_stays_in_sight_is_told_and_not_loaded_by_its_store(
    tmp_path: Path, form: Form
) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form=form, disk=disk) as store:
        store.save(1, PARTS)
        disk.fault = sync_fails_and(
            ("mkdir", "quarantine", errno.EROFS), ("unlink", "MANIFEST", errno.EROFS)
        )
        with pytest.raises(StorageError, match=rf"EIO.*closed.*moved out of sight.*Move {GROUP}"):
            store.save(2, PARTS)
        disk.fault = lambda _call, _path: None
        before = tree(tmp_path)
        for _ in ("open", "closed"):
            loaded = store.load_latest()
            assert loaded is not None
            assert loaded.generation == 1
            with pytest.raises(lastgood.UsageError, match="no group of step 2"):
                store.load(step=2)
            assert [group.name.generation for group in store.groups()] == [1]
            store.close()
        assert tree(tmp_path) == {**before, "store/lock": b""}


class Exhausted(WatchedDisk):
    """A disk on which the calls of one kind end because this process has no memory left."""

    def __init__(self, root: Path, call: str, ending: str) -> None:
        super().__init__(root, self.exhaust)
        self.call, self.ending = call, ending

    def exhaust(self, call: str, path: str) -> None:
        if call == self.call and path.endswith(self.ending):
            raise MemoryError

    def stamp(self, path: str) -> tuple[int, ...]:
        self.exhaust("stamp", path)
        return super().stamp(path)


def looking(disk: WatchedDisk, store: Path) -> None:
    (group,) = lastgood.open_read_only(store).groups()
    assert check_entry_kinds(disk, group) is None


def listing(disk: WatchedDisk, store: Path) -> None:
    assert list_unjudged(disk, str(store)) == ()


def pruning(disk: WatchedDisk, store: Path) -> None:
    with open_store(store.parent, disk=disk) as opened:
        assert opened.prune(lastgood.LatestN(1)) is not None


@pytest.mark.parametrize(
    ("work", "call", "ending"),
    [(looking, "kind", "model"), (listing, "read", "MANIFEST"), (pruning, "stamp", "model")],
)
def test_a_process_without_memory_is_no_disk_that_refuses(
    tmp_path: Path, work: Callable[[WatchedDisk, Path], None], call: str, ending: str
) -> None:
    store = fill(tmp_path, [1])

    work(Exhausted(tmp_path, call, "nothing"), store)
    with pytest.raises(MemoryError):
        work(Exhausted(tmp_path, call, ending), store)


def test_a_prune_that_fails_says_at_what(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS)
        disk.fault = failing("rename", GROUP)
        with pytest.raises(StorageError, match=rf"prune of .*: renaming .*{GROUP}.* failed: EIO"):
            store.prune(lastgood.LatestN(1))
