"""What the log of a file system with a log tree may hold: the most that it can bring after a crash.

A sync copies an inode into the log; what is renamed or linked later, in the same transaction, is
copied as well, and takes more along.  So what is held grows to a fixed point.  Nothing here knows
where a transaction begins or in what order things happened: more may be held than ever was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from attrs import frozen

from powercut.events import Entry, Event
from powercut.tree import ROOT, Directory, Tree


@frozen
class Held:
    """`full` are the directories that a log may have with all their names, `inodes` what it knows.

    `ops` are those that changed one of these names, or a name of one of these inodes: one half of a
    rename takes the other along.
    """

    full: frozenset[int]
    inodes: frozenset[int]
    ops: frozenset[str]


def held_after(
    issued: Sequence[Event | None], view: Tree, full: Collection[int], inodes: Collection[int]
) -> Held:
    """What a log may hold in the end, of which syncs have put in these directories and inodes.

    A rename or a link of what is held, and a rename out of a directory that is held, puts in what
    was renamed or linked, all that was ever above it, and in full the directories that ever named
    it, with what is beneath.  O(events) for each of the few rounds.
    """
    entries = [event for event in issued if isinstance(event, Entry)]
    above, inside = _ever_named(entries, view)
    full, inodes = set(full), set(inodes)
    size = -1
    while size != len(full) + len(inodes):
        size = len(full) + len(inodes)
        moved = {
            mover for mover, source in _moves(entries) if _follows(mover, source, full, inodes)
        }
        parents = {directory for inode in moved for directory in above.get(inode, ())}
        full |= closure(parents, lambda n: [d for d in inside.get(n, ()) if d in inside])
        inodes |= closure(moved, lambda n: above.get(n, ()))
        inodes |= {child for directory in full for child in inside.get(directory, ())}
        inodes |= kin_of(entries, inodes)
    ops = {e.op for e in entries if e.directory in full or (e.target or e.replaced) in inodes}
    return Held(frozenset(full), frozenset(inodes), frozenset(ops))


def _moves(entries: Iterable[Entry]) -> Iterable[tuple[int, int | None]]:
    """What was renamed or linked, with the directory that it was renamed out of."""
    for event in entries:
        if event.role in ("remove", "swap") and event.replaced is not None:
            yield event.replaced, event.directory
        elif event.op_kind == "link" and event.target is not None:
            yield event.target, None


def _follows(
    mover: int, source: int | None, full: Collection[int], inodes: Collection[int]
) -> bool:
    """The log is told.  The root is never new: above what is held, it is not held itself."""
    return mover in inodes or source in full or (source in inodes and source != ROOT)


def _ever_named(
    entries: Iterable[Entry], view: Tree
) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """For each inode the directories that ever named it; for each directory what it ever named."""
    above: dict[int, set[int]] = {}
    inside: dict[int, set[int]] = {
        number: set(held.entries.values())
        for number, held in view.items()
        if isinstance(held, Directory)
    }
    for event in entries:
        named = {event.target, event.replaced} - {None}
        inside.setdefault(event.directory, set()).update(n for n in named if n is not None)
    for directory, children in inside.items():
        for child in children:
            above.setdefault(child, set()).add(directory)
    return above, inside


def kin_of(issued: Sequence[Event | None], inodes: Collection[int]) -> frozenset[int]:
    """The inodes that share a name with these over time, and with those in turn; these too."""
    entries = [event for event in issued if isinstance(event, Entry)]
    kin, names = set(inodes), set[tuple[int, str]]()
    grown = True
    while grown:
        size = len(kin) + len(names)
        for event in entries:
            involved = {event.target, event.replaced} - {None}
            if kin & involved:
                names.add((event.directory, event.entry))
            if (event.directory, event.entry) in names:
                kin |= {number for number in involved if number is not None}
        grown = len(kin) + len(names) > size
    return frozenset(kin)


def closure(start: Collection[int], step: Callable[[int], Iterable[int]]) -> set[int]:
    """All that can be reached from `start`, itself included."""
    found, todo = set(start), list(start)
    while todo:
        for number in step(todo.pop()):
            if number not in found:
                found.add(number)
                todo.append(number)
    return found
