"""Damage that cannot be read: passed over, named, left where it is, and never counted."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import Event, IntegrityError, LatestN, StorageError, Store
from lastgood.retention.prune import Pruning
from tests.impl.cli.commands import run, said
from tests.impl.disks import PARTS, Fault, WatchedDisk, failing, fill, names_in, open_store, tree

DEAD = [errno.EIO, getattr(errno, "EUCLEAN", errno.EIO), errno.EBADMSG]
"""Errnos of a file system that cannot read what it keeps."""
OF_A_READ = [
    errno.EINVAL,
    errno.ENXIO,
    errno.ELOOP,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EFBIG,
]
"""Errnos that an open or a look uses for other things, and that a read may give all the same."""


def group(number: int) -> str:
    return f"gen-{number:08d}-step-{number:08d}"


PLACES = [
    ("digest", f"{group(3)}/model", "unreadable:model"),
    ("digest", f"{group(3)}/optim/adam", "unreadable:optim/adam"),
    ("read", f"{group(3)}/MANIFEST", "unreadable:MANIFEST"),
    ("kind", f"{group(3)}/optim", "unreadable:optim"),
    ("kind", group(3), f"unreadable:{group(3)}"),
]


@pytest.mark.parametrize("number", DEAD)
@pytest.mark.parametrize(("call", "ending", "reason"), PLACES)
@pytest.mark.parametrize("opened", ["as writer", "read-only"])
def test_a_newest_group_that_cannot_be_read_is_passed_over_and_moved_nowhere(
    tmp_path: Path, call: str, ending: str, reason: str, number: int, opened: str
) -> None:
    store = fill(tmp_path, (1, 2, 3))
    before = tree(tmp_path)
    disk, events = WatchedDisk(tmp_path), list[Event]()
    with open_store(
        tmp_path, disk=disk, writable=opened == "as writer", on_event=events.append
    ) as opening:
        disk.fault = failing(call, ending, number)
        loaded = opening.load_latest()
        assert loaded is not None
        assert loaded.step == 2
        assert [(each.name, each.reason) for each in loaded.rejected] == [(group(3), reason)]
        assert errno.errorcode[number] in loaded.rejected[0].detail
        assert loaded["model"] == b"weights"
    assert [event.kind for event in events] == ["rejected", "loaded"]
    assert tree(tmp_path) == before
    # It was never damaged: whoever can read it again has it again.
    again = lastgood.open_read_only(store).load_latest()
    assert again is not None
    assert again.step == 3


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize(("call", "ending", "reason"), PLACES)
def test_an_error_of_the_whole_machine_says_nothing_about_a_group(
    tmp_path: Path, call: str, ending: str, reason: str, number: int
) -> None:
    fill(tmp_path, (1, 2, 3))
    before = tree(tmp_path)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = failing(call, ending, number)
        for attempted in (store.load_latest, store.repair, store.verify):
            with pytest.raises(StorageError, match=f"{errno.errorcode[number]}.*no sign of damage"):
                attempted()
    assert tree(tmp_path) == before


ONLY = "gen-00000001-step-00000001"


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize(("call", "ending"), [(c, e.replace(group(3), ONLY)) for c, e, _ in PLACES])
def test_a_load_with_nothing_left_to_read_is_refused_and_not_answered_with_none(
    tmp_path: Path, call: str, ending: str, writable: bool
) -> None:
    fill(tmp_path, (1,))
    before = tree(tmp_path)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk, writable=writable) as store:
        disk.fault = failing(call, ending, errno.EIO)
        loads: list[Callable[[], Any]] = [store.load_latest, store.load]
        if call != "digest":
            loads.append(store.open_group)
        if ending.endswith(("MANIFEST", ONLY)):
            loads.append(store.latest_step)
        for attempted in loads:
            with pytest.raises(StorageError, match=rf"{ONLY}.*EIO.*was not moved"):
                attempted()
    assert tree(tmp_path) == before


def test_a_store_with_nothing_left_to_read_can_be_saved_to_above_what_is_there(
    tmp_path: Path,
) -> None:
    fill(tmp_path, (1, 2))
    disk = WatchedDisk(tmp_path, failing("read", f"{group(1)}/MANIFEST"))
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = unreadable(1, 2)
        with pytest.raises(StorageError):
            store.load_latest()
        assert store.save(5, PARTS).generation == 3
        loaded = store.load_latest()
        assert loaded is not None
        assert loaded.generation == 3
    assert names_in(store.path) == [group(1), group(2), "gen-00000003-step-00000005", "lock"]


def unreadable(*numbers: int, part: str = "model") -> Fault:
    """A part of these groups that no read gets."""
    endings = tuple(f"{group(number)}/{part}" for number in numbers)
    calls = ("read", "digest")
    return lambda call, path: errno.EIO if call in calls and path.endswith(endings) else None


def test_a_save_after_the_fallback_gets_a_generation_above_what_cannot_be_read(
    tmp_path: Path,
) -> None:
    fill(tmp_path, (1, 2, 3))
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = unreadable(3)
        assert store.load().step == 2
        assert store.save(9, PARTS).generation == 4
        assert store.load().step == 9
    with open_store(tmp_path) as store:
        assert [each.generation for each in map(name_of, store.verify())] == [4, 3, 2, 1]


def name_of(answer: Any) -> Any:
    return answer if isinstance(answer, lastgood.Rejection) else answer.name


@pytest.mark.parametrize("part", ["model", "MANIFEST"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_newer_group_that_cannot_be_read_justifies_no_prune_and_is_not_pruned(
    tmp_path: Path, part: str, dry_run: bool
) -> None:
    fill(tmp_path, (1, 2, 3))
    before = names_in(tmp_path / "store")
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = unreadable(3, part=part)
        pruning = store.prune(LatestN(1), dry_run=dry_run)
        assert steps(pruning) == ([2], [1], [f"unreadable:{part}"])
    after = [group(2), group(3), "lock"]
    assert names_in(tmp_path / "store") == (before if dry_run else after)


def steps(pruning: Pruning | None) -> tuple[list[int], list[int], list[str]]:
    """What a prune kept, what it gave up, and why the rest was counted apart."""
    assert pruning is not None
    assert pruning.damaged == ()
    kept, given_up = ([g.name.step for g in each] for each in (pruning.kept, pruning.given_up))
    return kept, given_up, [each.reason for each in pruning.unreadable]


@pytest.mark.parametrize("part", ["model", "MANIFEST"])
def test_a_kept_group_that_cannot_be_read_does_not_count_and_another_is_kept_for_it(
    tmp_path: Path, part: str
) -> None:
    fill(tmp_path, (1, 2, 3, 4, 5))
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = unreadable(4, part=part)
        assert steps(store.prune(LatestN(2))) == ([5, 3], [1, 2][::-1], [f"unreadable:{part}"])
    assert names_in(tmp_path / "store") == [group(3), group(4), group(5), "lock"]


@pytest.mark.parametrize("part", ["model", "MANIFEST"])
def test_no_policy_gives_up_a_group_that_this_store_could_not_read(
    tmp_path: Path, part: str
) -> None:
    """However many newer ones there are by then; it is told of once."""
    fill(tmp_path, (1, 2, 3))
    disk, events = WatchedDisk(tmp_path), list[Event]()
    with open_store(tmp_path, disk=disk, keep=LatestN(2), on_event=events.append) as store:
        disk.fault = unreadable(3, part=part)
        assert store.load().step == 2
        notes: list[str] = []
        for step in range(4, 9):
            receipt = store.save(step, PARTS)
            assert receipt.retention_error is None
            notes += receipt.notes
        assert set(notes) == {
            f"not counted: {group(3)}: '{part}' cannot be read: EIO (Input/output error)"
        }
        # The second is there because it was loaded.
        assert names_in(store.path) == [group(2), group(3), group(7), group(8), "lock"]
        assert [event.kind for event in events].count("rejected") == 1
        # A disk that was mended: it is a group as any other.
        disk.fault = lambda _call, _path: None
        store.prune()
        store.prune()
    assert names_in(store.path) == [group(2), group(7), group(8), "lock"]


def test_a_repair_leaves_what_it_cannot_read_and_sets_damage_aside(tmp_path: Path) -> None:
    fill(tmp_path, (1, 2, 3, 4))
    (tmp_path / "store" / group(2) / "model").write_bytes(b"WEIGHTS")
    disk, events = WatchedDisk(tmp_path), list[Event]()
    with open_store(tmp_path, disk=disk, on_event=events.append) as store:
        disk.fault = unreadable(1, 4)
        repaired = store.repair()
    assert repaired.group is not None
    assert repaired.group.name.step == 3
    assert [each.name for each in repaired.moved] == [group(2)]
    assert [each.name for each in repaired.unreadable] == [group(4), group(1)]
    assert (events[0].kind, events[0].fields["names"]) == ("quarantined", [group(2)])
    assert [event.fields["name"] for event in events[1:]] == [group(2), group(4), group(1)]
    left = [group(1), group(3), group(4), "lock", "quarantine"]
    assert names_in(tmp_path / "store") == left


def test_a_group_that_was_asked_for_and_cannot_be_read_is_named_with_a_reason(
    tmp_path: Path,
) -> None:
    store = fill(tmp_path, (1, 2))
    disk = WatchedDisk(tmp_path)
    reader = lastgood.open_read_only(store, disk=disk)
    loaded = reader.load(2)
    disk.fault = unreadable(2)
    for attempted in (lambda: reader.load(2), lambda: loaded.read("model")):
        with pytest.raises(IntegrityError, match=r"'model' cannot be read.*EIO") as caught:
            attempted()
        assert caught.value.reason == "unreadable:model"
    assert reader.load(1)["model"] == b"weights"


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WatchedDisk:
    """Three groups, looked at by the commands through a disk of ours."""
    fill(tmp_path, (1, 2, 3))
    disk = WatchedDisk(tmp_path)
    for module in ("write_commands", "read_commands"):
        monkeypatch.setattr(f"lastgood.cli.{module}.disk_here", lambda: disk)
    opened = Store.__init__

    def open_with(self: Store, path: Any, **more: Any) -> None:
        opened(self, path, **{**more, "disk": disk})

    monkeypatch.setattr(Store, "__init__", open_with)
    return disk


def test_the_commands_go_past_what_cannot_be_read_and_name_it(
    watched: WatchedDisk, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    before = tree(tmp_path)
    watched.fault = unreadable(3)
    verified = run("verify", store)
    assert (verified.exit_code, verified.stderr.count("unreadable:model")) == (1, 1)
    assert [row["verdict"] for row in said("verify", store)["groups"]] == [
        "unreadable:model",
        "valid",
        "valid",
    ]
    latest = run("latest", store)
    assert (latest.exit_code, latest.stdout) == (0, f"{tmp_path.resolve()}/store/{group(2)}\n")
    why = run("why", store)
    assert (why.exit_code, f"not {group(3)}: " in why.stdout) == (0, True)
    for command in (["prune", store, "--keep-latest", "2"], ["repair", store]):
        for options in (["--dry-run"], []):
            done = run(*command, *options)
            assert done.exit_code == 0
            assert f"left: {group(3)} cannot be read" in done.stdout
            (row,) = said(*command, *options)["unreadable"]
            assert (row["name"], row["reason"]) == (group(3), "unreadable:model")
    assert tree(tmp_path) == before

    watched.fault = unreadable(3, part="MANIFEST")
    listed = run("ls", store)
    assert (listed.exit_code, "unreadable:MANIFEST" in listed.stdout) == (1, True)
    assert [row["verdict"] for row in said("ls", store)["groups"]][1:] == ["listed", "listed"]
    assert tree(tmp_path) == before


def test_the_commands_say_so_where_nothing_can_be_read(
    watched: WatchedDisk, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    watched.fault = unreadable(1, 2, 3)
    for command in (["prune", store, "--keep-latest", "2"], ["repair", store]):
        for options in (["--dry-run"], []):
            done = run(*command, *options)
            assert done.exit_code == 1
            assert done.stdout.count("left: gen-") == 3
            assert "no valid group is left" in done.stdout or "no group is valid" in done.stdout
    assert run("latest", store).exit_code == 1
    assert "no group is valid" in run("why", store).stdout


def test_a_save_that_may_be_going_on_is_told_from_a_lost_manifest_past_what_cannot_be_read(
    watched: WatchedDisk, tmp_path: Path
) -> None:
    (tmp_path / "store" / group(1) / "MANIFEST").unlink()
    watched.fault = failing("kind", f"{group(3)}/MANIFEST")
    rows = said("ls", str(tmp_path / "store"))["groups"]
    assert [(row["verdict"], row["damage"]) for row in rows][2:] == [("no_commit", True)]


def reads_fail(monkeypatch: pytest.MonkeyPatch, ending: str, number: int) -> None:
    """Every system call that reads an open file whose path ends so fails."""

    def failing_read(real: Callable[..., Any], fd: int, *rest: Any) -> Any:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(ending):
            raise OSError(number, os.strerror(number))
        return real(fd, *rest)

    for call in ("read", "readv", "preadv"):
        monkeypatch.setattr(os, call, partial(failing_read, getattr(os, call)))


@pytest.mark.skipif(sys.platform != "linux", reason="it finds a descriptor's path in /proc")
@pytest.mark.parametrize("number", OF_A_READ + DEAD)
@pytest.mark.parametrize("chunk_bytes", [None, 4096])
@pytest.mark.parametrize("part", ["model", "MANIFEST"])
@pytest.mark.parametrize("hold", ["nothing", "memory", "map"])
def test_an_errno_of_a_read_is_never_taken_for_what_an_open_means_by_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    part: str,
    chunk_bytes: int | None,
    hold: Any,
) -> None:
    parts = {"model": bytes(9000), "optim/adam": b"moments"}
    fill(tmp_path, (1, 2), parts, chunk_bytes=chunk_bytes)
    before = tree(tmp_path)
    with open_store(tmp_path) as store, monkeypatch.context() as patched:
        reads_fail(patched, f"{group(2)}/{part}", number)
        loaded = store.load_latest(hold=hold)
        assert loaded is not None
        assert loaded.step == 1
        assert loaded["model"] == bytes(9000)
        assert [each.reason for each in loaded.rejected] == [f"unreadable:{part}"]
        assert errno.errorcode[number] in loaded.rejected[0].detail
        answers = store.verify()
        assert [getattr(answer, "reason", "") for answer in answers] == [f"unreadable:{part}", ""]
    assert tree(tmp_path) == before


def test_an_open_that_fails_so_still_means_what_it_always_meant(tmp_path: Path) -> None:
    for number, reason in (
        (errno.ENOENT, "missing:model"),
        (errno.ENXIO, "not_regular:model"),
        (errno.EFBIG, "size_mismatch:model"),
    ):
        fill(tmp_path / str(number), (1,))
        disk = WatchedDisk(tmp_path, failing("digest", "model", number))
        (answer,) = lastgood.open_read_only(tmp_path / str(number) / "store", disk=disk).verify()
        assert isinstance(answer, lastgood.Rejection)
        assert answer.reason == reason


def test_a_verification_names_the_chunks_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, (1,), {"model": bytes(5 * 4096)}, chunk_bytes=4096)
    real = os.preadv

    def bad_sector(fd: int, rooms: Any, offset: int) -> int:
        if offset <= 3 * 4096 < offset + sum(map(len, rooms)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, rooms, offset)

    monkeypatch.setattr(os, "preadv", bad_sector)
    (answer,) = lastgood.open_read_only(tmp_path / "store").verify()
    assert isinstance(answer, lastgood.Rejection)
    (damaged,) = answer.damaged
    assert (damaged.reason, damaged.chunk, damaged.chunks) == ("unreadable:model", 3, 1)
