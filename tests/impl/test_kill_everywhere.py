"""SIGKILL before every single call of a save, a recovery, a prune and a repair.

The process that dies is a fork of this one, which is quick: hundreds of deaths, each a real one.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lastgood
from lastgood import LatestN, Store
from lastgood.protocol.plan import Form
from tests.impl.disks import Unsynced, killing, open_store
from tests.impl.forks import Child
from tests.impl.killed_writer import content, save

Work = Callable[[Store], None]


def a_save(store: Store) -> None:
    save(store, 4, "saves")


def an_attempt(store: Store) -> None:
    save(store, 4, "attempts")


def a_prune(store: Store) -> None:
    save(store, 4, "saves")
    store.prune(LatestN(1))


def a_recovery(store: Store) -> None:
    (store.path / "gen-00000003-step-00000003" / "MANIFEST").unlink(missing_ok=True)
    store.load_latest()


def a_repair(store: Store) -> None:
    for number in (1, 3):
        name = f"gen-{number:08d}-step-{number:08d}"
        (store.path / name / "model").unlink(missing_ok=True)
    store.repair()


def a_clearing(store: Store) -> None:
    """A recovery past a dead attempt, and dead saves of the record form, one in quarantine."""
    put_dead(store.path)
    store.load_latest()


def a_purge(store: Store) -> None:
    put_dead(store.path)
    (store.path / "gen-00000003-step-00000003" / "model").unlink(missing_ok=True)
    store.load_latest()
    store.purge("all")


def put_dead(store: Path) -> None:
    for name in (
        "attempt-gen-00000005-step-00000005/sub",
        "gen-00000006-step-00000006",
        "gen-00000007-step-00000007",
        "quarantine/gen-00000004-step-00000004",
    ):
        (store / name).mkdir(parents=True, exist_ok=True)
        (store / name / "model").write_bytes(b"half")


def dies_before(call: int, root: Path, form: Form, work: Work) -> bool:
    """Do the work in a fork that dies before its call of that number; False if it ended first."""

    def works() -> bool:
        with open_store(root, form=form, disk=Unsynced(root, killing(call))) as store:
            work(store)
        return True

    return Child(works).answer(killed_by=signal.SIGKILL) is None


@pytest.mark.skipif(sys.platform != "linux", reason="forks of a process with threads")
@pytest.mark.parametrize(
    ("work", "form", "survivor", "calls"),
    [
        (a_save, "record", 3, 25),
        (a_save, "rename", 3, 25),
        (an_attempt, "record", 3, 25),
        (a_prune, "rename", 3, 60),
        (a_recovery, "rename", 2, 15),
        (a_repair, "record", 2, 25),
        (a_clearing, "rename", 3, 40),
        (a_purge, "record", 2, 60),
    ],
)
def test_killed_before_any_call_the_next_process_goes_on(
    tmp_path: Path, work: Work, form: Form, survivor: int, calls: int
) -> None:
    base = tmp_path / "base"
    with open_store(base, form=form, disk=Unsynced(base)) as store:
        for step in (1, 2, 3):
            store.save(step, content(step))
    call, found, reported = 0, set(), set()
    while True:
        call += 1
        root = tmp_path / str(call)
        shutil.copytree(base, root)
        died = dies_before(call, root, form, work)
        read_only = lastgood.open_read_only(root / "store")
        read = read_only.load_latest()
        assert read is not None
        assert read.step >= survivor
        aside, reports = read_only.quarantined(), read_only.reports()
        # Whatever was moved is there, with its report or before it.
        assert set(reports) <= set(aside)
        reported |= {entry in reports for entry in aside}
        with open_store(root, form=form, disk=Unsynced(root)) as store:
            loaded = store.restore()
            assert loaded.step >= read.step
            assert {name: bytes(loaded[name]) for name in loaded} == content(loaded.step)
            found.add(loaded.step)
            receipt = store.save(9, content(9))
            assert receipt.generation > loaded.generation
            store.prune(LatestN(1))
            assert store.load().step == 9
            damaged = [r for r in store.verify() if isinstance(r, lastgood.Rejection)]
            # A prune that was cut off leaves nothing that looks damaged.
            assert work is a_repair or all(r.reason == "no_commit" for r in damaged)
            store.repair()
            # The newest, and the one that this process was restored from.
            assert [group.name.step for group in store.groups()] == [9, loaded.step]
        shutil.rmtree(root)
        if not died:
            break

    assert call > calls
    assert survivor in found
    moves = work in (a_recovery, a_repair, a_clearing, a_purge)
    assert reported == ({True, False} if moves else set())
