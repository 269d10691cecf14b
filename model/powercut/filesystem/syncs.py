"""Syncs: what an op that waits for the disk has asked for, and what it knows of its inode.

A rule of the kind scope is a sentence about one `Sync` and one piece.  What such sentences speak
of beyond the op itself is in `Facts`: how far back the inode was last changed, renamed, linked.
Each count is a number of events in program order, up to and including the last one meant; 0 where
there is none.  They are worked out when a rule first asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeGuard

from attrs import field, frozen

from powercut.filesystem.events import Entry, Event, Extent, Piece, Size, touches
from powercut.filesystem.inodes import ROOT, Directory, Tree
from powercut.filesystem.tree_log import Logged, brought, closure, kin_of

Lane = tuple[int, str]
"""Where an op of a thread stands: the number of its stretch of concurrency, and the thread."""

_RENAMES = ("add", "remove", "swap")
_NO_LOG = ("return", "sync")


@frozen(eq=False)
class Facts:
    """What a file system knows of an inode when it is synced.

    `touched`: the last change of the inode that is sure to be one, and that the sync waits for:
    bytes written over others within a tick of the clock change nothing but themselves, and a ranged
    sync leaves a size beyond its span in memory.  `born`: it was made, with a name.  `sized`: that,
    or its last change of size.  `moved`: it was renamed.  `dropped`: it lost a name.  `linked`: it
    got one more.  `above`: a directory that names it was made.  `beside`: something was renamed
    into, out of or inside such a directory or removed from it, or the directory was.
    `shifted`: something was renamed to another directory out of one of its directories, or a
    directory into one, counting those that named it once (`former`).

    `names` counts its links and `ancestors` are the directories above it.  `below` are the
    directories beneath it that were made since, without an old one between, and `children` what
    was named in it or in them since.  `kin` are the inodes that had one of its names, or whose
    names it had, and theirs in turn.  `moves` are the ops that renamed something out of it to
    another directory.  `full` and `held` are the most that a log of it may bring: the directories
    with their names, itself and those beneath it, and where its names had changed, those of its
    names and beneath them; and the inodes, in those and above it.

    Each is worked out from the events issued and the view when it is asked for, in O(events) at
    worst; `since` is where the new directories begin that `below` speaks of.  An event that is None
    was issued, and nothing is known of it: another thread did it at the same time.
    """

    _issued: Sequence[Event | None]
    _view: Tree
    _inode: int
    _since: int
    _span: tuple[int, int] | None = None

    @cached_property
    def touched(self) -> int:
        """See `Facts`."""
        return self._last(
            lambda e: self._resizes(e) if isinstance(e, Extent | Size) else touches(e, self._inode)
        )

    @cached_property
    def born(self) -> int:
        """See `Facts`."""
        return self._own(lambda e: e.first and e.target == self._inode and e.op_kind != "link")

    @cached_property
    def sized(self) -> int:
        """See `Facts`."""
        return max(self.born, self._last(self._resizes))

    @cached_property
    def moved(self) -> int:
        """See `Facts`."""
        return self._own(lambda e: e.target == self._inode and e.role in _RENAMES)

    @cached_property
    def dropped(self) -> int:
        """See `Facts`."""
        return self._own(lambda e: e.replaced == self._inode)

    @cached_property
    def linked(self) -> int:
        """See `Facts`."""
        return self._own(lambda e: e.target == self._inode and e.op_kind == "link")

    @cached_property
    def above(self) -> int:
        """See `Facts`."""
        return self._entry(lambda e: e.first and e.target in self._naming)

    @cached_property
    def beside(self) -> int:
        """See `Facts`."""
        return self._entry(
            lambda e: (
                (e.role in _RENAMES or e.target is None)
                and not self._naming.isdisjoint((e.directory, e.target))
            )
        )

    @cached_property
    def moves(self) -> frozenset[str]:
        """See `Facts`."""
        crossing = _crossing(self._issued)
        return frozenset(
            e.op
            for _, e in self._entries
            if e.directory == self._inode and e.role in ("remove", "swap") and e.op in crossing
        )

    @cached_property
    def shifted(self) -> int:
        """See `Facts`."""
        crossing = _crossing(self._issued)
        return self._entry(
            lambda e: (
                e.op in crossing
                and e.directory in self.former
                and (e.role != "add" or isinstance(self._view.get(e.target or 0), Directory))
            )
        )

    @cached_property
    def names(self) -> int:
        """See `Facts`."""
        return sum(
            child == self._inode
            for held in self._view.values()
            if isinstance(held, Directory)
            for child in held.entries.values()
        )

    @cached_property
    def ancestors(self) -> frozenset[int]:
        """See `Facts`."""
        parents = self._parents
        found = closure({self._inode}, lambda number: parents.get(number, ()))
        return frozenset(found - {self._inode})

    @cached_property
    def former(self) -> frozenset[int]:
        """See `Facts`."""
        return self._naming | {
            e.directory
            for e in self._issued
            if isinstance(e, Entry) and self._inode in (e.target, e.replaced)
        }

    @cached_property
    def below(self) -> frozenset[int]:
        """See `Facts`."""
        return self._new_below - {self._inode}

    @cached_property
    def children(self) -> frozenset[int]:
        """See `Facts`."""
        return frozenset(
            e.target for e in self._recent if e.directory in self._new_below and e.target
        )

    @cached_property
    def full(self) -> frozenset[int]:
        """See `Facts`."""
        renamed = max(self.moved, self.dropped, self.linked) > 0
        start = {self._inode} | (self.former if renamed else frozenset())
        return frozenset(closure(set(start), lambda n: _directories_in(self._view, n)))

    @cached_property
    def held(self) -> frozenset[int]:
        """See `Facts`."""
        inside = {child for directory in self.full for child in _in(self._view, directory)}
        return self.ancestors | {self._inode} | inside

    @cached_property
    def kin(self) -> frozenset[int]:
        """See `Facts`."""
        families = kin_of([event for event in self._issued if isinstance(event, Entry)])
        return families.get(self._inode, frozenset({self._inode}))

    @cached_property
    def _parents(self) -> dict[int, tuple[int, ...]]:
        return parents_in(self._view)

    @cached_property
    def _naming(self) -> frozenset[int]:
        return frozenset(self._parents.get(self._inode, ()))

    @cached_property
    def _recent(self) -> list[Entry]:
        return [event for event in self._issued[self._since :] if isinstance(event, Entry)]

    @cached_property
    def _new_below(self) -> frozenset[int]:
        made = {e.target for e in self._recent if e.first}
        below = closure(
            {self._inode}, lambda n: [d for d in _directories_in(self._view, n) if d in made]
        )
        return frozenset(below)

    @cached_property
    def _entries(self) -> list[tuple[int, Entry]]:
        """What changed its names or its entries, each with the events up to it, latest first."""
        number = self._inode
        found = [
            (count, event)
            for count, event in enumerate(self._issued, start=1)
            if isinstance(event, Entry)
            and number in (event.target, event.replaced, event.directory)
        ]
        return found[::-1]

    def _own(self, match: Callable[[Entry], bool]) -> int:
        """As `_entry`, among the changes that speak of the inode."""
        return next((count for count, event in self._entries if match(event)), 0)

    def _last(self, match: Callable[[Event], bool]) -> int:
        """How many events there are up to the last that matches; 0 where none does."""
        latest_first = zip(range(len(self._issued), 0, -1), reversed(self._issued), strict=True)
        return next((n for n, event in latest_first if event is not None and match(event)), 0)

    def _resizes(self, event: Event) -> bool:
        """The size changes, in what the sync writes out."""
        if not isinstance(event, Size) or event.inode != self._inode:
            return False
        if self._span is None or event.truncates:
            return True
        return event.old < self._span[1] and event.new > self._span[0]

    def _entry(self, match: Callable[[Entry], bool]) -> int:
        return self._last(lambda event: isinstance(event, Entry) and match(event))


@frozen
class Sync:
    """A sync that has returned, or, where `done` is false, one that the crash cut short.

    `kind` is the op's name; "o_sync" or "o_dsync" for a write that waits; "failed" for a sync that
    gave its file's dirty pages up; "return" for the return of any other op.  `inode` is what was
    synced and `span` the bytes that a ranged sync names.  `position` counts the events issued
    before it, `since` those before the last sync before it, and `number` the ops that returned
    before it.
    """

    op: str
    kind: str
    inode: int | None
    is_directory: bool
    position: int
    number: int
    since: int = 0
    span: tuple[int, int] | None = None
    done: bool = True
    _issued: Sequence[Event | None] = field(default=(), eq=False, repr=False)
    _view: Tree = field(factory=dict, eq=False, repr=False)
    _lanes: Mapping[str, Lane] = field(factory=dict, eq=False, repr=False)
    _earlier: Sequence[Sync] = field(default=(), eq=False, repr=False)

    @cached_property
    def about(self) -> Facts:
        """What is known of the synced inode at this moment."""
        return Facts(self._issued, self._view, self.inode or 0, self.since, self.span)

    @property
    def committed(self) -> int:
        """The events up to the last change that this sync has to commit: fdatasync skips some."""
        data_only = self.kind in ("fdatasync", "o_dsync", "msync")
        return self.about.sized if data_only else self.about.touched

    @property
    def changed_metadata(self) -> bool:
        """A name or a size has changed since the last sync."""
        return any(isinstance(event, Entry | Size) for event in self._issued[self.since :])

    def had_issued(self, piece: Piece, count: int) -> bool:
        """The piece was issued, for sure, when the first `count` events had been."""
        if piece.index >= count:
            return False
        last = self._issued[count - 1]
        return last is None or not concurrent(self._lanes, last.op, piece.event.op)

    @cached_property
    def may_log(self) -> frozenset[str]:
        """The ops of which a log, by this sync or an earlier one, may bring a change of a name."""
        logs = [
            Logged(sync.position, sync.about.full, sync.about.held)
            for sync in (*self._earlier, self)
            if sync.kind not in _NO_LOG
        ]
        return brought(self._issued, self._view, logs)

    @cached_property
    def linked_first(self) -> frozenset[int]:
        """The inodes whose first name came by a link: they were made with O_TMPFILE."""
        return frozenset(e.target for e in self._issued if _is_linked_first(e) and e.target)

    @cached_property
    def linked_from(self) -> int:
        """The index of the first event that gives such a name, or may do so."""
        found = (n for n, e in enumerate(self._issued) if e is None or _is_linked_first(e))
        return next(found, len(self._issued))

    def found_replaced(self, piece: Piece) -> bool:
        """The name that the piece gives had been taken by another file, or may have been."""
        given = piece.event
        if not isinstance(given, Entry) or given.target is None:
            return False
        return any(
            event is None
            or (
                isinstance(event, Entry)
                and (event.directory, event.entry) == (given.directory, given.entry)
                and event.target not in (None, given.target)
                and event.replaced == given.target
            )
            for event in self._issued[piece.index + 1 :]
        )

    @property
    def unknown_until(self) -> int:
        """How many events there are up to the last of which nothing is known; 0 where all are."""
        latest_first = zip(range(len(self._issued), 0, -1), reversed(self._issued), strict=True)
        return next((n for n, event in latest_first if event is None), 0) if self._lanes else 0

    def had_sent(self, piece: Piece) -> bool:
        """The piece had been handed to the drive, for sure, when this sync returned."""
        if piece.sent is None or piece.sent > self.number:
            return False
        return not concurrent(self._lanes, self.op, piece.sender)


def _is_linked_first(event: Event | None) -> TypeGuard[Entry]:
    return isinstance(event, Entry) and event.first and event.op_kind == "link"


def concurrent(lanes: Mapping[str, Lane], one: str, other: str) -> bool:
    """Nothing orders the two ops: they are of different threads, in one stretch."""
    if one not in lanes or other not in lanes:
        return False
    (stretch, thread), (other_stretch, other_thread) = lanes[one], lanes[other]
    return stretch == other_stretch and thread != other_thread


def _crossing(issued: Sequence[Event | None]) -> set[str]:
    """The renames that led from one directory to another."""
    directories: dict[str, set[int]] = {}
    for event in issued:
        if isinstance(event, Entry) and event.op_kind == "rename":
            directories.setdefault(event.op, set()).add(event.directory)
    return {op for op, held in directories.items() if len(held) > 1}


def parents_in(view: Tree) -> dict[int, tuple[int, ...]]:
    """For each inode the directories that name it and can be reached; the root has none."""
    found: dict[int, tuple[int, ...]] = {}
    todo, seen = [ROOT], {ROOT}
    while todo:
        number = todo.pop()
        held = view.get(number)
        if not isinstance(held, Directory):
            continue
        for child in held.entries.values():
            found[child] = (*found.get(child, ()), number)
            if child not in seen:
                seen.add(child)
                todo.append(child)
    return found


def _in(view: Tree, number: int) -> list[int]:
    held = view.get(number)
    return list(held.entries.values()) if isinstance(held, Directory) else []


def _directories_in(view: Tree, number: int) -> list[int]:
    return [child for child in _in(view, number) if isinstance(view.get(child), Directory)]
