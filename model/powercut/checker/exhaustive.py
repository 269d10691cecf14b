"""The exhaustive check by brute force: every crash state of every short history, run once.

A history begins with one process that saves, recovers and saves again.  After each crash come two
processes, tried one by one: one recovers, saves and recovers, the other saves at once.  A crash of
the class asked for is tried at every op boundary of every process, with every legal set of landed
pieces; before the last crash a process kill is tried as well, in the middle of writes too, because
what a kill leaves in the page cache is what a power cut can still take away.  Two crash states that
look alike, with the same owed to the user and as many crashes to come, are run once.

A bound with `damages` asks about damage at rest: something of the groups goes bad between the saves
and the recovery, beneath the live process, after it was killed, and after a crash.  There the
recovery that meets the damage is crashed at every op, and what comes after it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from attrs import define, evolve, field, frozen

from powercut.checker.verdict import Counterexample, Verdict, bound_of
from powercut.crash.space import Crash, CrashSpace
from powercut.crash.torn_writes import Cuts, even_cuts
from powercut.errors import PowercutError
from powercut.filesystem import ops
from powercut.filesystem.inodes import hidden_tree, visible_tree
from powercut.filesystem.state import State, first_bytes
from powercut.profile import Profile
from powercut.simulation.detection import possible_damage
from powercut.simulation.encounters import Encounters, WrongParts, wrong_parts
from powercut.simulation.oracle import Oracle
from powercut.simulation.subject import Subject
from powercut.simulation.world import Ack, Begin, CrashStep, Perform, Recover, SaveLive, Step, World


@frozen
class Bound:
    """How far the enumeration goes.

    `saves` before the first process recovers, `crashes` in a history, `parts` in a group; data and
    sizes are cut into at most `pieces`; so many `damages` at rest, and where there are any,
    `crashes` counts those behind them.  The search is cut off, and says so, after `states` crash
    states in all, or after `runs` of them on which recovery was run.
    """

    saves: int = 2
    crashes: int = 1
    parts: int = 2
    pieces: int = 2
    states: int = 400_000
    runs: int = 6_000
    damages: int = 0


DEEP = Bound(saves=1, crashes=2, parts=1, pieces=1)
"""What `check` enumerates beside the default bound: two crashes, of the smallest groups."""


DAMAGED = Bound(parts=1, pieces=1, runs=1_000, damages=1)
"""What `check` enumerates for P7: something goes bad at rest, and a crash comes behind it."""


@frozen
class HistoryPoint:
    """A moment at which a crash may come: the state, what is owed, and how it was reached.

    `ops_done` numbers the ops to come; `kill_only` marks the middle of a write, where only a
    process kill leaves something that no op boundary does.  `wrong` are the parts that are.
    """

    state: State
    oracle: Oracle
    steps: tuple[Step, ...]
    ops_done: int = 0
    kill_only: bool = False
    wrong: WrongParts = field(factory=dict)


Scripted = Perform | Recover | SaveLive
"""What a history without its crashes is made of; the one op is damage."""


@define
class Tally:
    """The counts of a search: states that were represented, states on which recovery was run.

    `met` is what its histories met.
    """

    represented: int = 0
    run: int = 0
    exhaustive: bool = True
    met: Encounters = field(factory=Encounters)


@define
class Enumeration:
    """One run over all histories within a bound, for the properties still in question."""

    subject: Subject
    profile: Profile
    crash_class: str
    bound: Bound
    open_questions: set[str]
    tally: Tally = field(factory=Tally)
    found: dict[str, Counterexample] = field(factory=dict)
    _seen: set[Any] = field(factory=set)
    _cuts: Cuts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._cuts = even_cuts(self.profile, self.bound.pieces)

    def run(self) -> None:
        """Try every history; stops early when no property is left in question."""
        saves = [self._save(number) for number in range(1, self.bound.saves + 1)]
        end = self._save(self.bound.saves + 1)
        start = HistoryPoint(State(), Oracle(), ())
        if not self.bound.damages:
            self._play(start, [*saves, Recover(), end], self.bound.crashes)
            return
        for damage, point, crashes in self._rests(start, saves):
            if not self.open_questions:
                return
            before: Sequence[Scripted] = [*(saves if point is start else ()), *damage]
            self._play(point, [*before, Recover(), end, Recover()], crashes, len(before))

    def _rests(
        self, start: HistoryPoint, saves: Sequence[SaveLive]
    ) -> Iterator[tuple[Sequence[Perform], HistoryPoint, int]]:
        """Every damage, what it comes after, and the crashes that are still to come.

        That is `start` itself where it comes beneath the process that has saved.
        """
        world = World(self.profile, self.subject, state=start.state)
        points: list[HistoryPoint] = []
        for step in saves:
            before, done = point_of(world), len(world.program)
            world.apply(step)
            points = list(points_within(before, step, world.program[done:]))
        end = point_of(world)
        for damage in self._damage_in(end):
            yield damage, start, self.bound.crashes
        killed = CrashStep(Crash("process"))
        for point in (end, *(p for p in points if not p.kill_only)):
            after = evolve(point, oracle=point.oracle.crashed(), steps=(*point.steps, killed))
            for damage in self._damage_in(after):
                yield damage, after, self.bound.crashes if point is end else 0
        for after in self._crashes(end, 1) if self.crash_class != "process" else ():
            for damage in self._damage_in(after):
                yield damage, after, 0

    def _damage_in(self, point: HistoryPoint) -> Iterator[list[Perform]]:
        """As many damages as the bound says, of all that the saves have left there."""
        known = possible_damage(point.oracle, point.state.view)
        for chosen in combinations(known, self.bound.damages):
            if self._spent():
                return
            self.tally.represented += 1
            self.tally.run += 1
            yield [Perform(f"damage-{n}", op) for n, op in enumerate(chosen, start=1)]

    def _save(self, number: int) -> SaveLive:
        return SaveLive(number, parts_of(number, self.bound.parts))

    def _play(
        self,
        start: HistoryPoint,
        script: Sequence[Scripted],
        crashes_left: int,
        only: int | None = None,
    ) -> None:
        """Run the subject's code from a point, judge it, and crash it at every op.

        A step that breaks a property ends the script; what came before it is crashed all the
        same, for the properties still in question.  `only` is the one step to crash, if not all.
        """
        world = World(self.profile, self.subject, state=start.state, oracle=start.oracle)
        world.steps = list(start.steps)
        world.ops_done, world.wrong, world.met = start.ops_done, start.wrong, self.tally.met
        points: list[HistoryPoint] = []
        for number, step in enumerate(script):
            before, done = point_of(world), len(world.program)
            world.apply(step)
            inside = points_within(before, step, world.program[done:])
            points += inside if only in (None, number) else ()
            if world.violations:
                self._note(world)
                break
            points += [point_of(world)] if only in (None, number) else ()
        if not crashes_left:
            return
        for point in points:
            for after in self._crashes(point, crashes_left):
                if not self.open_questions or self._spent():
                    return
                save = self._save(1 + max(after.oracle.saves, default=0))
                self._play(after, [Recover(), save, Recover()], crashes_left - 1)
                self._play(after, [save, Recover()], crashes_left - 1)

    def _crashes(self, point: HistoryPoint, crashes_left: int) -> Iterator[HistoryPoint]:
        """What every crash at this point leaves, each look once."""
        oracle = point.oracle.crashed()
        if self.crash_class == "process" or crashes_left > 1 or oracle.damaged:
            self.tally.represented += 1
            self.tally.run += 1
            yield evolve(point, oracle=oracle, steps=(*point.steps, CrashStep(Crash("process"))))
        if self.crash_class == "process" or point.kill_only:
            return
        space = CrashSpace.of(point.state, self.profile, self.crash_class, self._cuts)
        for landed, stale, state in space.states():
            if self._spent():
                return
            self.tally.represented += 1
            looks = visible_tree(state.base), hidden_tree(state.base)
            key = (*looks, oracle.key, crashes_left)
            if key in self._seen:
                continue
            self._seen.add(key)
            self.tally.run += 1
            crash = CrashStep(space.crash(landed, stale))
            wrong = wrong_parts(point.wrong, point.state.view, state.view, oracle.saves, "crash")
            steps = (*point.steps, crash)
            yield evolve(point, state=state, oracle=oracle, steps=steps, wrong=wrong)

    def _spent(self) -> bool:
        """The budget is used up: what is left is not looked at, and the tally says so."""
        spent = self.tally.represented >= self.bound.states or self.tally.run >= self.bound.runs
        self.tally.exhaustive &= not spent
        return spent

    def _note(self, world: World) -> None:
        """Keep the first history that breaks each property, made as small as it will go."""
        for violation in world.violations:
            if violation.property in self.open_questions:
                self.open_questions.discard(violation.property)
                example = Counterexample(violation.property, violation.because, tuple(world.steps))
                self.found[violation.property] = minimise(example, self.profile, self.subject)


def point_of(world: World) -> HistoryPoint:
    """The moment at which a world stands."""
    done = world.ops_done + len(world.program)
    return HistoryPoint(
        world.state, world.oracle, tuple(world.steps), done, wrong=dict(world.wrong)
    )


def points_within(
    before: HistoryPoint, step: Scripted, program: Sequence[tuple[str, ops.Op, State]]
) -> Iterator[HistoryPoint]:
    """The op boundaries inside one step, and the middle of each of its writes; damage has none."""
    if isinstance(step, Perform):
        return
    state, oracle = before.state, before.oracle
    if isinstance(step, SaveLive):
        oracle = oracle.begin(step.number, step.parts)
    for count, (op_id, op, after) in enumerate(program):
        steps = (*before.steps, evolve(step, stop=count))
        done = before.ops_done + count
        yield HistoryPoint(state, oracle, steps, done, wrong=before.wrong)
        if isinstance(op, ops.Write) and len(op.data) > 1:
            half = evolve(op, data=first_bytes(op.data, len(op.data) // 2))
            cut_short = (*steps, Perform(op_id, half))
            middle = state.perform(half, op_id)
            yield HistoryPoint(middle, oracle, cut_short, done + 1, True, before.wrong)
        state = after


def parts_of(number: int, count: int) -> dict[str, bytes]:
    """The parts of a save: their content names the save and the part."""
    return {f"part{i}": f"save{number}-part{i}".encode() for i in range(1, count + 1)}


def minimise(example: Counterexample, profile: Profile, subject: Subject) -> Counterexample:
    """The same counterexample with as little lost in its crashes as still breaks the property."""
    steps = list(example.steps)
    for position, step in enumerate(steps):
        if not isinstance(step, CrashStep):
            continue
        for names in ("stale", "lost"):
            for name in getattr(step.crash, names):
                crash = steps[position].crash  # type: ignore[union-attr]
                fewer = tuple(n for n in getattr(crash, names) if n != name)
                trial = [*steps]
                trial[position] = CrashStep(evolve(crash, **{names: fewer}))
                if breaks(trial, example.property, profile, subject):
                    steps = trial
    because = breaks(steps, example.property, profile, subject) or example.because
    return Counterexample(example.property, because, pinned(steps, profile, subject))


def breaks(
    steps: Sequence[Step], broken: str, profile: Profile, subject: Subject | None
) -> str | None:
    """Why the history breaks the property; None where it does not, or cannot happen."""
    world = World(profile, subject)
    try:
        for step in steps:
            world.apply(step)
    except (OSError, PowercutError):
        return None
    return next((v.because for v in world.violations if v.property == broken), None)


def pinned(steps: Sequence[Step], profile: Profile, subject: Subject) -> tuple[Step, ...]:
    """The history with the saves of its first process spelt out, op by op.

    A trace of that form judges the order of the ops as it was found, whatever the subject's code
    becomes later; recovery stays the subject's own.  A first process that does more than save is
    left as it is.
    """
    first_other = next((s for s in steps if not isinstance(s, SaveLive)), None)
    if not isinstance(first_other, CrashStep):
        return tuple(steps)
    world = World(profile, subject)
    out: list[Step] = []
    for position, step in enumerate(steps):
        if not isinstance(step, SaveLive):
            out += steps[position:]
            break
        done = len(world.program)
        world.apply(step)
        out.append(Begin(step.number, step.parts))
        out += [Perform(op_id, op) for op_id, op, _ in world.program[done:]]
        if world.oracle.acknowledged == step.number:  # it may have returned before its stop
            out.append(Ack(step.number))
    return tuple(out)


def enumerate_verdicts(
    subject: Subject,
    profile: Profile,
    crash_class: str,
    properties: Sequence[str],
    *bounds: Bound,
) -> dict[str, Verdict]:
    """A verdict for each property, from every history within each of the bounds.

    Only those with damage say anything of P7: ValueError where it is asked for and there are none.
    """
    if "P7" in properties and not any(bound.damages for bound in bounds):
        raise ValueError("P7 speaks of damage, and no bound has any: give DAMAGED as well")
    found: dict[str, Counterexample] = {}
    runs: list[tuple[Bound, Tally]] = []
    for bound in bounds:
        left = {name for name in properties if bound.damages or name != "P7"} - set(found)
        run = Enumeration(subject, profile, crash_class, bound, left)
        if left:
            run.run()
        found |= run.found
        runs.append((bound, run.tally))
    verdicts = {}
    for name in properties:
        asked = [(bound, tally) for bound, tally in runs if bound.damages or name != "P7"]
        is_whole = all(tally.exhaustive for _, tally in asked)
        met = Encounters()
        for _, tally in asked:
            met.add(tally.met)
        verdicts[name] = Verdict(
            verdict="fails" if name in found else "holds" if is_whole else "not refuted",
            method="enumerated",
            exhaustive=is_whole and name not in found,
            bound=bound_of([bound for bound, _ in asked]),
            represented=sum(tally.represented for _, tally in asked),
            run=sum(tally.run for _, tally in asked),
            counterexample=found.get(name),
            missed=() if name in found else met.missed(name),
        )
    return verdicts
