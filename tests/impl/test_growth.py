"""Growth: twice as large a store takes no more than twice the looks, and most calls take no more.

Looks at the disk and calls of Python are counted, at two sizes; nothing is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import lastgood
from lastgood import (
    BestN,
    Candidate,
    EveryKSteps,
    EverySeconds,
    KeepAll,
    LatestN,
    Policy,
    Store,
)
from lastgood.backends.detect import disk_here
from lastgood.cli.inspection import find_latest, list_groups, verify_groups
from lastgood.format.names import GroupName, free_name
from tests.impl.cli.commands import run
from tests.impl.disks import PARTS, Unsynced, WatchedDisk, fill, open_store

SMALL, LARGE = 10, 20


def looks(disk: WatchedDisk) -> tuple[int, int]:
    """How often the store was listed, and how many manifests were read."""
    listings = sum(call == "names store" for call in disk.calls)
    manifests = sum(call.startswith("read ") and call.endswith("/MANIFEST") for call in disk.calls)
    return listings, manifests


def python_calls(work: Callable[[], object]) -> int:
    """How many functions are called, by Python or in C."""
    found = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def bare(root: Path, count: int) -> Path:
    """A group, and after it so many directories without a MANIFEST."""
    store = fill(root, [1])
    for number in range(2, count + 2):
        (store / str(GroupName(number, number))).mkdir()
    return store


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Store.latest_step, (1, 1)),
        (Store.load_latest, (1, 1)),
        (Store.open_group, (1, 1)),
    ],
)
def test_a_look_at_the_newest_group_reads_its_manifest_and_no_other(
    tmp_path: Path, call: Callable[[Store], object], expected: tuple[int, int]
) -> None:
    found = []
    for count in (SMALL, LARGE):
        fill(tmp_path / str(count), range(1, count + 1), disk=Unsynced(tmp_path / str(count)))
        disk = WatchedDisk(tmp_path / str(count))
        call(lastgood.open_read_only(tmp_path / str(count) / "store", disk=disk))
        found.append(looks(disk))

    assert found == [expected, expected]


class Own(Policy):
    """Somebody's own: it may look at anything."""

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        return {each.generation for each in candidates if each.metadata["loss"] < 2}


class OwnLatest(LatestN):
    """One derived from another, which needs more than that one."""

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        best = [each.generation for each in candidates if each.metadata["loss"] < 2]
        return super().keeps(candidates, now_s) | set(best)


ALL_KEPT = [
    (LatestN(99), 0),
    (EveryKSteps(1), 0),
    (KeepAll(), 0),
    (LatestN(1) | EveryKSteps(1), 0),
    (EverySeconds(1), 1),
    (BestN("loss", 99, mode="min"), 1),
    (LatestN(1) | BestN("loss", 99, mode="min"), 1),
    (Own(), 1),
    (OwnLatest(1), 1),
]


@pytest.mark.parametrize(("keep", "manifests"), ALL_KEPT)
def test_a_save_that_keeps_all_lists_the_store_once_and_reads_at_most_its_own_manifest(
    tmp_path: Path, keep: Policy, manifests: int
) -> None:
    found = []
    for count in (SMALL, LARGE):
        disk = Unsynced(tmp_path / str(count))
        times = iter(range(1000))
        with open_store(
            tmp_path / str(count), disk=disk, keep=keep, now=lambda times=times: float(next(times))
        ) as store:
            for step in range(1, count + 1):
                disk.calls.clear()
                store.save(step, PARTS, {"loss": 1 / step})
            found.append(looks(disk))
            assert len(store.groups()) == count

    assert found == [(1, manifests), (1, manifests)]


@pytest.mark.parametrize("keep", [None, LatestN(99), LatestN(5)])
def test_the_first_save_of_a_process_lists_the_store_as_often_in_any_store_and_later_ones_once(
    tmp_path: Path, keep: Policy | None
) -> None:
    """The first also numbers the groups, and clears what dead saves have left."""
    found = []
    for count in (SMALL, LARGE):
        root = tmp_path / str(count)
        store = fill(root, range(1, count + 1), disk=Unsynced(root))
        (store / str(GroupName(count + 1, 1))).mkdir()
        (store / str(GroupName(count + 2, 1, attempt=True))).mkdir()
        disk = Unsynced(root)
        with open_store(root, disk=disk, keep=keep) as opened:
            listings = []
            for step in (101, 102, 103):
                disk.calls.clear()
                opened.save(step, PARTS)
                listings.append(looks(disk)[0])
        found.append(listings)

    one = int(keep is not None)
    assert found == [[1 + one, one, one]] * 2


@pytest.mark.parametrize("keep", [BestN("loss", 99, mode="min"), Own()])
def test_a_policy_that_needs_manifests_reads_each_once_a_process(
    tmp_path: Path, keep: Policy
) -> None:
    with open_store(tmp_path) as store:
        for step in range(1, SMALL + 1):
            store.save(step, PARTS, {"loss": 1 / step})
    disk, found = Unsynced(tmp_path), []
    with open_store(tmp_path, disk=disk, keep=keep) as store:
        for step in (101, 102):
            disk.calls.clear()
            store.save(step, PARTS, {"loss": 1 / step})
            found.append(looks(disk)[1])

    assert found == [SMALL + 1, 1]


GOING: list[Callable[[int], Policy]] = [
    LatestN,
    lambda count: LatestN(count) | EveryKSteps(1000),
    lambda count: BestN("loss", count, mode="min"),
    lambda count: LatestN(count) | EverySeconds(10**6),
]


@pytest.mark.parametrize("keep", GOING)
def test_a_save_that_gives_one_up_lists_the_store_once_and_reads_as_few_manifests_in_any_store(
    tmp_path: Path, keep: Callable[[int], Policy]
) -> None:
    found = []
    for count in (SMALL, LARGE):
        disk = Unsynced(tmp_path / str(count))
        with open_store(tmp_path / str(count), disk=disk, keep=keep(count)) as store:
            for step in range(1, count + 4):
                disk.calls.clear()
                receipt = store.save(step, PARTS, {"loss": 1 / step})
            assert len(receipt.pruned) == 1
            found.append(looks(disk))

    assert found[0] == found[1]
    assert found[0][0] == 1
    assert found[0][1] <= 4


def test_the_first_save_that_gives_one_up_reads_each_manifest_once(tmp_path: Path) -> None:
    fill(tmp_path, range(1, SMALL + 1))
    disk = Unsynced(tmp_path)
    with open_store(tmp_path, disk=disk, keep=LatestN(SMALL)) as store:
        disk.calls.clear()
        assert len(store.save(99, PARTS).pruned) == 1
    read = [call for call in disk.calls if call.startswith("read ") and call.endswith("MANIFEST")]

    # The newest is read for its stamps as well.
    assert len(read) == len(set(read)) + 1 == SMALL + 2


WORK: dict[str, Callable[[Path], object]] = {
    "ls": lambda store: list_groups(disk_here(), str(store)),
    "why": lambda store: find_latest(disk_here(), str(store), None),
    "verify": lambda store: verify_groups(disk_here(), str(store), None),
    "lastgood ls": lambda store: run("ls", str(store)),
    "load": lambda store: lastgood.open_read_only(store).load_latest(),
    "latest_step": lambda store: lastgood.open_read_only(store).latest_step(),
}


@pytest.mark.parametrize("name", WORK)
def test_twice_as_many_directories_without_a_manifest_take_at_most_about_twice_the_calls(
    tmp_path: Path, name: str
) -> None:
    small, large = (bare(tmp_path / str(count), count) for count in (50, 100))
    WORK[name](small)  # it imports what it needs
    few, many = (python_calls(partial(WORK[name], store)) for store in (small, large))

    assert many < 2.1 * few


@pytest.mark.parametrize("name", ["prune", "dry run", "set aside", "ls", "quarantine"])
def test_twice_as_many_groups_take_at_most_about_twice_the_calls(tmp_path: Path, name: str) -> None:
    found = []
    for count in (5, 40, 80):
        store = fill(tmp_path / str(count), range(1, count + 1), disk=Unsynced(tmp_path))
        if name in ("set aside", "quarantine"):
            for number in range(2, count + 1):
                (store / str(GroupName(number, number)) / "model").write_bytes(b"WEIGHTS")
        with open_store(tmp_path / str(count), disk=Unsynced(tmp_path)) as opened:
            work: dict[str, Callable[[], object]] = {
                "prune": partial(opened.prune, EveryKSteps(2)),
                "dry run": partial(opened.prune, EveryKSteps(2), dry_run=True),
                "set aside": opened.load_latest,
                "ls": partial(run, "ls", str(store)),
                "quarantine": partial(run, "quarantine", str(store)),
            }
            if name == "quarantine":
                opened.load_latest()
            found.append(python_calls(work[name]))

    assert found[2] < 2.1 * found[1]


class Taken(Collection[str]):
    """Names of which each may be asked for; nobody goes through them all."""

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Any:
        raise AssertionError("all of them were gone through")


def test_a_free_name_is_found_without_going_through_those_that_are_taken() -> None:
    assert free_name("a", Taken("a", "a.1")) == "a.2"


def test_a_prune_among_twice_as_many_damaged_groups_takes_at_most_about_twice_the_calls(
    tmp_path: Path,
) -> None:
    found = []
    for count in (60, 120):
        store = fill(tmp_path / str(count), range(1, count + 1), disk=Unsynced(tmp_path))
        for number in range(1, count):
            (store / str(GroupName(number, number)) / "model").write_bytes(b"WEIGHTS")
        reader = lastgood.open_read_only(store)
        pruning = reader.prune(LatestN(2), dry_run=True)
        assert pruning is not None
        assert (len(pruning.kept), len(pruning.damaged)) == (1, count - 1)
        found.append(python_calls(partial(reader.prune, LatestN(2), dry_run=True)))

    assert found[1] < 2.1 * found[0]


def test_a_few_damaged_groups_have_none_read_that_a_prune_gives_up(tmp_path: Path) -> None:
    store = fill(tmp_path, range(1, 9))
    for number in (5, 6, 7):
        (store / str(GroupName(number, number)) / "model").write_bytes(b"WEIGHTS")
    disk = WatchedDisk(tmp_path)
    pruning = lastgood.open_read_only(store, disk=disk).prune(LatestN(2), dry_run=True)
    assert pruning is not None
    assert [group.name.step for group in pruning.kept] == [8, 4]
    digested = {call.split("/")[1] for call in disk.calls if call.startswith("digest ")}

    assert digested == {str(GroupName(number, number)) for number in (8, 7, 6, 5, 4)}
