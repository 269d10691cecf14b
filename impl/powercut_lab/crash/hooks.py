"""Part 1: processes that die at the paper's crash points, in every mode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from powercut.simulation.subject import load_subject
from powercut_lab.crash.children import run_child
from powercut_lab.crash.crash_points import POINTS, PlacedPoint, commit_step, place
from powercut_lab.crash.dying_disk import AtStep
from powercut_lab.crash.groups import GROUPS_A_RUN, RUNS
from powercut_lab.crash.tables import HOOKS, PROTOCOLS
from powercut_lab.crash.trials import (
    NOTHING,
    Counts,
    Judged,
    Protocol,
    judge,
    recovered_of,
)
from powercut_lab.errors import LabError
from powercut_lab.study import Row, Size, WorkUnit

QUICK_RUNS, QUICK_GROUPS = 2, 5
_TRIAL_S = 0.03


def hook_units(size: Size, seed: int) -> Iterator[WorkUnit]:
    """A unit for each protocol and point; runs and groups are the paper's, but under quick."""
    runs, groups = (QUICK_RUNS, QUICK_GROUPS) if size == "quick" else (RUNS, GROUPS_A_RUN)
    for label in PROTOCOLS:
        for point in POINTS:
            work = partial(_work, label, point, range(seed, seed + runs), groups)
            key = f"hooks {label} {point}, {runs} x {groups}"
            yield WorkUnit(key, HOOKS, work, runs * groups * _TRIAL_S)


def _work(label: str, point: str, seeds: range, groups: int, folder: Path) -> Iterator[Row]:
    subject = load_subject(label)
    placed = place(point, commit_step(subject.name, subject.mode))
    for seed in seeds:
        counts = run_hooks(Protocol(subject), placed, seed, groups, folder / str(seed))
        for reason, counted in sorted(counts.items()):
            yield (label, point, placed.where, seed, reason, *counted.cells)


def run_hooks(
    protocol: Protocol, placed: PlacedPoint, seed: int, groups: int, root: Path
) -> dict[str, Counts]:
    """One run: each of its groups is once in flight when its process dies; counts by reason.

    Group 0 is saved and acknowledged first.  After each death the next process recovers, saves
    what is missing, and is itself killed in the group that follows: the trials of a run share one
    store, so that recoveries meet what earlier deaths have left.  LabError where the point is not
    reached.
    """
    root.mkdir(parents=True)
    counts: dict[str, Counts] = {}
    owed = NOTHING
    before: Judged | None = None
    for group in range(1, groups + 2):
        step = placed.step if group <= groups else None  # the last process lives
        end = run_child(partial(protocol.goes_on, str(root), seed, group, step))
        if before is not None:
            counts.setdefault(before.reason, Counts()).add(before, recovered_of(end) >= owed)
        if group <= groups:
            _require_met(step, end.killed, any(said.get("met") for said in end.said), placed)
            before = judge(protocol, str(root), seed, group, end, owed)
            owed = before.acknowledged
    return counts


def _require_met(step: AtStep | None, killed: bool, met: bool, placed: PlacedPoint) -> None:
    if step is not None and not killed and not met:
        raise LabError(f"The process came to its end without this: {placed.where}.")
