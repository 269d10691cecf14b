"""The bytes of a file, as runs: a gibibyte of one byte costs what a kibibyte does.

A file is a size and a sorted tuple of runs that do not overlap.  What no run covers reads as
zeros.  A run holds literal bytes, one repeated byte, or STALE: bytes that were never written
to this file and that a crash may expose (old contents of the blocks it was given).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from attrs import frozen

STALE: Final = None
"""The payload of bytes that nobody wrote to this file."""

STALE_BYTE: Final = 0xDB
"""What a program reads where the content is STALE; any value would do."""

PAGE_BYTES: Final = 4096
"""What a kernel keeps of a file in memory, and writes back, as one."""

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
class ByteRun:
    """The half-open byte range [start, stop) of a file and what it holds."""

    start: int
    stop: int
    payload: Payload

    def cut(self, start: int, stop: int) -> ByteRun:
        """The part of this run inside [start, stop), which must not be empty."""
        start, stop = max(start, self.start), min(stop, self.stop)
        payload = self.payload
        if isinstance(payload, bytes):
            payload = payload[start - self.start : stop - self.start]
        return ByteRun(start, stop, payload)

    def read(self) -> bytes:
        """The bytes that a program reads; STALE reads as STALE_BYTE."""
        if isinstance(self.payload, bytes):
            return self.payload
        byte = STALE_BYTE if self.payload is None else self.payload
        return bytes([byte]) * (self.stop - self.start)


def run_of(start: int, data: Data) -> ByteRun:
    """The run that a write of `data` at `start` makes."""
    if isinstance(data, Fill):
        if data.size_bytes > _EXPAND_LIMIT_BYTES:
            return ByteRun(start, start + data.size_bytes, data.byte)
        data = bytes([data.byte]) * data.size_bytes
    return ByteRun(start, start + len(data), data)


def page_end(offset: int) -> int:
    """The end of the last page that begins before `offset`."""
    return -(-offset // PAGE_BYTES) * PAGE_BYTES


@frozen
class Content:
    """An immutable file content: `size` bytes, of which the runs say all that is not zero."""

    size: int = 0
    runs: tuple[ByteRun, ...] = ()

    def overlay(self, run: ByteRun) -> Content:
        """This content with `run` written over it. The size does not change."""
        if run.start >= run.stop:
            return self
        runs = self.runs
        first = bisect_right(runs, run.start, key=lambda r: r.stop)
        behind = bisect_left(runs, run.stop, lo=first, key=lambda r: r.start)
        middle = [run]
        if first < behind:  # runs that the new one covers, the outer ones perhaps in part
            left, right = runs[first], runs[behind - 1]
            if left.start < run.start:
                middle.insert(0, left.cut(left.start, run.start))
            if right.stop > run.stop:
                middle.append(right.cut(run.stop, right.stop))
        return Content(self.size, (*runs[:first], *middle, *runs[behind:]))

    def underlay(self, run: ByteRun) -> Content:
        """This content with `run` showing only where nothing was written before."""
        filled = Content(self.size).overlay(run)
        for older in self.runs:
            filled = filled.overlay(older)
        return filled

    def truncate(self, size: int) -> Content:
        """This content cut or extended to `size`, as programs see it: zeros behind a cut."""
        if size >= self.size and all(r.stop <= size for r in self.runs):
            return Content(size, self.runs)
        return Content(size, tuple(r.cut(0, size) for r in self.runs if r.start < size))

    def cut(self, size: int) -> Content:
        """This content cut to `size`, as the medium has it: the rest of the page stays, unseen."""
        return self.truncate(page_end(size)).resize(size)

    def resize(self, size: int) -> Content:
        """This content with another size and every byte kept, those beyond the size unseen."""
        return Content(size, self.runs)

    @property
    def hidden(self) -> int:
        """The end of what is there behind the size, unseen; the size where nothing is."""
        return max(self.size, self.runs[-1].stop) if self.runs else self.size

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

    @cached_property
    def _look(self) -> tuple[object, ...]:
        return (self.size, *_canonical(self._segments()))

    def look(self) -> tuple[object, ...]:
        """A hashable form, equal for two contents that no program could tell apart.

        STALE is told apart from the byte that it reads as: it stands for any bytes at all.
        """
        return self._look

    def _segments(self) -> Iterator[ByteRun]:
        """All of [0, size) in order, what was never written as zeros."""
        at = 0
        for run in self.runs:
            if run.start >= self.size:
                break
            if run.start > at:
                yield ByteRun(at, run.start, 0)
            shown = run.cut(run.start, self.size)
            yield shown
            at = shown.stop
        if at < self.size:
            yield ByteRun(at, self.size, 0)


def _canonical(segments: Iterator[ByteRun]) -> Iterator[tuple[int, Payload, int]]:
    """The one form of a content: uniform stretches longer than a limit, and literal bytes between.

    Long stretches of zeros are left out. However the bytes were written, the form is the same.
    """
    start, literal = 0, bytearray()
    fill: tuple[int, int, int] | None = None  # a long stretch that may still grow
    for run in _merged(segments):
        if isinstance(run.payload, bytes):
            if fill is not None and not literal:
                body = run.payload.lstrip(bytes([fill[1]]))
                fill = (fill[0], fill[1], run.stop - len(body))
                start, literal = fill[2], bytearray(body)
            else:
                start = start if literal else run.start
                literal += run.payload
            continue
        if isinstance(run.payload, int):
            body = bytes(literal).rstrip(bytes([run.payload]))
            run = ByteRun(run.start - (len(literal) - len(body)), run.stop, run.payload)  # noqa: PLW2901
            literal = bytearray(body)
            if fill is not None and not literal and fill[1] == run.payload:
                fill = (fill[0], fill[1], run.stop)
                continue
        yield from _shown(fill)
        yield from _split(start, bytes(literal))
        fill, literal = None, bytearray()
        if run.payload is None:
            yield run.start, None, run.stop
        elif isinstance(run.payload, int):
            fill = (run.start, run.payload, run.stop)
    yield from _shown(fill)
    yield from _split(start, bytes(literal))


def _shown(fill: tuple[int, int, int] | None) -> Iterator[tuple[int, Payload, int]]:
    if fill is not None and fill[1] != 0:
        yield fill


def _merged(segments: Iterator[ByteRun]) -> Iterator[ByteRun]:
    """Neighbours with one byte joined; then the short ones spelt out."""
    last: ByteRun | None = None
    for run in segments:
        if last is not None and last.payload == run.payload and not isinstance(run.payload, bytes):
            last = ByteRun(last.start, run.stop, run.payload)
            continue
        if last is not None:
            yield _spelt_out(last)
        last = run
    if last is not None:
        yield _spelt_out(last)


def _spelt_out(run: ByteRun) -> ByteRun:
    size = run.stop - run.start
    if isinstance(run.payload, int) and size <= _EXPAND_LIMIT_BYTES:
        return ByteRun(run.start, run.stop, bytes([run.payload]) * size)
    return run


def _split(start: int, literal: bytes) -> Iterator[tuple[int, Payload, int]]:
    """Literal bytes with every uniform stretch beyond the limit taken out of them."""
    at = 0
    for low, high in _long_stretches(literal):
        if low > at:
            yield start + at, literal[at:low], start + low
        yield from _shown((start + low, literal[low], start + high))
        at = high
    if at < len(literal):
        yield start + at, literal[at:], start + len(literal)


def _long_stretches(literal: bytes) -> Iterator[tuple[int, int]]:
    """The uniform stretches longer than the limit. Linear: each must hold one of the probes."""
    limit = _EXPAND_LIMIT_BYTES
    done = probe = 0
    while probe < len(literal) and len(literal) > limit:
        byte = literal[probe : probe + 1]
        before = literal[max(done, probe - limit) : probe]
        low = probe - (len(before) - len(before.rstrip(byte)))
        high = probe
        while window := literal[high : high + limit]:
            same = len(window) - len(window.lstrip(byte))
            high += same
            if same < limit:
                break
        if high - low > limit:
            yield low, high
            done = probe = high
        else:
            probe += limit


EMPTY: Final = Content()
"""A file of no bytes."""
