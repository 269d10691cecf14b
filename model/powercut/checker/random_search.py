"""Sampled histories: Hypothesis saves, crashes, recovers and saves again, and shrinks what breaks.

Needs the `check` extra.  Every draw is ordered so that the simplest value loses nothing: what a
shrunk history still loses, it has to lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from powercut.checker.exhaustive import minimise, parts_of
from powercut.checker.verdict import Counterexample, Verdict
from powercut.crash.space import Crash, CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.profile import Profile
from powercut.simulation.detection import possible_damage
from powercut.simulation.encounters import Encounters
from powercut.simulation.subject import Subject
from powercut.simulation.world import CrashStep, Perform, Recover, SaveLive, Step, World

OPS_MAX = 30
"""The last op at which a drawn death can come; later than the longest save or recovery."""


class PropertyBrokenError(AssertionError):
    """A sampled history broke a property; the message says which and how."""


class CrashHistories(RuleBasedStateMachine):
    """A store that is saved to, crashed and recovered in any order.

    `histories` builds a subclass, which sets the class attributes without a value.  `failed` keeps
    the last world that broke a property: after shrinking, the smallest.
    """

    subject: Subject
    profile: Profile
    crash_class: str
    asked: frozenset[str]
    met: Encounters
    parts_count = 2
    runs = 0
    failed: World | None = None

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.profile, self.subject, met=self.met)

    @rule()
    def save(self) -> None:
        """A save that nothing interrupts."""
        self._take(SaveLive(self._next_number(), self._parts()))

    @rule()
    def recover(self) -> None:
        """A writable recovery that nothing interrupts."""
        self._take(Recover())

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """A crash between two calls."""
        self._crash(data)

    @rule(data=st.data())
    def crash_during_save(self, data: st.DataObject) -> None:
        """A crash inside a save."""
        stop = data.draw(st.integers(0, OPS_MAX), label="ops before the crash")
        self._take(SaveLive(self._next_number(), self._parts(), stop))
        self._crash(data)

    @rule(data=st.data())
    def crash_during_recovery(self, data: st.DataObject) -> None:
        """A crash inside a recovery."""
        self._take(Recover(data.draw(st.integers(0, OPS_MAX), label="ops before the crash")))
        self._crash(data)

    def teardown(self) -> None:
        """Whatever happened, the last look is a recovery."""
        if not self.world.violations:
            self._take(Recover())

    def _crash(self, data: st.DataObject) -> None:
        if self.crash_class == "process" or data.draw(st.booleans(), label="only the process dies"):
            self._take(CrashStep(Crash("process")))
            return
        pieces = data.draw(st.integers(1, 3), label="pieces of a torn write")
        cuts = even_cuts(self.profile, pieces)
        space = CrashSpace.of(self.world.state, self.profile, self.crash_class, cuts)
        landed = space.draw(lambda name: data.draw(st.booleans(), label=f"lose {name}"))
        stale = 0
        for position, piece in enumerate(space.pieces):
            exposed = space.exposed(landed) >> position & 1
            if exposed and data.draw(st.booleans(), label=f"{piece.name} reads stale"):
                stale |= 1 << position
        self._take(CrashStep(space.crash(landed, stale)))

    def _take(self, step: Step) -> None:
        self.world.apply(step)
        if isinstance(step, Recover):
            type(self).runs += 1
        broken = [v for v in self.world.violations if v.property in self.asked]
        if broken:
            type(self).failed = self.world
            raise PropertyBrokenError("; ".join(f"{v.property}: {v.because}" for v in broken))

    def _next_number(self) -> int:
        return len(self.world.oracle.saves) + 1

    def _parts(self) -> dict[str, bytes]:
        return parts_of(self._next_number(), self.parts_count)


class DamageHistories(CrashHistories):
    """The same on a store that has groups, of which something goes bad at rest, once."""

    @initialize(count=st.integers(1, 3))
    def first_saves(self, count: int) -> None:
        """Save, so that there is something to go bad."""
        for _ in range(count):
            self.save()

    @precondition(lambda self: not self.world.oracle.damaged)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Damage between two calls, beneath the live process if there is one."""
        known = list(possible_damage(self.world.oracle, self.world.state.view))
        if known:
            self._take(Perform("damage", data.draw(st.sampled_from(known), label="damage")))


def histories(
    subject: Subject,
    profile: Profile,
    crash_class: str,
    properties: Sequence[str],
    *,
    damages: bool = False,
) -> type[CrashHistories]:
    """The state machine for one question."""
    attributes: dict[str, Any] = {
        "subject": subject,
        "profile": profile,
        "crash_class": crash_class,
        "asked": frozenset(properties),
        "met": Encounters(),
    }
    kind = DamageHistories if damages else CrashHistories
    return type(f"{kind.__name__}Of", (kind,), attributes)


def sampling(examples: int, *, random: bool = False) -> settings:
    """Settings that give the same histories on every machine, unless `random`."""
    return settings(
        max_examples=examples,
        stateful_step_count=8,
        derandomize=not random,
        database=None,
        deadline=None,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def sample_verdicts(
    subject: Subject,
    profile: Profile,
    crash_class: str,
    properties: Sequence[str],
    examples: int,
    *,
    random: bool = False,
    damages: bool = False,
) -> dict[str, Verdict]:
    """A verdict for each property from `examples` histories; what broke is shrunk.

    P7 is of histories with damage: ValueError where it is asked of others.
    """
    if "P7" in properties and not damages:
        raise ValueError("P7 speaks of damage, and the histories are to have none")
    open_questions = list(properties)
    found: dict[str, Counterexample] = {}
    run, met = 0, Encounters()
    while open_questions:
        machine = histories(subject, profile, crash_class, open_questions, damages=damages)
        try:
            run_state_machine_as_test(machine, settings=sampling(examples, random=random))
        except PropertyBrokenError:
            world = machine.failed
            if world is None:
                raise
            for violation in world.violations:
                if violation.property in open_questions:
                    open_questions.remove(violation.property)
                    example = Counterexample(
                        violation.property, violation.because, tuple(world.steps)
                    )
                    found[violation.property] = minimise(example, profile, subject)
        else:
            break
        finally:
            run += machine.runs
            met.add(machine.met)
    return {
        name: Verdict(
            verdict="fails" if name in found else "not refuted",
            method="sampled",
            exhaustive=False,
            bound={"histories": examples, "steps": 8, "pieces": 3, "damages": int(damages)},
            represented=run,
            run=run,
            counterexample=found.get(name),
            missed=() if name in found else met.missed(name),
        )
        for name in properties
    }
