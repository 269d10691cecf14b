"""Moments: when the crash came, and the question about an observed tree that is asked there.

A crash comes right after an op has returned, or while one runs ("begun"), or at a moment that
nobody knows.  Between two syncs the crash states only become more, so that an unknown moment is one
of few: while a sync that makes something durable runs, or after the last op.  A process kill keeps
all that the kernel has: there every op boundary counts, and a write may be cut in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from powercut.errors import ConcurrencyError, TraceError
from powercut.filesystem import ops
from powercut.filesystem.content import Content
from powercut.filesystem.events import Extent
from powercut.filesystem.inodes import File, walk
from powercut.filesystem.state import State, first_bytes
from powercut.membership.content_match import differing_units
from powercut.membership.membership import BUDGET, MembershipAnswer, MembershipChecker
from powercut.membership.observed_tree import Observed
from powercut.profile import Profile
from powercut.simulation.world import CrashStep, Perform, Recover, SaveLive
from powercut.strict_reader import hint
from powercut.trace.trace_file import Trace

ANYWHERE: Final = "anywhere"
BEGUN: Final = ":begun"


@frozen
class CrashPointAnswer:
    """An answer, and the moment that it speaks of: an op's name, with ":begun" while it ran.

    For a no at an unknown moment, that is the last of those asked about, and `asked` counts them.
    """

    answer: MembershipAnswer
    moment: str
    asked: int = 1


@define(eq=False)
class _Moment:
    """One moment: the state there; for a kill while an op ran, the op and the state before."""

    name: str
    state: State
    before: State | None = None
    running: Perform | None = None
    member: MembershipChecker | None = None


@define(eq=False)
class MembershipQuery:
    """A program with its crash, ready to be asked about trees. Made by `membership_query`."""

    profile: Profile
    crash_class: str
    _moments: list[_Moment] = field(factory=list)

    def ask(self, tree: Observed, budget: int = BUDGET) -> CrashPointAnswer:
        """Whether the tree can be what the crash left, each moment with a budget of its own."""
        undecided = last = None
        for moment in self._moments:
            answer = self._ask(moment, tree, budget)
            if answer.verdict == "yes":
                return CrashPointAnswer(answer, moment.name)
            if answer.verdict == "undecided":
                undecided = undecided or CrashPointAnswer(answer, moment.name, len(self._moments))
            last = last or CrashPointAnswer(answer, moment.name, len(self._moments))
        assert last is not None  # noqa: S101 - there is always a moment
        return undecided or last

    def _ask(self, moment: _Moment, tree: Observed, budget: int) -> MembershipAnswer:
        if self.crash_class != "process":
            return self._member(moment).ask(tree, budget)
        if len(self._moments) > 1 and not _same_names(moment.state, tree):
            return MembershipAnswer("no", "other names were there")
        answer = self._member(moment).ask(tree, budget)
        for state in _cut_short(moment, tree) if answer.verdict == "no" else ():
            other = MembershipChecker(state, self.profile, "process").ask(tree, budget)
            if other.verdict != "no":
                return other
        return answer

    def _member(self, moment: _Moment) -> MembershipChecker:
        if moment.member is None:
            moment.member = MembershipChecker(moment.state, self.profile, self.crash_class)
        return moment.member


def program_of(trace: Trace, where: str) -> tuple[Perform, ...]:
    """The ops of a trace up to its first crash.

    TraceError where a subject's code would have to run before that.
    """
    program: list[Perform] = []
    for position, step in enumerate(trace.steps, start=1):
        if isinstance(step, CrashStep):
            break
        if isinstance(step, Recover | SaveLive):
            raise TraceError(
                f"{where}: step {position} runs a subject's code; expected the ops themselves "
                "before the first crash, as in a pinned trace. Nothing was run."
            )
        if isinstance(step, Perform):
            if isinstance(step.op, ops.Damage):
                raise TraceError(
                    f"{where}: step {position} is damage at rest, which no crash leaves; expected "
                    "ops that a program asks for before the first crash. Nothing was run."
                )
            program.append(step)
    return tuple(program)


def membership_query(
    program: Sequence[Perform],
    profile: Profile,
    crash_class: str = "power",
    at: str | None = None,
    state: State | None = None,
    where: str = "the program",
) -> MembershipQuery:
    """The question about a crash of that class at that moment; `state` is where the program begins.

    `at` is the name of an op that had returned, the same with ":begun" for one that ran, or
    "anywhere"; without it, all ops had returned. TraceError for an op that the kernel refuses, and
    for a name that no op has.
    """
    known = [step.id for step in program]
    wanted = (at or "").removesuffix(BEGUN)
    if at is not None and at != ANYWHERE and wanted not in known:
        raise TraceError(
            f"{where}: no op before the first crash has the id {wanted!r}{hint(wanted, known)}; "
            f"known: {', '.join(known[:12]) or 'none'}{', ...' if len(known) > 12 else ''}. "
            "Nothing was run."
        )
    moments = list(_moments(program, profile, crash_class, at, state or State(), where))
    return MembershipQuery(profile, crash_class, moments[::-1])


def _moments(
    program: Sequence[Perform],
    profile: Profile,
    crash_class: str,
    at: str | None,
    state: State,
    where: str,
) -> Iterator[_Moment]:
    """The moments that may be meant, in program order."""
    waits = _waits(profile, crash_class)
    name = "the beginning"
    for position, step in enumerate(program, start=1):
        if at == ANYWHERE and crash_class == "process":
            yield _Moment(name, state)
        try:
            after = state.perform(step.op, step.id, step.thread)
            begun = state.begin(step.op, step.id, step.thread)
        except (OSError, ConcurrencyError) as error:
            raise TraceError(f"{where}: op {position} is impossible: {error}") from error
        bounds = at == ANYWHERE and (crash_class == "process" or after.syncs[-1].kind in waits)
        if bounds or at == step.id + BEGUN:
            running = (state, step) if crash_class == "process" else (None, None)
            yield _Moment(step.id + BEGUN, after if crash_class == "process" else begun, *running)
            if at != ANYWHERE and crash_class != "process":
                yield _Moment(step.id + BEGUN, after)  # the sync is done, and has not returned
        if at == step.id:
            yield _Moment(step.id, after)
        state, name = after, step.id
    if at is None or at == ANYWHERE:
        yield _Moment(name, state)


def _waits(profile: Profile, crash_class: str) -> set[str]:
    """The kinds of sync that make something durable."""
    claims = profile.of_kind("scope", crash_class)
    return {kind for c in claims if c.rule.promise == "durable" for kind in c.rule.on}


def _same_names(state: State, tree: Observed) -> bool:
    """As many names in the root as were observed there, and the same."""
    return set(state.view[1].entries) == set(tree.nodes[0].entries or ())  # type: ignore[union-attr]


def _cut_short(moment: _Moment, tree: Observed) -> Iterator[State]:
    """What else a kill while an op ran can leave: nothing of it, or the beginning of a write."""
    before, step = moment.before, moment.running
    if before is None or step is None:
        return
    yield before
    data = [e for e in moment.state.issued[len(before.issued) :] if isinstance(e, Extent)]
    if not data or not isinstance(step.op, ops.Write | ops.Append | ops.Mapwrite):
        return
    extent, old = data[0], before.view[data[0].inode]
    path = next((p for p, number in walk(moment.state.view) if number == extent.inode), None)
    seen = None if path is None else _content_at(tree, path)
    if seen is None or not isinstance(old, File):
        return
    start, stop = extent.span
    other = differing_units(seen, extent, 1)
    reached = other[0][0] if other else min(stop, seen.size)
    for end in sorted({reached, seen.size, old.content.size, min(reached, old.content.size)}):
        if start < end < stop:
            half = evolve(step.op, data=first_bytes(step.op.data, end - start))
            try:
                yield before.perform(half, step.id, step.thread)
            except OSError:  # a direct write ends at a sector
                continue


def _content_at(tree: Observed, path: str) -> Content | None:
    """The content of the observed file at a path; None where there is none."""
    node = tree.nodes[0]
    for name in path[1:].split("/"):
        number = (node.entries or {}).get(name)
        if number is None:
            return None
        node = tree.nodes[number]
    return node.content
