"""A report in quarantine that is taken away, or replaced, between a look at it and its reading."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import lastgood
from lastgood import LatestN
from lastgood.recovery.quarantine import read_report
from lastgood.recovery.quarantine_report import SIZE_LIMIT_BYTES, report_name
from tests.impl.cli.commands import run, said
from tests.impl.disks import PARTS, Unsynced, failing, fill, names_in, open_store

Swap = Callable[[Path], object]
OTHER = "gen-00000002-step-00000002"
NEW = "gen-00000003-step-00000003"


def to_link(path: Path) -> None:
    """A link to a report that is true, of the same entry: no link is followed."""
    path.symlink_to(path.parents[2] / "kept")


def to_long(path: Path) -> None:
    path.touch()
    os.truncate(path, SIZE_LIMIT_BYTES + 1)


def to_another(path: Path) -> None:
    path.write_bytes(path.with_name(report_name(OTHER)).read_bytes())


GONE = "it is not there any more, expected a report"
SWAPS: dict[str, tuple[Swap, str]] = {
    "gone": (lambda path: None, GONE),
    "a link": (to_link, GONE),
    "a dangling link": (lambda path: path.symlink_to("nowhere"), GONE),
    "a link to itself": (lambda path: path.symlink_to(path.name), GONE),
    "a directory": (Path.mkdir, GONE),
    "a fifo": (os.mkfifo, GONE),
    "empty": (Path.touch, "it is not the JSON that is expected"),
    "of another": (to_another, "it speaks of another entry"),
    "too long": (to_long, "the report is too long"),
}


MANY = 1000


class Swapping(Unsynced):
    """A disk on which somebody replaces the report on one entry, right after a look at it.

    `spared` looks come before that one.
    """

    def __init__(self, store: Path, swap: Swap) -> None:
        super().__init__(store.parent)
        self.report = store / "quarantine" / report_name(NEW)
        self.swap = swap
        self.swaps = self.spared = 0

    def kind(self, path: str) -> str:
        found = super().kind(path)
        if path != str(self.report) or found != "file":
            return found
        if self.spared:
            self.spared -= 1
        elif not self.swaps:
            self.report.unlink()
            self.swap(self.report)
            self.swaps += 1
        return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a good group, and two in quarantine, each with its report."""
    path = fill(tmp_path, (1, 2, 3), disk=Unsynced(tmp_path))
    for name in (OTHER, NEW):
        (path / name / "model").unlink()
    with open_store(tmp_path, disk=Unsynced(tmp_path)) as opened:
        opened.load_latest()
    (tmp_path / "kept").write_bytes((path / "quarantine" / report_name(NEW)).read_bytes())
    return path


@pytest.fixture(params=SWAPS)
def swapped(
    store: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Swapping, str]:
    """The disk of every store and command, and why there is no report in words."""
    swap, why = SWAPS[request.param]
    disk = Swapping(store, swap)
    monkeypatch.setattr("lastgood.cli.read_commands.disk_here", lambda: disk)
    return disk, why


def test_reading_it_says_in_words_that_there_is_none(
    store: Path, swapped: tuple[Swapping, str]
) -> None:
    disk, why = swapped
    found = read_report(disk, str(store), NEW)

    assert isinstance(found, str)
    assert why in found
    assert disk.swaps == 1


def test_the_other_reports_are_still_listed(store: Path, swapped: tuple[Swapping, str]) -> None:
    disk, _ = swapped
    reader = lastgood.open_read_only(store, disk=disk)

    assert list(reader.reports()) == [OTHER]
    assert disk.swaps == 1
    assert {name: one.reason for name, one in reader.quarantined().items()} == {  # type: ignore[union-attr]
        OTHER: "missing:model",
        NEW: "missing:model",
    }


def test_the_command_lists_every_entry_and_says_why_one_has_no_report(
    store: Path, swapped: tuple[Swapping, str]
) -> None:
    disk, why = swapped
    disk.spared = MANY
    said("quarantine", str(store))
    disk.spared = MANY - disk.spared - 1  # the last look is the one before the reading
    rows = {row["name"]: row for row in said("quarantine", str(store))["groups"]}

    assert disk.swaps == 1
    assert {row["verdict"] for row in rows.values()} == {"missing:model"}
    assert rows[OTHER]["report"]["reason"] == "missing:model"
    assert why in rows[NEW]["report"]["error"]
    assert run("quarantine", str(store)).exit_code == 0


@pytest.mark.parametrize("words", [["ls"], ["why"], ["show", "1"], ["doctor"], ["verify"]])
def test_no_other_command_needs_it(
    store: Path, swapped: tuple[Swapping, str], words: list[str]
) -> None:
    disk, _ = swapped
    before = run(words[0], str(store), *words[1:]).exit_code
    disk.kind(str(disk.report))

    assert disk.swaps == 1
    assert run(words[0], str(store), *words[1:]).exit_code == before


def test_a_writer_goes_on_and_leaves_what_lies_there(
    store: Path, swapped: tuple[Swapping, str]
) -> None:
    disk, _ = swapped
    with open_store(store.parent, disk=disk) as opened:
        assert list(opened.reports()) == [OTHER]
        lies_there = names_in(store / "quarantine")
        (store / "gen-00000004-step-00000004").mkdir()
        opened.repair()
        opened.prune(LatestN(1))
        assert opened.save(5, PARTS).generation == 5
        assert set(opened.reports()) == {OTHER, "gen-00000004-step-00000004"}
    assert set(lies_there) < set(names_in(store / "quarantine"))


@pytest.mark.parametrize("spared", [0, 1], ids=["at its size", "at its reading"])
def test_a_purge_by_age_leaves_the_entry_whose_age_nobody_can_know(
    store: Path, swapped: tuple[Swapping, str], spared: int
) -> None:
    disk, _ = swapped
    disk.spared = spared
    with open_store(store.parent, disk=disk) as opened:
        purge = opened.purge(older_than_s=0)

    assert disk.swaps == 1
    assert [each.entry for each in purge.deleted] == [OTHER]
    assert [each.entry for each in purge.of_unknown_age] == [NEW]
    assert purge.stuck == ()
    assert (store / "quarantine" / NEW / "MANIFEST").is_file()


@pytest.mark.parametrize("spared", [0, 1], ids=["at its size", "at its reading"])
def test_a_purge_of_all_needs_no_report(
    store: Path, swapped: tuple[Swapping, str], spared: int
) -> None:
    disk, _ = swapped
    disk.spared = spared
    with open_store(store.parent, disk=disk) as opened:
        purge = opened.purge("all")

    assert disk.swaps == 1
    is_folder = disk.swap is Path.mkdir  # nobody deletes a stranger's directory, nor what it is of
    assert [each.entry for each in purge.deleted] == [OTHER, NEW][: 1 if is_folder else 2]
    assert names_in(store / "quarantine") == [NEW, report_name(NEW)] * is_folder
    assert [each.name for each in purge.stuck] == [f"quarantine/{NEW}"] * is_folder
    assert (store.parent / "kept").is_file()


@pytest.mark.parametrize("spared", [0, 1], ids=["at its size", "at its reading"])
def test_a_dry_purge_changes_nothing(
    store: Path, swapped: tuple[Swapping, str], spared: int
) -> None:
    disk, _ = swapped
    disk.spared = spared
    lies_there = names_in(store / "quarantine")
    reader = lastgood.open_read_only(store, disk=disk)
    purge = reader.purge("all", dry_run=True)

    assert disk.swaps == 1
    is_folder = disk.swap is Path.mkdir
    assert [each.entry for each in purge.deleted] == [OTHER, NEW][: 1 if is_folder else 2]
    assert [each.name for each in purge.stuck] == [f"quarantine/{NEW}"] * is_folder
    assert set(lies_there) - set(names_in(store / "quarantine")) <= {report_name(NEW)}


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOENT, errno.ENOTDIR])
def test_a_report_that_cannot_be_read_is_no_error_of_the_store(store: Path, number: int) -> None:
    disk = Unsynced(store.parent, failing("read", report_name(NEW), number))

    assert isinstance(read_report(disk, str(store), NEW), str)
    assert list(lastgood.open_read_only(store, disk=disk).reports()) == [OTHER]
