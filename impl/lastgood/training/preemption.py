"""Preemption: a signal asks the run to save and leave, at the next step that it likes."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from types import FrameType
from typing import Any, Final, Self

from lastgood.errors import UsageError

_NEVER: Final = frozenset(
    # Windows has neither; what is imported there says that it is not supported.
    getattr(signal, name)
    for name in ("SIGKILL", "SIGSTOP")
    if hasattr(signal, name)
)


class Preemption:
    """While it is entered, SIGTERM sets `requested`, and the run leaves where it likes.

        with Preemption() as stop:
            for step in steps:
                train(step)
                if stop.requested or store.is_due(step):
                    store.save(step, parts)
                stop.leave_if_requested()

    A signal may come at any moment, between the `if` and `leave_if_requested` as well. The run
    leaves for it only once it has been told of it before, by either of the two: so it has had its
    chance to save.

    The handlers that were there before come back at the end. A handler that a scheduler's library
    had set is called as well. Only the main thread may enter it, as with every signal handler,
    and not twice at once; when it was left it may be entered again.

    UsageError for what is no signal or cannot be caught, such as SIGKILL, when it is made; and
    where it cannot be entered: no handler was changed.
    """

    def __init__(self, signals: Iterable[int] = (signal.SIGTERM,)) -> None:
        self._signals = _catchable(signals)
        self._before: dict[int, Any] = {}
        self._is_entered = False
        self._is_told = False
        self.signum: int | None = None

    @property
    def requested(self) -> bool:
        """A signal has come. Who reads this has been told, and saves now or not at all."""
        # Looked at once: a signal after that is for the next look.
        has_come = self.signum is not None
        if has_come:
            self._is_told = True
        return has_come

    def leave_if_requested(self) -> None:
        """Raise SystemExit with 128 + the signal's number, as a shell would see it.

        Not where nobody has been told of the signal yet: then the next call does.
        """
        if self.signum is not None and self._is_told:
            raise SystemExit(128 + self.signum)
        self._is_told = self.signum is not None

    def __enter__(self) -> Self:
        if self._is_entered:
            raise UsageError(
                "this Preemption is entered already, and would call itself for ever. No handler "
                "was changed. Make another one, or ask the one that is entered."
            )
        try:
            for number in self._signals:
                self._before[number] = signal.signal(number, self._note)
        except (ValueError, OSError) as error:
            self._restore()
            names = ", ".join(map(_named, self._signals))
            hint = " Enter this in the main thread." if isinstance(error, ValueError) else ""
            raise UsageError(
                f"{names} cannot be caught here: {error}. The handlers are as they were.{hint}"
            ) from error
        except BaseException:
            self._restore()
            raise
        self._is_entered = True
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_entered = False
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signum = number
        earlier = self._before.get(number)
        if callable(earlier) and earlier is not signal.default_int_handler:
            earlier(number, frame)

    def _restore(self) -> None:
        """Put every handler back, whichever of them fails: the first failure is raised then."""
        failed: Exception | None = None
        for number, handler in self._before.items():
            try:
                # None stands for a handler that was not set by Python, which cannot be put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            except (ValueError, OSError) as error:
                failed = failed or error
        self._before.clear()
        if failed is not None:
            raise failed


def _catchable(signals: Iterable[int]) -> tuple[int, ...]:
    """The signals, each once. UsageError for what no handler can be set for."""
    if isinstance(signals, int):
        raise UsageError(f"signals is {signals!r}, expected several: [signal.SIGTERM], say.")
    found: dict[int, None] = {}
    for number in signals:
        is_number = isinstance(number, int) and not isinstance(number, bool)
        if not is_number or number not in signal.valid_signals():
            raise UsageError(
                f"{number!r} is no signal here, expected such as signal.SIGTERM. No handler was "
                "changed."
            )
        if number in _NEVER:
            raise UsageError(
                f"{_named(number)} cannot be caught by any program. No handler was changed. "
                "Schedulers send SIGTERM, or another one that they name, before it."
            )
        found[number] = None
    return tuple(found)


def _named(number: int) -> str:
    """A signal for people; those of POSIX's real-time range have no name."""
    return next((each.name for each in signal.Signals if each == number), f"signal {number}")
