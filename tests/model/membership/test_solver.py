"""The solver by itself: it finds a set of landed events where brute force finds one."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from attrs import frozen

from powercut.crash.downsets import is_downset
from powercut.membership.solver import IN, BudgetExceeded, LastWriter, Solver


@frozen
class Place:
    """One place: its events in program order, which may be the last there, and whether none may."""

    events: tuple[int, ...]
    allowed: tuple[bool, ...]
    base: bool

    def fits(self, landed: int) -> bool:
        """The set leaves at this place what was observed."""
        fits = self.base
        for event, allowed in zip(self.events, self.allowed, strict=True):
            fits = allowed if landed >> event & 1 else fits
        return fits


@frozen
class Name:
    """One observed name: the events that give it, to which inodes, and which it may mean at all."""

    events: tuple[int, ...]
    inodes: tuple[int | None, ...]
    base: int | None
    candidates: tuple[int, ...]

    def means(self, landed: int) -> int | None:
        """What the name means where that has landed."""
        meaning = self.base
        for event, inode in zip(self.events, self.inodes, strict=True):
            meaning = inode if landed >> event & 1 else meaning
        return meaning if meaning in self.candidates else None


@frozen
class Riddle:
    """What each event needs, what is known of it, and what was observed.

    `places` were seen whatever the names mean; `contents` of a name that means that inode.
    """

    needs: tuple[int, ...]
    known: tuple[int, ...]
    logged: int
    places: tuple[Place, ...]
    names: tuple[Name, ...]
    contents: dict[tuple[int, int], Place]

    @classmethod
    def drawn(cls, pick: Random) -> Riddle:
        size = pick.randint(2, 8)
        needs = tuple(
            sum(1 << other for other in range(event) if pick.random() < 0.12)
            for event in range(size)
        )
        known = [0] * size
        if pick.random() < 0.3:
            known[0] = IN  # it needs nothing
        logged = 1 << pick.randrange(size) if pick.random() < 0.3 else 0
        places = tuple(_place(pick, size) for _ in range(pick.randint(0, 5)))
        names = tuple(_name(pick, size) for _ in range(pick.choice((0, 2, 3))))
        contents = {
            (node, inode): _place(pick, size)
            for node, name in enumerate(names)
            for inode in name.candidates
            if pick.random() < 0.6
        }
        return cls(needs, tuple(known), logged, places, names, contents)

    def solver(self, budget: int = 10_000) -> Solver:
        size = len(self.needs)
        need = [[o for o in range(size) if mask >> o & 1] for mask in self.needs]
        needed = [[e for e in range(size) if self.needs[e] >> o & 1] for o in range(size)]
        logged = bytes(self.logged >> event & 1 for event in range(size))
        solver = Solver(
            need,
            needed,
            bytearray(self.known),
            logged,
            [None] * len(self.names),
            lambda node, inode: _lay_down(solver, self.contents.get((node, inode))),
            lambda event, value, why: f"{event} {'in' if value == IN else 'out'}",
            budget,
        )
        return solver

    def solved(self, solver: Solver) -> int | None:
        """The set of events that the solver finds landed; None where it finds none."""

        def begin() -> None:
            for place in self.places:
                _lay_down(solver, place)
            for node, name in enumerate(self.names):
                solver.narrow(node, name.candidates, lambda: "a name")
                solver.install(
                    LastWriter(name.events, name.inodes, name.base, lambda: "a name", node)
                )

        if not solver.solve(begin):
            return None
        return sum(1 << e for e in range(len(self.needs)) if solver.value[e] == IN)

    def is_solution(self, commit: int) -> bool:
        """The commit is closed, holds what it is known to hold, and all that was observed fits."""
        landed = commit | self.logged
        meanings = [name.means(landed) for name in self.names]
        places = [*self.places]
        places += [self.contents[k] for k in enumerate(meanings) if k in self.contents]
        return (
            all(commit >> e & 1 for e, value in enumerate(self.known) if value == IN)
            and is_downset(commit, self.needs)
            and None not in meanings
            and len(set(meanings)) == len(meanings)
            and all(place.fits(landed) for place in places)
        )


def _place(pick: Random, size: int) -> Place:
    events = tuple(sorted(pick.sample(range(size), pick.randint(1, min(5, size)))))
    return Place(events, tuple(pick.random() < 0.5 for _ in events), pick.random() < 0.3)


def _name(pick: Random, size: int) -> Name:
    events = tuple(sorted(pick.sample(range(size), pick.randint(1, min(4, size)))))
    inodes = tuple(pick.choice((None, 1, 2, 3)) for _ in events)
    base = pick.choice((None, 1, 2, 3))
    found = sorted({inode for inode in (*inodes, base) if inode is not None})
    return Name(events, inodes, base, tuple(i for i in found if pick.random() < 0.9) or (1,))


def _lay_down(solver: Solver, place: Place | None) -> None:
    if place is not None:
        solver.install(LastWriter(place.events, place.allowed, place.base, lambda: "a place"))


@pytest.mark.parametrize("part", range(4))
def test_it_solves_what_brute_force_solves(part: int) -> None:
    tally = Counter[str]()
    for number in range(part, 4000, 4):
        riddle = Riddle.drawn(Random(number))  # noqa: S311
        possible = any(riddle.is_solution(commit) for commit in range(1 << len(riddle.needs)))
        solver = riddle.solver()
        found = riddle.solved(solver)

        assert (found is not None) == possible, riddle
        assert found is None or riddle.is_solution(found), riddle
        assert possible or solver.clashes
        tally["solved" if possible else "impossible"] += 1
        tally["taken back"] += possible and bool(solver.clashes)

    assert min(tally["solved"], tally["impossible"]) > 150
    assert tally["taken back"] > 5


def test_a_spent_budget_is_no_answer() -> None:
    riddle = Riddle.drawn(Random(1))  # noqa: S311

    with pytest.raises(BudgetExceeded):
        riddle.solved(riddle.solver(budget=0))
