"""Damaged ranges of parts: bytes that are not those that were saved. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from attrs import asdict, evolve, frozen

_SHOWN: Final = 8


@frozen
class Damaged:
    """A range of bytes of a part that is not what was saved; `reason` as that of a rejection.

    `chunk` is the number of the first damaged chunk, from 0, and `chunks` how many there are in a
    row. Where the part has no chunks (or is missing, or longer than it was) these are None and 0:
    then nothing smaller than this range could be told apart.
    """

    part: str
    reason: str
    offset_bytes: int
    size_bytes: int
    chunk: int | None = None
    chunks: int = 0

    def as_json(self) -> dict[str, Any]:
        """The range as JSON can say it."""
        return asdict(self)

    def __str__(self) -> str:
        where = f"bytes {self.offset_bytes} to {self.offset_bytes + self.size_bytes - 1}"
        if not self.size_bytes:
            where = "no byte"
        if self.chunk is None:
            return f"{where} of {self.part!r}"
        last = self.chunk + self.chunks - 1
        numbers = f"chunk {self.chunk}" if self.chunks == 1 else f"chunks {self.chunk} to {last}"
        return f"{where} of {self.part!r} ({numbers})"


def merge_ranges(damaged: Iterable[Damaged]) -> tuple[Damaged, ...]:
    """The same ranges, chunks that follow each other taken together. Given in order."""
    found: list[Damaged] = []
    for each in damaged:
        last = found[-1] if found else None
        if (
            last is not None
            and last.chunk is not None
            and each.chunk == last.chunk + last.chunks
            and (each.part, each.reason) == (last.part, last.reason)
        ):
            size_bytes, chunks = last.size_bytes + each.size_bytes, last.chunks + each.chunks
            found[-1] = evolve(last, size_bytes=size_bytes, chunks=chunks)
        else:
            found.append(each)
    return tuple(found)


def describe_damage(damaged: tuple[Damaged, ...]) -> str:
    """The amount and the places of damage, for people; of many ranges the first few."""
    lost = sum(each.size_bytes for each in damaged)
    more = f" and {len(damaged) - _SHOWN} more ranges" if len(damaged) > _SHOWN else ""
    where = ", ".join(map(str, damaged[:_SHOWN]))
    return f"{lost} bytes are damaged in all: {where}{more}"
