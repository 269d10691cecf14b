"""The solver by itself: it finds a set of landed events where brute force finds one."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from attrs import frozen

from powercut.crash.downsets import is_downset
from powercut.membership.solver import IN, OUT, BudgetExceeded, LastWriter, Solver


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
class Riddle:
    """What each event needs, what is known of it, and the places that were observed."""

    needs: tuple[int, ...]
    known: tuple[int, ...]
    logged: int
    places: tuple[Place, ...]

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
        places = []
        for _ in range(pick.randint(1, 7)):
            events = tuple(sorted(pick.sample(range(size), pick.randint(1, min(5, size)))))
            allowed = tuple(pick.random() < 0.5 for _ in events)
            places.append(Place(events, allowed, pick.random() < 0.2))
        return cls(needs, tuple(known), logged, tuple(places))

    def solver(self, budget: int = 10_000) -> Solver:
        size = len(self.needs)
        need = [[o for o in range(size) if mask >> o & 1] for mask in self.needs]
        needed = [[e for e in range(size) if self.needs[e] >> o & 1] for o in range(size)]
        logged = bytes(self.logged >> event & 1 for event in range(size))
        return Solver(
            need,
            needed,
            bytearray(self.known),
            logged,
            [],
            lambda node, inode: None,
            lambda event, value, why: f"{event} {'in' if value == IN else 'out'}",
            budget,
        )

    def solved(self, solver: Solver) -> int | None:
        """The set of events that the solver finds landed; None where it finds none."""

        def begin() -> None:
            for place in self.places:
                solver.install(
                    LastWriter(place.events, place.allowed, place.base, lambda: "a place")
                )

        if not solver.solve(begin):
            return None
        return sum(1 << e for e in range(len(self.needs)) if solver.value[e] == IN)

    def is_solution(self, commit: int) -> bool:
        """The commit is closed, holds what it is known to hold, and every place fits."""
        wanted = all(commit >> e & 1 for e, value in enumerate(self.known) if value == IN)
        kept_out = not any(commit >> e & 1 for e, value in enumerate(self.known) if value == OUT)
        whole = is_downset(commit, self.needs)
        return (
            wanted and kept_out and whole and all(p.fits(commit | self.logged) for p in self.places)
        )


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

    assert min(tally["solved"], tally["impossible"]) > 200


def test_a_spent_budget_is_no_answer() -> None:
    riddle = Riddle.drawn(Random(1))  # noqa: S311

    with pytest.raises(BudgetExceeded):
        riddle.solved(riddle.solver(budget=0))
