"""What a question about an observed tree is asked of: the constraints of one crash, made ready.

A `ConstraintIndex` belongs to one choice of cuts and serves any number of trees.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from powercut.crash.constraints import upset_of
from powercut.crash.downsets import bits, downset_of
from powercut.crash.space import CrashSpace
from powercut.filesystem.content import EMPTY, Content
from powercut.filesystem.events import Entry, Piece
from powercut.filesystem.inodes import Directory, File, Inode
from powercut.membership.content_match import ContentMatch, FileHistory
from powercut.membership.solver import IN, OUT

_FITS_KEPT: Final = 20_000
_DENSE: Final = 12  # events that need more than that share what they need with others


@frozen
class NameEvents:
    """What may become of a name: the events that set it, their targets, and the old target."""

    events: tuple[int, ...]
    targets: tuple[int | None, ...]
    base: int | None


@define
class DirectoryNames:
    """The names of one directory: those whose target is certain, and those that are open."""

    certain: dict[str, int] = field(factory=dict)
    open: dict[str, NameEvents] = field(factory=dict)


@define(eq=False)
class ConstraintIndex:
    """The constraints of one crash space in the form that deduction works on.

    Behind the pieces, `need` and `needed` hold bundles: sets that many pieces need.  `start` says
    of each what the commit is known to hold; `landed` and `lost` are the pieces whose fate is
    certain, and `settled` the files of which all events have landed.
    """

    space: CrashSpace
    need: list[list[int]]
    needed: list[list[int]]
    start: bytes
    landed: int
    lost: int
    whole: ConstraintIndex | None = None
    _listings: dict[int, DirectoryNames] = field(factory=dict)
    _of_file: dict[int, list[int]] = field(factory=dict)
    settled: set[int] = field(factory=set)
    _pasts: dict[int, FileHistory] = field(factory=dict)
    _fits: dict[tuple[int, Content], ContentMatch] = field(factory=dict)

    @classmethod
    def of(cls, space: CrashSpace, whole: ConstraintIndex | None = None) -> ConstraintIndex:
        """A space made ready.

        `whole` is the same moment without cuts, whose answers about settled files are as good here.
        """
        bound = space.bound
        size = len(space.pieces)
        out = upset_of(bound.never, bound.requires)
        need = _lists(bound.requires, bound.durable)
        needed: list[list[int]] = [[] for _ in need]
        for event, others in enumerate(need):
            for other in others:
                needed[other].append(event)
        start = bytearray(len(need))
        for event in bits(bound.durable):
            start[event] = IN
        for event in bits(out):
            start[event] = OUT
        landed = bound.durable | bound.logged
        made = cls(space, need, needed, bytes(start), landed, out & ~bound.logged, whole)
        made._index(size)
        return made

    def _index(self, size: int) -> None:
        """Find the events of each name and of each file; forget those that cannot show any more."""
        names: dict[int, dict[str, list[int]]] = {}
        for position in range(size):
            event = self.space.pieces[position].event
            if isinstance(event, Entry):
                if not self.lost >> position & 1:
                    known = names.setdefault(event.directory, {})
                    if self.landed >> position & 1:
                        known[event.entry] = [position]
                    else:
                        known.setdefault(event.entry, []).append(position)
            else:
                self._of_file.setdefault(event.inode, []).append(position)
        for inode, events in self._of_file.items():
            if all(self.landed >> event & 1 for event in events):
                self.settled.add(inode)
        for directory, known in names.items():
            listing = self._listings[directory] = DirectoryNames(dict(self._old_names(directory)))
            for name, events in known.items():
                base = listing.certain.pop(name, None)
                targets = tuple(self.space.pieces[e].event.target for e in events)  # type: ignore[union-attr]
                if len(events) == 1 and self.landed >> events[0] & 1:
                    if targets[0] is not None:
                        listing.certain[name] = targets[0]
                else:
                    listing.open[name] = NameEvents(tuple(events), targets, base)

    def listing(self, directory: int) -> DirectoryNames:
        """The names of a directory."""
        found = self._listings.get(directory)
        if found is None:
            found = self._listings[directory] = DirectoryNames(dict(self._old_names(directory)))
        return found

    def inode(self, number: int) -> Inode:
        """What an inode is: its kind never changes."""
        state = self.space.state
        return state.view[number] if number in state.view else state.base[number]

    def past(self, inode: int) -> FileHistory:
        """What is known of a file before anything is observed."""
        if inode not in self._pasts:
            old = self.space.state.base.get(inode)
            self._pasts[inode] = FileHistory(
                self.space.pieces,
                self._of_file.get(inode, ()),
                old.content if isinstance(old, File) else EMPTY,
                self.landed,
                self.lost,
                self.space.bound.stale_allowed,
            )
        return self._pasts[inode]

    def fit(self, inode: int, seen: Content) -> ContentMatch:
        """What a content demands of a file's events; kept for the next tree that shows it."""
        whole = self.whole
        if whole is not None and inode in self.settled and inode in whole.settled:
            return whole.fit(inode, seen)
        key = (inode, seen)
        found = self._fits.get(key)
        if found is None:
            if len(self._fits) >= _FITS_KEPT:
                self._fits.clear()
            found = self._fits[key] = self.past(inode).fit(seen)
        return found

    def eased(self, whole: ConstraintIndex) -> ConstraintIndex:
        """The same without what only some choices of cuts ask for; itself where that is nothing.

        `whole` is the space without cuts. A torn piece can be part of any longer one, up to the
        whole event: what one needs of another counts where a rule asks it of the longer ones too,
        and what a sync covers where it covers the whole event.
        """
        pieces, bound = self.space.pieces, self.space.bound
        requires = bound.requires
        longest = _longest(pieces, whole.space.pieces)
        torn = 0  # the pieces that are not whole events
        for position, (left, right) in enumerate(itertools.pairwise(pieces)):
            torn |= (3 << position) * (left.index == right.index and not _is_name(left))
        eased = []
        for position, mask in enumerate(requires):
            dropped = 0
            for other in bits(mask if torn >> position & 1 else mask & torn):
                if not self._asked_of_longer(other, position, whole, longest):
                    dropped |= 1 << other
            eased.append(mask & ~dropped)
        synced = bound.synced
        for position in bits(synced & torn):
            if not whole.space.bound.synced >> longest[position] & 1:
                synced &= ~(1 << position)
        durable = downset_of(synced, eased)
        if (eased, durable) == (requires, bound.durable):
            return self
        fewer = evolve(bound, requires=eased, durable=durable)
        return ConstraintIndex.of(evolve(self.space, bound=fewer), whole)

    def _asked_of_longer(
        self, earlier: int, later: int, whole: ConstraintIndex, longest: Sequence[int]
    ) -> bool:
        """Whether the later piece needs the earlier one however long both are."""
        pieces, uncut = self.space.pieces, whole.space.pieces
        if self._rule(pieces[earlier], pieces[later]) is None:
            return True  # by a barrier, which asks when it was issued
        ones = (pieces[earlier], uncut[longest[earlier]])
        others = (pieces[later], uncut[longest[later]])
        return all(self._rule(*pair) is not None for pair in itertools.product(ones, others))

    def _rule(self, earlier: Piece, later: Piece) -> str | None:
        """The rule by which the later piece needs the earlier one; None where none does."""
        profile, crash_class = self.space.profile, self.space.crash_class
        for claim in profile.of_kind("atomic", crash_class):
            if claim.rule.holds(earlier, later) or claim.rule.holds(later, earlier):
                return claim.rule.id
        for claim in profile.of_kind("order", crash_class):
            if claim.rule.holds(earlier, later):
                return claim.rule.id
        return None

    def why_needs(self, later: int, earlier: int) -> str:
        """What makes one piece need another: the id of a rule, or a barrier."""
        size = len(self.space.pieces)
        if later >= size or earlier >= size:
            return "a barrier"
        return self._rule(self.space.pieces[earlier], self.space.pieces[later]) or "a barrier"

    def _old_names(self, directory: int) -> dict[str, int]:
        old = self.space.state.base.get(directory)
        return dict(old.entries) if isinstance(old, Directory) else {}


def _is_name(piece: Piece) -> bool:
    return isinstance(piece.event, Entry)


def _longest(pieces: Sequence[Piece], uncut: Sequence[Piece]) -> list[int]:
    """For each piece the number of the one without cuts that it is a part of."""
    found: list[int] = []
    place = 0
    for piece in pieces:
        while uncut[place].index < piece.index or not _is_part(piece, uncut[place]):
            place += 1
        found.append(place)
    return found


def _is_part(piece: Piece, longer: Piece) -> bool:
    one, other = piece.event, longer.event
    if isinstance(one, Entry) or isinstance(other, Entry):
        return piece.name == longer.name
    return other.span[0] <= one.span[0] and one.span[1] <= other.span[1]


def _lists(requires: Sequence[int], durable: int) -> list[list[int]]:
    """What each piece needs beyond what is durable, with bundles behind the pieces.

    After a barrier every later piece needs all that it covers: a bundle is needed in its place, and
    needs the bundle before it, so that the lists stay short.
    """
    need: list[list[int]] = []
    bundles: list[list[int]] = []
    made: list[int] = []  # the sets that the bundles stand for
    size = len(requires)

    def bundle(mask: int) -> None:
        recent = range(max(0, len(made) - 4), len(made))
        inside = [b for b in recent if not made[b] & ~mask]
        best = max(inside, key=lambda b: made[b].bit_count(), default=None)
        rest = mask if best is None else mask & ~made[best]
        bundles.append([*bits(rest), *([] if best is None else [size + best])])
        made.append(mask)

    for position, needs in enumerate(requires):
        mask = 0 if durable >> position & 1 else needs & ~durable
        if mask.bit_count() <= _DENSE:
            need.append([*bits(mask)])
            continue
        shared = mask & made[-1] if made else 0
        if (mask & ~shared).bit_count() > _DENSE:
            bundle(mask)
        elif shared != made[-1]:
            bundle(shared)
        need.append([*bits(mask & ~made[-1]), size + len(made) - 1])
    return need + bundles
