"""Rounds in which all ways of saving take turns: what changes meanwhile hits all of them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from lastgood.errors import LastgoodWarning
from powercut_lab.latency.meter import Clock, Meter, Times, microseconds
from powercut_lab.latency.protocols import Parts, SaveSession, Way

Sample = tuple[str, int, tuple[int, ...]]
"""The way, the number of the round, and the microseconds of each phase."""


def settle(folder: Path) -> None:
    """Wait until nothing of the folder's file system is dirty. OSError."""
    if sys.platform != "linux":
        os.sync()
        return
    from powercut_rig.system.linux_syscalls import syncfs

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def take_turns(
    sessions: Mapping[str, SaveSession], rounds: range, settled: Callable[[], object]
) -> Iterator[tuple[str, int, Times]]:
    """Each saves once in each round; a round begins with the way after the one before.

    `settled` is called before each save, so that none pays for what another has left dirty.  Every
    way saves once before, which is not counted: the first save imports and opens what it needs.
    """
    names = list(sessions)

    def turn(name: str, number: int) -> Times:
        settled()
        times = sessions[name].save(number)
        sessions[name].clear()
        return times

    for name in names:
        turn(name, rounds.start)
    for number in rounds:
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            # Numbers grow, and the first was used by the save that does not count.
            yield name, number, turn(name, number + 1)


def measure(
    folder: Path, ways: Sequence[Way], parts: Parts, rounds: range, clock: Clock
) -> list[Sample]:
    """The samples of some rounds in an empty folder. OSError, and the errors of a library."""
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore", LastgoodWarning)  # a disk in memory promises little
        warnings.filterwarnings("ignore", module="torch")
        sessions: dict[str, SaveSession] = {}
        for number, way in enumerate(ways):
            home = folder / f"way-{number}"
            home.mkdir()
            sessions[way.name] = way.open(home, parts, Meter(clock))
            stack.callback(sessions[way.name].close)
        return [
            (name, number, microseconds(times))
            for name, number, times in take_turns(sessions, rounds, lambda: settle(folder))
        ]
