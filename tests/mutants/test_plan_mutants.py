"""Each sync and each rename of lastgood, left out, is refuted under a profile that we claim.

A step whose absence nothing notices would be a wasted sync: the plans have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lastgood.writer.lease as lease
import lastgood.writer.recoverer as recoverer
import lastgood.writer.saver as saving
from lastgood.crashtest.subjects import LastgoodSubject
from lastgood.format.names import MANIFEST, GroupName
from lastgood.protocol.plan import plan_ancestors, plan_resync, plan_save
from lastgood.protocol.steps import CloseFile, RenameEntry, Step, SyncDir, SyncFile, Together
from lastgood.recovery.recovery import Group, examine
from powercut.checker.exhaustive import Bound, enumerate_verdicts
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.simulation.model_disk import ModelDisk
from tests.harness.verdicts import verdicts_of
from tests.mutants.stores import UPGRADED

SAFE = ("P3", "P5")
CLAIMED = ("posix-minimal", "posix-atomic-rename", "ext4-ordered")
BOUND = Bound(saves=1, crashes=1, parts=2, pieces=1)
UPGRADE = Bound(saves=1, crashes=2, parts=2, pieces=1, runs=400)
PARTS = ["part1", "part2"]

Plan = Callable[..., Iterator[Step]]


def one_by_one(plan: Iterator[Step]) -> Iterator[Step]:
    """The steps in the order in which one thread takes them."""
    for step in plan:
        if isinstance(step, Together):
            yield from (each for branch in step.branches for each in branch)
        else:
            yield step


def needed(plan: Plan, *arguments: Any) -> list[Step]:
    """The steps of a plan that a mutant leaves out, one at a time."""
    return [
        s for s in one_by_one(plan(*arguments)) if isinstance(s, SyncFile | SyncDir | RenameEntry)
    ]


def leaving_out(plan: Plan, number: int) -> Plan:
    """The plan without its `number`-th sync or rename."""

    def mutant(*arguments: Any, **keywords: Any) -> Iterator[Step]:
        seen = -1
        for step in one_by_one(plan(*arguments, **keywords)):
            seen += isinstance(step, SyncFile | SyncDir | RenameEntry)
            if not (isinstance(step, SyncFile | SyncDir | RenameEntry) and seen == number):
                yield step

    return mutant


def label(step: Step) -> str:
    return f"{type(step).__name__}-{getattr(step, 'path', getattr(step, 'src', ''))}"


def save_steps(form: Any) -> list[Step]:
    return needed(plan_save, form, "atomic_dirsync", "/ckpt/run", 1, 1, PARTS)


SAVES = [
    pytest.param(form, number, id=f"{form}-{label(step)}")
    for form in ("record", "rename")
    for number, step in enumerate(save_steps(form))
]
RESYNCS = [
    pytest.param(number, id=label(step))
    for number, step in enumerate(
        needed(
            plan_resync,
            "atomic_dirsync",
            "/ckpt/run",
            "/ckpt/run/gen-00000001-step-00000001",
            PARTS,
        )
    )
]
ANCESTORS = [
    pytest.param(number, id=label(step))
    for number, step in enumerate(needed(plan_ancestors, "atomic_dirsync", "/ckpt/run", "/"))
]


def is_refuted(subject: str) -> bool:
    """Some claimed profile lets an acknowledged group be lost."""
    return any(
        verdicts_of(subject, name, "power", BOUND, of=("P3",)) == {"P3": "fails"}
        for name in CLAIMED
    )


@pytest.mark.parametrize("form", ["record", "rename"])
def test_the_plan_as_it_is_is_not_refuted(form: str) -> None:
    for name in CLAIMED:  # P5: a plan whose every save fails would keep P3
        found = verdicts_of(f"lastgood+{form}:atomic_dirsync", name, "power", BOUND, of=SAFE)
        assert found == dict.fromkeys(SAFE, "holds")


def unfinished_groups(profile_name: str) -> set[str]:
    """Why directories with a group's final name are no groups, in all crash states of a save."""
    disk, store = ModelDisk(State()), "/ckpt/run"
    session = LastgoodSubject("rename").open(disk, store, "atomic_dirsync", rename_is_atomic=True)
    session.save(1, dict.fromkeys(PARTS, b"bytes"))
    found: set[str] = set()
    for _, _, state in disk.program:
        space = CrashSpace.of(state, load_profile(profile_name), "power", no_cuts)
        for _, _, after in space.states():
            look = examine(ModelDisk(after), store, GroupName(1, 1))
            found |= {"whole" if isinstance(look, Group) else look.reason.partition(":")[0]}
    return found


@pytest.mark.parametrize("profile", CLAIMED[1:])  # where a rename is not atomic it is not chosen
def test_no_crash_in_a_save_leaves_an_unfinished_group_under_a_final_name(profile: str) -> None:
    assert unfinished_groups(profile) == {"whole", "gone"}


def test_a_manifest_that_is_synced_behind_the_rename_leaves_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mutant(*arguments: Any, **keywords: Any) -> Iterator[Step]:
        late: list[Step] = []
        for step in plan_save(*arguments, **keywords):
            if isinstance(step, SyncFile | CloseFile) and step.path.endswith(MANIFEST):
                late.append(step)
                continue
            yield step
            if isinstance(step, RenameEntry):
                yield from late

    monkeypatch.setattr(saving, "plan_save", mutant)

    assert "manifest_error" in unfinished_groups("ext4-ordered")


@pytest.mark.parametrize(("form", "number"), SAVES)
def test_a_save_without_one_of_its_syncs_or_renames_is_refuted(
    form: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "plan_save", leaving_out(plan_save, number))

    assert is_refuted(f"lastgood+{form}:atomic_dirsync")


def verdicts_of_an_upgraded_store(*names: str) -> dict[str, str]:
    posix = load_profile("posix-minimal")
    # Looser states are not asked about: only what recovery has once returned has to stay.
    found = enumerate_verdicts(UPGRADED, posix, "power", names, UPGRADE)
    return {name: verdict.verdict for name, verdict in found.items()}


def test_what_a_recovery_returned_stays_even_if_nothing_had_been_synced() -> None:
    # P5: a store whose every save fails would keep P4.
    assert set(verdicts_of_an_upgraded_store("P4", "P5").values()) == {"not refuted"}


@pytest.mark.parametrize("number", RESYNCS)
def test_a_recovery_without_one_of_its_syncs_is_refuted(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recoverer, "plan_resync", leaving_out(plan_resync, number))

    assert verdicts_of_an_upgraded_store("P4") == {"P4": "fails"}


@pytest.mark.parametrize("number", ANCESTORS)
def test_an_opening_without_one_of_its_syncs_is_refuted(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "plan_ancestors", leaving_out(plan_ancestors, number))

    assert is_refuted("lastgood+record:atomic_dirsync")


def test_every_plan_has_something_to_leave_out() -> None:
    assert (len(SAVES), len(RESYNCS), len(ANCESTORS)) == (11, 5, 2)
