"""A resource that is opened in steps, each undone in turn: also after an error, and at Ctrl-C."""

from __future__ import annotations

import abc
import contextlib
from types import TracebackType
from typing import Self


class ManagedResource(abc.ABC):
    """A context that opens its parts in `_open` and undoes them in reverse when it is left.

    Where `_open` fails half-way, what it had opened is undone before the error goes on.
    """

    _closing: contextlib.ExitStack | None = None

    @abc.abstractmethod
    def _open(self, undo: contextlib.ExitStack) -> None:
        """Open the parts one by one, each with what undoes it put on `undo`."""

    def open(self) -> Self:
        """Open it; whoever does so calls `close`, or uses it as a context instead."""
        with contextlib.ExitStack() as undo:
            self._open(undo)
            self._closing = undo.pop_all()
        return self

    def __enter__(self) -> Self:
        return self.open()

    def close(self) -> None:
        """Undo what was opened; harmless when that was done already."""
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
