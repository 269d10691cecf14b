"""Threads that share the work of a save or a load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final

from lastgood.parts.verify import RejectedError, Unit
from lastgood.threads import SHARED_BYTES, share

_MOST: Final = 16

Check = Callable[[Unit], RejectedError | None]
ParallelMap = Callable[[Check, Iterable[Unit]], Iterable[RejectedError | None]]
"""A function that applies a check to every unit: `map`, or one that does it in several threads.

The answers come in the order of the units, so that the reason does not depend on who was faster.
"""


def default_workers() -> int:
    """Two more than there are processors: while some wait for the disk, others work."""
    return min(_MOST, 2 + (os.cpu_count() or 1))


def new_parallel_map(workers: int) -> ParallelMap:
    """`map` for several threads, up to the first answer that is not None.

    The answers come in the order of what was given, whoever was faster.
    """

    def parallel_map(check: Check, given: Iterable[Unit]) -> Iterable[RejectedError | None]:
        units = list(given)
        is_small = sum(unit.size_bytes for unit in units) < SHARED_BYTES
        if workers == 1 or len(units) < 2 or is_small:
            return map(check, units)
        # Whoever found damage does not wait for the rest to be read.
        return share(check, units, min(workers, len(units)) - 1)

    return parallel_map
