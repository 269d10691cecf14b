"""Figures that travel: ratios of runs that take turns, their median and an interval."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

RESAMPLES = 4000


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(
    works: Mapping[str, Callable[[], object]],
    runs: int,
    before_each: Callable[[], object],
    *,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """The seconds of each, in `runs` rounds; each round begins with another one.

    With `warm_up` each is carried out once before, which does not count: the first time imports
    what it needs.
    """
    took: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values() if warm_up else ():
        before_each()
        work()
    names = list(works)
    for turn in range(runs):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            before_each()
            took[name].append(seconds(works[name]))
    return took


def ratio(of: Sequence[float], by: Sequence[float]) -> tuple[float, float, float]:
    """The median over pairs of `by` / `of` (a speed-up), and its 95 % interval by bootstrap."""
    pairs = [b / o for o, b in zip(of, by, strict=True)]
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    low, high = medians[RESAMPLES // 40], medians[-RESAMPLES // 40 - 1]
    return statistics.median(pairs), low, high


def shown(of: Sequence[float], by: Sequence[float]) -> str:
    """A ratio for people."""
    middle, low, high = ratio(of, by)
    return f"{middle:5.2f}  [{low:.2f}, {high:.2f}]"
