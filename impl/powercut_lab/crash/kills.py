"""Part 2: SIGKILL before every call of a save, and in the middle of every write."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from attrs import field, frozen

from powercut.simulation.subject import STORE, load_subject
from powercut_lab.crash.children import ChildEnd, Say, be_child, end_of, listening, run_child
from powercut_lab.crash.dying_disk import AtCall
from powercut_lab.crash.tables import KILLS, PROTOCOLS
from powercut_lab.crash.trials import (
    NOTHING,
    Counts,
    Protocol,
    acknowledged_of,
    judge,
    recovered_of,
)
from powercut_lab.errors import LabError
from powercut_lab.study import Missing, Row, WorkUnit
from powercut_rig.errors import RigError
from powercut_rig.system.ptrace import run_traced, why_no_tracing

DISK_CALL: Final = "disk call"
SYSTEM_CALL: Final = "system call"
WITHIN: Final = "write, half done"

_PREFIXES: Final = {DISK_CALL: "kills at disk calls:", SYSTEM_CALL: "kills at system calls:"}
_UNIT_S: Final = 1.5
_SAVED_BEFORE: Final = 1
_IN_FLIGHT: Final = 2
_DEADLINE_S: Final = 60.0


@frozen
class Kill:
    """A death to be tried: the name of the call, and a process that goes on in a root and dies."""

    call: str
    run: Callable[[Path], ChildEnd] = field(eq=False, repr=False)


Level = Callable[[Protocol, int, Path], list[Kill]]
"""Every death of one level: by the protocol, the seed, and a root to rehearse in, undisturbed."""


def kill_units(seed: int, *, traces: bool) -> Iterator[WorkUnit]:
    """A unit for each protocol and level; `traces` says whether system calls can be met."""
    for label in PROTOCOLS:
        for level, prefix in _PREFIXES.items():
            if traces or level == DISK_CALL:
                work = partial(_work, label, level, seed)
                yield WorkUnit(f"{prefix} {label}", KILLS, work, _UNIT_S)


def why_no_system_calls() -> Missing | None:
    """The reason why no process is killed at system calls here; None where it can be."""
    reason = why_no_tracing()
    if reason is None:
        try:
            run_traced(lambda: None, timeout_s=10)
        except (RigError, OSError) as error:
            reason = f"A process cannot be traced here: {error}."
    if reason is None:
        return None
    remedy = "Run it on Linux on x86_64, where ptrace(2) is permitted."
    return Missing("SIGKILL at every system call", reason, remedy, _PREFIXES[SYSTEM_CALL])


def _work(label: str, level: str, seed: int, folder: Path) -> Iterator[Row]:
    kills = at_disk_calls if level == DISK_CALL else at_system_calls
    for call, counted in run_kills(Protocol(load_subject(label)), seed, folder, kills):
        yield (label, level, call, *counted.cells)


def run_kills(
    protocol: Protocol, seed: int, folder: Path, level: Level
) -> list[tuple[str, Counts]]:
    """Kill a process at one call after the other, each time on a copy of one store.

    The store has acknowledged groups 0 and 1; the process recovers and saves group 2.  The answer
    counts by the name of the call.  LabError where a process comes to its end all the same.
    """
    base, root = folder / "base", folder / "copy"
    base.mkdir(parents=True)
    begun = run_child(partial(protocol.goes_on, str(base), seed, _SAVED_BEFORE, None))
    if acknowledged_of(begun, NOTHING) != _SAVED_BEFORE:
        raise LabError(f"{protocol.subject.label} did not save two groups: {begun.said}.")
    counts: dict[str, Counts] = {}
    with _copied(base, root):
        kills = level(protocol, seed, root)
    for kill in kills:
        with _copied(base, root):
            end = kill.run(root)
            if not end.killed:
                raise LabError(f"A process was not killed at its {kill.call}: {end.said}.")
            judged = judge(protocol, str(root), seed, _IN_FLIGHT, end, _SAVED_BEFORE)
            after = run_child(partial(protocol.goes_on, str(root), seed, _IN_FLIGHT + 1, None))
            next_kept = recovered_of(after) >= judged.acknowledged
            counts.setdefault(kill.call, Counts()).add(judged, next_kept)
    return sorted(counts.items())


@contextlib.contextmanager
def _copied(base: Path, root: Path) -> Iterator[None]:
    shutil.copytree(base, root, symlinks=True)
    try:
        yield
    finally:
        shutil.rmtree(root)


def at_disk_calls(protocol: Protocol, seed: int, root: Path) -> list[Kill]:
    """The level of the disk's calls: before each, and when half of each write is done."""

    def kill(call: str, death: AtCall) -> Kill:
        return Kill(call, lambda root: _dies(protocol, seed, root, death))

    rehearsed = _dies(protocol, seed, root, None)
    found = []
    for number, call in enumerate(rehearsed.said[-1].get("calls", ())):
        found.append(kill(call, AtCall(number)))
        if call == "write":
            found.append(kill(WITHIN, AtCall(number, half=True)))
    return found


def _dies(protocol: Protocol, seed: int, root: Path, death: AtCall | None) -> ChildEnd:
    return run_child(partial(protocol.goes_on, str(root), seed, _IN_FLIGHT, death))


def at_system_calls(protocol: Protocol, seed: int, root: Path) -> list[Kill]:
    """The level of system calls, by ptrace: on the production disk, with nothing in between."""

    def kill(call: str, number: int) -> Kill:
        return Kill(call, lambda root: _dies_traced(protocol, seed, root, number)[0])

    _, calls = _dies_traced(protocol, seed, root, None)
    return [kill(call, number) for number, call in enumerate(calls)]


def _dies_traced(
    protocol: Protocol, seed: int, root: Path, number: int | None
) -> tuple[ChildEnd, tuple[str, ...]]:
    def work(say: Say) -> None:
        disk = protocol.subject.protocol.real_disk()
        protocol.process(disk, f"{root}{STORE}", seed, _IN_FLIGHT, say)

    with listening() as (send, hear):
        program = partial(be_child, work, send, _DEADLINE_S)
        run = run_traced(program, at=number, timeout_s=_DEADLINE_S)
        return end_of(run.status, hear()), run.calls
