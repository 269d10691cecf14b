"""This process: which of its threads is in a store, and whether it is a fork of another one."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from threading import RLock
from typing import Final

from lastgood.errors import UsageError

_living: Final[weakref.WeakSet[CallGuard]] = weakref.WeakSet()


class CallGuard:
    """One call at a time. Other threads wait; a call from inside a call is refused.

    A signal handler, or the source of a part, runs in the thread of the save that it interrupts:
    if it waited for that save to end, it would wait for ever.

    `is_forked` is true in a forked child, where nobody has a turn: the thread that had one in the
    parent does not exist there.
    """

    def __init__(self, what: str) -> None:
        """Name what the turns are for, as an error says it."""
        self.is_forked = False
        self._what = what
        self._lock = RLock()
        self._doing: str | None = None
        _living.add(self)

    @contextlib.contextmanager
    def enter(self, doing: str) -> Iterator[None]:
        """Wait for the turn and keep it. UsageError where this thread has it already."""
        # Re-entrant, although no second entry is let in: so there is no instant at which a signal
        # finds the lock taken by its own thread and waits for it.
        with self._lock:
            if self._doing is not None:
                raise UsageError(
                    f"{_a(self._doing)} of this thread is still going on in {self._what}: "
                    f"{_a(doing)} cannot begin inside it (in a signal handler, or in the source of "
                    "a part). Nothing was changed by the second call. Make it after the first one."
                )
            self._doing = doing
            try:
                yield
            finally:
                self._doing = None

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads."""
        self.is_forked = True
        self._lock = RLock()
        self._doing = None


def _a(doing: str) -> str:
    """A call with its article."""
    return f"{'an' if doing[0] in 'aeiou' else 'a'} {doing}"


def _forget_in_child() -> None:
    for turns in list(_living):
        turns.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_in_child)
