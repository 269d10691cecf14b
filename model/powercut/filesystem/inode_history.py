"""The history of an inode, as known when it is synced: its names, changes and neighbours.

The scope rules in rules.py speak of these facts.  None of them decides anything by itself.
A fact that says *how far back* something happened is a count: the number of events, in program
order, up to and including the last one meant; 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from attrs import frozen

from powercut.filesystem.events import Entry, Event, Extent, Size, touches
from powercut.filesystem.inodes import ROOT, Directory, Tree
from powercut.filesystem.tree_log import closure, kin_of

_RENAMES = ("add", "remove", "swap")


@frozen(eq=False)
class InodeHistory:
    """The facts of one inode, from the events issued so far and the tree that programs see.

    `since` is where the events begin that came after the last sync.  `span` are the bytes that a
    ranged sync names, `op` is the sync, `synced` counts the events before each earlier sync of all
    of it.  An event that is None was issued, and nothing is known of
    it: another thread did it at the same time.  Each fact is worked out when it is asked for, in
    O(events) at worst.
    """

    _issued: Sequence[Event | None]
    _view: Tree
    _inode: int
    _since: int
    _span: tuple[int, int] | None = None
    _op: str = ""
    _synced: tuple[int, ...] = ()

    # --- counts: how far back something happened to the inode ---

    @cached_property
    def touched(self) -> int:
        """Its last change that is sure to be one, and that the sync waits for.

        Bytes written over others within a tick of the clock change nothing but themselves, and a
        ranged sync leaves a size that another write has given in memory.
        """
        return self._last(
            lambda e: self._resizes(e) if isinstance(e, Extent | Size) else touches(e, self._inode)
        )

    @cached_property
    def logged(self) -> int:
        """As `touched`, but for exchanges: they log no inode that a data sync would wait for."""
        swaps = {e.op for e in self._issued if isinstance(e, Entry) and e.role == "swap"}
        return self._last(
            lambda e: (
                self._resizes(e)
                if isinstance(e, Extent | Size)
                else touches(e, self._inode) and e.op not in swaps
            )
        )

    @cached_property
    def born(self) -> int:
        """It was made, with a name."""
        return self._own(lambda e: e.first and e.target == self._inode and e.op_kind != "link")

    @cached_property
    def sized(self) -> int:
        """It was made, or its size on the medium is sure to change; the later of the two.

        A growth that was cut away again may never have been there: where a cut leads to a size that
        the medium may have had all the time, nothing has changed.
        """
        last = settled = self.born
        before = 0
        least: int | None = None  # the size on the medium is at least that, and was so at `settled`
        for count, event in enumerate(self._issued, start=1):
            if not isinstance(event, Size) or event.inode != self._inode:
                continue
            if least is None or any(before <= at < count for at in self._synced):
                least, settled = event.old, last
            before = count
            if not event.truncates:
                last = count if self._resizes(event) else last
                continue
            if least > event.new:
                settled = count
            least, last = event.new, settled
        return last

    @cached_property
    def moved(self) -> int:
        """It was renamed."""
        return self._own(lambda e: e.target == self._inode and e.role in _RENAMES)

    @cached_property
    def dropped(self) -> int:
        """It lost a name."""
        return self._own(lambda e: e.replaced == self._inode)

    @cached_property
    def removed(self) -> int:
        """It lost a name by an unlink or a rename of its own, not to another that took the name."""
        return self._own(lambda e: e.replaced == self._inode and e.target is None)

    @cached_property
    def linked(self) -> int:
        """It got one more name, by a link."""
        return self._own(lambda e: e.target == self._inode and e.op_kind == "link")

    @cached_property
    def named(self) -> int:
        """It got a name, changed one or removed one; the last of these."""
        return max(self.born, self.linked, self.moved, self.removed)

    # --- counts: how far back something happened beside or above it ---

    @cached_property
    def above(self) -> int:
        """A directory that names it was made."""
        return self._entry(lambda e: e.first and e.target in self._naming)

    @cached_property
    def beside(self) -> int:
        """A rename or a removal touched a directory that names it, or that directory itself."""
        return self._entry(
            lambda e: (
                (e.role in _RENAMES or e.target is None)
                and not self._naming.isdisjoint((e.directory, e.target))
            )
        )

    @cached_property
    def shifted(self) -> int:
        """A rename led out of one of its `former` directories, or led a directory into one."""
        crossing = _crossing(self._issued)
        return self._entry(
            lambda e: (
                e.op in crossing
                and e.directory in self.former
                and (e.role != "add" or isinstance(self._view.get(e.target or 0), Directory))
            )
        )

    # --- sets ---

    @cached_property
    def names(self) -> frozenset[tuple[int, str]]:
        """Its names, each with its directory."""
        return frozenset(
            (number, name)
            for number, held in self._view.items()
            if isinstance(held, Directory)
            for name, child in held.entries.items()
            if child == self._inode
        )

    @cached_property
    def moves(self) -> frozenset[str]:
        """The ops that renamed something out of it, to another directory."""
        crossing = _crossing(self._issued)
        return frozenset(
            e.op
            for _, e in self._entries
            if e.directory == self._inode and e.role in ("remove", "swap") and e.op in crossing
        )

    @cached_property
    def ancestors(self) -> frozenset[int]:
        """The directories above it."""
        parents = self._parents
        found = closure({self._inode}, lambda number: parents.get(number, ()))
        return frozenset(found - {self._inode})

    @cached_property
    def former(self) -> frozenset[int]:
        """The directories that name it, or named it once."""
        return self._naming | {
            e.directory
            for e in self._issued
            if isinstance(e, Entry) and self._inode in (e.target, e.replaced)
        }

    @cached_property
    def below(self) -> frozenset[int]:
        """The directories beneath it made since the last sync, without an old one between."""
        return self._new_below - {self._inode}

    @cached_property
    def children(self) -> frozenset[int]:
        """The inodes that were named since the last sync, in it or in those below."""
        return frozenset(
            e.target for e in self._recent if e.directory in self._new_below and e.target
        )

    @cached_property
    def kin(self) -> frozenset[int]:
        """The inodes that had one of its names, or whose names it had, and theirs in turn."""
        return self._families.get(self._inode, frozenset({self._inode}))

    @cached_property
    def contested(self) -> frozenset[int]:
        """The inodes that have had a name which another inode had as well."""
        return frozenset(number for number, family in self._families.items() if len(family) > 1)

    @cached_property
    def _families(self) -> dict[int, frozenset[int]]:
        return kin_of([event for event in self._issued if isinstance(event, Entry)])

    @cached_property
    def full(self) -> frozenset[int]:
        """The directories that a log of it may hold with their names, at most.

        Itself and those beneath it; where its names had changed, those of its names and beneath.
        """
        renamed = max(self.moved, self.dropped, self.linked) > 0
        start = {self._inode} | (self.former if renamed else frozenset())
        return frozenset(closure(set(start), lambda n: _directories_in(self._view, n)))

    @cached_property
    def held(self) -> frozenset[int]:
        """The inodes that a log of it may hold, at most: in the `full` ones and above it.

        Of a file without a name: any directory, for it was opened in one.
        """
        if not self.names and self._inode != ROOT:
            return frozenset(n for n, held in self._view.items() if isinstance(held, Directory))
        inside = {child for directory in self.full for child in _in(self._view, directory)}
        return self.ancestors | {self._inode} | inside

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
        """The changes of its names or its entries, each with the events up to it, latest first."""
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
        """The number of events up to the last that matches; 0 where none does."""
        latest_first = zip(range(len(self._issued), 0, -1), reversed(self._issued), strict=True)
        return next((n for n, event in latest_first if event is not None and match(event)), 0)

    def _resizes(self, event: Event) -> bool:
        """The size changes, and the sync is sure to write that: all of it, or what is its own."""
        if not isinstance(event, Size) or event.inode != self._inode:
            return False
        return self._span is None or event.truncates or event.op == self._op

    def _entry(self, match: Callable[[Entry], bool]) -> int:
        return self._last(lambda event: isinstance(event, Entry) and match(event))


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
