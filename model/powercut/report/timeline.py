"""A timeline as a value: what ran when, in lanes, and which flush belongs to which sync.

Time is in one unit for all lanes: microseconds, or the numbers of records in a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

from attrs import evolve, field, frozen

Look = Literal["phase", "call", "sync", "write", "flush", "lost", "torn", "after"]
"""The kind of a span: a `sync` is a call that waits for the disk; `lost`, `torn` and `after` are
writes that a crash has undone, cut, or come before."""

LOOKS: Final[tuple[Look, ...]] = get_args(Look)
REQUESTS: Final[frozenset[Look]] = frozenset({"write", "flush", "lost", "torn", "after"})
"""The looks of what reaches a disk."""

Unit = Literal["us", "record"]

_LETTERS: Final[dict[Look, str]] = {"phase": "P", "call": "C", "sync": "S", "flush": "F"}


@frozen
class TimelineSpan:
    """Something that ran from `begin` to `end`, in the timeline's unit.

    `id` names it within its timeline.  `lane` is its column.  `bytes` and `offset_bytes` are those
    of a write.  `belongs_to` is the id of the span that it is part of: of a call its phase, of a
    request of the disk the sync that waited for it; empty where there is none.
    """

    id: str
    lane: str
    look: Look
    name: str
    begin: float
    end: float
    bytes: int = 0
    offset_bytes: int = 0
    belongs_to: str = ""


@frozen
class Cut:
    """A line across all lanes, such as a crash."""

    at: float
    name: str


@frozen
class Timeline:
    """Spans in lanes, from left to right as `lanes` names them; requests of a disk are last.

    `title` and `text` say in words what is shown, for those who cannot see it.  ValueError for a
    span that ends before it begins, in a lane that is not there, or with an id that another has.
    """

    title: str
    lanes: tuple[str, ...]
    spans: tuple[TimelineSpan, ...] = field(repr=lambda spans: f"<{len(spans)} spans>")
    unit: Unit = "us"
    text: str = ""
    cut: Cut | None = None

    def __attrs_post_init__(self) -> None:
        for span in self.spans:
            if span.end < span.begin or span.lane not in self.lanes:
                raise ValueError(f"{span} ends before it begins, or is in none of {self.lanes}.")
        if len({span.id for span in self.spans}) < len(self.spans):
            raise ValueError("Two spans have one id.")


@frozen
class SyncCost:
    """A sync, and the requests that reached the disk while it ran."""

    sync: TimelineSpan
    flushes: tuple[TimelineSpan, ...]
    writes: tuple[TimelineSpan, ...]

    @property
    def bytes(self) -> int:
        """The bytes of the writes."""
        return sum(write.bytes for write in self.writes)


def numbered(spans: Iterable[TimelineSpan]) -> tuple[TimelineSpan, ...]:
    """The spans in order of time with ids: P1, C1, S2, F1, W1. Calls and syncs share numbers."""
    counts: dict[str, int] = {}
    found = []
    for span in sorted(spans, key=lambda each: (each.begin, -each.end)):
        letter = _LETTERS.get(span.look, "W")
        counter = "C" if letter == "S" else letter
        counts[counter] = counts.get(counter, 0) + 1
        found.append(evolve(span, id=f"{letter}{counts[counter]}"))
    return tuple(found)


def joined(spans: Iterable[TimelineSpan]) -> tuple[TimelineSpan, ...]:
    """The spans, each call with its phase and each request of a disk with its sync.

    A request belongs to the sync that ran when it came, the last begun where several did.  A call
    belongs to the phase in which it began.  What came while none ran keeps the owner that it has.
    """
    spans = tuple(spans)
    phases = [span for span in spans if span.look == "phase"]
    syncs = [span for span in spans if span.look == "sync"]

    def owner(span: TimelineSpan) -> str:
        if span.look == "phase":
            return span.belongs_to
        running = _running(syncs if span.look in REQUESTS else phases, span.begin)
        return running.id if running else span.belongs_to

    return tuple(evolve(span, belongs_to=owner(span)) for span in spans)


def costs_of_syncs(timeline: Timeline) -> tuple[SyncCost, ...]:
    """Each sync of a timeline, in order, with what belongs to it."""
    return tuple(
        SyncCost(
            sync,
            tuple(s for s in timeline.spans if s.look == "flush" and s.belongs_to == sync.id),
            tuple(s for s in timeline.spans if _is_write(s) and s.belongs_to == sync.id),
        )
        for sync in timeline.spans
        if sync.look == "sync"
    )


def _running(among: Sequence[TimelineSpan], at: float) -> TimelineSpan | None:
    found = [span for span in among if span.begin <= at <= span.end]
    return max(found, key=lambda span: span.begin) if found else None


def _is_write(span: TimelineSpan) -> bool:
    return span.look in REQUESTS and span.look != "flush"
