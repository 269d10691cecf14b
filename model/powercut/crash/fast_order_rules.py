"""The second form of the order and atomic rules: fast, and never the one to read.

rules.py says of each pair what is so; here each rule lists immediate constraints without looking at
every pair.  fast_scope_rules.py does the same for scope rules.  A property test holds the two
forms equal.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator
from typing import Final

from attrs import define, field

from powercut.crash.catalog import Catalog
from powercut.filesystem.content import page_end
from powercut.filesystem.events import Entry, Extent, Piece, Size
from powercut.filesystem.syncs import ThreadSlot, concurrent
from powercut.rule import Rule

Pairs = Iterator[tuple[int, int]]


def immediate(rule: Rule, catalog: Catalog) -> Pairs:
    """Positions (earlier, later) whose closure is that of an order or atomic rule."""
    return _IMMEDIATE[rule.id](catalog)


# --- order and atomic -----------------------------------------------------------------------------


def _chain(catalog: Catalog, key: Callable[[Piece], Hashable | None]) -> Pairs:
    """Consecutive pieces with the same key, thread by thread; a key of None leaves a piece out."""
    fronts: dict[Hashable, _Front] = {}
    for position, piece in enumerate(catalog.pieces):
        group = key(piece)
        if group is None:
            continue
        front = fronts.setdefault(group, _Front())
        for earlier in front.advance(catalog.thread_slots.get(piece.event.op), position):
            yield earlier, position


@define
class _Front:
    """The last pieces of a chain: one, or one for each thread of the present section."""

    section: int | None = None
    before: list[int] = field(factory=list)
    now: dict[str, int] = field(factory=dict)

    def advance(self, slot: ThreadSlot | None, position: int) -> list[int]:
        """Take the next piece; what directly precedes it."""
        section, thread = slot if slot is not None else (None, "")
        if section is None or section != self.section:
            self.before, self.now, self.section = [*self.now.values()] or self.before, {}, section
        earlier = [self.now[thread]] if thread in self.now else self.before
        self.now[thread] = position
        return earlier


def _cycle(catalog: Catalog, key: Callable[[Piece], Hashable | None]) -> Pairs:
    """All pieces with the same key, tied in both directions: each key is one atomic group."""
    last: dict[Hashable, int] = {}
    for position, piece in enumerate(catalog.pieces):
        group = key(piece)
        if group is not None:
            if group in last:
                yield last[group], position
                yield position, last[group]
            last[group] = position


def _by_file(
    catalog: Catalog,
    holds: Callable[[Piece, Piece], bool],
    earlier: Callable[[Piece], Reach | None],
    later: Callable[[Piece], Reach | None],
) -> Pairs:
    """Pairs within one file whose reaches meet, by the readable form.

    `earlier` and `later` give the range of a piece in each part, None where it plays none.
    """
    seen: dict[int, _Reaches] = {}
    for position, piece in enumerate(catalog.pieces):
        event = piece.event
        if isinstance(event, Entry):
            continue
        before = seen.setdefault(event.inode, _Reaches())
        wanted = later(piece)
        if wanted is not None:
            for other in before.meeting(*wanted):
                if holds(catalog.pieces[other], piece):
                    yield other, position
        own = earlier(piece)
        if own is not None:
            before.add(*own, position)


Reach = tuple[int, int]
"""A range, both ends included, outside of which a rule that is local to a file ties nothing."""


@define
class _Reaches:
    """The reaches of earlier pieces of one file, by where they begin."""

    held: list[tuple[int, int, int]] = field(factory=list)
    longest: int = 0

    def add(self, first: int, last: int, position: int) -> None:
        self.longest = max(self.longest, last - first)
        insort(self.held, (first, last, position))

    def meeting(self, first: int, last: int) -> Iterator[int]:
        """The positions of those that meet [first, last]."""
        low = bisect_left(self.held, (first - self.longest,))
        high = bisect_left(self.held, (last + 1,))
        for _, end, position in self.held[low:high]:
            if end >= first:
                yield position


def _data(piece: Piece) -> Reach | None:
    return piece.event.span if isinstance(piece.event, Extent) else None


def _zeros(piece: Piece) -> Reach | None:
    event = piece.event
    return event.span if isinstance(event, Extent) and event.zeroes else None


def _cut(piece: Piece) -> Reach | None:
    event = piece.event
    return (event.new, page_end(event.new)) if isinstance(event, Size) and event.truncates else None


def _fresh_end(piece: Piece) -> Reach | None:
    end = piece.event.span[1] if isinstance(piece.event, Extent) and piece.fresh else None
    return None if end is None else (end, end)


def _sectors(piece: Piece) -> Reach | None:
    return piece.sectors if isinstance(piece.event, Extent) else None


def _exposed(piece: Piece) -> Reach | None:
    """What an extension lets a reader see."""
    event = piece.event
    return event.span if isinstance(event, Size) and not event.truncates else None


def _up_to(piece: Piece) -> Reach | None:
    event = piece.event
    return (0, event.new) if isinstance(event, Size) and not event.truncates else None


def _old_data(piece: Piece) -> Reach | None:
    return (0, 0) if isinstance(piece.event, Extent) and not piece.fresh else None


def _any_change(piece: Piece) -> Reach | None:
    return None if isinstance(piece.event, Entry) else (0, 0)


def _around_cuts(catalog: Catalog) -> Pairs:
    """Each truncation before the sizes until the next one, which is the last of them."""
    cuts: dict[int, int] = {}
    for position, piece in enumerate(catalog.pieces):
        event = piece.event
        if isinstance(event, Size):
            if event.inode in cuts:
                yield cuts[event.inode], position
            if event.truncates:
                cuts[event.inode] = position


def _names_then_data(catalog: Catalog) -> Pairs:
    names: list[int] = []
    for position, piece in enumerate(catalog.pieces):
        if isinstance(piece.event, Entry):
            names.append(position)
            continue
        for earlier in names:
            if not concurrent(
                catalog.thread_slots, catalog.pieces[earlier].event.op, piece.event.op
            ):
                yield earlier, position


def _directory(piece: Piece) -> int | None:
    return piece.event.directory if isinstance(piece.event, Entry) else None


def _any_entry(piece: Piece) -> bool | None:
    return True if isinstance(piece.event, Entry) else None


def _rename(piece: Piece) -> str | None:
    event = piece.event
    return event.op if isinstance(event, Entry) and event.op_kind == "rename" else None


def _local(
    rule_id: str,
    earlier: Callable[[Piece], Reach | None],
    later: Callable[[Piece], Reach | None],
) -> Callable[[Catalog], Pairs]:
    """The immediate form of a rule that only ever ties pieces of one file."""

    def pairs(catalog: Catalog) -> Pairs:
        from powercut.rules import RULES

        return _by_file(catalog, RULES[rule_id].holds, earlier, later)

    return pairs


_IMMEDIATE: Final[dict[str, Callable[[Catalog], Pairs]]] = {
    "truncation-in-order": _around_cuts,
    "zeros-before-cut": _local("zeros-before-cut", _zeros, _cut),
    "new-blocks-before-size": _local("new-blocks-before-size", _fresh_end, _up_to),
    "data-before-its-size": _local("data-before-its-size", _data, _exposed),
    "same-sector-in-order": _local("same-sector-in-order", _sectors, _sectors),
    "write-before-allocation": _local("write-before-allocation", _old_data, _any_change),
    "names-before-later-data": _names_then_data,
    "directory-in-order": lambda catalog: _chain(catalog, _directory),
    "namespace-in-order": lambda catalog: _chain(catalog, _any_entry),
    "all-in-order": lambda catalog: _chain(catalog, lambda piece: True),
    "rename-atomic": lambda catalog: _cycle(catalog, _rename),
    "op-atomic": lambda catalog: _cycle(catalog, lambda piece: piece.event.op),
}
