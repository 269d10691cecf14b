"""P6: a prune that is crashed anywhere costs nothing, and leaves nothing that looks damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

import lastgood.retention.prune as pruning
import lastgood.writer.recoverer as recoverer
from lastgood.crashtest.subjects import RECORD, LastgoodSubject
from lastgood.format.names import GroupName
from lastgood.protocol.plan import plan_give_up
from lastgood.protocol.steps import Step, SyncDir
from lastgood.recovery.recovery import Group, examine
from powercut.checker.exhaustive import Bound
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.simulation.model_disk import ModelDisk
from tests.harness.verdicts import broken_by, verdicts_of

KEEP_ONE = "lastgood+keep1:atomic_dirsync"
STORE = "/ckpt/run"
SMALL = Bound(saves=1, crashes=1, parts=1, pieces=1)
TWICE = Bound(saves=1, crashes=2, parts=1, pieces=1, runs=400)
BEGUN = evolve(TWICE, runs=100)
PROFILES = ("posix-minimal", "posix-atomic-rename", "ext4-ordered")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("crash_class", ["process", "power"])
@pytest.mark.parametrize(
    "twice",
    [
        pytest.param(BEGUN, id="begun"),
        pytest.param(TWICE, id="twice", marks=pytest.mark.thorough),
    ],
)
def test_a_store_that_keeps_one_group_keeps_every_promise(
    profile: str, crash_class: str, twice: Bound
) -> None:
    assert broken_by(KEEP_ONE, profile, crash_class, SMALL, twice) == {}


def test_a_prune_that_trusts_what_a_killed_process_left_is_refuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the re-sync of the group that justifies it, a prune deletes the only durable one.

    On xfs, where a directory's sync commits no more than what came before its own last change; any
    directory's sync commits all names of ext4.
    """
    monkeypatch.setattr(recoverer, "plan_resync", lambda *_arguments: iter(()))

    assert verdicts_of(KEEP_ONE, "xfs", "power", TWICE, of=("P4",)) == {"P4": "fails"}


def three_groups(subject: LastgoodSubject) -> ModelDisk:
    """A disk with three groups, saved at full strength; what comes next has not happened."""
    disk = ModelDisk(State())
    session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=subject is not RECORD)
    for step in (1, 2, 3):
        session.save(step, {"part1": b"one", "sub/part2": b"two"})
    session.close()
    return disk


def looks_after_a_crash_in_a_prune(subject: LastgoodSubject, profile_name: str) -> Iterator[Any]:
    """What each older group looks like after a power cut at any op of a prune to one group."""
    profile = load_profile(profile_name)
    before = three_groups(subject)
    disk = ModelDisk(before.state)
    session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=subject is not RECORD)
    opened = len(disk.program)
    session.prune(1)
    for _, _, state in disk.program[opened:]:
        space = CrashSpace.of(state, profile, "power", even_cuts(profile, 1))
        for _, _, after in space.states():
            reader = ModelDisk(after)
            yield [examine(reader, STORE, GroupName(n, n)) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("form", "profile"),
    [
        *(("record", profile) for profile in PROFILES),
        # Elsewhere it is not chosen.
        *(("rename", profile) for profile in PROFILES if profile != "posix-minimal"),
    ],
)
def test_after_a_crash_in_a_prune_every_group_is_whole_or_gone(form: str, profile: str) -> None:
    subject = RECORD if form == "record" else LastgoodSubject("rename")
    seen: set[str] = set()
    for looks in looks_after_a_crash_in_a_prune(subject, profile):
        assert isinstance(looks[2], Group)
        seen |= {"whole" if isinstance(look, Group) else look.reason for look in looks[:2]}

    assert seen <= {"whole", "gone", "no_commit"}
    assert {"whole", "gone"} <= seen


def without_syncs(plan: Any) -> Any:
    def mutant(*arguments: Any, **keywords: Any) -> Iterator[Step]:
        return (s for s in plan(*arguments, **keywords) if not isinstance(s, SyncDir))

    return mutant


@pytest.mark.parametrize("form", ["record", "rename"])
def test_without_its_sync_a_prune_leaves_what_looks_damaged(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "plan_give_up", without_syncs(plan_give_up))
    subject = RECORD if form == "record" else LastgoodSubject("rename")
    reasons = {
        getattr(look, "reason", "whole")
        for looks in looks_after_a_crash_in_a_prune(subject, "posix-atomic-rename")
        for look in looks
    }

    assert {reason for reason in reasons if reason.startswith("missing:")}
