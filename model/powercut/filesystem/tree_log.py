"""What the log of a file system with a log tree may hold: the most that it can bring after a crash.

A sync copies an inode into the log; what is renamed or linked later, in the same transaction, is
copied as well, and takes more along.  Nothing here knows where a transaction begins: more may be
held than ever was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby

from attrs import define, field, frozen

from powercut.filesystem.events import Entry, Event
from powercut.filesystem.inodes import ROOT, Directory, Tree


@frozen
class Logged:
    """What one sync puts into the log: it stands behind `position` events.

    `full` are the directories with all the names that they have then, `inodes` what it copies.
    """

    position: int
    full: frozenset[int]
    inodes: frozenset[int]


@define
class LogTree:
    """The log after so many events and syncs: directories, and until which event, and inodes."""

    _kin: dict[int, frozenset[int]]
    _inside: dict[int, set[int]]
    _names: dict[tuple[int, str], int]
    _above: dict[int, set[int]] = field(factory=dict)
    _until: dict[int, int] = field(factory=dict)
    _inodes: set[int] = field(factory=set)

    @classmethod
    def at_first(cls, entries: Sequence[Entry], view: Tree) -> LogTree:
        """The empty log before these changes of names, of which `view` is the outcome."""
        names = _named_at_first(entries, view)
        inside: dict[int, set[int]] = {}
        for (number, _), child in names.items():
            inside.setdefault(number, set()).add(child)
        tree = cls(kin_of(entries), inside, names)
        for directory, children in inside.items():
            for child in children:
                tree._above.setdefault(child, set()).add(directory)
        return tree

    def log_all(self, waiting: list[Logged], position: int) -> None:
        """Let the syncs write that stand no further than so many events; the last comes first."""
        while waiting and waiting[-1].position <= position:
            logged = waiting.pop()
            self.copy(logged.inodes, logged.position)
            self.copy_in_full(logged.full, logged.position)

    def holds(self, index: int, event: Entry) -> bool:
        """The log has the change of the name, event number `index`, or that of its inode."""
        return index < self._until.get(event.directory, 0) or bool(
            {event.target, event.replaced} & self._inodes
        )

    def copy(self, inodes: Iterable[int], position: int) -> None:
        """Inodes go into the log, and those whose names they have taken over.

        Of those that have no name any more, the directories that named them, in full.
        """
        kin = set[int]()
        for inode in inodes:
            kin |= self._kin.get(inode, frozenset({inode}))
        self._inodes |= kin
        gone = kin - set(self._names.values()) - {ROOT}
        named = set[int]().union(*(self._above.get(number, ()) for number in gone))
        if named := {number for number in named if self._until.get(number, 0) < position}:
            self.copy_in_full(named, position)

    def copy_in_full(self, directories: Collection[int], position: int) -> None:
        """Directories go into the log with all their names so far, and what is beneath them."""
        beneath = closure(directories, lambda n: self._inside.get(n, ()))
        for number in beneath & self._inside.keys() | set(directories):
            self._until[number] = position
        self.copy(beneath, position)

    def change(self, op: Sequence[Entry], position: int) -> None:
        """An op changes names; a rename or a link of what is held is made in the log as well.

        So is a rename out of a directory that is held.  Copied are what was renamed or linked, all
        that was ever above it, and in full the directories that ever named it.
        """
        for event in op:
            self._names.pop((event.directory, event.entry), None)
            if event.target is not None:
                self._names[event.directory, event.entry] = event.target
            for inode in (event.target, event.replaced):
                if inode is not None:
                    self._inside.setdefault(event.directory, set()).add(inode)
                    self._above.setdefault(inode, set()).add(event.directory)
        for mover, source in _moves(op):
            if mover in self._inodes or self._tells(source):
                self.copy(closure({mover}, lambda n: self._above.get(n, ())), position)
                self.copy_in_full(self._above[mover], position)

    def _tells(self, source: int | None) -> bool:
        """The root is never new: above what is held, it is not held itself."""
        return source in self._until or (source in self._inodes and source != ROOT)


def brought(issued: Sequence[Event | None], view: Tree, syncs: Iterable[Logged]) -> frozenset[str]:
    """The ops of which the log that these syncs wrote into may bring a change of a name.

    One half of a rename takes the other along.
    """
    entries = [(n, event) for n, event in enumerate(issued) if isinstance(event, Entry)]
    tree = LogTree.at_first([event for _, event in entries], view)
    waiting = sorted(syncs, key=lambda logged: -logged.position)
    for _, changes in groupby(entries, key=lambda numbered: numbered[1].op):
        op = list(changes)
        tree.log_all(waiting, op[0][0])
        tree.change([event for _, event in op], op[-1][0] + 1)
    tree.log_all(waiting, len(issued))
    return frozenset(event.op for n, event in entries if tree.holds(n, event))


def _moves(op: Iterable[Entry]) -> Iterator[tuple[int, int | None]]:
    """What an op renames or links, with the directory that it is renamed out of."""
    for event in op:
        if event.role in ("remove", "swap") and event.replaced is not None:
            yield event.replaced, event.directory
        elif event.op_kind == "link" and event.target is not None:
            yield event.target, None


def _named_at_first(entries: Iterable[Entry], view: Tree) -> dict[tuple[int, str], int]:
    """The meaning of each name before all these changes, of which `view` is the outcome."""
    before = {
        (number, name): child
        for number, held in view.items()
        if isinstance(held, Directory)
        for name, child in held.entries.items()
    }
    seen = set[tuple[int, str]]()
    for event in entries:
        if (place := (event.directory, event.entry)) not in seen:
            seen.add(place)
            before.pop(place, None)
            if event.replaced is not None:
                before[place] = event.replaced
    return before


def kin_of(entries: Iterable[Entry]) -> dict[int, frozenset[int]]:
    """For each inode those that share a name with it over time, and with those in turn."""
    families: dict[int, set[int]] = {}
    owners: dict[tuple[int, str], int] = {}
    for event in entries:
        members = {n for n in (event.target, event.replaced) if n is not None}
        if (owner := owners.get((event.directory, event.entry))) is not None:
            members.add(owner)
        joined = set().union(*(families.get(n, {n}) for n in members)) if members else set[int]()
        for number in joined:
            families[number] = joined
            owners[event.directory, event.entry] = number
    return {number: frozenset(family) for number, family in families.items()}


def closure(start: Collection[int], step: Callable[[int], Iterable[int]]) -> set[int]:
    """All that can be reached from `start`, itself included."""
    found, todo = set(start), list(start)
    while todo:
        for number in step(todo.pop()):
            if number not in found:
                found.add(number)
                todo.append(number)
    return found
