"""A timeline as rows, and rows as a timeline: the data beside the picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Final

from powercut.report.timeline import LOOKS, Timeline, TimelineSpan

COLUMNS: Final = (
    "id", "layer", "kind", "name", "begin_us", "end_us", "bytes", "offset", "belongs_to",
)  # fmt: skip
NUMERIC: Final = frozenset({"begin_us", "end_us", "bytes", "offset"})

Cell = str | int | float


def to_rows(spans: Iterable[TimelineSpan]) -> tuple[tuple[Cell, ...], ...]:
    """A row for each span, with a cell for each of `COLUMNS`."""
    return tuple(
        (s.id, s.lane, s.look, s.name, s.begin, s.end, s.bytes, s.offset_bytes, s.belongs_to)
        for s in spans
    )


def from_row(row: Mapping[str, Cell]) -> TimelineSpan:
    """The span of a row by column. ValueError for a kind that is not known or a cell of no use."""
    look = str(row["kind"])
    if look not in LOOKS:
        raise ValueError(f"The kind {look!r} was found; expected one of {', '.join(LOOKS)}.")
    return TimelineSpan(
        str(row["id"]),
        str(row["layer"]),
        look,
        str(row["name"]),
        float(row["begin_us"]),
        float(row["end_us"]),
        int(row["bytes"]),
        int(row["offset"]),
        str(row["belongs_to"]),
    )


def to_csv(timeline: Timeline) -> str:
    """All spans of a timeline as CSV with a heading, in order of time.

    The columns of time bear the unit of the timeline: `begin_us`, or `begin_record`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(column.replace("_us", f"_{timeline.unit}") for column in COLUMNS)
    writer.writerows(to_rows(sorted(timeline.spans, key=lambda each: (each.begin, each.end))))
    return text.getvalue()
