"""Crash states: what may be on the medium after a crash, under a profile and a crash class.

A `CrashSpace` is one question: this state, this profile, this class.  It cuts pending data and
sizes into pieces, turns the profile's rules into constraints on which pieces have landed, and
answers: is this set legal, draw one, list them all.  Materialising a set gives a `State` again,
in which what landed is durable and nothing is pending: histories go on after a crash.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import define, field, frozen

from powercut.content import STALE, Content, Run
from powercut.errors import UnknownEventError
from powercut.events import Entry, Event, Extent, Piece, Size
from powercut.order import (
    bits,
    closures,
    count_downsets,
    downset_of,
    downsets,
    is_downset,
    largest_downset_in,
)
from powercut.profile import Profile
from powercut.rules import Kind
from powercut.state import State
from powercut.tree import Directory, File, Inode, reachable

Cuts = Callable[[Event], Sequence[int]]
"""Where to cut an event: file offsets strictly inside its span, rising."""


def even_cuts(profile: Profile, pieces_max: int) -> Cuts:
    """At most `pieces_max` pieces for each event, cut at the profile's block boundaries."""

    def cuts(event: Event) -> Sequence[int]:
        if isinstance(event, Entry):
            return ()
        start, stop = event.span
        block = profile.block_bytes
        first, count = start // block + 1, (stop - 1) // block - start // block
        wanted = min(count, pieces_max - 1)
        return [(first + (i + 1) * (count + 1) // (wanted + 1) - 1) * block for i in range(wanted)]

    return cuts


def no_cuts(event: Event) -> Sequence[int]:  # noqa: ARG001
    """Every event lands whole."""
    return ()


@frozen
class Crash:
    """One crash, by names: its class, the pieces that were lost, and those that read stale."""

    crash_class: str
    lost: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


@define
class CrashSpace:
    """All crash states of one state under one profile and one machine crash class.

    Sets of pieces are bit masks over `pieces`.  `requires[p]` are the immediate predecessors of
    p; `durable` landed by commit for sure, `logged` by a log for sure, `partial` may have landed
    by the log of an unfinished sync; `never` cannot land.  `together[p]` are the pieces of p's
    atomic group, which binds the log as well.
    """

    state: State
    profile: Profile
    crash_class: str
    pieces: tuple[Piece, ...]
    requires: list[int]
    durable: int
    logged: int
    partial: int
    never: int
    stale_allowed: int
    together: list[int]
    _files: dict[tuple[int, int, int], tuple[File, int]] = field(factory=dict)
    _by_inode: dict[int, list[int]] = field(factory=dict)
    _mask_of: dict[int, int] = field(factory=dict)

    @classmethod
    def of(cls, state: State, profile: Profile, crash_class: str, cuts: Cuts) -> CrashSpace:
        """The space of a state; O(pieces x (rules + syncs)), and pairs only within a file."""
        pieces = cut_into_pieces(state, profile, cuts)
        size = len(pieces)
        requires = [0] * size
        together = [0] * size
        for rule in profile.rules("atomic", crash_class):
            for one, other in rule.immediate(pieces):
                together[other] |= 1 << one
        for position, others in enumerate(together):
            requires[position] |= others
        for rule in profile.rules("order", crash_class):
            for earlier, later in rule.immediate(pieces):
                requires[later] |= 1 << earlier
        never = _matching(pieces, profile, "ceiling", crash_class)
        durable, logged, partial = _synced(state, pieces, profile, crash_class)
        if never:
            lost = _up(never, requires)
            durable, logged, partial = durable & ~lost, logged & ~lost, partial & ~lost
        logged = downset_of(logged, together)
        space = cls(
            state,
            profile,
            crash_class,
            pieces,
            requires,
            downset_of(durable, requires),
            logged,
            downset_of(partial, together) & ~logged,
            never,
            ((1 << size) - 1) & ~_matching(pieces, profile, "exposure", crash_class),
            together,
        )
        for position, piece in enumerate(pieces):
            where = piece.event.directory if isinstance(piece.event, Entry) else piece.event.inode
            space._by_inode.setdefault(where, []).append(position)
            space._mask_of[where] = space._mask_of.get(where, 0) | 1 << position
        return space

    @property
    def everything(self) -> int:
        """The set of all pieces."""
        return (1 << len(self.pieces)) - 1

    @property
    def pending(self) -> int:
        """The pieces that this crash may lose and may keep."""
        return self.everything & ~(self.durable | self.logged | _up(self.never, self.requires))

    def why_illegal(self, landed: int) -> str | None:
        """The rule of thumb that a set breaks, in words; None where the set is legal."""
        commit = largest_downset_in(landed & ~self.never, self.requires)
        for position in bits((self.durable & ~commit) | (self.logged & ~landed)):
            return f"{self.pieces[position].name} is durable: a sync of it had returned"
        for position in bits(landed & self.never):
            return f"{self.pieces[position].name} can never land under {self.profile.name}"
        for position in bits(landed & ~commit & ~(self.logged | self.partial)):
            missing = next(bits(self.requires[position] & ~commit), position)
            return (
                f"{self.pieces[position].name} has landed and {self.pieces[missing].name}, "
                f"which {self.profile.name} puts before it, has not"
            )
        for position in bits(landed):
            for other in bits(self.together[position] & ~landed):
                return (
                    f"{self.pieces[position].name} has landed and {self.pieces[other].name} has "
                    f"not: {self.profile.name} keeps the two together"
                )
        return None

    def landed_sets(self) -> Iterator[int]:
        """Every legal set of landed pieces, those that lost the least first.

        Each once, unless a log carrier is at work, which can give one set in two ways.
        """
        extra = self.logged | self.partial
        for commit in downsets(self.requires, self.durable, self.never):
            if not extra:
                yield commit
                continue
            for chosen in _subsets(self.partial & ~commit):
                landed = commit | self.logged | chosen
                if is_downset(landed, self.together):
                    yield landed

    def count(self, limit: int = 1_000_000) -> tuple[int, bool]:
        """How many legal sets there are, and whether that is exact (else a lower bound)."""
        if self.logged | self.partial:
            return sum(1 for _ in itertools.islice(self.landed_sets(), limit)), False
        return count_downsets(self.requires, self.durable, self.never, limit)

    def draw(self, lose: Callable[[str], bool]) -> int:
        """One legal set: `lose(name)` is asked of each piece whose fate is still open.

        Latest first, so that a run of "no" loses nothing and one "yes" loses what hangs on it.
        """
        down, up = closures(self.requires)
        inside, outside = self.durable, _up(self.never, self.requires)
        for position in reversed(range(len(self.pieces))):
            if (inside | outside) >> position & 1:
                continue
            if lose(self.pieces[position].name):
                outside |= up[position]
            else:
                inside |= down[position]
        inside |= self.logged
        for position in bits(self.partial & ~inside):
            if not lose(f"{self.pieces[position].name} by the log"):
                inside |= downset_of(1 << position, self.together)
        return inside

    def exposed(self, landed: int) -> int:
        """The lost pieces of data that a reader would look at, and that may read stale there."""
        found = 0
        for inode, positions in self._by_inode.items():
            if isinstance(self.pieces[positions[0]].event, Extent | Size):
                found |= self._file(inode, landed, 0)[1]
        return found & self.stale_allowed

    def materialise(self, landed: int, stale: int = 0) -> State:
        """The state after the crash: `landed` is durable, the rest is gone."""
        tree: dict[int, Inode] = dict(self.state.base)
        for inode, positions in self._by_inode.items():
            if isinstance(self.pieces[positions[0]].event, Entry):
                tree[inode] = self._directory(inode, landed)
            else:
                tree[inode] = self._file(inode, landed, stale)[0]
        for inode, kind in self.state.view.items():
            if inode not in tree:
                tree[inode] = File() if isinstance(kind, File) else Directory({})
        return State.settled(reachable(tree), self.state.next_inode)

    def states(self) -> Iterator[tuple[int, int, State]]:
        """Every legal (landed, stale, state after); states may look alike."""
        for landed in self.landed_sets():
            for stale in _subsets(self.exposed(landed)):
                yield landed, stale, self.materialise(landed, stale)

    def names(self, pieces: int) -> tuple[str, ...]:
        """The names of a set of pieces, in program order."""
        return tuple(self.pieces[p].name for p in bits(pieces))

    def crash(self, landed: int, stale: int = 0) -> Crash:
        """The crash that leaves this set, by names."""
        return Crash(self.crash_class, self.names(self.everything & ~landed), self.names(stale))

    def set_of(self, names: Sequence[str]) -> int:
        """The pieces with those names. UnknownEventError for a name that is not pending here."""
        known = {piece.name: 1 << position for position, piece in enumerate(self.pieces)}
        mask = 0
        for name in names:
            if name not in known:
                raise UnknownEventError(
                    f"no pending event {name!r} at this crash; "
                    f"pending: {', '.join(known) or 'none'}"
                )
            mask |= known[name]
        return mask

    def _directory(self, inode: int, landed: int) -> Directory:
        base = self.state.base.get(inode)
        entries = dict(base.entries) if isinstance(base, Directory) else {}
        for position in self._by_inode[inode]:
            event = self.pieces[position].event
            if landed >> position & 1 and isinstance(event, Entry):
                entries.pop(event.entry, None)
                if event.target is not None:
                    entries[event.entry] = event.target
        return Directory(entries)

    def _file(self, inode: int, landed: int, stale: int) -> tuple[File, int]:
        """One file after the crash, and which of its lost pieces are exposed in it; memoised."""
        mask = self._mask_of[inode]
        key = (inode, landed & mask, stale & mask)
        if key not in self._files:
            self._files[key] = self._replay_file(inode, landed, stale)
        return self._files[key]

    def _replay_file(self, inode: int, landed: int, stale: int) -> tuple[File, int]:
        base = self.state.base.get(inode)
        content = base.content if isinstance(base, File) else Content()
        lost: list[int] = []
        for position in self._by_inode[inode]:
            event = self.pieces[position].event
            there = landed >> position & 1
            if isinstance(event, Size) and there:
                content = (
                    content.truncate(event.new) if event.truncates else content.resize(event.new)
                )
            elif isinstance(event, Extent) and there:
                content = content.overlay(event.run)
            elif isinstance(event, Extent):
                lost.append(position)
                if stale >> position & 1:
                    content = content.underlay(Run(*event.span, STALE))
        exposed = 0
        for position in lost:
            start, stop = self.pieces[position].event.span  # type: ignore[union-attr]
            if _has_hole(content, start, min(stop, content.size)):
                exposed |= 1 << position
        return File(content.truncate(content.size)), exposed  # growing zeroes what lies beyond


def _has_hole(content: Content, start: int, stop: int) -> bool:
    """Some byte of [start, stop) was never written."""
    covered = sum(
        min(stop, run.stop) - max(start, run.start)
        for run in content.runs
        if run.start < stop and run.stop > start
    )
    return covered < stop - start


def _up(events: int, requires: Sequence[int]) -> int:
    """The events that need one of `events`, themselves included."""
    if not events:
        return 0
    _, up = closures(requires)
    mask = 0
    for event in bits(events):
        mask |= up[event]
    return mask


def _subsets(mask: int) -> Iterator[int]:
    """Every subset of a set, the empty one first."""
    subset = 0
    while True:
        yield subset
        if subset == mask:
            return
        subset = (subset - mask) & mask


def _matching(pieces: Sequence[Piece], profile: Profile, kind: Kind, crash_class: str) -> int:
    """The pieces that some exposure or ceiling rule of the profile speaks of."""
    mask = 0
    for rule in profile.rules(kind, crash_class):
        for position, piece in enumerate(pieces):
            if rule.holds(piece):
                mask |= 1 << position
    return mask


def _synced(
    state: State, pieces: Sequence[Piece], profile: Profile, crash_class: str
) -> tuple[int, int, int]:
    """What the syncs so far have made durable: by commit, by a log, and perhaps by a log."""
    durable = logged = partial = 0
    rules = profile.rules("scope", crash_class)
    for sync in state.syncs:
        for rule in rules:
            if sync.kind not in rule.on or not (sync.done or rule.carrier == "log"):
                continue
            covered = 0
            for position, piece in enumerate(pieces):
                if piece.index < sync.position and rule.holds(sync, piece):
                    covered |= 1 << position
            if rule.carrier == "commit":
                durable |= covered
            elif sync.done:
                logged |= covered
            else:
                partial |= covered
    return durable, logged, partial & ~logged


def cut_into_pieces(state: State, profile: Profile, cuts: Cuts) -> tuple[Piece, ...]:
    """The issued events as pieces, in program order and by offset within an event."""
    pieces: list[Piece] = []
    written: dict[int, list[tuple[int, int]]] = {}  # the blocks that earlier data of a file touched
    for index, event in enumerate(state.issued):
        if isinstance(event, Entry):
            pieces.append(Piece(index, event, event.name))
            continue
        start, stop = event.span
        marks = [start, *(c for c in cuts(event) if start < c < stop), stop]
        for low, high in itertools.pairwise(marks):
            name = event.name if len(marks) == 2 else f"{event.name}[{low}:{high}]"
            if isinstance(event, Size):
                pieces.append(Piece(index, event.piece(low, high), name))
                continue
            blocks = (low // profile.block_bytes, (high - 1) // profile.block_bytes)
            older = _older_data(state, event.inode, blocks, profile, written)
            pieces.append(Piece(index, event.piece(low, high), name, not older, blocks))
        if isinstance(event, Extent):
            block = profile.block_bytes
            written.setdefault(event.inode, []).append((start // block, (stop - 1) // block))
    return tuple(pieces)


def _older_data(
    state: State,
    inode: int,
    blocks: tuple[int, int],
    profile: Profile,
    written: Mapping[int, Sequence[tuple[int, int]]],
) -> bool:
    """Some of these blocks may have been allocated to the file before.

    The weaker answer is taken: blocks that a truncation has freed since count as allocated.
    """
    if any(low <= blocks[1] and blocks[0] <= high for low, high in written.get(inode, ())):
        return True
    base = state.base.get(inode)
    return isinstance(base, File) and base.content.covers(
        blocks[0] * profile.block_bytes, (blocks[1] + 1) * profile.block_bytes
    )
