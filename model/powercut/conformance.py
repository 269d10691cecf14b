"""Conformance: what others published, held against the profiles.

Each published result names a file system; profiles say which names are theirs.  A case is *gated*
where a disagreement must be explained or mended: the name has a profile, the evidence is strong,
the model has all that the case needs, and the point is not on the list of disputed ones
(disputed.toml).  A published test is judged as it ran: for milliseconds, in which the kernel
committed nothing of its own accord.  So the profile's quiet rules stand; and if the answer is no
all the same, it is asked once more of the one state in which nothing has landed but what a sync put
there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any, Final

from attrs import evolve, frozen

from powercut import ops
from powercut.cases import Case, Published
from powercut.crash import CrashSpace
from powercut.errors import CaseError
from powercut.pieces import even_cuts
from powercut.predicate import Moment, Predicate
from powercut.profile import Claim, Profile, load_profile, profile_names
from powercut.reading import Reader
from powercut.rules import RULES
from powercut.search import Look, Search
from powercut.state import State
from powercut.tree import Look as TreeLook
from powercut.tree import look

READ: Final = Reader(CaseError)

STRONG: Final = ("model", "doc", "regression-test", "computed")
"""The kinds of evidence that gate; a `measured` result does where it says that a state was seen."""

RAN_QUIETLY: Final = ("regression-test",)
"""The kinds of evidence that come from one crash, milliseconds after the first op."""

PIECES: Final = 2
"""How many pieces one event may have in a case."""

STATES_MAX: Final = 100_000
"""The most crash states that are counted where a source asserts their number."""

_SAYS_NO: Final = ("violated", "reachable", "allowed_by_model")
_SAYS_YES: Final = ("holds", "not_found", "forbidden_by_model")


@frozen
class Disputed:
    """A point on which sources conflict: which rows it is about, and why it is not gated on.

    `cases` are ids; where `names_only` is set, the row's ops under test change names and nothing
    else.  An empty field asks nothing.
    """

    point: str
    reason: str
    profiles: tuple[str, ...]
    families: tuple[str, ...]
    cases: tuple[str, ...]
    names_only: bool

    def covers(self, case: Case, profile: str) -> bool:
        """The row of that case and that profile is about this point."""
        return (
            (not self.profiles or profile in self.profiles)
            and (not self.families or case.family in self.families)
            and (not self.cases or case.id in self.cases)
            and (not self.names_only or all(isinstance(op, _NAME_OPS) for op in case.program))
        )


_NAME_OPS = (ops.Create, ops.Mkdir, ops.Rmdir, ops.Link, ops.Unlink, ops.Rename, ops.Symlink)


@frozen
class Row:
    """One published result beside ours.

    `ours` is in the words of the question, or "unknown" where it hangs on rules in doubt; None
    where the case was not run, and `not_run` says why.  `agrees` is None where one of the two does
    not say.  `quiet` says how a published test was judged: by quiet "rules", or by the "still"
    state alone.
    `blame` are the rules that a disagreement hangs on, each enough by itself.
    """

    case: Case
    published: Published
    profile: str | None
    ours: str | None
    gated: bool
    agrees: bool | None
    not_run: str = ""
    quiet: str = ""
    disputed: str = ""
    states: int | None = None
    blame: tuple[str, ...] = ()
    in_doubt: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The row as `powercut litmus --json` prints it."""
        return {
            "id": self.case.id,
            "family": self.case.family,
            "profile": self.profile,
            "name": self.published.name,
            "ours": self.ours,
            "published": self.published.result,
            "evidence": self.published.evidence,
            "gated": self.gated,
            "agrees": self.agrees,
            "not_run": self.not_run or None,
            "quiet": self.quiet or None,
            "disputed": self.disputed or None,
            "states": {"ours": self.states, "published": self.published.states},
            "blame": list(self.blame),
            "in_doubt": list(self.in_doubt),
        }


@cache
def disputed_points() -> tuple[Disputed, ...]:
    """The points of disputed.toml. CaseError where the file is malformed."""
    where = "disputed.toml"
    text = (resources.files("powercut") / where).read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    READ.schema(raw, where)
    points = []
    for table in READ.typed(raw, "point", list, where):
        known = {"point", "reason", "profiles", "families", "cases", "names_only"}
        READ.keys(table, known, where)
        points.append(
            Disputed(
                READ.typed(table, "point", str, where),
                READ.typed(table, "reason", str, where),
                READ.strings(table, "profiles", where),
                READ.strings(table, "families", where),
                READ.strings(table, "cases", where),
                READ.optional(table, "names_only", bool, False, where),
            )
        )
    return tuple(points)


@cache
def published_names() -> Mapping[str, str]:
    """Which profile stands for each name that others use for a file system."""
    return {
        name: profile for profile in profile_names() for name in load_profile(profile).published
    }


def compare_case(case: Case, only: Profile | None = None) -> Iterator[Row]:
    """A row for each published result of a case; with `only`, for those of that profile alone."""
    for published in case.published:
        name = published_names().get(published.name)
        if only is not None and only.name not in (name, published.name):
            continue
        profile = only or (load_profile(name) if name is not None else None)
        yield _row(case, published, profile)


def _row(case: Case, published: Published, profile: Profile | None) -> Row:
    not_run = case.not_run
    if profile is None:
        not_run = not_run or f"no profile stands for {published.name!r}"
    if profile is None or not_run:
        name = None if profile is None else profile.name
        return Row(case, published, name, None, gated=False, agrees=None, not_run=not_run)
    try:
        points = case_points(case)
    except OSError as error:
        why = f"the kernel refuses an op of it: {error}"
        return Row(case, published, profile.name, None, gated=False, agrees=None, not_run=why)
    quiet = "rules" if published.evidence in RAN_QUIETLY else ""
    judged = profile.when_quiet() if quiet else profile
    ours, in_doubt = _ours(case, judged, points)
    states = count_states(case, judged, points) if published.states is not None else None
    wanted = _in_our_words(published.result, case.kind)
    if quiet and ours in ("violated", "reachable") and ours != wanted:
        ours, quiet = answer(case, judged, points, still=True), "still"
    agrees = None if wanted is None or ours == "unknown" else ours == wanted
    if states is not None and states != published.states:
        agrees = False
    dispute = next((d for d in disputed_points() if d.covers(case, profile.name)), None)
    gated = dispute is None and wanted is not None and _is_strong(published)
    return Row(
        case,
        published,
        profile.name,
        ours,
        gated=gated,
        agrees=agrees,
        quiet=quiet,
        disputed="" if dispute is None else dispute.point,
        states=states,
        blame=tuple(_blame(case, judged, ours)) if agrees is False else (),
        in_doubt=in_doubt,
    )


def _in_our_words(result: str, kind: str) -> str | None:
    """A published result in the words of the question; None where it says nothing."""
    if result in _SAYS_NO:
        return "violated" if kind == "must" else "reachable"
    if result in _SAYS_YES:
        return "holds" if kind == "must" else "unreachable"
    return None


def _is_strong(published: Published) -> bool:
    seen = published.evidence == "measured" and published.result == "reachable"
    return seen or published.evidence in STRONG


def _ours(case: Case, profile: Profile, points: Sequence[Point]) -> tuple[str, tuple[str, ...]]:
    """Our answer, and the rules in doubt where it hangs on them."""
    relied_on = answer(case, profile, points)
    if not profile.unknown or relied_on in ("holds", "unreachable"):
        return relied_on, ()
    hopeful = profile.with_unknown()
    if answer(case, hopeful, points) == relied_on:
        return relied_on, ()
    return "unknown", tuple(claim.rule.id for claim in profile.unknown)


@frozen
class Point:
    """A moment at which the crash may come: the state, and the marks that have been passed."""

    state: State
    marks: frozenset[str]


def case_points(case: Case) -> tuple[Point, ...]:
    """The moments that a case asks about; after each op and, for `anywhere`, inside each as well.

    OSError where the kernel would refuse an op of the case.
    """
    return tuple(_points(case))


def _points(case: Case) -> Iterator[Point]:
    state = State()
    for number, op in enumerate(case.setup, start=1):
        state = state.perform(op, f"s{number}")
    state = State.settled(state.view, state.next_inode, state.handles)
    marks: frozenset[str] = frozenset()
    if case.crash == "anywhere":
        yield Point(state, marks)
    for number, op in enumerate(case.program, start=1):
        if case.crash == "anywhere":
            yield Point(state.begin(op, f"o{number}"), marks)
        state = state.perform(op, f"o{number}")
        marks |= {op.label} if isinstance(op, ops.Mark) else frozenset()
        if case.crash == "anywhere":
            yield Point(state, marks)
    if case.crash == "end":
        yield Point(state, marks)


def answer(case: Case, profile: Profile, points: Sequence[Point], *, still: bool = False) -> str:
    """The answer of a profile as it is relied on: holds or violated, reachable or unreachable.

    Where it is `still`, only of the states in which nothing has landed but what a sync put there.
    """
    predicate = case.predicate
    if predicate is None:
        raise CaseError(f"case {case.id} has no predicate that can be run")
    wanted = case.kind == "reachable"
    cuts = even_cuts(profile, PIECES)
    for point in points:
        space = CrashSpace.of(point.state, profile, case.crash_class, cuts)
        asked = partial(_asked, predicate, point.marks)
        if any(found == wanted for found, _ in Search(space, still).answers(asked)):
            return "reachable" if wanted else "violated"
    return "unreachable" if wanted else "holds"


def _asked(predicate: Predicate, marks: frozenset[str], at: Look) -> bool:
    return predicate(Moment(at, marks))


def count_states(case: Case, profile: Profile, points: Sequence[Point]) -> int | None:
    """How many distinct trees the crashes of a case leave; None beyond STATES_MAX."""
    looks: set[TreeLook] = set()
    count = 0
    for point in points:
        space = CrashSpace.of(point.state, profile, case.crash_class, even_cuts(profile, PIECES))
        for _, _, after in space.states():
            count += 1
            if count > STATES_MAX:
                return None
            looks.add(look(after.base))
    return len(looks)


def _blame(case: Case, profile: Profile, ours: str) -> Iterator[str]:
    """The rules that turn our answer, each by itself: one to leave out, or one that is missing."""
    points = case_points(case)
    if ours in ("holds", "unreachable"):
        for claim in profile.claims:
            if answer(case, profile.without(claim.rule.id), points) != ours:
                yield f"without {claim.rule.id}"
        return
    for rule in RULES.values():
        if not profile.has(rule.id) and rule.id != "memory-only":
            stronger = evolve(profile, claims=(*profile.claims, Claim(rule, "assumed", "trial")))
            if answer(case, stronger, points) != ours:
                yield f"with {rule.id}"
