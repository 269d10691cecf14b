"""A prune on a disk that has no room for another name, crashed anywhere.

The groups that go lose their MANIFEST where they are: no crash costs what is kept, or brings one of
them back once the prune has returned.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import frozen

import lastgood.writer.pruner as pruner
from lastgood.backends.interface import Disk
from lastgood.crashtest.subjects import (
    LastgoodSession,
    LastgoodSubject,
    PruningSession,
    RecoveredGroup,
)
from lastgood.format.names import GroupName, parse_name
from lastgood.protocol.plan import FORMS, Form, plan_give_up_in_place
from lastgood.protocol.steps import Remove, Step
from lastgood.recovery.recovery import Group, examine
from powercut.checker.exhaustive import Bound, enumerate_verdicts
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.simulation.model_disk import ModelDisk
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.subject import STORE, Subject
from tests.harness.verdicts import UNBROKEN

MODE = "atomic_dirsync"
ONCE = Bound(saves=2, crashes=1, parts=1, pieces=1)
TWICE = Bound(saves=1, crashes=2, parts=1, pieces=1, runs=100)
PROFILES = ("posix-minimal", "ext4-ordered", "btrfs", "xfs")
WEAK_MODE = "atomic_nodirsync"


class FullDisk:
    """A disk of the model that has no room for the name of a group that was given up."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def rename(self, src: str, dst: str) -> None:
        """See `Disk.rename`."""
        name = parse_name(dst.rpartition("/")[2])
        if name is not None and name.pruned:
            raise OSError(errno.ENOSPC, "no room for another name", dst)
        self._disk.rename(src, dst)


@frozen
class Full:
    """lastgood on such a disk, which keeps one group."""

    form: Form | None = None
    modes: tuple[str, ...] = (MODE, WEAK_MODE)
    keeps: int | None = 1

    def open(self, disk: Disk, store: str, mode: str, rename_is_atomic: bool) -> LastgoodSession:
        inner = LastgoodSubject(self.form, PruningSession, keeps=1)
        return inner.open(FullDisk(disk), store, mode, rename_is_atomic)

    def read(self, disk: Disk, store: str) -> RecoveredGroup | None:
        return LastgoodSubject(self.form).read(disk, store)

    def real_disk(self) -> Disk:
        return LastgoodSubject(self.form).real_disk()


@pytest.mark.parametrize(
    ("profile", "crash_class", "mode"),
    [
        *((profile, "power", MODE) for profile in PROFILES),
        ("posix-minimal", "process", MODE),
        ("posix-minimal", "process", WEAK_MODE),
    ],
)
def test_a_store_that_is_pruned_on_a_full_disk_keeps_every_promise(
    profile: str, crash_class: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place: list[Any] = []

    def noted(*arguments: Any) -> Iterator[Step]:
        in_place.append(arguments)
        return plan_give_up_in_place(*arguments)

    monkeypatch.setattr(pruner, "plan_give_up_in_place", noted)
    subject, rules = Subject("full", mode, Full()), load_profile(profile)
    found = enumerate_verdicts(subject, rules, crash_class, OF_CRASHES, ONCE, TWICE)

    assert {verdict.verdict for verdict in found.values()} <= set(UNBROKEN)
    assert len(in_place) > 10


def pruned_and_crashed(form: Form, profile_name: str) -> Iterator[tuple[bool, list[Any]]]:
    """Every state after a power cut at any op of such a prune of three groups to one.

    Whether the prune had returned, and what each group looks like then.
    """
    profile, is_atomic = load_profile(profile_name), form == "rename"
    full = Full(form)
    disk = ModelDisk(State())
    first = LastgoodSubject(form).open(disk, STORE, MODE, is_atomic)
    for step in (1, 2, 3):
        first.save(step, {"part1": b"one", "sub/part2": b"two"})
    first.close()
    disk = ModelDisk(disk.state)
    session = full.open(disk, STORE, MODE, is_atomic)
    opened = len(disk.program)
    session.prune(1)
    assert not [name for name in disk.names(STORE) if "pruned" in name]
    assert disk.kind(f"{STORE}/{GroupName(1, 1)}") == "missing"
    for _, _, state in disk.program[opened:]:
        space = CrashSpace.of(state, profile, "power", even_cuts(profile, 1))
        for _, _, after in space.states():
            reader = ModelDisk(after)
            looks = [examine(reader, STORE, GroupName(n, n)) for n in (1, 2, 3)]
            yield state is disk.state, looks


# Where a rename is not atomic, its form is not chosen.
QUESTIONS = [
    (form, profile)
    for form in FORMS
    for profile in PROFILES
    if (form, profile) != ("rename", "posix-minimal")
]


@pytest.mark.parametrize(("form", "profile"), QUESTIONS)
def test_after_a_crash_in_such_a_prune_every_group_is_whole_or_uncommitted_or_gone(
    form: Form, profile: str
) -> None:
    during: set[str] = set()
    returned: set[str] = set()
    for is_done, looks in pruned_and_crashed(form, profile):
        assert isinstance(looks[2], Group)
        seen = {"whole" if isinstance(look, Group) else look.reason for look in looks[:2]}
        (returned if is_done else during).update(seen)

    assert {"whole", "no_commit"} <= during <= {"whole", "no_commit", "gone"}
    assert returned <= {"no_commit", "gone"}
    assert returned


def without_its_sync(*arguments: Any) -> Iterator[Step]:
    return (step for step in plan_give_up_in_place(*arguments) if isinstance(step, Remove))


@pytest.mark.parametrize(
    # The sync of the store, which ends every prune, commits all of ext4's journal.
    ("form", "profile"),
    [question for question in QUESTIONS if question[1] != "ext4-ordered"],
)
def test_without_its_sync_such_a_prune_brings_a_group_back_that_went(
    form: Form, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruner, "plan_give_up_in_place", without_its_sync)
    looks = [
        look for is_done, looks in pruned_and_crashed(form, profile) for look in looks[:2] * is_done
    ]

    assert any(isinstance(look, Group) for look in looks)


def test_without_its_sync_such_a_prune_leaves_what_looks_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruner, "plan_give_up_in_place", without_its_sync)
    looks = [look for _, looks in pruned_and_crashed("record", "posix-minimal") for look in looks]

    assert "missing:part1" in {getattr(look, "reason", "whole") for look in looks}
