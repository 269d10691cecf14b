"""How many threads share the work of a save or a load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from lastgood.parts.verify import RejectedError, Unit

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_MOST: Final = 16

ParallelMap = Callable[
    [Callable[[Unit], RejectedError | None], Iterable[Unit]], Iterable[RejectedError | None]
]
"""How a check is applied to every unit: `map`, or something that does it in several threads.

The answers come in the order of the units, so that the reason does not depend on who was faster.
"""


def default_workers() -> int:
    """Two more than there are processors: while some wait for the disk, others work."""
    return min(_MOST, 2 + (os.cpu_count() or 1))


def new_parallel_map(workers: int) -> ParallelMap:
    """`map` for several threads, up to the first answer that is not None.

    The answers come in the order of what was given, whoever was faster.
    """

    def parallel_map(
        check: Callable[[_In], _Out | None], given: Iterable[_In]
    ) -> Iterable[_Out | None]:
        items = list(given)
        if workers == 1 or len(items) < 2:
            return map(check, items)
        return _in_threads(check, items, workers)

    return parallel_map


def _in_threads(
    check: Callable[[_In], _Out | None], items: list[_In], workers: int
) -> list[_Out | None]:
    answers: list[_Out | None] = []
    pool = ThreadPoolExecutor(min(workers, len(items)), "lastgood-verify")
    try:
        running = [pool.submit(check, item) for item in items]
        for each in running:
            answers.append(each.result())
            if answers[-1] is not None:
                break
    finally:
        # Whoever found damage does not wait for the rest to be read.
        pool.shutdown(wait=True, cancel_futures=True)
    return answers
