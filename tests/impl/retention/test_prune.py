"""Retention in a store: what goes, what stays, in which order, and what a reader sees of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import lastgood
from lastgood import (
    BestN,
    Event,
    EveryKSteps,
    Group,
    IntegrityError,
    LatestN,
    Rejection,
    StorageError,
    Store,
    UsageError,
)
from lastgood.backends.posix import PosixDisk
from lastgood.protocol.plan import FORMS, MODES, Form, Mode
from tests.impl.disks import (
    EXT4,
    PARTS,
    WatchedDisk,
    failing,
    names_aside,
    names_in,
    open_store,
    tree,
)


def group(number: int) -> str:
    return f"gen-{number:08d}-step-{number:08d}"


def fill(root: Path, count: int, form: Form = "rename") -> None:
    with open_store(root, form=form) as store:
        for step in range(1, count + 1):
            store.save(step, PARTS, {"loss": 1 / step})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_a_store_with_a_policy_prunes_after_each_save(
    tmp_path: Path, form: Form, mode: Mode
) -> None:
    with open_store(tmp_path, form=form, mode=mode, keep=LatestN(2)) as store:
        receipts = [store.save(step, PARTS) for step in (1, 2, 3, 4)]
        loaded = store.load_latest()

    assert [receipt.pruned for receipt in receipts] == [(), (), (group(1),), (group(2),)]
    assert names_in(tmp_path / "store") == [group(3), group(4), "lock"]
    assert loaded is not None
    assert dict(loaded) == PARTS


def test_the_calls_of_a_prune_come_in_the_order_of_its_plan(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "store" / group(1) / "stray").write_bytes(b"x")
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        store.save(3, PARTS)
        disk.calls.clear()
        store.prune(LatestN(2))
        gone = f"store/pruned-{group(1)}"
        assert disk.changes() == [
            f"rename store/{group(1)} {gone}",
            "fsync_dir store",
            f"unlink {gone}/MANIFEST",
            f"unlink {gone}/model",
            f"unlink {gone}/stray",
            f"unlink {gone}/optim/adam",
            f"rmdir {gone}/optim",
            f"rmdir {gone}",
        ]


@pytest.mark.parametrize("mode", ["unsafe", "atomic_nodirsync"])
def test_a_weak_mode_makes_the_group_durable_before_it_deletes_for_it(
    tmp_path: Path, mode: Mode
) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, mode=mode, disk=disk) as store:
        for step in (1, 2):
            store.save(step, PARTS)
        disk.calls.clear()
        store.prune(LatestN(1))
    calls = disk.changes()

    synced = ["fsync", f"store/{group(2)}/model"], ["fsync", f"store/{group(2)}/MANIFEST"]
    before = calls[: calls.index(f"rename store/{group(1)} store/pruned-{group(1)}")]
    assert all(" ".join(call) in before for call in synced)
    assert before[-1] == "fsync_dir store"
    assert "fsync_dir store" in calls[len(before) :]


def test_a_dry_run_says_what_would_go_and_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    before = tree(tmp_path)
    reader = lastgood.open_read_only(tmp_path / "store")

    pruning = reader.prune(EveryKSteps(2) | BestN("loss", mode="min"), dry_run=True)

    assert pruning is not None
    assert [g.name.step for g in pruning.kept] == [5, 4, 2]
    assert [g.name.step for g in pruning.given_up] == [3, 1]
    assert pruning.freed_bytes == 2 * sum(map(len, PARTS.values()))
    assert tree(tmp_path) == before
    with open_store(tmp_path) as store:
        assert store.prune(EveryKSteps(2) | BestN("loss", mode="min")) == pruning
        assert store.all_steps() == [2, 4, 5]


def test_the_group_that_a_run_was_restored_from_stays(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with open_store(tmp_path, keep=LatestN(1)) as store:
        assert store.load(1)["model"] == b"weights"
        store.save(4, PARTS)
        assert store.all_steps() == [1, 4]
        store.load(4)
        store.save(5, PARTS)
        assert store.all_steps() == [4, 5]


def test_only_valid_groups_count_and_damaged_ones_are_not_deleted(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    (tmp_path / "store" / group(4) / "model").write_bytes(b"weight?")
    (tmp_path / "store" / group(2) / "MANIFEST").unlink()
    with open_store(tmp_path) as store:
        pruning = store.prune(LatestN(2))

    assert pruning is not None
    assert [g.name.step for g in pruning.kept] == [5, 3]
    assert [g.name.step for g in pruning.given_up] == [1]
    assert {r.reason for r in pruning.damaged} == {"no_commit", "sha_mismatch:model"}
    assert names_in(tmp_path / "store") == [group(2), group(3), group(4), group(5), "lock"]


def test_a_damaged_newest_group_justifies_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    (tmp_path / "store" / group(3) / "model").write_bytes(b"weight?")
    with open_store(tmp_path) as store:
        store.prune(LatestN(1))

        assert store.all_steps() == [2]
    assert names_aside(tmp_path / "store") == [group(3)]


def test_an_empty_store_has_nothing_to_prune(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert store.prune(LatestN(1)) is None
        with pytest.raises(UsageError, match="needs a policy"):
            store.prune()


FAULTS = [
    ("rename", group(1), errno.EROFS),
    ("fsync_dir", "store", errno.EIO),
]
REFUSALS = [
    ("unlink", "MANIFEST", errno.EPERM),
    ("unlink", "MANIFEST", errno.EIO),
    ("unlink", "adam", errno.EIO),
    ("unlink", "adam", errno.EBUSY),
    ("rmdir", "optim", errno.EIO),
    ("rmdir", f"pruned-{group(1)}", errno.ENOTEMPTY),
    ("rmdir", f"pruned-{group(1)}", errno.EBUSY),
    ("names", f"pruned-{group(1)}", errno.EIO),
    ("kind", f"pruned-{group(1)}/optim", errno.EIO),
]


@pytest.mark.parametrize(("call", "ending", "number"), FAULTS)
def test_a_prune_that_fails_costs_no_group_and_is_finished_later(
    tmp_path: Path, call: str, ending: str, number: int
) -> None:
    fill(tmp_path, 3)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        store.save(4, PARTS)
        disk.fault = failing(call, ending, number)
        with pytest.raises(StorageError, match="Every group that is kept is intact"):
            store.prune(LatestN(3))
        disk.fault = lambda _call, _path: None
        with pytest.raises(StorageError, match="closed to writing"):
            store.save(5, PARTS)
    with open_store(tmp_path) as store:
        loaded = store.load_latest()
        assert loaded is not None
        assert (loaded.step, loaded.rejected) == (4, ())
        store.prune(LatestN(3))
        assert store.all_steps() == [2, 3, 4]
    assert names_in(tmp_path / "store") == [group(2), group(3), group(4), "lock"]


def test_a_prune_after_a_save_that_fails_is_noted_and_the_save_stands(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk, keep=LatestN(1)) as store:
        store.save(1, PARTS)
        disk.fault = failing("names", "store", errno.EMFILE)
        receipt = store.save(2, PARTS)
        disk.fault = lambda _call, _path: None
        assert receipt.pruned == ()
        assert receipt.retention_error is not None
        assert [note for note in receipt.notes if note.startswith("not pruned: ")]
        assert store.save(3, PARTS).pruned == (group(2), group(1))
    assert names_in(tmp_path / "store") == [group(3), "lock"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_that_has_no_room_for_another_name_is_pruned_all_the_same(
    tmp_path: Path, number: int
) -> None:
    """A directory of xfs may need a block for the longer name; an unlink needs none."""
    fill(tmp_path, 3)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = failing("rename", f"store/{group(1)}", number)
        pruning = store.prune(LatestN(1))
        assert pruning is not None
        assert [g.name.generation for g in pruning.given_up] == [2, 1]
        assert pruning.stuck == ()
        assert names_in(tmp_path / "store") == [group(3), "lock"]
        # Durably no group before any of its bytes goes.
        removed = [c for c in disk.changes() if f"store/{group(1)}" in c and "rename" not in c]
        assert removed[:2] == [f"unlink store/{group(1)}/MANIFEST", f"fsync_dir store/{group(1)}"]
        assert store.save(4, PARTS).generation == 4


def uncommitted_and_left(store: Store, disk: WatchedDisk) -> Rejection:
    """The first group, un-committed on a full disk that then refuses to delete its parts."""
    renaming, removing = (failing("rename", f"store/{group(1)}"), failing("unlink", "/model"))
    disk.fault = lambda call, path: errno.ENOSPC if renaming(call, path) else removing(call, path)
    pruning = store.prune(LatestN(1))
    disk.fault = lambda _call, _path: None
    assert pruning is not None
    assert [each.name.generation for each in pruning.given_up] == [1]
    assert pruning.freed_bytes == 0
    (stuck,) = pruning.stuck
    return stuck


def test_what_was_uncommitted_in_its_place_and_not_deleted_goes_with_the_next_prune(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 2)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        stuck = uncommitted_and_left(store, disk)
        assert (stuck.name, stuck.reason) == (group(1), "refused")
        assert "the next prune of this process, or any repair, tries again" in stuck.detail
        pruning = store.prune(LatestN(1))
        assert pruning is not None
        assert [str(name) for name in pruning.leftovers] == [group(1)]
        assert (pruning.damaged, pruning.stuck) == ((), ())

    assert names_in(tmp_path / "store") == [group(2), "lock"]


def test_another_process_leaves_it_to_a_repair(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        uncommitted_and_left(store, disk)
    with open_store(tmp_path) as store:
        pruning = store.prune(LatestN(1))
        assert pruning is not None
        assert [each.reason for each in pruning.damaged] == ["no_commit"]
        assert [each.name for each in store.repair().moved] == [group(1)]

    assert names_in(tmp_path / "store") == [group(2), "lock", "quarantine"]


def test_what_has_its_manifest_again_is_a_group_and_no_rest_of_a_prune(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    manifest = tmp_path / "store" / group(1) / "MANIFEST"
    whole = manifest.read_bytes()
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        uncommitted_and_left(store, disk)
        manifest.write_bytes(whole)
        store.prune(LatestN(2))

    assert manifest.read_bytes() == whole


def test_a_group_that_a_full_disk_lets_nobody_rename_and_nobody_unlink_stays_whole(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 2)
    before = tree(tmp_path)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = lambda call, _path: errno.ENOSPC if call in ("rename", "unlink") else None
        with pytest.raises(StorageError, match=r"ENOSPC.*nothing was deleted"):
            store.prune(LatestN(1))

    assert tree(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EBUSY])
def test_an_old_group_that_cannot_be_renamed_stays_a_group_and_closes_no_store(
    tmp_path: Path, number: int
) -> None:
    """As one that somebody has made immutable."""
    disk = WatchedDisk(tmp_path)
    fill(tmp_path, 3)
    with open_store(tmp_path, disk=disk, keep=LatestN(1)) as store:
        disk.fault = failing("rename", f"/{group(2)}", number)
        receipt = store.save(4, PARTS)
        assert receipt.pruned == (group(3), group(1))
        (note,) = receipt.notes
        assert note.startswith(f"not deleted: {group(2)}: ")
        assert errno.errorcode[number] in note
        assert store.all_steps() == [2, 4]
        pruning = store.prune()
        assert pruning is not None
        assert [each.name.step for each in pruning.kept] == [4, 2]
        disk.fault = lambda _call, _path: None
        assert store.save(5, PARTS).pruned == (group(4), group(2))
    assert names_in(tmp_path / "store") == [group(5), "lock"]


@pytest.mark.parametrize(("call", "ending", "number"), REFUSALS)
def test_an_old_group_that_cannot_be_deleted_closes_no_store_and_no_receipt_denies_it(
    tmp_path: Path, call: str, ending: str, number: int
) -> None:
    disk, events = WatchedDisk(tmp_path), list[Event]()
    with open_store(tmp_path, disk=disk, keep=LatestN(1), on_event=events.append) as store:
        store.save(1, PARTS)
        disk.fault = failing(call, ending, number)
        for step in (2, 3):
            receipt = store.save(step, PARTS)
            assert receipt.pruned == (group(step - 1),)
            assert receipt.retention_error is None
            told = [each.fields["name"] for each in events if each.kind == "prune_failed"]
            assert f"pruned-{group(1)}" in told
            (note,) = [each for each in receipt.notes if f"pruned-{group(1)}:" in each]
            assert note.startswith("not deleted: ")
            assert errno.errorcode[number] in note
            assert store.all_steps() == [step]
        # What is given up is given up durably before anything is deleted.
        before = disk.calls.index(f"rename store/{group(1)} store/pruned-{group(1)}")
        deleting = ("unlink", "rmdir")
        first = next(i for i, each in enumerate(disk.calls) if each.startswith(deleting))
        assert "fsync_dir store" in disk.calls[before:first]
        pruning = store.prune()
        assert pruning is not None
        assert f"pruned-{group(1)}" in [each.name for each in pruning.stuck]
        disk.fault = lambda _call, _path: None
        assert store.save(4, PARTS).notes == ()
    assert names_in(tmp_path / "store") == [group(4), "lock"]


def test_a_symlink_in_a_pruned_group_is_removed_and_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_bytes(b"mine")
    (tmp_path / "store" / group(1) / "link").symlink_to(tmp_path / "elsewhere")
    with open_store(tmp_path) as store:
        store.prune(LatestN(1))

    assert (tmp_path / "elsewhere" / "mine").read_bytes() == b"mine"
    assert names_in(tmp_path / "store") == [group(2), "lock"]


class Racing(PosixDisk):
    """A reader's disk: just before one look, the store's writer prunes."""

    def __init__(self, root: Path, call: str, ending: str) -> None:
        super().__init__(EXT4)
        self.root, self.call, self.ending = root, call, ending
        self.raced = False

    def _race(self, call: str, path: str) -> None:
        if not self.raced and call == self.call and path.endswith(self.ending):
            self.raced = True
            with open_store(self.root) as store:
                store.save(3, PARTS)
                store.prune(LatestN(1))

    def kind(self, path: str) -> str:
        self._race("kind", path)
        return super().kind(path)

    def read(self, path: str, limit_bytes: int) -> bytes:
        self._race("read", path)
        return super().read(path, limit_bytes)

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        self._race("digest", path)
        return super().digest(path, limit_bytes)


@pytest.mark.parametrize(
    ("call", "ending"),
    [("kind", group(2)), ("read", "MANIFEST"), ("kind", "optim"), ("digest", "adam")],
)
def test_a_reader_that_a_prune_overtakes_gets_the_newer_group(
    tmp_path: Path, call: str, ending: str
) -> None:
    fill(tmp_path, 2)
    disk = Racing(tmp_path, call, ending)
    loaded = lastgood.open_read_only(tmp_path / "store", disk=disk).load_latest()

    assert disk.raced
    assert loaded is not None
    assert (loaded.step, loaded.rejected) == (3, ())


def test_a_group_that_was_pruned_after_its_load_is_gone_and_not_damaged(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    reader = lastgood.open_read_only(tmp_path / "store")
    held, plain = reader.load_latest(hold="memory"), reader.load_latest()
    assert held is not None
    assert plain is not None
    with open_store(tmp_path) as store:
        store.save(3, PARTS)
        store.prune(LatestN(1))

    assert held["model"] == b"weights"
    with pytest.raises(IntegrityError, match="Load again") as caught:
        plain.read("model")
    assert caught.value.reason == "gone"


def test_what_is_half_pruned_is_neither_a_group_nor_damage(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "store" / group(1)).rename(tmp_path / "store" / f"pruned-{group(1)}")
    (tmp_path / "store" / f"pruned-{group(1)}" / "model").unlink()
    reader = lastgood.open_read_only(tmp_path / "store")

    answers = reader.verify()
    assert [type(answer) for answer in answers] == [Group]
    assert not [answer for answer in answers if isinstance(answer, Rejection)]
    with open_store(tmp_path) as store:
        assert store.save(3, PARTS).generation == 3
        store.prune(LatestN(5))
    assert names_in(tmp_path / "store") == [group(2), group(3), "lock"]


def test_a_misspelt_metric_gives_nothing_up_and_the_receipt_and_an_event_say_so(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    keep = LatestN(1) | BestN("acuracy", 3, mode="max")
    with open_store(tmp_path, keep=keep, on_event=events.append) as store:
        receipts = [store.save(step, PARTS, {"accuracy": 0.5}) for step in (1, 2, 3, 4)]

        assert store.all_steps() == [1, 2, 3, 4]
        assert all(not receipt.pruned for receipt in receipts)
        assert all("no group has a number 'acuracy'" in " ".join(r.notes) for r in receipts)
        told = [event for event in events if event.kind == "prune_noted"]
        assert len(told) == 4
        assert "which has 'accuracy'" in told[0].message

        # Once a group has it, the policy is what it says.
        receipt = store.save(5, PARTS, {"acuracy": 0.1})
        assert receipt.notes == ()
        assert store.all_steps() == [5]


def test_a_dry_run_notes_what_the_prune_would(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for step in (1, 2):
            store.save(step, PARTS)
        would = store.prune(BestN("loss", mode="min"), dry_run=True)
        assert would is not None
        assert (len(would.given_up), len(would.notes)) == (0, 1)
        assert store.prune(BestN("loss", mode="min")) == would
