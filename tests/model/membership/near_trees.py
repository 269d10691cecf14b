"""Trees to ask about: all that the crashes of a moment leave, and trees near those."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

from attrs import frozen

from powercut.crash.downsets import subsets
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import Cuts
from powercut.filesystem.content import STALE, Content
from powercut.filesystem.events import Entry, Event, Extent
from powercut.filesystem.inodes import File, SymlinkInode, Tree, visible_tree, walk
from powercut.filesystem.state import State
from powercut.membership.membership import MembershipAnswer
from powercut.membership.observed_tree import Observed
from powercut.profile import Profile

Held = TypeVar("Held")
PIECES_MAX = 11
"""Brute force tries 2**n sets of n pieces."""
STATES_MAX = 3000


class TooMany(Exception):  # noqa: N818
    """More than brute force can list."""


@frozen
class Paths:
    """A tree by its paths: what stands there, and which of them are one inode."""

    entries: dict[str, bytes | SymlinkInode | None]
    inodes: dict[str, int]

    @classmethod
    def of(cls, tree: Tree) -> Paths:
        entries: dict[str, bytes | SymlinkInode | None] = {}
        inodes = {}
        for path, number in walk(tree):
            inode = tree[number]
            inodes[path[1:]] = number
            entries[path[1:]] = None
            if isinstance(inode, File):
                entries[path[1:]] = inode.content.read()
            elif isinstance(inode, SymlinkInode):
                entries[path[1:]] = inode
        return cls(entries, inodes)

    def observed(self) -> Observed:
        groups: dict[int, list[str]] = {}
        for path, number in self.inodes.items():
            groups.setdefault(number, []).append(path)
        return Observed.of(self.entries, [g for g in groups.values() if len(g) > 1])

    @property
    def files(self) -> list[str]:
        return sorted(p for p, value in self.entries.items() if isinstance(value, bytes))

    def mutants(self, pick: Random) -> Iterator[Paths]:
        """The tree with one thing changed, in each of several ways."""
        fresh = 1 + max(self.inodes.values(), default=1)
        names = {"a", "b", "z", "d", "d/a", "d/z"} - set(self.entries)
        free = sorted(n for n in names if "/" not in n or self.entries.get("d", b"") is None)
        leaves = sorted(
            p for p in self.entries if not any(q.startswith(p + "/") for q in self.entries)
        )
        if leaves:
            gone = pick.choice(leaves)
            yield Paths(_without(self.entries, gone), _without(self.inodes, gone))
        if free:
            new = pick.choice(free)
            value = pick.choice((None, b"", b"x", SymlinkInode("a")))
            yield Paths({**self.entries, new: value}, {**self.inodes, new: fresh})
        if len(leaves) > 1:
            one, other = pick.sample(leaves, 2)
            yield Paths(_swapped(self.entries, one, other), _swapped(self.inodes, one, other))
        links = sorted(p for p, value in self.entries.items() if isinstance(value, SymlinkInode))
        if links:
            yield Paths({**self.entries, links[0]: SymlinkInode("elsewhere")}, self.inodes)
        if self.files:
            yield from self._with_other_bytes(pick, fresh)

    def _with_other_bytes(self, pick: Random, fresh: int) -> Iterator[Paths]:
        path = pick.choice(self.files)
        value = self.entries[path]
        assert isinstance(value, bytes)
        yield self._with(path, value[: pick.randint(0, len(value))])
        yield self._with(path, value + pick.choice((b"\0", b"x", b"\0\0\0\0")))
        if value:
            at = len(value) - 1 - pick.randrange(min(len(value), 16))
            byte = pick.choice((b"\0", b"x", b"a", b"?"))
            yield self._with(path, value[:at] + byte + value[at + 1 :])
            yield self._with(path, value[:at] + byte * (len(value) - at))
        yield Paths(self.entries, {**self.inodes, path: fresh})
        like = [p for p in self.files if self.entries[p] == value]
        yield Paths(self.entries, {**self.inodes, **dict.fromkeys(like, fresh)})

    def crossed(self, other: Paths, pick: Random) -> Iterator[Paths]:
        """The tree with some of what another one has: names, whole files, sizes, ends of files."""
        for path in self.files:
            mine, its = self.entries[path], other.entries.get(path)
            if isinstance(mine, bytes) and isinstance(its, bytes) and mine != its:
                at = max(len(mine), len(its)) - pick.randrange(12)
                yield self._with(path, mine[: max(at, 0)] + its[max(at, 0) :])
                yield self._with(path, mine[: len(its)].ljust(len(its), b"\0"))
                yield self._with(path, its)
        taken = {path: pick.random() < 0.5 for path in {**self.entries, **other.entries}}
        entries = {p: v for p, v in self.entries.items() if not taken[p]}
        entries |= {p: v for p, v in other.entries.items() if taken[p]}
        inodes = {p: other.inodes[p] if taken[p] else self.inodes[p] for p in entries}
        yield Paths(entries, inodes)

    def _with(self, path: str, content: bytes) -> Paths:
        same = [p for p, number in self.inodes.items() if number == self.inodes[path]]
        return Paths({**self.entries, **dict.fromkeys(same, content)}, self.inodes)


def _without(table: dict[str, Held], key: str) -> dict[str, Held]:
    return {k: v for k, v in table.items() if k != key}


def _swapped(table: dict[str, Held], one: str, other: str) -> dict[str, Held]:
    return {**table, one: table[other], other: table[one]}


def agrees(tree: Tree, seen: Observed) -> bool:
    """The tree looks as observed; where it is stale, any bytes will do."""
    left = Observed.of_tree(tree)
    if len(left.nodes) != len(seen.nodes):
        return False
    numbers = {path[1:]: number for path, number in walk(tree)}
    for one, other in zip(left.nodes, seen.nodes, strict=True):
        if (one.path, one.target, one.entries) != (other.path, other.target, other.entries):
            return False
        if one.content is None or other.content is None:
            if one.content is not other.content:
                return False
            continue
        inode = tree[numbers[one.path]]
        assert isinstance(inode, File)
        if not same_bytes(inode.content, other.content):
            return False
    return True


def same_bytes(left: Content, seen: Content) -> bool:
    """What a program reads is the same; stale bytes may be any."""
    if left.size != seen.size:
        return False
    found, wanted = bytearray(left.read()), seen.read()
    for run in left.runs:
        if run.payload is STALE:
            found[run.start : run.stop] = wanted[run.start : run.stop]
    return bytes(found) == wanted


def trees_of(state: State, profile: Profile, crash_class: str, cuts: Cuts) -> list[Tree]:
    """Every crash state, each look once. TooMany."""
    space = CrashSpace.of(state, profile, crash_class, cuts)
    if len(space.pieces) > PIECES_MAX:
        raise TooMany
    found: dict[object, Tree] = {}
    for number, (_, _, after) in enumerate(space.states()):
        if number == STATES_MAX:
            raise TooMany
        found.setdefault(visible_tree(after.base), after.base)
    return list(found.values())


def every_cut(state: State, profile: Profile, most: int = 6) -> list[Cuts]:
    """Every choice of cuts at the profile's units: each subset of the places. TooMany of those."""
    places: list[tuple[str, int]] = []
    for event in state.issued:
        if isinstance(event, Entry):
            continue
        unit = profile.sector_bytes if isinstance(event, Extent) else profile.block_bytes
        start, stop = event.span
        places += [(event.name, p) for p in range(start // unit * unit + unit, stop, unit)]
    if len(places) > most:
        raise TooMany

    def chosen(these: tuple[tuple[str, int], ...]) -> Cuts:
        def cuts(event: Event) -> Sequence[int]:
            return sorted(place for name, place in these if name == event.name)

        return cuts

    return [
        chosen(these)
        for count in range(len(places) + 1)
        for these in itertools.combinations(places, count)
    ]


def check_witness(answer: MembershipAnswer, seen: Observed) -> None:
    """A yes comes with a legal crash that leaves this tree."""
    space, landed = answer.space, answer.landed
    assert space is not None
    assert space.why_illegal(landed) is None
    assert agrees(space.materialise(landed, space.exposed(landed)).base, seen) or any(
        agrees(space.materialise(landed, stale).base, seen)
        for stale in subsets(space.exposed(landed))
    )
