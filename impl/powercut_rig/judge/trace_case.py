"""A trace as a case for a disk: the ops to run, and what is owed once each has returned."""

from __future__ import annotations

from attrs import frozen

from powercut.checker.exhaustive import pinned
from powercut.errors import TraceError
from powercut.filesystem import ops
from powercut.profile import Profile
from powercut.simulation.oracle import Oracle
from powercut.simulation.subject import load_subject
from powercut.simulation.world import Ack, Begin, CrashStep, Perform, Step
from powercut.trace.trace_file import Trace
from powercut_rig.judge.membership import Program


@frozen
class TraceCase:
    """A program for a real disk; `oracles[k]` is what is owed once `k` of its ops have returned."""

    program: Program
    oracles: tuple[Oracle, ...]

    def oracle(self, completed: int, begun: int) -> Oracle:
        """The oracle at a moment, with every save counted whose first op had begun."""
        last = len(self.oracles) - 1
        oracle = self.oracles[min(completed, last)]
        for number, parts in self.oracles[min(begun, last)].saves.items():
            oracle = oracle.begin(number, parts)
        return oracle


def check_judgeable(trace: Trace, where: str) -> None:
    """Refuse a trace whose question no crash image answers. TraceError."""
    first = next((s.crash.crash_class for s in trace.steps if isinstance(s, CrashStep)), "power")
    if first == "process":
        raise TraceError(
            f"{where}: its first crash is of a process; crash images are what a kernel or a power "
            "crash leaves. Nothing was run."
        )
    if any(isinstance(s, Perform) and isinstance(s.op, ops.Damage) for s in trace.steps):
        raise TraceError(
            f"{where}: it has damage at rest, which no disk does on request; expected crashes "
            "only. Nothing was run."
        )


def prepare_case(trace: Trace, where: str, profile: Profile) -> TraceCase:
    """The ops of a trace up to its first crash, and the oracle after each. TraceError."""
    steps: tuple[Step, ...] = trace.steps
    if trace.subject is not None:
        steps = pinned(steps, profile, load_subject(trace.subject))
    performs: list[Perform] = []
    oracle = Oracle()
    oracles = [oracle]
    for step in steps:
        match step:
            case Perform():
                performs.append(step)
                oracles.append(oracle)
            case Begin(number=number, parts=parts):
                oracle = oracle.begin(number, parts)
            case Ack(number=number):
                oracle = oracle.acknowledge(number)
                oracles[-1] = oracle
            case CrashStep():
                break
            case _:
                raise TraceError(f"{where}: only saves can come before its first crash, on a disk")
    if not performs:
        raise TraceError(f"{where}: there is no op before its first crash")
    return TraceCase(Program(tuple(performs), profile), tuple(oracles))
