"""Random histories of saves, prunes, repairs, crashes and recoveries, on the model and on a disk.

A state machine draws what each of three processes does; a crash ends each of them.  At its end the
history runs on a disk and on the model at once: every crash image is held against the model, and P1
to P5 are judged on it with the production code.  Where a process prunes, they are what P6 owes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest
from attrs import frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import lastgood.writer.pruner as pruner
from lastgood.backends.interface import join
from lastgood.crashtest.subjects import LastgoodSession, LastgoodSubject, RecoveredGroup
from lastgood.format.names import newest_first
from lastgood.protocol.plan import Mode, plan_delete
from lastgood.protocol.steps import Remove, RemoveDir, Step
from lastgood.recovery.listing import list_store
from lastgood.recovery.recovery import Rejection, examine
from lastgood.retention.prune import Pruning, list_tree, plan_uncommit
from powercut.profile import load_profile
from powercut.simulation.oracle import Oracle
from powercut.simulation.subject import STORE, Subject
from powercut_rig import WriteBack, run_in_worker
from powercut_rig.blocks.crash_images import Bounds
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.judge import JudgeEffort, compare_history
from powercut_rig.judge.process_script import Script, ScriptStep, run_on_model
from powercut_rig.judge.result import Comparison
from powercut_rig.rigs import rig_for
from tests.rig.machines import run_machine

FAMILIES = ("ext4", "xfs", "btrfs")
SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EXAMPLES = 300 if SOAK else 1
ONE_EACH = FAMILIES if SOAK else ("ext4",), FAMILIES if SOAK else ("xfs",)
"""Which disks each of the two mutants meets."""

SCRIPTS = 3


class WholeOrGone(LastgoodSession):
    """Recovers, and finds no group at all that looks damaged: no crash damages one at rest."""

    def recover(self) -> RecoveredGroup | None:
        found = super().recover()
        disk = self._writer.disk
        for name in newest_first(list_store(disk, STORE).in_store):
            look = examine(disk, STORE, name)
            if isinstance(look, Rejection) and look.reason not in ("no_commit", "gone"):
                raise AssertionError(f"{name} looks damaged: {look.reason}")
        return found


class Repairing(WholeOrGone):
    """The same, with a repair first."""

    def recover(self) -> RecoveredGroup | None:
        self._writer.repair()
        return super().recover()


@frozen
class Store(LastgoodSubject):
    """A store whose sessions are of that class."""


PLAIN = Subject("history", "atomic_dirsync", Store(None, WholeOrGone))
REPAIRING = Subject("history+repair", "atomic_dirsync", Store(None, Repairing))
EFFORT = JudgeEffort(
    limit=None if SOAK else 40, again=2, again_limit=30 if SOAK else 12, fsck_every=0,
    coverage=False,
)  # fmt: skip


def judged(
    subject: Subject,
    fs: str,
    scripts: Sequence[Script],
    early: Sequence[WriteBack] = (),
    effort: JudgeEffort = EFFORT,
) -> Comparison:
    entry = FILE_SYSTEMS[fs]
    with rig_for(fs) as rig:
        return compare_history(
            rig,
            subject,
            fs,
            load_profile(entry.profile),
            scripts,
            early=early,
            effort=effort.on(fs),
        )


def on_disk(*arguments: Any, **keywords: Any) -> Comparison:
    result: Comparison = run_in_worker(judged, *arguments, **keywords)
    return result


class Histories(RuleBasedStateMachine):
    """Lives that grow act by act; `teardown` runs them for real."""

    fs: ClassVar[str] = "ext4"

    @initialize(repairs=st.booleans())
    def begin(self, repairs: bool) -> None:
        self.subject = REPAIRING if repairs else PLAIN
        self.scripts: list[list[ScriptStep]] = [["save"]]
        self.commits = 0

    def _act(self, act: ScriptStep) -> None:
        self.scripts[-1].append(act)

    @rule()
    def save(self) -> None:
        self._act("save")

    @rule()
    def prune(self) -> None:
        self._act("prune")

    @rule()
    def recover(self) -> None:
        self._act("recover")

    @rule()
    @precondition(lambda self: len(self.scripts) < SCRIPTS)
    def crash(self) -> None:
        self.scripts.append(["recover"])

    @rule()
    def commit_early(self) -> None:
        self.commits += 1

    def teardown(self) -> None:
        if not hasattr(self, "scripts"):
            return
        early = [WriteBack(7 * number + 3, "commit") for number in range(self.commits)]
        ops = len(first_ops(self.subject, self.fs, self.scripts[0]))
        early = [each for each in early if each.after_op < ops]
        result = on_disk(self.subject, self.fs, self.scripts, early)
        assert result.agrees, (self.subject.name, self.scripts, early, result.findings[0])


def first_ops(subject: Subject, fs: str, script: Script) -> Sequence[object]:
    profile = load_profile(FILE_SYSTEMS[fs].profile)
    return run_on_model(subject, profile, {}, Oracle(), script).case.program.steps


@pytest.mark.rig
@pytest.mark.parametrize("fs", FAMILIES)
def test_every_promise_holds_after_every_crash_of_a_random_history(fs: str) -> None:
    run_machine(Histories, fs, EXAMPLES, 8)


PRUNED: tuple[Script, ...] = (
    ("save", "save", "prune"),
    ("recover", "save", "prune", "recover"),
    ("recover", "prune", "save"),
)
FEW = JudgeEffort(
    limit=30, again=2, again_limit=8, fsck_every=0, coverage=False,
    bounds=Bounds(older_tears=0, tears=1, subsets=2),
)  # fmt: skip


@pytest.mark.rig
@pytest.mark.parametrize("fs", FAMILIES)
def test_a_history_with_prunes_crashes_three_times_and_keeps_every_promise(fs: str) -> None:
    result = on_disk(PLAIN, fs, PRUNED, effort=FEW)

    assert result.findings == []
    assert result.agrees
    assert result.second_recordings > 2  # a third life as well as second ones
    assert result.second_images > 10
    assert result.violations == {}


class DeletesFirst(WholeOrGone):
    """Makes room before it saves: no group is left while the new one is not yet durable."""

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        disk = self._writer.disk
        for name in newest_first(list_store(disk, STORE).in_store):
            home = join(STORE, str(name))
            for each in plan_delete(home, *list_tree(disk, home)):
                if isinstance(each, Remove):
                    disk.unlink(each.path)
                elif isinstance(each, RemoveDir):
                    disk.rmdir(each.path)
        return super().save(step, parts)


@pytest.mark.rig
@pytest.mark.parametrize("fs", ONE_EACH[0])
def test_deleting_before_the_next_group_is_durable_is_caught_on_a_disk(fs: str) -> None:
    subject = Subject("history", "atomic_dirsync", Store(None, DeletesFirst))
    result = on_disk(subject, fs, [("save", "save")], effort=FEW)

    assert not result.agrees
    assert result.violations["P2"] > 0
    assert result.outside == result.disagreeing == 0


def deleting_first(plan: Any) -> Any:
    """What un-commits groups, with their parts deleted before their names are taken away."""

    def mutant(mode: Mode, store: str, pruning: Pruning) -> Iterator[Step]:
        for group in pruning.given_up:
            for part in group.part_paths:
                yield Remove(join(join(store, str(group.name)), part))
        yield from plan(mode, store, pruning)

    return mutant


RECORDINGS = 4


@pytest.mark.rig
@pytest.mark.parametrize("fs", ONE_EACH[1])
def test_a_prune_that_deletes_before_it_un_commits_is_caught_on_a_disk(
    fs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruner, "plan_uncommit", deleting_first(plan_uncommit))
    early = [WriteBack(number, "commit") for number in range(8, 60)]
    ops = len(first_ops(PLAIN, fs, PRUNED[0]))
    early = [each for each in early if each.after_op < ops]
    for _ in range(RECORDINGS):  # when a kernel writes by itself, a recording can miss the moment
        result = on_disk(PLAIN, fs, PRUNED[:1], early, FEW)
        if not result.agrees:
            break

    assert not result.agrees
    assert set(result.violations) >= {"P2", "P3"}
    assert any("AssertionError" in finding.detail for finding in result.findings)
    assert result.outside == result.disagreeing == 0
