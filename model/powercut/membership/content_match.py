"""Fitting: what the observed bytes of a file say about the events that may have left them.

The file is divided where extents, truncations and its old content begin and end.  Of each stretch,
and of the size, it is asked which event may be the last there that landed: one that leaves just
what was observed.  Where data were lost and no rule promises zeros, any bytes will do.

Torn writes are cut where the observed content changes from one write's bytes to something else's.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from attrs import define, evolve, field, frozen

from powercut.filesystem.content import Content, Payload, page_end
from powercut.filesystem.events import Extent, Piece, Size
from powercut.profile import Profile


@frozen
class Requirement:
    """One place of a file: the events that compete for it, which may win, and whether none may.

    `what` says what was observed there, to be read after the file's path.
    """

    events: tuple[int, ...]
    allowed: tuple[bool, ...]
    base: bool
    what: Callable[[], str]


@frozen
class ContentMatch:
    """All demands of one content on one inode; `wrong` says which of them nothing can meet."""

    demands: tuple[Requirement, ...]
    wrong: Callable[[], str] | None = None


@define
class FileHistory:
    """What is known of a file before anything was observed: its events and its old content.

    `landed` and `lost` hold the events whose fate is known; `stale` those in whose place, when
    lost, any bytes may be read.
    """

    pieces: Sequence[Piece]
    events: Sequence[int]
    base: Content
    landed: int
    lost: int
    stale: int
    _order: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        data = (e for e in self.events if isinstance(self.pieces[e].event, Extent))
        self.stale &= sum(1 << e for e in data)
        self._order = [e for e in self.events if not self.lost >> e & 1 or self.stale >> e & 1]

    def fit(self, seen: Content) -> ContentMatch:
        """What `seen` demands."""
        demands: dict[object, Requirement] = {}
        for demand in self.demands(seen):
            if not (demand.base or any(demand.allowed)):
                return ContentMatch((), demand.what)
            if not (demand.base and all(demand.allowed)):
                demands.setdefault((demand.events, demand.allowed, demand.base), demand)
        return ContentMatch(tuple(demands.values()))

    def demands(self, seen: Content) -> Iterator[Requirement]:
        """Every demand of a content, of the size first, whether anything can meet it or not."""
        yield self._size(seen.size)
        if not seen.size:
            return
        marks = self._marks(seen.size)
        writers: list[list[int]] = [[] for _ in marks]
        for event in self._order:
            change = self.pieces[event].event
            if isinstance(change, Extent):
                first, last = bisect_left(marks, change.span[0]), bisect_left(marks, change.span[1])
            elif isinstance(change, Size) and change.truncates:
                first, last = bisect_left(marks, page_end(change.new)), len(marks)
            else:
                continue
            certain = self.landed >> event & 1
            for place in range(first, last):
                if certain:
                    writers[place].clear()
                writers[place].append(event)
        for place, events in enumerate(writers):
            stop = marks[place + 1] if place + 1 < len(marks) else seen.size
            yield self._stretch(seen, marks[place], stop, events)

    def _size(self, size: int) -> Requirement:
        events: list[int] = []
        for event in reversed(self._order):
            if isinstance(self.pieces[event].event, Size):
                events.append(event)
                if self.landed >> event & 1:
                    break
        events.reverse()
        allowed = [self.pieces[e].event.new == size for e in events]  # type: ignore[union-attr]
        return self._demand(events, allowed, self.base.size == size, lambda: f"has {size} bytes")

    def _demand(
        self, events: list[int], allowed: list[bool], base: bool, what: Callable[[], str]
    ) -> Requirement:
        """A demand; the base counts for nothing where an event before all others has landed."""
        certain = bool(events) and self.landed >> events[0] & 1
        return Requirement(tuple(events), tuple(allowed), allowed[0] if certain else base, what)

    def _marks(self, size: int) -> list[int]:
        """Where a stretch begins: nothing begins or ends inside one."""
        marks = {0}
        for event in self._order:
            change = self.pieces[event].event
            if isinstance(change, Extent):
                marks.update(change.span)
            elif isinstance(change, Size) and change.truncates:
                marks.add(page_end(change.new))
        for run in self.base.runs:
            marks.update((run.start, run.stop))
        return sorted(mark for mark in marks if mark < size)

    def _stretch(self, seen: Content, start: int, stop: int, events: list[int]) -> Requirement:
        """Which of the events may be the last in [start, stop); none of those that are lost."""
        last_stale = max((p for p, e in enumerate(events) if self.stale >> e & 1), default=-1)
        base = next((r for r in self.base.runs if r.start <= start < r.stop), None)
        allowed: list[bool] = []
        kept: list[int] = []
        for place, event in enumerate(events):
            if self.lost >> event & 1:
                continue
            change = self.pieces[event].event
            kept.append(event)
            if isinstance(change, Extent):
                run = change.run
                allowed.append(agrees(seen, start, stop, run.payload, run.start))
            else:
                allowed.append(last_stale > place or agrees(seen, start, stop, 0, start))
        if base is None:
            empty = last_stale >= 0 or agrees(seen, start, stop, 0, start)
        else:
            empty = agrees(seen, start, stop, base.payload, base.start)

        def what() -> str:
            return f"reads {shown(seen, start, stop)} at bytes {start} to {stop}"

        return self._demand(kept, allowed, empty, what)

    def cuts(self, seen: Content, profile: Profile, spans: Sequence[tuple[int, int]]) -> Cuttings:
        """Where the events of this file may have been torn, if its content is `seen`.

        Empty where each event agrees with all that shows of it, so that none need have landed in
        part; and where none of them shows, and something does that they cannot leave in any part.
        `spans` are the byte ranges that syncs have named.
        """
        sector, block = profile.sector_bytes, profile.block_bytes
        changes = [self.pieces[event].event for event in self.events]
        extents = [change for change in changes if isinstance(change, Extent)]
        sizes = [change for change in changes if isinstance(change, Size)]
        named = {mark for span in spans for mark in span}
        differing = [(e, differing_units(seen, e, sector)) for e in extents]
        shows = any(
            units != [_covering(e.span[0], min(e.span[1], seen.size), sector)]
            for e, units in differing
            if e.span[0] < seen.size
        )
        if not shows:
            # What a whole event is known to do says nothing of its parts.
            unsure = evolve(self, landed=0, lost=0)
            stretches = itertools.islice(unsure.demands(seen), 1, None)
            if any(not (d.base or any(d.allowed)) for d in stretches):
                return {}
        steps: dict[str, list[int]] = {}
        ends = {seen.size, *_rounded(named, block)}
        if any(units for _, units in differing):
            marks = {seen.size, *named, *(mark for e in extents for mark in e.span)}
            marks.update(mark for size in sizes for mark in (size.old, size.new))
            places = _rounded(marks, sector, block)
            places.update(edge for _, units in differing for unit in units for edge in unit)
            ends |= _rounded(places, block)  # a size that exposes only what landed
            for change in extents:
                steps[change.name] = _inside(places, change.span, sector)
        for size in sizes:  # of a truncation nothing is inside; one growth may be several steps
            inside = _inside(ends, size.span, block)
            steps[size.name] = sorted({*steps.get(size.name, ()), *inside})
        return {name: places for name, places in steps.items() if places}


Cuttings = dict[str, list[int]]
"""For each event, by name, the file offsets at which to cut it, rising."""


def _rounded(places: set[int], *units: int) -> set[int]:
    """The places, down and up to the next multiple of each unit."""
    return {p // unit * unit + up for p in places for unit in units for up in (0, unit)}


def _covering(start: int, stop: int, unit: int) -> tuple[int, int]:
    """The units that [start, stop) touches."""
    return start // unit * unit, -(-stop // unit) * unit


def _inside(places: set[int], span: tuple[int, int], unit: int) -> list[int]:
    return sorted(p for p in places if span[0] < p < span[1] and p % unit == 0)


def agrees(seen: Content, start: int, stop: int, payload: Payload, origin: int) -> bool:
    """Whether [start, stop) of a content is what a run that begins at `origin` holds there.

    No more is expanded than what is held as literal bytes already.
    """
    return payload is None or all(
        _same(low, high, found, held, payload, origin)
        for low, high, found, held in segments(seen, start, stop)
    )


def segments(
    content: Content, start: int, stop: int
) -> Iterator[tuple[int, int, bytes | int, int]]:
    """[start, stop) as parts with what each holds, and where that begins."""
    runs = content.runs
    place = bisect_right(runs, start, key=lambda run: run.stop)
    while start < stop:
        run = runs[place] if place < len(runs) else None
        if run is None or run.start >= stop:
            yield start, stop, 0, start
            return
        if run.start > start:
            yield start, run.start, 0, start
            start = run.start
        high = min(run.stop, stop)
        yield start, high, 0 if run.payload is None else run.payload, run.start
        start = high
        place += 1


def _same(
    low: int, high: int, found: bytes | int, held: int, payload: bytes | int, origin: int
) -> bool:
    if isinstance(found, int) and isinstance(payload, int):
        return found == payload
    size = high - low
    one = found[low - held : high - held] if isinstance(found, bytes) else bytes((found,)) * size
    if isinstance(payload, bytes):
        return one == payload[low - origin : high - origin]
    return one.count(payload) == size


def differing_units(seen: Content, extent: Extent, unit: int) -> list[tuple[int, int]]:
    """The units of an extent whose bytes are not those of the content, in runs."""
    run = extent.run
    if run.payload is None:
        return []
    found: list[tuple[int, int]] = []

    def add(low: int, high: int) -> None:
        low, high = _covering(low, high, unit)
        if found and low <= found[-1][1]:
            low = found.pop()[0]
        found.append((low, high))

    for low, high, held, begins in segments(seen, run.start, min(run.stop, seen.size)):
        if isinstance(held, int) and isinstance(run.payload, int):
            if held != run.payload:
                add(low, high)
            continue
        if _same(low, high, held, begins, run.payload, run.start):
            continue
        for start in range(low // unit * unit, high, unit):
            first, last = max(start, low), min(start + unit, high)
            if not _same(first, last, held, begins, run.payload, run.start):
                add(first, last)
    return found


def shown(seen: Content, start: int, stop: int) -> str:
    """The first bytes of a stretch, for people."""
    few = min(stop, start + 12)
    text = bytearray()
    for low, high, found, held in segments(seen, start, few):
        known = isinstance(found, bytes)
        text += found[low - held : high - held] if known else bytes((found,)) * (high - low)  # type: ignore[index, arg-type]
    if not any(text) and agrees(seen, start, stop, 0, start):
        return "zeros"
    return f"{bytes(text)!r}{'...' if few < stop else ''}"
