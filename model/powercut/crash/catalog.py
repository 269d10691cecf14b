"""Pieces in program order, found by what they change.

Sets of pieces are ints, as in downsets.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from attrs import define, field

from powercut.filesystem.events import Entry, Extent, Piece, Size
from powercut.filesystem.syncs import ThreadSlot, concurrent


@define(slots=False)
class Catalog:
    """Pieces by what they change, and the thread_slots of concurrent ops.

    `given` has the pieces that give an inode a name; `names` knows more of the fate of names.
    `owed` has the zeros that a direct write owes to what an earlier cut has left behind the end.
    """

    pieces: Sequence[Piece]
    thread_slots: Mapping[str, ThreadSlot] = field(factory=dict)
    everything: int = 0
    entries: int = 0
    given: int = 0
    firsts: int = 0
    truncations: int = 0
    extensions: int = 0
    fresh: int = 0
    overwrites: int = 0
    direct: int = 0
    owed: int = 0
    of_file: dict[int, int] = field(factory=dict)
    in_directory: dict[int, int] = field(factory=dict)
    of_op: dict[str, int] = field(factory=dict)
    _starts: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        for position, piece in enumerate(self.pieces):
            bit = 1 << position
            event = piece.event
            while len(self._starts) <= piece.index:
                self._starts.append(position)
            add_to(self.of_op, event.op, bit)
            if isinstance(event, Entry):
                self.entries |= bit
                self.firsts |= bit if event.first else 0
                self.given |= bit if event.target is not None else 0
                add_to(self.in_directory, event.directory, bit)
                continue
            add_to(self.of_file, event.inode, bit)
            self.fresh |= bit if piece.fresh else 0
            if isinstance(event, Size):
                self.truncations |= bit if event.truncates else 0
                self.extensions |= 0 if event.truncates else bit
            if isinstance(event, Extent):
                self.overwrites |= 0 if piece.fresh else bit
                self.direct |= bit if event.direct and piece.held else 0
                self.owed |= bit if event.direct and event.zeroes else 0
        self.everything = (1 << len(self.pieces)) - 1

    @cached_property
    def names(self) -> NameHistory:
        """The fate of names; computed once, where a rule asks for it."""
        return NameHistory(self.pieces)

    def before(self, index: int) -> int:
        """The pieces of the first `index` events."""
        if index >= len(self._starts):
            return self.everything
        return (1 << self._starts[index]) - 1

    def issued_by(self, count: int) -> int:
        """The pieces that were issued, for sure, when the first `count` events had been."""
        mask = self.before(count)
        if self.thread_slots and 0 < count <= len(self._starts):
            last = self.pieces[self._starts[count - 1]].event.op
            mask &= ~self.beside(last)
        return mask

    def beside(self, op: str) -> int:
        """The pieces of ops that run at the same time as this one."""
        mask = 0
        for other in self.thread_slots:
            if concurrent(self.thread_slots, op, other):
                mask |= self.of_op.get(other, 0)
        return mask

    def last_before(self, index: int, key: Callable[[Piece], Hashable | None]) -> Iterator[int]:
        """The positions of the last piece of each key among the first `index` events.

        A key of None leaves a piece out.
        """
        last: dict[Hashable, int] = {}
        for position, piece in enumerate(self.pieces):
            group = key(piece) if piece.index < index else None
            if group is not None:
                last[group] = position
        yield from last.values()


@define
class NameHistory:
    """The pieces that give and take names.

    `giving` has those that give an inode a name, `losing` those that take one away (`older`: one
    that had been another's before), `halves` those that take it for another, and `about` all that
    speak of it.  `takers` are the numbers of the events that give a name to another inode, with
    that inode and the pieces that gave the name before; `removals` those that take a name away,
    whether it had been yet another's, and the earlier pieces that speak of the name.
    """

    pieces: Sequence[Piece]
    giving: dict[int, int] = field(factory=dict)
    about: dict[int, int] = field(factory=dict)
    losing: dict[int, int] = field(factory=dict)
    halves: dict[int, int] = field(factory=dict)
    older: int = 0
    takers: list[tuple[int, int, int]] = field(factory=list)
    removals: list[tuple[int, bool, int]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        places: dict[tuple[int, str], _PlaceHistory] = {}
        for position, piece in enumerate(self.pieces):
            event = piece.event
            if isinstance(event, Entry):
                place = places.setdefault((event.directory, event.entry), _PlaceHistory())
                self._take_in(place, event, piece.index, 1 << position)

    def _take_in(self, place: _PlaceHistory, event: Entry, index: int, bit: int) -> None:
        older = bool(place.losers - {event.replaced})
        if event.target is None and not event.is_half:
            self.removals.append((index, older, place.about))
        place.about |= bit
        if event.target is not None:
            taken = place.giving & ~place.giving_to.get(event.target, 0)
            if taken:
                self.takers.append((index, event.target, taken))
            place.giving |= bit
            add_to(place.giving_to, event.target, bit)
            add_to(self.giving, event.target, bit)
            add_to(self.about, event.target, bit)
        if event.replaced is not None:
            add_to(self.about, event.replaced, bit)
            if event.is_half:
                add_to(self.halves, event.replaced, bit)
            if event.target is None:
                add_to(self.losing, event.replaced, bit)
                self.older |= bit if older else 0
            place.losers.add(event.replaced)


@define
class _PlaceHistory:
    """One name of one directory: the pieces that speak of it, and the inodes that lost it."""

    about: int = 0
    giving: int = 0
    giving_to: dict[int, int] = field(factory=dict)
    losers: set[int] = field(factory=set)


def under_any(inodes: frozenset[int], among: Mapping[int, int]) -> int:
    """The pieces listed under any of the inodes."""
    mask = 0
    for inode in inodes:
        mask |= among.get(inode, 0)
    return mask


def add_to(masks: dict[Any, int], key: Hashable, bit: int) -> None:
    """Add a piece to those under a key."""
    masks[key] = masks.get(key, 0) | bit
