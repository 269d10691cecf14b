"""A recording in a form that is small enough to draw: ops, writes, flushes, in their order."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from powercut_rig.blocks.block_log import BlockLog, LoggedFlush, LoggedMark


@frozen
class TimelineEntry:
    """One record of the log: an op that begins or ends, a note, a write or a flush.

    `bytes` counts a write's; `place` is its record's number in the log.
    """

    kind: Literal["begin", "end", "note", "write", "flush"]
    place: int
    label: str = ""
    offset_bytes: int = 0
    bytes: int = 0


@frozen
class Timeline:
    """The records of a recording, in a form that is small enough to draw."""

    title: str
    entries: tuple[TimelineEntry, ...]

    @classmethod
    def of(cls, log: BlockLog, title: str) -> Timeline:
        """The timeline of a log."""
        return cls(title, tuple(_entry(place, record) for place, record in enumerate(log.records)))


def _entry(place: int, record: object) -> TimelineEntry:
    if isinstance(record, LoggedMark):
        return TimelineEntry(record.phase, place, record.label)
    if isinstance(record, LoggedFlush):
        return TimelineEntry("flush", place)
    offset, data = getattr(record, "offset_bytes", 0), getattr(record, "data", b"")
    return TimelineEntry("write", place, offset_bytes=offset, bytes=len(data))
