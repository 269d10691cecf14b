"""Timelines that nobody shaped, and one that somebody did."""

from __future__ import annotations

from hypothesis import strategies as st

from powercut.report.timeline import REQUESTS, Look, Timeline, TimelineSpan, joined, numbered

LANES = ("phases", "calls", "disk")
NAMES = st.text(st.characters(), max_size=30)
_LANE_OF: dict[Look, str] = {"phase": "phases", "call": "calls", "sync": "calls"}


@st.composite
def a_span(draw: st.DrawFn) -> TimelineSpan:
    look: Look = draw(st.sampled_from(["phase", "call", "sync", "write", "flush"]))
    begin = draw(st.integers(0, 30_000))
    length = 0 if look in REQUESTS else draw(st.integers(0, 9_000))
    size = draw(st.integers(1, 1 << 21)) if look == "write" else 0
    name = draw(NAMES)
    return TimelineSpan(
        "", _LANE_OF.get(look, "disk"), look, name, begin, begin + length, size, size * 8
    )


TIMELINES = st.lists(a_span(), max_size=30).map(
    lambda spans: Timeline("A save", LANES, joined(numbered(spans)))
)


def a_save() -> Timeline:
    """Two syncs with three flushes between them, and one sync that has none."""
    spans = [
        TimelineSpan("", "phases", "phase", "write parts", 0, 100),
        TimelineSpan("", "phases", "phase", "sync parts", 100, 900),
        TimelineSpan("", "calls", "call", "write model.bin", 10, 40, 4096),
        TimelineSpan("", "calls", "sync", "fsync model.bin", 110, 500),
        TimelineSpan("", "calls", "sync", "fsync optim.bin", 510, 600),
        TimelineSpan("", "calls", "sync", "fsync group", 700, 710),
        TimelineSpan("", "disk", "write", "write", 60, 60, 4096, 8192),
        TimelineSpan("", "disk", "write", "write", 200, 200, 8192, 0),
        TimelineSpan("", "disk", "flush", "flush", 300, 300),
        TimelineSpan("", "disk", "flush", "flush", 400, 400),
        TimelineSpan("", "disk", "flush", "flush", 550, 550),
    ]
    return Timeline("A save", LANES, joined(numbered(spans)))
