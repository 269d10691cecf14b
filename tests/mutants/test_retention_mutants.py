"""Retention that stops verifying at the first group it remembers is refuted by a few damages.

powercut asks what is left to fall back to once the groups that were kept go bad one by one.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import pytest

import lastgood.retention.prune as pruning
import lastgood.writer.pruner as pruner
from powercut.checker.exhaustive import parts_of
from powercut.crash.space import Crash
from powercut.filesystem import ops
from powercut.profile import load_profile
from powercut.simulation.subject import load_subject
from powercut.simulation.world import CrashStep, Perform, Recover, SaveLive, Step, World

REMEMBERS: Final = load_subject("lastgood+remembers:atomic_dirsync")
COUNTED: Final = "                good.add(n)\n"
STOPS: Final = "                if answer is None:\n                    unverified = set()\n"


def save(number: int) -> SaveLive:
    return SaveLive(number, parts_of(number, 1))


def cut(number: int) -> Perform:
    """A part is cut short: the size shows it, so that nobody can take the file for the old one."""
    name = f"gen-{number:08}-step-{number:08}"
    return Perform(f"cut-{number}", ops.Damage(f"/ckpt/run/{name}/part1", "truncated"))


def stopping_at_the_first_remembered_group() -> Any:
    source = inspect.getsource(pruning.decide_prune)
    assert source.count(COUNTED) == 1
    namespace = dict(vars(pruning))
    exec(source.replace(COUNTED, COUNTED + STOPS), namespace)  # noqa: S102
    return namespace["decide_prune"]


def broken_by(damaged: int) -> set[str]:
    """The properties broken where one of three kept groups goes bad, a save prunes, and then the
    two that it counted for certain go bad as well."""
    world = World(load_profile("posix-minimal"), REMEMBERS)
    steps: list[Step] = [save(1), save(2), save(3), save(4), cut(damaged), save(5)]
    steps += [cut(n) for n in (5, 4, 3) if n != damaged][:2]
    for step in [*steps, Recover(), CrashStep(Crash("process")), Recover()]:
        world.apply(step)
    return {violation.property for violation in world.violations}


@pytest.mark.parametrize("damaged", [3, 4])
def test_three_undamaged_groups_are_kept_whatever_goes_bad_among_them(damaged: int) -> None:
    assert broken_by(damaged) == set()


def test_retention_that_stops_at_the_first_group_it_remembers_is_refuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruner, "decide_prune", stopping_at_the_first_remembered_group())

    assert broken_by(3) >= {"P2", "P3"}
