"""The raw table of observed saves, and the saves that its rows describe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from powercut.report.timeline import REQUESTS, SyncCost, Timeline, TimelineSpan, costs_of_syncs
from powercut.report.timeline_csv import COLUMNS, NUMERIC, from_row
from powercut_lab.observe.layers import CALLS, DISK, LATER, PHASES
from powercut_lab.study import Data, RawTable

EVENTS: Final = RawTable(
    "observe_events",
    ("fs", "protocol", "mode", "run", "source", *COLUMNS),
    NUMERIC | {"run"},
    "One event of a save: a phase, a call, or a write or flush of the disk; times in microseconds "
    "since the save began.",
)


@frozen
class ObservedSave:
    """One save that was observed; its spans are those of `Timeline`, with the later requests."""

    fs: str
    protocol: str
    mode: str
    run: int
    source: str
    spans: tuple[TimelineSpan, ...]

    @property
    def subject(self) -> str:
        """The protocol and the mode, as `powercut check` names them."""
        return f"{self.protocol}:{self.mode}"

    @property
    def sees_disk(self) -> bool:
        """The requests of the disk were recorded too. After any save something is written."""
        return any(span.lane == DISK for span in self.spans)

    @property
    def end_us(self) -> float:
        """The end of the last phase or call."""
        return max((s.end for s in self.spans if s.lane != DISK), default=0.0)

    @property
    def later(self) -> tuple[TimelineSpan, ...]:
        """The requests that came when the save had returned."""
        return tuple(span for span in self.spans if span.belongs_to == LATER)

    @property
    def timeline(self) -> Timeline:
        """The requests until the save returned."""
        lanes = (PHASES, CALLS, DISK) if self.sees_disk else (PHASES, CALLS)
        spans = tuple(span for span in self.spans if span.belongs_to != LATER)
        title = f"A save by {self.subject} on {self.fs}"
        return Timeline(title, lanes, spans, "us", in_words(spans))

    @property
    def costs(self) -> tuple[SyncCost, ...]:
        """Each sync call, with the flushes and writes that came while it ran."""
        return costs_of_syncs(self.timeline)

    def requests(self, look: str) -> list[TimelineSpan]:
        """The writes, or the flushes, until the save returned."""
        return [s for s in self.timeline.spans if s.look == look and s.look in REQUESTS]


def observed_saves(data: Data) -> list[ObservedSave]:
    """The saves of the rows, in the order in which they were recorded. ValueError."""
    found: dict[tuple[str, str, str, int, str], list[TimelineSpan]] = {}
    for row in data.get(EVENTS.name, ()):
        key = (
            str(row["fs"]), str(row["protocol"]), str(row["mode"]), int(row["run"]),
            str(row["source"]),
        )  # fmt: skip
        found.setdefault(key, []).append(from_row(row))
    return [ObservedSave(*key, tuple(spans)) for key, spans in found.items()]


def in_words(spans: Sequence[TimelineSpan]) -> str:
    """A timeline in words, for those who cannot see it."""
    phases = "; ".join(
        f"{s.name} {s.begin / 1000:.1f} to {s.end / 1000:.1f} ms"
        for s in spans
        if s.look == "phase"
    )
    syncs = []
    for sync in (s for s in spans if s.look == "sync"):
        own = [s.id for s in spans if s.look == "flush" and s.belongs_to == sync.id]
        syncs.append(f"{sync.id} {sync.name}: {', '.join(own) or 'no flush'}")
    return f"Phases: {phases or 'none'}. Syncs and their flushes: {'; '.join(syncs) or 'none'}."
