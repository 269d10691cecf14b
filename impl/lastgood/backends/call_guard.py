"""This process: which of its threads is in a store, and whether it is a fork of another one."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from threading import Condition, RLock, local
from typing import Final

from lastgood.errors import UsageError

_living: Final[weakref.WeakSet[CallGuard]] = weakref.WeakSet()
_LOOK_AGAIN_S: Final = 1.0
"""Ctrl-C may come between the end of a turn and the word of it to those who wait."""


class _Myself(local):
    """An object of each thread's own. A thread's number may be another one's later."""

    def __init__(self) -> None:
        self.token = object()


_myself: Final = _Myself()


class CallGuard:
    """One call at a time. Other threads wait; a call from inside a call is refused.

    A signal handler, or the source of a part, runs in the thread of the save that it interrupts:
    if it waited for that save to end, it would wait for ever. A turn may end in another thread than
    it began in: `attempt()` is a block that any thread may leave.

    `is_forked` is true in a forked child, where nobody has a turn: the thread that had one in the
    parent does not exist there.
    """

    def __init__(self, what: str) -> None:
        """Name what the turns are for, as an error says it."""
        self.is_forked = False
        self._what = what
        self._turn: object | None = None
        self._owner: object | None = None
        self._doing = ""
        # Re-entrant: a signal that finds it taken by its own thread does not wait for it. Its
        # handler has had its turn, or was refused one, before this thread goes on.
        self._changed = Condition(RLock())
        _living.add(self)

    @contextlib.contextmanager
    def enter(self, doing: str) -> Iterator[None]:
        """Wait for the turn and keep it. UsageError where this thread has it already."""
        turn = object()
        try:
            self._take(turn, doing)
            yield
        finally:
            # First, and without a call, at which Ctrl-C could come: whoever has the turn ends it.
            if self._turn is turn:
                self._turn = None
            with self._changed:
                self._changed.notify()

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads."""
        self.is_forked = True
        self._turn = None
        self._changed = Condition(RLock())

    def _take(self, turn: object, doing: str) -> None:
        me = _myself.token
        with self._changed:
            while self._turn is not None:
                if self._owner is me:
                    raise UsageError(
                        f"{_a(self._doing)} of this thread is still going on in {self._what}: "
                        f"{_a(doing)} cannot begin inside it (in a signal handler, or in the "
                        "source of a part). Nothing was changed by the second call. Make it after "
                        "the first one."
                    )
                self._changed.wait(_LOOK_AGAIN_S)
            self._owner, self._doing, self._turn = me, doing, turn


def _a(doing: str) -> str:
    """A call with its article."""
    return f"{'an' if doing[0] in 'aeiou' else 'a'} {doing}"


def _forget_in_child() -> None:
    for turns in list(_living):
        turns.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_in_child)
