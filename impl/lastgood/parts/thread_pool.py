"""Threads that share the work of a save or a load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from lastgood.parts.verify import RejectedError, Unit

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
        units, answers = list(given), list[RejectedError | None]()
        if workers == 1 or len(units) < 2:
            return map(check, units)
        pool = ThreadPoolExecutor(min(workers, len(units)), "lastgood-verify")
        try:
            for running in [pool.submit(check, unit) for unit in units]:
                answers.append(running.result())
                if answers[-1] is not None:
                    break
        finally:
            # Whoever found damage does not wait for the rest to be read.
            pool.shutdown(wait=True, cancel_futures=True)
        return answers

    return parallel_map
