"""A recording as a timeline: ops, and the writes and flushes between them, in the log's order."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from powercut.report.timeline import Cut, Look, Timeline, TimelineSpan, joined, numbered
from powercut_rig.blocks.block_log import BlockLog, LoggedFlush, LoggedMark, LoggedWrite, Recipe

OPS, DISK = "ops", "writes and flushes"


def timeline_of(log: BlockLog, title: str) -> Timeline:
    """The timeline of a log: time is the number of a record."""
    spans = joined(numbered([*_ops(log), *_requests(log)]))
    return Timeline(title, (OPS, DISK), spans, "record")


def with_crash(timeline: Timeline, recipe: Recipe) -> Timeline:
    """The timeline with the cut that a recipe makes, and the writes that did not land."""
    torn = {tear.index for tear in recipe.torn}

    def look(span: TimelineSpan) -> Look:
        if span.look != "write":
            return span.look
        if span.begin >= recipe.position:
            return "after"
        if span.begin in torn:
            return "torn"
        return "lost" if span.begin in recipe.dropped else "write"

    spans = tuple(evolve(span, look=look(span)) for span in timeline.spans)
    return evolve(timeline, spans=spans, cut=Cut(recipe.position - 0.5, "the cut"))


def _ops(log: BlockLog) -> Iterator[TimelineSpan]:
    begun = 0
    for place, record in enumerate(log.records):
        if isinstance(record, LoggedMark) and record.phase == "begin":
            begun = place
        elif isinstance(record, LoggedMark) and record.phase == "end":
            look: Look = "sync" if "sync" in record.label else "call"
            yield TimelineSpan("", OPS, look, record.label, begun, place)


def _requests(log: BlockLog) -> Iterator[TimelineSpan]:
    for place, record in enumerate(log.records):
        if isinstance(record, LoggedFlush):
            yield TimelineSpan("", DISK, "flush", "flush", place, place)
        elif isinstance(record, LoggedWrite):
            size, offset = len(record.data), record.offset_bytes
            yield TimelineSpan("", DISK, "write", "write", place, place, size, offset)
