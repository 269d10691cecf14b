"""Preemption: a signal asks the run to save and leave, at the next step that it likes."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Self

from lastgood.errors import UsageError


class Preemption:
    """While it is entered, SIGTERM sets `requested` and nothing else.

        with Preemption() as stop:
            for step in steps:
                train(step)
                if stop.requested or store.is_due(step):
                    store.save(step, parts)
                stop.leave_if_requested()

    The handlers that were there before come back at the end. A handler that a scheduler's library
    had set is called as well. Only the main thread may enter it, as with every signal handler.
    """

    def __init__(self, signals: Iterable[int] = (signal.SIGTERM,)) -> None:
        self._signals = tuple(signals)
        self._before: dict[int, Any] = {}
        self.signum: int | None = None

    @property
    def requested(self) -> bool:
        """A signal has come."""
        return self.signum is not None

    def leave_if_requested(self) -> None:
        """Raise SystemExit with 128 + the signal's number, as a shell would see it."""
        if self.signum is not None:
            raise SystemExit(128 + self.signum)

    def __enter__(self) -> Self:
        try:
            for number in self._signals:
                self._before[number] = signal.signal(number, self._note)
        except ValueError as error:
            self._restore()
            raise UsageError(
                f"signals {self._signals} cannot be caught here: {error}. Nothing was changed. "
                "Enter this in the main thread."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signum = number
        earlier = self._before.get(number)
        if callable(earlier) and earlier is not signal.default_int_handler:
            earlier(number, frame)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not set by Python, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
