"""Clearing, crashed anywhere: of dead attempts, and of groups that lost MANIFEST at rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import lastgood.recovery.clearing as clearing
from lastgood import IntegrityError
from lastgood.crashtest.subjects import LastgoodSubject, RepairingSession
from lastgood.format.names import parse_name
from lastgood.protocol.plan import FORMS, Form
from powercut.checker.exhaustive import Bound
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.simulation.model_disk import ModelDisk
from tests.harness.verdicts import broken_by

STORE = "/ckpt/run"
ONCE = Bound(saves=1, crashes=1, parts=1, pieces=1)
TWICE = Bound(saves=1, crashes=2, parts=1, pieces=1, runs=60)
PROFILES = ("posix-minimal", "posix-atomic-rename", "ext4-ordered", "btrfs", "xfs")
PURGE = "lastgood+purge"


def group(number: int) -> str:
    return f"gen-{number:08d}-step-{number:08d}"


@pytest.mark.parametrize(
    ("profile", "crash_class", "mode"),
    [
        ("posix-minimal", "power", "atomic_dirsync"),
        ("xfs", "power", "atomic_dirsync"),
        ("posix-minimal", "process", "unsafe"),
        *(
            pytest.param(*question, marks=pytest.mark.thorough)
            for question in (
                ("posix-atomic-rename", "power", "atomic_dirsync"),
                ("ext4-ordered", "power", "atomic_dirsync"),
                ("btrfs", "power", "atomic_dirsync"),
                ("posix-minimal", "process", "atomic_nodirsync"),
                ("posix-minimal", "process", "atomic_dirsync"),
            )
        ),
    ],
)
def test_a_store_that_purges_its_quarantine_keeps_every_promise(
    profile: str, crash_class: str, mode: str
) -> None:
    assert broken_by(f"{PURGE}:{mode}", profile, crash_class, ONCE, TWICE) == {}


def torn_renames() -> Iterator[ModelDisk]:
    """Every state after a power cut in which one directory has an attempt's and a group's name."""
    subject, profile = LastgoodSubject("rename"), load_profile("posix-minimal")
    disk = ModelDisk(State())
    session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=True)
    opened = len(disk.program)
    session.save(1, {"part1": b"one"})
    for _, _, state in disk.program[opened:]:
        space = CrashSpace.of(state, profile, "power", even_cuts(profile, 1))
        for _, _, after in space.states():
            torn = ModelDisk(after)
            if torn.kind(STORE) == "dir" and {group(1), f"attempt-{group(1)}"} <= {
                *torn.names(STORE)
            }:
                yield torn


@pytest.mark.parametrize("is_careful", [True, False])
def test_an_attempt_beside_its_own_group_is_not_deleted_as_that_would_take_the_group_away(
    is_careful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_careful:
        fate = clearing._fate
        monkeypatch.setattr(clearing, "_fate", lambda r, s, _names, each: fate(r, s, set(), each))
    found: set[object] = set()
    for disk in torn_renames():
        session = LastgoodSubject("rename").open(
            disk, STORE, "atomic_dirsync", rename_is_atomic=True
        )
        try:
            found.add(session.recover() is not None)
        except IntegrityError:  # it was found, and then taken away before it was read
            found.add("lost")
        session.close()

    assert found == ({True} if is_careful else {"lost"})


def damaged_store(form: Form) -> ModelDisk:
    """Groups 1 and 2, of which 2 has lost its MANIFEST at rest, and what dead saves have left."""
    subject = LastgoodSubject(form)
    disk = ModelDisk(State())
    session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=form == "rename")
    for step in (1, 2):
        session.save(step, {"part1": b"one"})
    session.close()
    disk.unlink(f"{STORE}/{group(2)}/MANIFEST")
    dead = group(3) if form == "record" else f"attempt-{group(3)}"
    # The quarantine has an older one already.
    for home in (f"{STORE}/quarantine", f"{STORE}/{dead}", f"{STORE}/quarantine/{group(0)}"):
        disk.mkdir(home)
        disk.fsync_dir(home)
    disk.create(f"{STORE}/{dead}/part1")
    disk.fsync(f"{STORE}/{dead}/part1")
    disk.close(f"{STORE}/{dead}/part1")
    for home in (f"{STORE}/{dead}", f"{STORE}/{group(2)}", f"{STORE}/quarantine", STORE):
        disk.fsync_dir(home)
    return disk


def states_after_a_crash_in_a_repair(form: Form, profile_name: str) -> Iterator[Any]:
    """Every state after a power cut at any op of a repair of that store."""
    profile = load_profile(profile_name)
    before = damaged_store(form)
    disk = ModelDisk(before.state)
    subject = LastgoodSubject(form, RepairingSession)
    session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=form == "rename")
    opened = len(disk.program)
    found = session.recover()
    assert found is not None
    assert found.generation == 1
    for _, _, state in disk.program[opened:]:
        space = CrashSpace.of(state, profile, "power", even_cuts(profile, 1))
        yield from (after for _, _, after in space.states())


def uncommitted(disk: ModelDisk) -> set[int]:
    """The generations of groups but 1, in the store and in its quarantine: none has a MANIFEST."""
    found = set()
    for home in (STORE, f"{STORE}/quarantine"):
        for entry in disk.names(home):
            name = parse_name(entry, in_quarantine=True)
            if name is not None and not name.attempt and entry != group(1):
                found.add(name.generation)
    return found


@pytest.mark.parametrize(
    ("form", "profile"),
    [
        # Where a rename may be torn, a move to quarantine may lose what it moves.
        *(("record", p) for p in ("posix-atomic-rename", "ext4-ordered", "btrfs", "xfs")),
        *(("rename", profile) for profile in ("posix-atomic-rename", "ext4-ordered")),
    ],
)
def test_a_crash_in_a_repair_costs_neither_the_group_nor_the_newest_without_a_manifest(
    form: Form, profile: str
) -> None:
    subject = LastgoodSubject(form, RepairingSession)
    newest = 3 if form == "record" else 2
    seen: set[frozenset[int]] = set()
    for state in states_after_a_crash_in_a_repair(form, profile):
        disk = ModelDisk(state)
        left = uncommitted(disk)
        seen.add(frozenset(left))
        assert newest in left
        session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=form == "rename")
        found = session.recover()
        assert found is not None
        assert (found.generation, found.parts["part1"]) == (1, b"one")
        # The next recovery finishes it, but for what the crash has brought back to quarantine.
        assert {newest} <= uncommitted(disk) <= {0, newest}
        assert [n for n in disk.names(STORE) if "gen-" in n] == [group(1)]
        assert session.save(6, {"part1": b"six"}) > newest
        session.close()

    assert {frozenset({0, 2, newest}), frozenset({newest})} <= seen


def leftovers(form: Form, profile_name: str) -> dict[str, State]:
    """States after a power cut in a second save, one for each way in which its names are left."""
    profile, subject = load_profile(profile_name), LastgoodSubject(form)
    disk = ModelDisk(State())
    session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=form == "rename")
    session.save(1, {"part1": b"1"})
    opened = len(disk.program)
    session.save(2, {"part1": b"2"})
    found: dict[str, State] = {}
    for _, _, state in disk.program[opened:]:
        space = CrashSpace.of(state, profile, "power", even_cuts(profile, 1))
        for _, _, after in space.states():
            left = ModelDisk(after)
            dead = [n for n in left.names(STORE) if n.endswith(group(2))]
            inside = {name: left.names(f"{STORE}/{name}") for name in dead}
            found.setdefault(str(inside), after)
    return {inside: state for inside, state in found.items() if "gen" in inside}


@pytest.mark.parametrize("profile", ["posix-minimal", "xfs"])
@pytest.mark.parametrize("form", FORMS)
def test_a_process_that_never_loads_clears_and_saves_and_a_crash_in_it_costs_nothing(
    form: Form, profile: str
) -> None:
    subject, rules = LastgoodSubject(form), load_profile(profile)
    cleared = set()
    for inside, state in leftovers(form, profile).items():
        disk = ModelDisk(state)
        session = subject.open(disk, STORE, "atomic_dirsync", rename_is_atomic=form == "rename")
        opened = len(disk.program)
        generation = session.save(3, {"part1": b"3"})
        assert generation > 2
        cleared.add(inside != "" and not [n for n in disk.names(STORE) if n.endswith(group(2))])
        acknowledged = disk.program[-1][2]
        for _, _, during in disk.program[opened:]:
            space = CrashSpace.of(during, rules, "power", even_cuts(rules, 1))
            for _, _, after in space.states():
                again = ModelDisk(after)
                last = subject.open(
                    again, STORE, "atomic_dirsync", rename_is_atomic=form == "rename"
                )
                found = last.recover()
                last.close()
                assert found is not None
                assert found.parts["part1"] == b"%d" % found.step
                assert during is not acknowledged or found.generation == generation
    assert True in cleared
