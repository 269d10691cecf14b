"""Crash states: what may be on the medium after a crash, under a profile and a crash class.

A `CrashSpace` is one question: this state, this profile, this class.  It cuts pending data and
sizes into pieces, turns the profile's rules into constraints on which pieces have landed, and
answers: is this set legal, draw one, list them all.  Materialising a set gives a `State` again,
in which what landed is durable and nothing is pending: histories go on after a crash.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from powercut.crash.constraints import Constraints, constraints_for, upset_of
from powercut.crash.downsets import (
    bits,
    closures,
    count_downsets,
    downset_of,
    downsets,
    is_downset,
    largest_downset_in,
    subsets,
)
from powercut.crash.torn_writes import Cuts, cut_into_pieces
from powercut.errors import NotModelledError, UnknownEventError
from powercut.filesystem.content import STALE, ByteRun, Content
from powercut.filesystem.events import Entry, Extent, Piece, Size
from powercut.filesystem.inodes import Directory, File, Inode, reachable
from powercut.filesystem.state import State
from powercut.profile import Profile

POWER_AFTER_KERNEL: Final = (
    "a power cut after a crash of the kernel is outside of the model: the drive's cache may still "
    "hold what the kernel crash left, and the model does not know what of it a power cut takes; "
    "expected machine crashes of one class, or each power cut before the first crash of the kernel"
)
"""The reason for which a history is refused, for people."""


@frozen
class Crash:
    """One crash, by names: its class, the pieces that were lost, and those that read stale."""

    crash_class: str
    lost: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


@define
class CrashSpace:
    """All crash states of one state under one profile and one machine crash class.

    Sets of pieces are bit masks over `pieces`; `bound` holds the constraints on them.
    """

    state: State
    profile: Profile
    crash_class: str
    bound: Constraints
    _files: dict[tuple[int, int, int], tuple[File, int]] = field(factory=dict)
    _by_inode: dict[int, list[int]] = field(factory=dict)
    _mask_of: dict[int, int] = field(factory=dict)

    @classmethod
    def of(cls, state: State, profile: Profile, crash_class: str, cuts: Cuts) -> CrashSpace:
        """The space of a state. NotModelledError for a power cut after a crash of the kernel."""
        if crash_class == "power" and state.after_kernel_crash:
            raise NotModelledError(POWER_AFTER_KERNEL)
        pieces = cut_into_pieces(state, profile, cuts)
        space = cls(
            state, profile, crash_class, constraints_for(pieces, state, profile, crash_class)
        )
        for position, piece in enumerate(pieces):
            where = piece.event.directory if isinstance(piece.event, Entry) else piece.event.inode
            space._by_inode.setdefault(where, []).append(position)
            space._mask_of[where] = space._mask_of.get(where, 0) | 1 << position
        return space

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The issued events, cut where it was asked, in program order."""
        return self.bound.pieces

    @property
    def everything(self) -> int:
        """The set of all pieces."""
        return (1 << len(self.pieces)) - 1

    def why_illegal(self, landed: int) -> str | None:
        """The rule of thumb that a set breaks, in words; None where the set is legal."""
        bound = self.bound
        commit = largest_downset_in(landed & ~bound.never, bound.requires)
        for position in bits((bound.durable & ~commit) | (bound.logged & ~landed)):
            return f"{self.pieces[position].name} is durable: a sync of it had returned"
        for position in bits(landed & bound.never):
            return f"{self.pieces[position].name} can never land under {self.profile.name}"
        for position in bits(landed & ~commit & ~bound.logged):
            missing = next(bits(bound.requires[position] & ~commit), position)
            return (
                f"{self.pieces[position].name} has landed and {self.pieces[missing].name}, "
                f"which {self.profile.name} puts before it, has not"
            )
        for position in bits(landed):
            for other in bits(bound.together[position] & ~landed):
                return (
                    f"{self.pieces[position].name} has landed and {self.pieces[other].name} has "
                    f"not: {self.profile.name} keeps the two together"
                )
        return None

    def landed_sets(self) -> Iterator[int]:
        """Every legal set of landed pieces, those that lost the least first.

        Each once, unless a log carrier is at work, which can give one set in two ways.
        """
        bound = self.bound
        # What a log has landed for sure may as well be in the commit, where that needs no more.
        least = largest_downset_in(bound.durable | bound.logged, bound.requires)
        for commit in downsets(bound.requires, least, bound.never):
            landed = commit | bound.logged
            if landed == commit or is_downset(landed, bound.together):
                yield landed

    def count(self, limit: int = 1_000_000) -> tuple[int, bool]:
        """How many legal sets there are, and whether that is exact (else a lower bound)."""
        bound = self.bound
        if bound.logged:
            return sum(1 for _ in itertools.islice(self.landed_sets(), limit)), False
        return count_downsets(bound.requires, bound.durable, bound.never, limit)

    def draw(self, lose: Callable[[str], bool]) -> int:
        """One legal set: `lose(name)` is asked of each piece whose fate is still open.

        Latest first, so that a run of "no" loses nothing and one "yes" loses what hangs on it.
        """
        bound = self.bound
        down, up = closures(bound.requires)
        inside, outside = bound.durable, upset_of(bound.never, bound.requires)
        for position in reversed(range(len(self.pieces))):
            if (inside | outside) >> position & 1:
                continue
            if lose(self.pieces[position].name):
                outside |= up[position]
            else:
                inside |= down[position]
        return downset_of(inside | bound.logged, bound.together)

    def exposed(self, landed: int) -> int:
        """The lost pieces of data that a reader would look at, and that may read stale there."""
        found = 0
        for inode, positions in self._by_inode.items():
            if isinstance(self.pieces[positions[0]].event, Extent | Size):
                found |= self.file_after(inode, landed, 0)[1]
        return found & self.bound.stale_allowed

    def materialise(self, landed: int, stale: int = 0) -> State:
        """The state after the crash: `landed` is durable, the rest is gone."""
        tree: dict[int, Inode] = dict(self.state.base)
        for inode, positions in self._by_inode.items():
            if isinstance(self.pieces[positions[0]].event, Entry):
                tree[inode] = self._directory(inode, landed)
            else:
                tree[inode] = self.file_after(inode, landed, stale)[0]
        for inode, kind in self.state.view.items():
            if inode not in tree:
                tree[inode] = _blank(kind)
        in_cache = self.state.after_kernel_crash or self.crash_class == "kernel"
        return State.settled(reachable(tree), self.state.next_inode, after_kernel_crash=in_cache)

    def states(self) -> Iterator[tuple[int, int, State]]:
        """Every legal (landed, stale, state after); states may look alike."""
        for landed in self.landed_sets():
            for stale in subsets(self.exposed(landed)):
                yield landed, stale, self.materialise(landed, stale)

    def names(self, pieces: int) -> tuple[str, ...]:
        """The names of a set of pieces, in program order."""
        return tuple(self.pieces[p].name for p in bits(pieces))

    def crash(self, landed: int, stale: int = 0) -> Crash:
        """The crash that leaves this set, by names."""
        return Crash(self.crash_class, self.names(self.everything & ~landed), self.names(stale))

    def set_of(self, names: Sequence[str]) -> int:
        """The pieces with those names; an event's name stands for all pieces of it.

        UnknownEventError for a name that is not pending here.
        """
        known: dict[str, int] = {}
        for position, piece in enumerate(self.pieces):
            for name in {piece.name, piece.event.name}:
                known[name] = known.get(name, 0) | 1 << position
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

    def file_after(self, inode: int, landed: int, stale: int) -> tuple[File, int]:
        """One file after the crash, and which of its lost pieces are exposed in it; memoised."""
        mask = self._mask_of.get(inode, 0)
        key = (inode, landed & mask, stale & mask)
        if key not in self._files:
            self._files[key] = self._replay_file(inode, landed, stale)
        return self._files[key]

    def _replay_file(self, inode: int, landed: int, stale: int) -> tuple[File, int]:
        base = self.state.base.get(inode)
        base = base if isinstance(base, File) else File()
        content = base.content
        lost: list[int] = []
        for position in self._by_inode.get(inode, ()):
            event = self.pieces[position].event
            there = landed >> position & 1
            if isinstance(event, Size) and there:
                content = content.cut(event.new) if event.truncates else content.resize(event.new)
            elif isinstance(event, Extent) and there:
                content = content.overlay(event.run)
            elif isinstance(event, Extent):
                lost.append(position)
                if stale >> position & 1:
                    content = content.underlay(ByteRun(*event.span, STALE))
        exposed = 0
        for position in lost:
            start, stop = self.pieces[position].event.span  # type: ignore[union-attr]
            if _has_hole(content, start, min(stop, content.size)):
                exposed |= 1 << position
        return evolve(base, content=content.cut(content.size)), exposed


def _has_hole(content: Content, start: int, stop: int) -> bool:
    """Some byte of [start, stop) was never written."""
    covered = sum(
        min(stop, run.stop) - max(start, run.start)
        for run in content.runs
        if run.start < stop and run.stop > start
    )
    return covered < stop - start


def _blank(inode: Inode) -> Inode:
    """What a new inode is before anything of it has landed; a symbolic link comes whole."""
    match inode:
        case File():
            return File()
        case Directory():
            return Directory({})
        case symlink:
            return symlink
