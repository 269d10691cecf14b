"""Lazy search: whether an event landed is decided only when a question depends on it.

A question is a function of a `PartialState`.  What it asks (does this name exist, what is in this
file) is answered from the decisions so far.  Where these leave the answer open, the search forks,
one way for each distinct answer that the constraints still allow, and asks again.  What no question
depends on is never decided, so a thousand pending files cost nothing to a question about one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from attrs import define, evolve, field, frozen

from powercut.crash.downsets import bits
from powercut.crash.space import CrashSpace
from powercut.filesystem.content import Content
from powercut.filesystem.events import Entry, Size
from powercut.filesystem.inodes import ROOT, Directory, Inode

Answer = TypeVar("Answer")


@frozen
class Decisions:
    """What has been decided of a crash state: pieces that the commit holds, and that it does not.

    `by_log` are those that some log holds; they have landed whatever the commit does.  `stale` are
    lost data that read as what the blocks held before, `fresh` lost data that do not.
    """

    committed: int
    left_out: int
    by_log: int
    stale: int = 0
    fresh: int = 0

    def landed(self, pieces: int) -> int:
        """Those of the pieces that are known to have landed."""
        return pieces & (self.committed | self.by_log)

    def is_lost(self, piece: int) -> bool:
        """The piece is known not to have landed."""
        return bool(piece & self.left_out & ~self.by_log)

    def is_open(self, piece: int) -> bool:
        """Whether the piece has landed is not decided."""
        return not piece & (self.committed | self.by_log | self.left_out)


class Undecided(Exception):  # noqa: N818
    """A look that cannot be answered yet: the ways in which it could go on."""

    def __init__(self, ways: list[Decisions]) -> None:
        super().__init__()
        self.ways = ways


@define
class LazySearch:
    """All crash states of one space, as far as questions ask about them.

    Where it is `still`, nothing has landed but what a sync put there.
    """

    space: CrashSpace
    still: bool = False
    names: dict[tuple[int, str], list[int]] = field(factory=dict)
    of_file: dict[int, list[int]] = field(factory=dict)
    _needed_by: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        for position, piece in enumerate(self.space.pieces):
            event = piece.event
            if isinstance(event, Entry):
                self.names.setdefault((event.directory, event.entry), []).append(position)
            else:
                self.of_file.setdefault(event.inode, []).append(position)
        self._needed_by = [0] * len(self.space.pieces)
        for position, needed in enumerate(self.space.bound.requires):
            for other in bits(needed):
                self._needed_by[other] |= 1 << position

    def answers(
        self, question: Callable[[PartialState], Answer]
    ) -> Iterator[tuple[Answer, Decisions]]:
        """Each answer that some crash state gives, with what had to be decided for it.

        An answer may come more than once. The first ways tried are those that lose the least.
        """
        todo = [self._beginning()]
        while todo:
            decided = todo.pop()
            try:
                answer = question(PartialState(self, decided))
            except Undecided as fork:
                todo += reversed(fork.ways)
                continue
            yield answer, decided

    def _beginning(self) -> Decisions:
        bound = self.space.bound
        lost = self._closure(bound.never, self._needed_by)
        if self.still:
            lost = self.space.everything & ~bound.durable
        return Decisions(bound.durable, lost, bound.logged)

    def with_commit(self, decided: Decisions, piece: int) -> Decisions | None:
        """The same, and the commit holds the piece and all that it requires; None: impossible."""
        committed = self._closure(piece, self.space.bound.requires, decided.committed)
        if committed & decided.left_out:
            return None
        return evolve(decided, committed=committed)

    def without_commit(self, decided: Decisions, piece: int) -> Decisions | None:
        """The same, and the commit holds neither the piece nor what requires it."""
        left_out = self._closure(piece, self._needed_by, decided.left_out)
        if left_out & decided.committed:
            return None
        return evolve(decided, left_out=left_out)

    def settled(self, decided: Decisions) -> int:
        """One legal set of landed pieces that agrees with what was decided: all else has landed."""
        everything = self.space.everything
        return everything & ~decided.left_out | decided.by_log

    def _closure(self, start: int, edges: list[int], known: int = 0) -> int:
        """All that `start` leads to, together with what is known to be closed already."""
        found, todo = known | start, start & ~known
        while todo:
            low = todo & -todo
            todo ^= low
            new = edges[low.bit_length() - 1] & ~found
            found |= new
            todo |= new
        return found


@define
class PartialState:
    """A crash state as far as it is decided; a look at anything else forks the search."""

    search: LazySearch
    decided: Decisions

    def name(self, directory: int, name: str) -> int | None:
        """What a name of a directory means: an inode, or None where it is not there."""
        space = self.search.space
        later: list[int] = []
        ways: list[Decisions] = []
        for position in reversed(self.search.names.get((directory, name), [])):
            if self.decided.is_lost(1 << position):
                continue
            ways += self._ways(position, later)
            later.append(position)
            if self.decided.landed(1 << position):
                break
        else:
            if not later:
                base = space.state.base.get(directory)
                return base.entries.get(name) if isinstance(base, Directory) else None
            ways += self._ways(None, later)
        if len(later) == 1 and self.decided.landed(1 << later[0]):
            event = space.pieces[later[0]].event
            return event.target if isinstance(event, Entry) else None
        raise Undecided(ways)

    def inode(self, number: int) -> Inode:
        """What an inode is: its kind never changes, so nothing has to be decided for that."""
        state = self.search.space.state
        return state.view[number] if number in state.view else state.base[number]

    def find(self, path: str) -> int | None:
        """The inode at an absolute path; no link is followed. None where there is none."""
        number = ROOT
        for name in (part for part in path.split("/") if part):
            if not isinstance(self.inode(number), Directory):
                return None
            found = self.name(number, name)
            if found is None:
                return None
            number = found
        return number

    def entries(self, directory: int) -> dict[str, int]:
        """The whole listing of a directory."""
        base = self.search.space.state.base.get(directory)
        known = set(base.entries) if isinstance(base, Directory) else set()
        known |= {name for number, name in self.search.names if number == directory}
        found = {name: self.name(directory, name) for name in sorted(known)}
        return {name: number for name, number in found.items() if number is not None}

    def links(self, inode: int) -> int:
        """How many names an inode has, in directories that can be reached."""
        return self._links(inode, ROOT, frozenset({ROOT}))

    def size(self, inode: int) -> int:
        """The size of a file in bytes."""
        return self._file(inode, sizes_only=True).size

    def content(self, inode: int) -> Content:
        """The content of a file; where its data were lost, every way in which it can read."""
        return self._file(inode, sizes_only=False)

    def _links(self, inode: int, directory: int, above: frozenset[int]) -> int:
        count = 0
        for child in self.entries(directory).values():
            count += child == inode
            if isinstance(self.inode(child), Directory) and child not in above:
                count += self._links(inode, child, above | {child})
        return count

    def _file(self, inode: int, *, sizes_only: bool) -> Content:
        space = self.search.space
        for position in self.search.of_file.get(inode, ()):
            wanted = not sizes_only or isinstance(space.pieces[position].event, Size)
            if wanted and self.decided.is_open(1 << position):
                raise Undecided(self._ways(position, []) + self._ways(None, [position]))
        landed = self.decided.landed(space.everything)
        file, exposed = space.file_after(inode, landed, self.decided.stale)
        exposed &= space.bound.stale_allowed & ~(self.decided.stale | self.decided.fresh)
        if exposed and not sizes_only:
            piece = exposed & -exposed
            raise Undecided(
                [
                    evolve(self.decided, fresh=self.decided.fresh | piece),
                    evolve(self.decided, stale=self.decided.stale | piece),
                ]
            )
        return file.content

    def _ways(self, landed: int | None, lost: list[int]) -> list[Decisions]:
        """The decision that one piece landed and others were lost; empty where it is impossible."""
        decided: Decisions | None = self.decided
        if landed is not None and not self.decided.landed(1 << landed):
            decided = self.search.with_commit(self.decided, 1 << landed)
        for position in lost:
            if decided is None or decided.landed(1 << position):
                return []
            decided = self.search.without_commit(decided, 1 << position)
        return [] if decided is None else [decided]
