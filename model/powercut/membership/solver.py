"""Deduction: which pending events have landed, worked out from what was observed.

Two kinds of constraint meet here.  Rules say that one event needs another.  What was observed says
of a place (a name, the size of a file, some of its bytes) which event may be the last there that
landed: a `LastWriter`.  Both are propagated in place until nothing follows any more.  Only where
several events are left for one place does the solver suppose one of them, and take that back where
it leads to a contradiction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from attrs import define, field

OPEN: Final = 0
IN: Final = 1
OUT: Final = 2

_CLASHES_KEPT = 3

Reason = object
"""Why an event is in or out: another event (int), a `LastWriter`, or None where it was given."""


@define(eq=False)
class LastWriter:
    """The last of `events` to land is one whose value is allowed, or none is and the base is.

    `events` are in program order.  With `node`, an event is allowed where its value is a meaning
    that the node may still have; without, where its value is true.  `fact` says what was observed.
    """

    events: Sequence[int]
    values: Sequence[int | bool | None]
    base: int | bool | None
    fact: Callable[[], str]
    node: int | None = None
    waiting: bool = False
    choice: int | None = None


class Contradiction(Exception):  # noqa: N818
    """Two things that cannot both be so; `why` says it in words, when asked at once."""

    def __init__(self, why: Callable[[], str]) -> None:
        super().__init__()
        self.why = why


class BudgetExceeded(Exception):  # noqa: N818
    """The budget is used up."""


@define(eq=False)
class Solver:
    """One question being worked out.

    `need[e]` are the events that e needs and `needed[e]` those that need it; `value` says of each
    whether the commit holds it; `logged` marks those that landed by a log whatever the commit does.
    `meanings` are the inodes that each observed node may still be, None where nobody asked yet, and
    `owner` the node that an inode was found to be.  `enter` is called when a node's meaning is
    known, and `tell` puts into words why an event is in or out; `why` holds the reasons for that.
    """

    need: Sequence[Sequence[int]]
    needed: Sequence[Sequence[int]]
    value: bytearray
    logged: bytes
    meanings: list[frozenset[int] | None]
    enter: Callable[[int, int], None]
    tell: Callable[[int, int, Reason], str]
    budget: int
    clashes: list[str] = field(factory=list)
    owner: dict[int, int] = field(factory=dict)
    why: list[Reason] = field(factory=list)
    _trail: list[int | tuple[str, object, object]] = field(factory=list)
    _watch: dict[int, list[LastWriter]] = field(factory=dict)
    _dirty: list[LastWriter] = field(factory=list)
    _known: list[int] = field(factory=list)
    _active: list[LastWriter] = field(factory=list)
    _naming: dict[int, list[LastWriter]] = field(factory=dict)
    _vague: set[int] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.why = [None] * len(self.value)

    def solve(self, begin: Callable[[], None]) -> bool:
        """Whether all that `begin` lays down can be so together. Spent, when the budget is.

        What is open afterwards may be taken as lost.
        """
        stack: list[tuple[int, list[Callable[[], None]]]] = []
        possible = self._attempt(begin)
        while True:
            if possible:
                options = self._options()
                if not options:
                    return True
                stack.append((len(self._trail), options))
            while stack and not stack[-1][1]:
                stack.pop()
            if not stack:
                return False
            mark, options = stack[-1]
            self._undo(mark)
            possible = self._attempt(options.pop())

    def land(self, event: int, why: Reason) -> None:
        """The commit holds the event, and all that it needs."""
        self._put(event, IN, self.need, why)

    def lose(self, event: int, why: Reason) -> None:
        """The commit holds neither the event nor what needs it."""
        self._put(event, OUT, self.needed, why)

    def install(self, last: LastWriter) -> None:
        """Lay down a constraint, and draw what follows from it alone."""
        if last.node is not None:
            self._naming.setdefault(last.node, []).append(last)
            self._trail.append(("naming", last.node, None))
        if not self._scan(last):
            for event in last.events:
                self._watch.setdefault(event, []).append(last)
            self._active.append(last)
            self._trail.append(("active", last, None))

    def narrow(self, node: int, inodes: Collection[int], fact: Callable[[], str]) -> None:
        """The node is one of these inodes. Clash where that leaves none."""
        before = self.meanings[node]
        kept = frozenset(
            inode
            for inode in (inodes if before is None else before & frozenset(inodes))
            if self.owner.get(inode, node) == node
        )
        if kept == before:
            return
        if not kept:
            raise Contradiction(lambda: f"{fact()}; but no inode is left that it can be")
        self._trail.append(("meaning", node, before))
        self.meanings[node] = kept
        if len(kept) > 1:
            self._vague.add(node)
        self._again(self._naming.get(node, ()))
        if len(kept) == 1:
            self._own(node, next(iter(kept)), fact)

    def _own(self, node: int, inode: int, fact: Callable[[], str]) -> None:
        self.owner[inode] = node
        self._trail.append(("owner", inode, None))
        self._known.append(node)
        for other in tuple(self._vague):
            meaning = self.meanings[other]
            if meaning is not None and len(meaning) > 1 and inode in meaning:
                self.narrow(other, meaning - {inode}, fact)

    def _put(self, event: int, value: int, edges: Sequence[Sequence[int]], why: Reason) -> None:
        values, reasons = self.value, self.why
        todo: list[tuple[int, Reason]] = [(event, why)]
        while todo:
            event, why = todo.pop()
            found = values[event]
            if found == value:
                continue
            if found:
                raise Contradiction(self._both(event, (found, reasons[event]), (value, why)))
            values[event] = value
            reasons[event] = why
            self._trail.append(event)
            if event in self._watch:
                self._again(self._watch[event])
            todo += [(other, event) for other in edges[event] if values[other] != value]
            self.budget -= 1
        if self.budget < 0:
            raise BudgetExceeded

    def _both(
        self, event: int, one: tuple[int, Reason], other: tuple[int, Reason]
    ) -> Callable[[], str]:
        """That an event landed and did not."""
        return lambda: f"{self.tell(event, *one)}; but {self.tell(event, *other)}"

    def _again(self, lasts: Sequence[LastWriter]) -> None:
        for last in lasts:
            if not last.waiting:
                last.waiting = True
                self._dirty.append(last)

    def _attempt(self, begin: Callable[[], None]) -> bool:
        """Lay something down and draw all that follows; False where it clashes."""
        try:
            begin()
            while True:
                if self._dirty:
                    last = self._dirty.pop()
                    last.waiting = False
                    self._scan(last)
                elif self._known:
                    node = self._known.pop()
                    for inode in self.meanings[node] or ():  # the one that is left
                        self.enter(node, inode)
                else:
                    return True
        except Contradiction as clash:
            if len(self.clashes) < _CLASHES_KEPT:
                self.clashes.append(clash.why())
            for last in self._dirty:
                last.waiting = False
            self._dirty.clear()
            self._known.clear()
            return False

    def _undo(self, mark: int) -> None:
        trail = self._trail
        while len(trail) > mark:
            entry = trail.pop()
            if isinstance(entry, int):
                self.value[entry] = OPEN
                continue
            what, subject, before = entry
            if what == "meaning":
                self.meanings[subject] = before  # type: ignore[call-overload]
                self._vague.add(subject)  # type: ignore[arg-type]
            elif what == "owner":
                del self.owner[subject]  # type: ignore[arg-type]
            elif what == "naming":
                self._naming[subject].pop()  # type: ignore[index]
            else:
                last = self._active.pop()
                for event in last.events:
                    self._watch[event].pop()

    def _scan(self, last: LastWriter) -> bool:
        """Draw what follows from one constraint; True where it is met whatever comes."""
        value, logged = self.value, self.logged
        wanted = None if last.node is None else self.meanings[last.node]
        values = last.values
        could: list[int] = []  # the places in `events` of open ones that are allowed, latest first
        floor, place = last.base, len(values)
        while place:
            place -= 1
            event = last.events[place]
            if logged[event] or value[event] == IN:
                floor = values[place]
                break
            if value[event] == OUT:
                continue
            if _allowed(values[place], wanted, last):
                could.append(place)
            elif not could:
                self.lose(event, last)  # nothing that could come after it would make it good
        else:
            place = -1
        self.budget -= len(last.events) - place
        if self.budget < 0:
            raise BudgetExceeded
        good = _allowed(floor, wanted, last)
        if not good and not could:
            raise Contradiction(lambda: self._nothing_left(last, place))
        if not good and len(could) == 1:
            self.land(last.events[could[0]], last)
        last.choice = None if good else last.events[could[0]]
        if last.node is not None:
            meanings = {values[p] for p in could} | ({floor} if good else set())
            self.narrow(last.node, meanings, last.fact)  # type: ignore[arg-type]
        return not could or (not good and len(could) == 1)

    def _nothing_left(self, last: LastWriter, place: int) -> str:
        """Why no event can be the last that landed."""
        if place >= 0:
            event = last.events[place]
            return f"{last.fact()}; but {self.tell(event, IN, self.why[event])}"
        wanted = None if last.node is None else self.meanings[last.node]
        for place, event in enumerate(last.events):
            if _allowed(last.values[place], wanted, last):
                return f"{last.fact()}; but {self.tell(event, OUT, self.why[event])}"
        return f"{last.fact()}; but nothing in the program leaves that"

    def _options(self) -> list[Callable[[], None]]:
        """What to suppose next, the likeliest last; empty where nothing is left to suppose."""
        self._vague = {node for node in self._vague if len(self.meanings[node] or ()) > 1}
        if self._vague:
            _, node = min((len(self.meanings[node] or ()), node) for node in self._vague)
            meaning = sorted(self.meanings[node] or ())
            return [partial(self._suppose, node, inode) for inode in meaning]
        for last in self._active:
            self._scan(last)  # changes nothing here, and says whether a choice is left
            event = last.choice
            if event is not None and self.value[event] == OPEN:
                return [partial(self.lose, event, last), partial(self.land, event, last)]
        return []

    def _suppose(self, node: int, inode: int) -> None:
        self.narrow(node, (inode,), lambda: f"node {node} is no inode")


def _allowed(value: object, wanted: frozenset[int] | None, last: LastWriter) -> bool:
    if last.node is None:
        return bool(value)
    return value is not None and (wanted is None or value in wanted)
