"""Quarantine has a size, and is purged by entry, by age and whole; nothing else is touched."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import Event, Purge, UsageError
from lastgood.recovery import quarantine_usage
from lastgood.recovery.quarantine_report import report_name
from tests.impl.disks import PARTS, WatchedDisk, failing, fill, names_in, open_store, tree

DAY_S = 86_400
NOW_S = 1_700_000_000.0


def group(number: int) -> str:
    return f"gen-{number:08d}-step-{number:08d}"


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    """Generation 1; 2 and 3 set aside ten days ago and now, 4 without a report; a stranger's."""
    store = fill(tmp_path, (1, 2, 3))
    for number, age_days in ((2, 10), (3, 0)):
        held = store / group(3)
        if number == 2:
            held.rename(tmp_path / "later")
        (store / group(number) / "model").write_bytes(b"weight?")
        with open_store(tmp_path, now=lambda age=age_days: NOW_S - age * DAY_S) as opened:
            assert opened.load().step == 1
        if number == 2:
            (tmp_path / "later").rename(held)
    quarantine = store / "quarantine"
    (quarantine / group(4)).mkdir()
    (quarantine / group(4) / "out").symlink_to(store / group(1))
    (quarantine / report_name(group(5))).write_text("of nothing")
    (quarantine / "mine").mkdir()
    return store


def named(purge: Purge) -> dict[str, list[str]]:
    return {
        "deleted": [each.entry for each in purge.deleted],
        "kept": [each.entry for each in purge.kept],
        "of_unknown_age": [each.entry for each in purge.of_unknown_age],
        "stuck": [each.name for each in purge.stuck],
    }


CASES: list[tuple[dict[str, Any], list[int], list[int], list[int]]] = [
    ({"entries": "all"}, [2, 3, 4, 5], [], []),
    ({"entries": [group(3), group(4)]}, [3, 4], [2, 5], []),
    ({"older_than_s": 10 * DAY_S}, [2], [3], [4, 5]),
    ({"older_than_s": 10 * DAY_S + 1}, [], [2, 3], [4, 5]),
    ({"older_than_s": 0}, [2, 3], [], [4, 5]),
]


@pytest.mark.parametrize(("asked", "deleted", "kept", "ageless"), CASES)
def test_a_purge_deletes_what_was_asked_for_with_its_reports_and_nothing_else(
    aside: Path, asked: dict[str, Any], deleted: list[int], kept: list[int], ageless: list[int]
) -> None:
    before = tree(aside)
    told: list[Event] = []
    expected = {
        "deleted": [*map(group, deleted)],
        "kept": [*map(group, kept)],
        "of_unknown_age": [*map(group, ageless)],
        "stuck": [],
    }
    with lastgood.open_read_only(aside) as store:
        # It has the clock of this machine, by which everything is older.
        assert store.purge("all", dry_run=True).freed_bytes > 0
        with pytest.raises(UsageError, match="read-only"):
            store.purge("all")
    with open_store(aside.parent, on_event=told.append) as store:
        dry = store.purge(**asked, dry_run=True)
        assert {n: v for n, v in tree(aside).items() if n != "lock"} == {
            n: v for n, v in before.items() if n != "lock"
        }
        done = store.purge(**asked)
        assert store.load().step == 1
    assert (named(dry), named(done)) == (expected, expected)
    assert dry.freed_bytes == done.freed_bytes
    gone = [f"quarantine/{group(n)}" for n in deleted]
    left = {n: v for n, v in before.items() if n != "lock" and not n.startswith(tuple(gone))}
    assert {n: v for n, v in tree(aside).items() if n != "lock"} == left
    purged = [each for each in told if each.kind == "purged"]
    assert [each.fields["names"] for each in purged] == [expected["deleted"]] * bool(deleted)


def test_the_size_of_a_quarantine_is_that_of_its_entries_and_of_a_strangers(aside: Path) -> None:
    usage = lastgood.open_read_only(aside).quarantine_usage()

    assert [each.entry for each in usage.entries] == [group(n) for n in (2, 3, 4, 5)]
    assert [each.is_there for each in usage.entries] == [True, True, True, False]
    assert [each.reason for each in usage.entries] == [*["sha_mismatch:model"] * 2, None, None]
    assert [each.when_s for each in usage.entries][2:] == [None, None]
    assert usage.size_bytes > sum(each.size_bytes for each in usage.entries) > 0
    assert usage.is_counted


def test_a_walk_through_a_quarantine_is_bounded(
    aside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_usage, "MAX_LOOKS", 4)
    usage = lastgood.open_read_only(aside).quarantine_usage()

    assert not usage.is_counted
    assert [each.is_counted for each in usage.entries][-1] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "takes either entries"),
        ({"entries": "all", "older_than_s": 1}, "takes either entries"),
        ({"entries": group(2)}, "expected .all. or a list"),
        ({"entries": [group(2), "mine"]}, r"no entry 'mine', it has: gen-0"),
        ({"older_than_s": -1}, "expected seconds from 0"),
        ({"older_than_s": float("nan")}, "expected seconds from 0"),
    ],
)
def test_a_purge_of_nothing_in_particular_is_refused(
    aside: Path, arguments: dict[str, Any], message: str
) -> None:
    with open_store(aside.parent) as store:
        before = tree(aside)
        with pytest.raises(UsageError, match=message):
            store.purge(**arguments)
        assert tree(aside) == before


def test_what_cannot_be_purged_is_stuck_and_holds_nothing_else_up(aside: Path) -> None:
    disk = WatchedDisk(aside.parent, failing("unlink", f"{group(2)}/model", errno.EIO))
    with open_store(aside.parent, disk=disk) as store:
        done = store.purge("all")
        assert named(done)["stuck"] == [f"quarantine/{group(2)}"]
        assert named(done)["deleted"] == [group(n) for n in (3, 4, 5)]
        assert named(done)["kept"] == []
        assert "EIO" in done.stuck[0].detail
        assert done.stuck[0].detail.endswith("Try the purge again")
        # MANIFEST was the first to go, and the store takes saves.
        assert not (aside / "quarantine" / group(2) / "MANIFEST").exists()
        assert report_name(group(2)) in names_in(aside / "quarantine")
        # What this process has seen is not given again.
        assert store.save(9, PARTS).generation == 5


def test_an_entry_whose_group_is_in_the_store_stays(aside: Path) -> None:
    (aside / "quarantine" / group(1)).mkdir()
    with open_store(aside.parent) as store:
        done = store.purge("all")
    assert [(e.name, e.reason) for e in done.stuck] == [
        (f"quarantine/{group(1)}", "beside_its_group")
    ]
    assert done.kept == ()
    assert (aside / "quarantine" / group(1)).is_dir()


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_entry_with_a_directory_for_its_report_is_stuck_also_in_a_dry_run(
    aside: Path, dry_run: bool
) -> None:
    (aside / "quarantine" / report_name(group(4))).mkdir()
    with open_store(aside.parent) as store:
        done = store.purge("all", dry_run=dry_run)

    assert [each.name for each in done.stuck] == [f"quarantine/{group(4)}"]
    assert [each.entry for each in done.deleted] == [group(n) for n in (2, 3, 5)]
    assert done.kept == ()
    assert "is a directory, expected a file. Remove that directory by hand" in done.stuck[0].detail
    assert (aside / "quarantine" / group(4)).is_dir()


@pytest.mark.parametrize("number", [2, 5])
def test_a_report_that_is_gone_when_it_is_to_be_deleted_is_purged(aside: Path, number: int) -> None:
    report, vanished = aside / "quarantine" / report_name(group(number)), []

    def vanish(call: str, path: str) -> None:
        if call == "unlink" and path.endswith(report.name):
            report.unlink()
            vanished.append(path)

    with open_store(aside.parent, disk=WatchedDisk(aside.parent, vanish)) as store:
        done = store.purge([group(number)])

    assert len(vanished) == 1
    assert named(done)["deleted"] == [group(number)]
    assert done.stuck == ()
    assert not (aside / "quarantine" / group(number)).exists()


def test_a_purge_says_how_many_bytes_are_a_strangers(aside: Path) -> None:
    (aside / "quarantine" / "mine" / "big").write_bytes(b"x" * 100_000)
    usage = lastgood.open_read_only(aside).quarantine_usage()
    with open_store(aside.parent) as store:
        done = store.purge("all")

    assert done.strangers_bytes == usage.strangers_bytes >= 100_000
    assert lastgood.open_read_only(aside).quarantine_usage().size_bytes == done.strangers_bytes


def test_an_entry_that_is_a_link_is_removed_and_not_followed(aside: Path) -> None:
    (aside / "quarantine" / group(6)).symlink_to(aside / group(1))
    with open_store(aside.parent) as store:
        store.purge([group(6)])
        assert store.load().step == 1


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_a_quarantine_that_is_none_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    store_path = fill(tmp_path, (1,))
    if kind == "file":
        (store_path / "quarantine").touch()
    else:
        (store_path / "quarantine").symlink_to(tmp_path)
    before = tree(tmp_path)
    with open_store(tmp_path) as store:
        for act in (store.quarantine_usage, lambda: store.purge("all")):
            with pytest.raises(UsageError, match=r"expected a directory\. Nothing was moved"):
                act()
    assert {k: v for k, v in tree(tmp_path).items() if k != "store/lock"} == {
        k: v for k, v in before.items() if k != "store/lock"
    }


def test_where_there_is_no_quarantine_nothing_is_purged(tmp_path: Path) -> None:
    fill(tmp_path, (1,))
    with open_store(tmp_path) as store:
        assert store.purge("all") == Purge()
        assert store.quarantine_usage().size_bytes == 0
