"""The bytes of a file, as runs: a gibibyte of one byte costs what a kibibyte does.

A file is a size and a sorted tuple of runs that do not overlap.  What no run covers reads as
zeros.  A run holds literal bytes, one repeated byte, or STALE: bytes that were never written
to this file and that a crash may expose (old contents of the blocks it was given).
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

STALE: Final = None
"""The payload of bytes that nobody wrote to this file."""

STALE_BYTE: Final = 0xDB
"""What a program reads where the content is STALE; any value would do."""

_EXPAND_LIMIT_BYTES = 4096  # short fills become literal bytes, so that equal contents compare equal


@frozen
class Fill:
    """`size_bytes` copies of one byte, as the data of a write."""

    byte: int
    size_bytes: int

    def __len__(self) -> int:
        return self.size_bytes


Data = bytes | Fill
"""What a program writes."""

Payload = bytes | int | None
"""What a run holds: literal bytes, one repeated byte, or STALE."""


@frozen
class Run:
    """The half-open byte range [start, stop) of a file and what it holds."""

    start: int
    stop: int
    payload: Payload

    def cut(self, start: int, stop: int) -> Run:
        """The part of this run inside [start, stop), which must not be empty."""
        start, stop = max(start, self.start), min(stop, self.stop)
        payload = self.payload
        if isinstance(payload, bytes):
            payload = payload[start - self.start : stop - self.start]
        return Run(start, stop, payload)

    def read(self) -> bytes:
        """The bytes that a program reads; STALE reads as STALE_BYTE."""
        if isinstance(self.payload, bytes):
            return self.payload
        byte = STALE_BYTE if self.payload is None else self.payload
        return bytes([byte]) * (self.stop - self.start)


def run_of(start: int, data: Data) -> Run:
    """The run that a write of `data` at `start` makes."""
    if isinstance(data, Fill):
        if data.size_bytes > _EXPAND_LIMIT_BYTES:
            return Run(start, start + data.size_bytes, data.byte)
        data = bytes([data.byte]) * data.size_bytes
    return Run(start, start + len(data), data)


@frozen
class Content:
    """An immutable file content: `size` bytes, of which the runs say all that is not zero."""

    size: int = 0
    runs: tuple[Run, ...] = ()

    def overlay(self, run: Run) -> Content:
        """This content with `run` written over it. The size does not change."""
        if run.start >= run.stop:
            return self
        before = [r.cut(0, run.start) for r in self.runs if r.start < run.start]
        after = [r.cut(run.stop, r.stop) for r in self.runs if r.stop > run.stop]
        return Content(self.size, (*before, run, *after))

    def underlay(self, run: Run) -> Content:
        """This content with `run` showing only where nothing was written before."""
        filled = Content(self.size).overlay(run)
        for older in self.runs:
            filled = filled.overlay(older)
        return filled

    def truncate(self, size: int) -> Content:
        """This content cut or extended to `size`; a cut kills the bytes behind it for good."""
        if size >= self.size and all(r.stop <= size for r in self.runs):
            return Content(size, self.runs)
        return Content(size, tuple(r.cut(0, size) for r in self.runs if r.start < size))

    def resize(self, size: int) -> Content:
        """This content with another size and every byte kept, those beyond the size unseen."""
        return Content(size, self.runs)

    def covers(self, start: int, stop: int) -> bool:
        """Some byte of [start, stop) was written, whether the size shows it or not."""
        return any(r.start < stop and r.stop > start for r in self.runs)

    def read(self) -> bytes:
        """All `size` bytes, as a program reads them."""
        out = bytearray(self.size)
        for run in self.runs:
            if run.start < self.size:
                shown = run.cut(run.start, self.size)
                out[shown.start : shown.stop] = shown.read()
        return bytes(out)

    def look(self) -> tuple[object, ...]:
        """A hashable form, equal for two contents that no program could tell apart.

        STALE is told apart from the byte that it reads as: it stands for any bytes at all.
        """
        shown: list[Run] = []
        for run in self.runs:
            if run.start >= self.size:
                continue
            part = run.cut(run.start, self.size)
            last = shown[-1] if shown else None
            if last is not None and last.stop == part.start:
                merged = _merge(last, part)
                if merged is not None:
                    shown[-1] = merged
                    continue
            shown.append(part)
        trimmed = (_trim_zeros(r) for r in shown)
        return (self.size, *((r.start, r.payload, r.stop) for r in trimmed if r is not None))


def _merge(left: Run, right: Run) -> Run | None:
    """Two adjacent runs as one, or None where they hold different kinds of payload."""
    if isinstance(left.payload, bytes) and isinstance(right.payload, bytes):
        return Run(left.start, right.stop, left.payload + right.payload)
    if left.payload == right.payload and not isinstance(left.payload, bytes):
        return Run(left.start, right.stop, left.payload)
    return None


def _trim_zeros(run: Run) -> Run | None:
    """A run without its leading and trailing zeros; None where nothing is left."""
    if run.payload == 0:
        return None
    if not isinstance(run.payload, bytes):
        return run
    body = run.payload.rstrip(b"\0")
    stop = run.start + len(body)
    body = body.lstrip(b"\0")
    return Run(stop - len(body), stop, body) if body else None


EMPTY: Final = Content()
"""A file of no bytes."""
