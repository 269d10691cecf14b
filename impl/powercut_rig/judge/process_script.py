"""Scripts of a process, run on a real disk or on the model's: recover, save, prune, in any order.

Run on both from the same tree, it must do the same and answer the same.  What it did, op by op,
and what it owes after each, is the case that the next crash is judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol, runtime_checkable

from attrs import define, field, frozen

from powercut.checker.exhaustive import parts_of
from powercut.profile import Profile
from powercut.simulation.model_disk import ModelDisk, SubjectDisk
from powercut.simulation.oracle import Oracle, Violation
from powercut.simulation.subject import Session, Subject
from powercut.simulation.world import Perform
from powercut_rig.blocks.block_log import MarkPhase
from powercut_rig.judge.membership import Program
from powercut_rig.judge.recovery_answer import PlainTree, state_of
from powercut_rig.judge.trace_case import TraceCase
from powercut_rig.mounted.rooted_disk import WatchedDisk, Watcher

PARTS: Final = 2

ScriptStep = Literal["recover", "save", "prune"]
"""What a process does: a prune gives up all but the newest group."""

Script = Sequence[ScriptStep]
"""What a process does from its start to its end, in this order."""

USUAL_SCRIPT: Final[Script] = ("recover", "save", "recover")


@runtime_checkable
class Pruner(Protocol):
    """A session that can give up groups."""

    def prune(self, keep: int) -> None:
        """Give up all but the `keep` newest groups."""


@frozen
class ProcessEvent:
    """Something that the process said, once `calls` of its calls had returned."""

    calls: int
    kind: Literal["recovered", "saving", "saved", "pruned", "failed"]
    parts: Mapping[str, bytes] | None = None
    generation: int | None = None
    error: str = ""


@define
class ProcessRun:
    """All that one process said, and how many calls it made."""

    events: list[ProcessEvent] = field(factory=list)
    calls: int = 0


def run_script(
    subject: Subject,
    profile: Profile,
    disk: SubjectDisk,
    number: int,
    watcher: Watcher,
    script: Script = USUAL_SCRIPT,
) -> ProcessRun:
    """Run a script, its saves numbered from `number`; an error ends the run and is kept in it."""
    watched = WatchedDisk(disk, "", watcher)
    run = ProcessRun()
    try:
        session = subject.open(watched, profile)
        try:
            for act in script:
                if act == "recover":
                    _recover(run, session, watched)
                elif act == "prune":
                    _prune(run, session, watched)
                else:
                    _save(run, session, watched, number)
                    number += 1
        finally:
            session.close()
    except Exception as error:
        run.events.append(ProcessEvent(watched.calls, "failed", error=type(error).__name__))
    run.calls = watched.calls
    return run


def _save(run: ProcessRun, session: Session, watched: WatchedDisk, number: int) -> None:
    parts = parts_of(number, PARTS)
    run.events.append(ProcessEvent(watched.calls, "saving", parts))
    generation = session.save(number, parts)
    run.events.append(ProcessEvent(watched.calls, "saved", parts, generation))


def _prune(run: ProcessRun, session: Session, watched: WatchedDisk) -> None:
    """Prune, where the subject can: a session of the shape `Pruner`."""
    if not isinstance(session, Pruner):
        raise TypeError(f"{type(session).__name__} has no prune(keep); a script asks for it")
    session.prune(1)
    run.events.append(ProcessEvent(watched.calls, "pruned"))


def _recover(run: ProcessRun, session: Session, watched: WatchedDisk) -> None:
    found = session.recover()
    parts = None if found is None else dict(found.parts)
    generation = None if found is None else found.generation
    run.events.append(ProcessEvent(watched.calls, "recovered", parts, generation))


@frozen
class ModelRun:
    """A run on the model's disk: what the process said, and the case for a crash in its course.

    `ops_after[c]` is how many ops `c` calls amount to.
    """

    run: ProcessRun
    case: TraceCase
    ops_after: tuple[int, ...]

    def ops(self, calls: int) -> int:
        """The number of ops that so many calls amount to."""
        return self.ops_after[min(calls, len(self.ops_after) - 1)]


def run_on_model(
    subject: Subject,
    profile: Profile,
    tree: PlainTree,
    oracle: Oracle,
    script: Script = USUAL_SCRIPT,
) -> ModelRun:
    """Let the process live on the model's disk with that tree, after a crash that owes `oracle`."""
    start = state_of(tree)
    disk = ModelDisk(start)
    ops_after = [0]

    def count(_name: str, _number: int, phase: MarkPhase) -> None:
        if phase == "end":
            ops_after.append(len(disk.program))

    run = run_script(subject, profile, disk, next_number(oracle), count, script)
    steps = tuple(Perform(op_id, op) for op_id, op, _ in disk.program)
    oracles = _oracles(run, oracle.crashed(), tuple(ops_after), len(steps))
    return ModelRun(run, TraceCase(Program(steps, profile, start), oracles), tuple(ops_after))


def _oracles(
    run: ProcessRun, oracle: Oracle, ops_after: tuple[int, ...], steps: int
) -> tuple[Oracle, ...]:
    """The oracle after each op of a run that begins owing `oracle`."""
    owed = []
    events = list(run.events)
    for done in range(steps + 1):
        while events and ops_after[min(events[0].calls, len(ops_after) - 1)] <= done:
            oracle = after_event(oracle, events.pop(0))
        owed.append(oracle)
    return tuple(owed)


def after_event(oracle: Oracle, event: ProcessEvent) -> Oracle:
    """The oracle once the process has said this."""
    if event.kind == "recovered":
        return oracle.recover(event.parts, event.generation)
    if event.kind == "saving" and event.parts is not None:
        return oracle.begin(next_number(oracle), event.parts)
    if event.kind == "saved":
        return oracle.acknowledge(max(oracle.saves), event.generation)
    return oracle


def judge_run(run: ProcessRun, oracle: Oracle) -> list[Violation]:
    """Every property that a run breaks, begun after a crash that owes `oracle`."""
    oracle = oracle.crashed()
    found: list[Violation] = []
    doing = "recovery"
    for event in run.events:
        if event.kind == "recovered":
            found += oracle.judge(event.parts, event.generation)
        elif event.kind == "saved" and event.generation is not None:
            found += oracle.judge_generation(event.generation)
        elif event.kind == "failed":
            found += oracle.judge_error(doing, RuntimeError(event.error))
        doing = "the next save" if event.kind == "saving" else "recovery"
        oracle = after_event(oracle, event)
    return found


def next_number(oracle: Oracle) -> int:
    """The number of the next save."""
    return max(oracle.saves, default=0) + 1
