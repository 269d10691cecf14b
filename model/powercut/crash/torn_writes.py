"""Pieces: the issued events as a crash may split them, cut where somebody asks.

Sizes are cut at the profile's blocks, data at its sectors, at most so many pieces for each event;
a trace may ask for any other cut by name.  Where a log may bring one half of a rename, a name that
goes from one inode to another is cut as well: its old meaning is taken, its new one given.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import define, field

from powercut.filesystem.content import STALE, ByteRun
from powercut.filesystem.events import Entry, Event, Extent, Piece, Size
from powercut.filesystem.inodes import File
from powercut.filesystem.state import State
from powercut.profile import Profile

Cuts = Callable[[Event], Sequence[int]]
"""Where to cut an event: file offsets strictly inside its span, rising."""

TAKEN: Final = "[taken]"
GIVEN: Final = "[given]"
"""The ends of the names of the two halves of a replacement."""


def even_cuts(profile: Profile, pieces_max: int) -> Cuts:
    """At most `pieces_max` pieces for each event: sizes cut at blocks, data at sectors."""

    def cuts(event: Event) -> Sequence[int]:
        if isinstance(event, Entry):
            return ()
        start, stop = event.span
        block = profile.sector_bytes if isinstance(event, Extent) else profile.block_bytes
        first, count = start // block + 1, (stop - 1) // block - start // block
        wanted = min(count, pieces_max - 1)
        return [(first + (i + 1) * (count + 1) // (wanted + 1) - 1) * block for i in range(wanted)]

    return cuts


def no_cuts(event: Event) -> Sequence[int]:  # noqa: ARG001
    """Every event lands whole."""
    return ()


def cut_into_pieces(state: State, profile: Profile, cuts: Cuts) -> tuple[Piece, ...]:
    """The issued events as pieces, in program order and by offset within an event."""
    past = _Past(state, profile)
    pieces: list[Piece] = []
    for index, event in enumerate(state.issued):
        if isinstance(event, Entry):
            pieces += _halves(index, event) if profile.tears_names else [_whole(index, event)]
            continue
        start, stop = event.span
        marks = sorted({start, stop, *(c for c in cuts(event) if start < c < stop)})
        if isinstance(event, Size):
            marks = sorted({*marks, *past.direct_ends(index, event)})
        for low, high in itertools.pairwise(marks if len(marks) > 1 else [start, stop]):
            name = event.name if len(marks) <= 2 else f"{event.name}[{low}:{high}]"
            if isinstance(event, Size):
                step = event.piece(low, high)
                fresh = _ends_in_fresh_data(event, high, pieces)
                pieces.append(Piece(index, step, name, fresh, block_bytes=profile.block_bytes))
            else:
                pieces.append(past.data(index, event, low, high, name))
        past.add(event)
    return tuple(pieces)


@define
class _Past:
    """The earlier events of the files, as far as they tell of the blocks of the next one."""

    state: State
    profile: Profile
    written: dict[int, _Blocks] = field(factory=dict)  # what earlier data touched
    cut_to: dict[int, int] = field(factory=dict)  # the shortest that a file has been
    mapped: set[int] = field(factory=set)  # what has been stored into by a mapping
    _directs: list[tuple[int, int, int]] = field(init=False)

    @_directs.default
    def _find_directs(self) -> list[tuple[int, int, int]]:
        return [
            (index, event.inode, event.span[1])
            for index, event in enumerate(self.state.issued)
            if isinstance(event, Extent) and event.direct and not event.zeroes
        ]

    def add(self, event: Extent | Size) -> None:
        """Count an event in."""
        block = self.profile.block_bytes
        if isinstance(event, Extent):
            start, stop = event.span
            blocks = self.written.setdefault(event.inode, _Blocks())
            blocks.add(start // block, (stop - 1) // block)
        elif event.truncates:
            self.cut_to[event.inode] = min(event.new, self.cut_to.get(event.inode, event.new))

    def data(self, index: int, event: Extent, low: int, high: int, name: str) -> Piece:
        """A piece of data, with what is known of its blocks.

        A fault of a mapping may allocate a whole folio around it: no block of such a file is fresh.
        """
        block, inode = self.profile.block_bytes, event.inode
        if event.mapped:
            self.mapped.add(inode)
        blocks = (low // block, (high - 1) // block)
        touched = inode in self.written and self.written[inode].meets(*blocks)
        older = touched or inode in self.mapped or self._in_base(inode, blocks)
        uncut = self.cut_to.get(inode, high) > blocks[1] * block
        held = uncut and self._all_in_base(inode, blocks)
        sectors = (low // self.profile.sector_bytes, (high - 1) // self.profile.sector_bytes)
        part = event.piece(low, high)
        return Piece(index, part, name, not older, held, blocks, block, sectors)

    def direct_ends(self, index: int, size: Size) -> Iterator[int]:
        """The ends of later direct writes in a growth: each is a size that may land by itself."""
        for later, inode, end in self._directs:
            if later > index and inode == size.inode and size.old < end < size.new:
                yield end

    def _in_base(self, inode: int, blocks: tuple[int, int]) -> bool:
        """Some of these blocks may have been allocated to the file before the first event.

        The weaker answer is taken: blocks that a truncation has freed since count as allocated.
        """
        base, block = self.state.base.get(inode), self.profile.block_bytes
        return isinstance(base, File) and base.content.covers(
            blocks[0] * block, (blocks[1] + 1) * block
        )

    def _all_in_base(self, inode: int, blocks: tuple[int, int]) -> bool:
        """Each of these blocks was on the medium for sure before the first event.

        A block of zeros is not known to be: it may as well be a hole.
        """
        base, block = self.state.base.get(inode), self.profile.block_bytes
        if not isinstance(base, File):
            return False
        next_one = blocks[0]
        for run in base.content.runs:
            while next_one <= blocks[1] and _shows_block(run, next_one, block):
                next_one += 1
        return next_one > blocks[1]


def _shows_block(run: ByteRun, number: int, block: int) -> bool:
    """The run has a byte in the block that is no zero, so that the block is on the medium."""
    start, stop = max(run.start, number * block), min(run.stop, (number + 1) * block)
    if start >= stop:
        return False
    payload = run.cut(start, stop).payload
    return payload is STALE or bool(payload.strip(b"\0") if isinstance(payload, bytes) else payload)


def _whole(index: int, event: Entry) -> Piece:
    return Piece(index, event, event.name)


def _halves(index: int, event: Entry) -> list[Piece]:
    if not event.replaces:
        return [_whole(index, event)]
    return [
        Piece(index, event.taken, f"{event.name}{TAKEN}"),
        Piece(index, event, f"{event.name}{GIVEN}"),
    ]


def _ends_in_fresh_data(size: Size, end: int, pieces: Sequence[Piece]) -> bool:
    """A step of a size ends in a block that its own write has newly allocated."""
    for piece in reversed(pieces):
        event = piece.event
        if event.op != size.op:
            return False
        if isinstance(event, Extent) and event.span[0] < end <= event.span[1]:
            return piece.fresh
    return False


@define
class _Blocks:
    """A set of block numbers, as ranges that neither meet nor touch: first and last of each."""

    firsts: list[int] = field(factory=list)
    lasts: list[int] = field(factory=list)

    def meets(self, first: int, last: int) -> bool:
        """Some block of [first, last] is in the set."""
        place = bisect_left(self.lasts, first)
        return place < len(self.lasts) and self.firsts[place] <= last

    def add(self, first: int, last: int) -> None:
        """Put the blocks of [first, last] into the set."""
        low = bisect_left(self.lasts, first - 1)
        high = bisect_right(self.firsts, last + 1)
        if low < high:
            first, last = min(first, self.firsts[low]), max(last, self.lasts[high - 1])
        self.firsts[low:high], self.lasts[low:high] = [first], [last]
