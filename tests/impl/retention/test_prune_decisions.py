"""What a prune decides: by what verifies now, as a dry run says, and never stopped by litter."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import Candidate, Event, LatestN, Policy, UsageError
from lastgood.protocol.plan import FORMS, MODES, Form, Mode
from tests.impl.cli.commands import run
from tests.impl.disks import PARTS, Unsynced, WatchedDisk, failing, names_in, open_store, tree
from tests.impl.retention.test_prune import fill, group


def rot(store: Path, number: int) -> None:
    """Other bytes, with the size and the time stamps of the old ones as far as can be."""
    path = store / group(number) / "model"
    before = path.stat()
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_the_last_valid_group_stays_though_a_newer_one_was_saved_by_this_writer(
    tmp_path: Path, form: Form, mode: Mode
) -> None:
    with open_store(tmp_path, form=form, mode=mode, disk=Unsynced(tmp_path)) as store:
        for step in (1, 2):
            store.save(step, PARTS)
        rot(store.path, 2)
        before = tree(tmp_path)
        would = store.prune(LatestN(1), dry_run=True)
        assert tree(tmp_path) == before
        did = store.prune(LatestN(1))

        assert would is not None
        assert did is not None
        assert [g.name.step for g in did.kept] == [1]
        assert (would.kept, would.given_up) == (did.kept, did.given_up)
        assert store.load()["model"] == b"weights"


def test_what_this_writer_verified_earlier_is_verified_again(tmp_path: Path) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path)) as store:
        for step in (1, 2, 3, 4):
            store.save(step, PARTS)
        store.prune(LatestN(3))
        rot(store.path, 3)
        would = store.prune(LatestN(2), dry_run=True)
        did = store.prune(LatestN(2))

        assert did is not None
        assert [g.name.step for g in did.kept] == [4, 2]
        assert [each.reason for each in did.damaged] == ["sha_mismatch:model"]
        assert would == did


def test_retention_after_a_save_counts_no_group_that_was_touched_since_it_was_verified(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path), keep=LatestN(2)) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS)
        rot(store.path, 3)
        receipt = store.save(4, PARTS)

        assert receipt.pruned == ()
        assert [g.name.step for g in store.groups()] == [4, 3, 2]


def test_retention_looks_at_every_group_behind_the_first_that_it_remembers(tmp_path: Path) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path), keep=LatestN(3)) as store:
        for step in (1, 2, 3, 4):
            store.save(step, PARTS)
        rot(store.path, 3)
        receipt = store.save(5, PARTS)

        assert receipt.pruned == ()
        assert [g.name.step for g in store.groups()] == [5, 4, 3, 2]


def test_retention_reads_what_it_keeps_once_and_nothing_where_nothing_goes(tmp_path: Path) -> None:
    disk, digested = Unsynced(tmp_path), []
    with open_store(tmp_path, disk=disk, keep=LatestN(3)) as store:
        for step in range(1, 7):
            disk.calls.clear()
            store.save(step, PARTS)
            reads = [call for call in disk.calls if call.startswith("digest ")]
            digested.append(sorted({call.split("/")[1] for call in reads}))

    assert digested == [[], [], [], [group(2), group(3), group(4)], [group(5)], [group(6)]]


def test_the_last_valid_group_stays_where_the_save_before_it_rots_at_once(tmp_path: Path) -> None:
    """Retention after the save: the group that would justify it is read back, not believed."""

    class Rotting(Unsynced):
        def rename(self, src: str, dst: str) -> None:
            super().rename(src, dst)
            if dst.endswith(group(2)):
                rot(tmp_path / "store", 2)

    with open_store(tmp_path, disk=Rotting(tmp_path), keep=LatestN(1)) as store:
        store.save(1, PARTS)
        store.save(2, PARTS)

        assert store.load().step == 1


DEEP = "/".join(["d"] * 200)


@pytest.mark.parametrize("form", FORMS)
def test_a_part_as_deep_as_a_manifest_allows_goes_when_its_turn_comes(
    tmp_path: Path, form: Form
) -> None:
    with open_store(tmp_path, form=form, disk=Unsynced(tmp_path), keep=LatestN(1)) as store:
        store.save(1, {f"{DEEP}/model": b"weights"})
        receipts = [store.save(step, PARTS) for step in (2, 3)]

        assert [receipt.pruned for receipt in receipts] == [(group(1),), (group(2),)]
        assert names_in(store.path) == [group(3), "lock"]


def test_the_deepest_path_of_a_manifest_is_not_deeper_than_a_walk() -> None:
    from lastgood.format.manifest import PATH_LIMIT_BYTES
    from lastgood.retention.prune import MAX_DEPTH

    assert PATH_LIMIT_BYTES // 2 <= MAX_DEPTH


def stray_file(path: Path) -> None:
    path.write_bytes(b"mine")


def stray_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere")


def stray_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("litter", [stray_file, stray_link, stray_fifo])
def test_litter_with_a_leftovers_name_is_left_told_of_and_in_nobodys_way(
    tmp_path: Path, litter: Callable[[Path], None]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_bytes(b"mine")
    fill(tmp_path, 3)
    name = f"pruned-{group(0)}"
    litter(tmp_path / "store" / name)
    events: list[Event] = []
    with open_store(tmp_path, on_event=events.append, keep=LatestN(2)) as store:
        would = store.prune(LatestN(2), dry_run=True)
        did = store.prune(LatestN(2))
        repaired = store.repair()
        receipt = store.save(4, PARTS)

    assert did is not None
    assert would == did
    assert [g.name.step for g in did.given_up] == [1]
    assert [(each.name, each.reason) for each in did.stuck] == [(name, f"not_regular:{name}")]
    assert "move it out" in did.stuck[0].detail
    assert repaired.stuck == did.stuck
    assert receipt.pruned == (group(2),)
    assert receipt.retention_error is None
    assert [note for note in receipt.notes if note.startswith(f"not deleted: {name}")]
    assert [e.fields["name"] for e in events if e.kind == "prune_failed"] == [name] * 3
    assert names_in(tmp_path / "store") == [group(3), group(4), "lock", name]
    assert (tmp_path / "elsewhere" / "mine").read_bytes() == b"mine"


def test_a_group_whose_new_name_is_taken_stays_and_the_others_go(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    (tmp_path / "store" / f"pruned-{group(2)}").write_bytes(b"mine")
    with open_store(tmp_path) as store:
        would = store.prune(LatestN(1), dry_run=True)
        did = store.prune(LatestN(1))

        assert did is not None
        assert would == did
        assert [g.name.step for g in did.kept] == [4, 2]
        assert [g.name.step for g in did.given_up] == [3, 1]
        assert store.save(5, PARTS).step == 5


def test_a_leftover_that_the_disk_refuses_to_delete_holds_nothing_else_up(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "store" / group(1)).rename(tmp_path / "store" / f"pruned-{group(1)}")
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        store.save(3, PARTS)
        disk.fault = failing("unlink", f"pruned-{group(1)}/model", errno.EPERM)
        pruning = store.prune(LatestN(1))
        assert pruning is not None
        assert [each.name.step for each in pruning.given_up] == [2]
        assert [(each.name, each.reason) for each in pruning.stuck] == [
            (f"pruned-{group(1)}", "refused")
        ]
        assert pruning.leftovers == ()
        disk.fault = lambda _call, _path: None
        assert names_in(store.path) == [group(3), "lock", f"pruned-{group(1)}"]
        store.prune(LatestN(1))
        assert names_in(store.path) == [group(3), "lock"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["names", "kind"])
def test_a_leftover_that_cannot_be_looked_into_is_named(
    tmp_path: Path, call: str, number: int
) -> None:
    fill(tmp_path, 2)
    leftover = f"pruned-{group(1)}"
    (tmp_path / "store" / group(1)).rename(tmp_path / "store" / leftover)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = failing(call, leftover, number)
        repaired = store.repair()
        assert [each.name for each in repaired.stuck] == [leftover]
        assert repaired.finished == ()
        assert errno.errorcode[number] in repaired.stuck[0].detail
        assert store.save(3, PARTS).generation == 3


def test_a_command_whose_deletion_the_disk_refuses_ends_with_status_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 3)

    def refusing(path: str) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refusing)
        done = run("prune", str(tmp_path / "store"), "--keep-latest", "1")
        assert done.exit_code == 3
        assert f"went: {group(2)}" in done.stdout
        assert f"left: pruned-{group(2)} cannot be deleted: " in done.stdout
        assert "EBUSY" in done.stdout
        assert "2 went, 1 stay, 0 bytes freed" in done.stdout
        assert run("repair", str(tmp_path / "store")).exit_code == 3
    assert run("repair", str(tmp_path / "store")).exit_code == 0
    assert names_in(tmp_path / "store") == [group(3), "lock"]


class Raising(Policy):
    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        raise ZeroDivisionError("no loss yet")


class Answering(Policy):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        found: set[int] = self.answer
        return found


FAILING = [
    (Raising(), "ZeroDivisionError: no loss yet"),
    (Answering(None), "TypeError"),
    (Answering({3000}), "3000, expected generations"),
    (Answering([Candidate(1, 1)]), "failed|expected generations"),
]


@pytest.mark.parametrize(("policy", "message"), FAILING)
def test_a_policy_that_fails_costs_no_save_its_receipt_and_no_group(
    tmp_path: Path, policy: Policy, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    with open_store(tmp_path, keep=policy, on_event=events.append) as store:
        receipts = [store.save(step, PARTS) for step in (1, 2)]
        with store.attempt(3) as attempt:
            (attempt.path / "model").write_bytes(b"weights")

        assert store.all_steps() == [1, 2, 3]
        before = tree(tmp_path)
        for dry_run in (True, False):
            with pytest.raises(UsageError, match=message):
                store.prune(dry_run=dry_run)
        assert tree(tmp_path) == before
    assert attempt.receipt is not None
    for receipt in (*receipts, attempt.receipt):
        assert receipt.retention_error is not None
        assert "Nothing was given up" in receipt.retention_error
        assert [note for note in receipt.notes if note.startswith("not pruned: ")]
    assert [event.kind for event in events] == ["prune_failed", "saved"] * 3
    assert "the retention policy" in caplog.text


@pytest.mark.parametrize("keep", [3, "latest", LatestN, [LatestN(3)]])
def test_what_is_no_policy_is_refused_before_anything_is_made(tmp_path: Path, keep: Any) -> None:
    with pytest.raises(UsageError, match=r"keep is .*expected a Policy such as LatestN"):
        open_store(tmp_path, keep=keep)
    with pytest.raises(UsageError, match=r"when is .*expected a Cadence such as EverySteps"):
        open_store(tmp_path, when=keep)
    assert tree(tmp_path) == {}
    open_store(tmp_path).close()
    with pytest.raises(UsageError, match="keep is"):
        lastgood.open_read_only(tmp_path / "store").prune(keep, dry_run=True)
    with pytest.raises(TypeError):
        LatestN(1) | keep


def test_retention_after_a_save_needs_no_quarantine(tmp_path: Path) -> None:
    """What a recovery has not been able to set aside is for the next one; this is not its turn."""
    fill(tmp_path, 2)
    (tmp_path / "store" / f"attempt-{group(3)}").mkdir()
    (tmp_path / "store" / "quarantine").write_bytes(b"mine")
    with open_store(tmp_path, keep=LatestN(1)) as store:
        receipt = store.save(4, PARTS)

    assert receipt.retention_error is None
    assert receipt.pruned == (group(2), group(1))
