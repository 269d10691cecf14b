"""Groups that a newer version has written, and groups that cannot be read, in one store."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood import Event, LatestN, NewerFormatError, StorageError, Store, open_read_only
from tests.impl.cli.commands import run, said
from tests.impl.disks import PARTS, Fault, WatchedDisk, fill, names_in, open_store, tree
from tests.impl.format.newer_manifests import group_path, make_newer

NEWER = "newer_format:format 2"
LOOKS: dict[str, Callable[[Store], object]] = {
    "load_latest": lambda store: store.load_latest(),
    "a named part": lambda store: store.open_group(parts=["model"]),
    "a dry run": lambda store: store.prune(LatestN(1), dry_run=True),
}


def name(number: int) -> str:
    return f"gen-{number:08d}-step-{number:08d}"


def refusing(*endings: str, number: int = errno.EIO) -> Fault:
    """No read of a path that ends so succeeds."""
    calls = ("read", "digest")
    return lambda call, path: number if call in calls and path.endswith(endings) else None


def store_of(tmp_path: Path, last: int, *newer: int) -> Path:
    """Groups 1 to `last`, some of which a newer version has written."""
    store = fill(tmp_path, range(1, last + 1))
    for number in newer:
        make_newer(group_path(store, number))
    return store


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WatchedDisk:
    """The disk through which every store and command looks."""
    disk = WatchedDisk(tmp_path)
    for module in ("write_commands", "read_commands"):
        monkeypatch.setattr(f"lastgood.cli.{module}.disk_here", lambda: disk)
    opened = Store.__init__

    def open_with(self: Store, path: Any, **more: Any) -> None:
        opened(self, path, **{**more, "disk": disk})

    monkeypatch.setattr(Store, "__init__", open_with)
    return disk


@pytest.mark.parametrize("part", ["model", "MANIFEST"])
def test_a_newest_group_that_is_not_judged_refuses_whatever_cannot_be_read_below_it(
    tmp_path: Path, watched: WatchedDisk, part: str
) -> None:
    store = store_of(tmp_path, 3, 3)
    before = tree(tmp_path)
    watched.fault = refusing(f"{name(2)}/{part}")

    for look in LOOKS.values():
        with pytest.raises(NewerFormatError) as caught:
            look(open_read_only(store))
        assert caught.value.group == name(3)
    with pytest.raises(NewerFormatError):
        open_store(tmp_path)
    older = open_read_only(store).open_group(older_than=3, parts=["model"])

    assert older is not None
    assert (older.step, [each.reason for each in older.rejected]) == (1, [f"unreadable:{part}"])
    reasons = [getattr(each, "reason", "") for each in open_read_only(store).verify()]
    assert reasons == [NEWER, f"unreadable:{part}", ""]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("part", ["model", "MANIFEST"])
def test_a_load_goes_past_what_cannot_be_read_and_not_past_what_is_not_judged(
    tmp_path: Path, watched: WatchedDisk, part: str
) -> None:
    store = store_of(tmp_path, 3, 2)
    before = tree(tmp_path)
    watched.fault = refusing(f"{name(3)}/{part}")
    looks = [*LOOKS.values()]
    if part == "MANIFEST":
        looks += [lambda store: store.open_group(), lambda store: store.latest_step()]

    for look in looks:
        with pytest.raises(NewerFormatError) as caught:
            look(open_read_only(store))
        assert caught.value.group == name(2)
    if part == "MANIFEST":  # the newest intact manifest is that of the newer version
        with pytest.raises(NewerFormatError):
            open_store(tmp_path)
    else:
        with open_store(tmp_path) as opened:
            for change in (Store.load_latest, Store.repair, lambda s: s.prune(LatestN(1))):
                with pytest.raises(NewerFormatError):
                    change(opened)
    assert tree(tmp_path) == before
    # A disk that was mended: the newest is a group as any other, and hides what is older.
    watched.fault = refusing()
    assert open_read_only(store).load().step == 3


def test_a_manifest_that_cannot_be_read_is_not_known_to_be_a_newer_versions(
    tmp_path: Path, watched: WatchedDisk
) -> None:
    store = store_of(tmp_path, 2, 2)
    watched.fault = refusing(f"{name(2)}/MANIFEST")
    with open_store(tmp_path) as opened:
        assert opened.load().step == 1
        assert opened.repair().unreadable[0].reason == "unreadable:MANIFEST"
        assert opened.save(3, PARTS).generation == 3

        watched.fault = refusing()
        repaired = opened.repair()
        pruning = opened.prune(LatestN(1))
    assert pruning is not None
    assert [each.reason for each in (*repaired.unjudged, *pruning.unjudged)] == [NEWER, NEWER]
    assert (repaired.unreadable, pruning.unreadable) == ((), ())
    # The one below it stays as well: it was loaded.
    assert names_in(store) == [name(1), name(2), name(3), "lock"]


def test_what_this_user_may_not_read_ends_a_load_before_what_is_not_judged_does(
    tmp_path: Path, watched: WatchedDisk
) -> None:
    store = store_of(tmp_path, 3, 2)
    before = tree(tmp_path)
    watched.fault = refusing(f"{name(3)}/model", number=errno.EACCES)

    with pytest.raises(StorageError, match="may not be read"):
        open_read_only(store).load_latest()
    with pytest.raises(NewerFormatError):
        open_read_only(store).load(2)
    assert run("verify", str(store)).exit_code == run("why", str(store)).exit_code == 3
    watched.fault = refusing(f"{name(3)}/MANIFEST", number=errno.EACCES)
    assert run("ls", str(store)).exit_code == 3
    assert tree(tmp_path) == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_prune_counts_neither_and_gives_neither_up(
    tmp_path: Path, watched: WatchedDisk, dry_run: bool
) -> None:
    store = store_of(tmp_path, 7, 2, 5)
    before = names_in(store)
    watched.fault = refusing(f"{name(3)}/MANIFEST", f"{name(6)}/model")
    with open_store(tmp_path) as opened:
        pruning = opened.prune(LatestN(2), dry_run=dry_run)

    assert pruning is not None
    assert [each.name.step for each in pruning.kept] == [7, 4]
    assert [each.name.step for each in pruning.given_up] == [1]
    assert [each.reason for each in pruning.unreadable] == [
        "unreadable:model",
        "unreadable:MANIFEST",
    ]
    assert [each.name for each in pruning.unjudged] == [name(5), name(2)]
    assert (pruning.damaged, pruning.stuck) == ((), ())
    assert names_in(store) == [each for each in before if dry_run or each != name(1)]


def test_retention_after_saves_leaves_both_for_good(tmp_path: Path, watched: WatchedDisk) -> None:
    store = store_of(tmp_path, 4, 2)
    watched.fault = refusing(f"{name(3)}/MANIFEST")
    with open_store(tmp_path, keep=LatestN(1)) as opened:
        for step in (5, 6, 7):
            assert opened.save(step, PARTS).retention_error is None

    assert names_in(store) == [name(2), name(3), name(7), "lock"]


def test_a_repair_moves_neither_and_sets_damage_aside(tmp_path: Path, watched: WatchedDisk) -> None:
    store = store_of(tmp_path, 5, 2)
    (group_path(store, 1) / "model").write_bytes(b"WEIGHTS")
    watched.fault = refusing(f"{name(3)}/model", f"{name(5)}/model")
    events = list[Event]()
    with open_store(tmp_path, on_event=events.append) as opened:
        repaired = opened.repair()

    assert repaired.group is not None
    assert repaired.group.name.step == 4
    assert [each.name for each in repaired.moved] == [name(1)]
    assert [each.name for each in repaired.unreadable] == [name(5), name(3)]
    assert [each.name for each in repaired.unjudged] == [name(2)]
    assert (events[0].kind, events[0].fields["names"]) == ("quarantined", [name(1)])
    assert [event.fields["name"] for event in events[1:]] == [name(1), name(5), name(3)]
    left = [name(2), name(3), name(4), name(5), "lock", "quarantine"]
    assert names_in(store) == left
    assert name(1) in names_in(store / "quarantine")


def test_the_commands_name_both_where_neither_is_in_the_way(
    tmp_path: Path, watched: WatchedDisk
) -> None:
    store = str(store_of(tmp_path, 4, 1))
    before = tree(tmp_path)
    watched.fault = refusing(f"{name(2)}/model", f"{name(4)}/model")

    verified = run("verify", store)
    assert verified.exit_code == 1
    assert [verified.stderr.count(each) for each in ("unreadable:model", NEWER)] == [2, 1]
    rows = said("verify", store)["groups"]
    assert [row["damage"] for row in rows] == [True, False, True, False]
    assert run("ls", store).exit_code == run("latest", store).exit_code == 0
    assert run("verify", store, "--generation", "1").exit_code == 3
    assert said("doctor", store)["store"]["written_by_a_newer_version"] == 1
    for command in (["prune", store, "--keep-latest", "3"], ["repair", store]):
        for options in (["--dry-run"], []):
            done = run(*command, *options)
            assert done.exit_code == 0
            for number in (2, 4):
                assert f"left: {name(number)} cannot be read" in done.stdout
            assert f"left: {name(1)}: " in done.stdout
            answer = said(*command, *options)
            assert [each["name"] for each in answer["unreadable"]] == [name(4), name(2)]
            assert [each["name"] for each in answer["unjudged"]] == [name(1)]
            assert answer["moved"] == []
    assert tree(tmp_path) == before


def test_the_commands_refuse_past_what_cannot_be_read(tmp_path: Path, watched: WatchedDisk) -> None:
    store = str(store_of(tmp_path, 3, 2))
    before = tree(tmp_path)
    watched.fault = refusing(f"{name(3)}/model")

    why = run("why", store)
    assert (why.exit_code, why.stdout.count("\nnothing: a load refuses")) == (3, 1)
    assert f"not {name(3)}: " in why.stdout
    assert f"not {name(2)}: " in why.stdout
    passed = [row["verdict"] for row in said("why", store)["passed_over"]]
    assert passed == ["unreadable:model", NEWER]
    assert run("latest", store).exit_code == 3
    for command in (["prune", store, "--keep-latest", "1"], ["repair", store]):
        for options in (["--dry-run"], []):
            done = run(*command, *options)
            assert (done.exit_code, f"group {name(2)} was written by" in done.stderr) == (3, True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("entry", ["model", "MANIFEST"])
@pytest.mark.parametrize("newer", [(), (2,)])
def test_a_dry_run_of_a_repair_refuses_what_the_repair_refuses(
    tmp_path: Path, watched: WatchedDisk, entry: str, newer: tuple[int, ...]
) -> None:
    """A newest group that may not be read; or an unreadable one, and below it a newer version's."""
    store = store_of(tmp_path, 3, *newer)
    before = {key: value for key, value in tree(tmp_path).items() if key != "store/lock"}
    number = errno.EIO if newer else errno.EACCES
    watched.fault = refusing(f"{name(3)}/{entry}", number=number)
    answers = [run("repair", str(store), *options) for options in (["--dry-run"], [])]

    assert [each.exit_code for each in answers] == [3, 3]
    assert answers[0].stderr == answers[1].stderr
    assert {k: v for k, v in tree(tmp_path).items() if k != "store/lock"} == before
