"""A deadline for a piece of work in this process: nothing that looks at a crash image may hang."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class DeadlineError(BaseException):
    """The time is over. Not an Exception: code under test must not take it for a failed read."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `DeadlineError` in the main thread when the block takes longer than that."""

    def over(_signal: int, _frame: object) -> None:
        raise DeadlineError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
