"""Conformance: what others published, held against the profiles.

Each published result names a file system; profiles say which names are theirs.  A case is *gated*
where a disagreement must be explained or mended: the name has a profile, the evidence is strong,
the model has all that the case needs, and the point is not on the list of disputed ones
(disputes.toml).  A published test is judged as it ran: for milliseconds, in which the kernel
committed nothing of its own accord.  So the profile's quiet rules stand; and if the answer is no
all the same, it is asked once more of the one state in which nothing has landed but what a sync put
there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen

from powercut.crash.lazy_search import LazySearch, PartialState
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import Cuts, even_cuts
from powercut.errors import CaseError, ProfileError
from powercut.filesystem import ops
from powercut.filesystem.events import Entry, Event, Extent, Size
from powercut.filesystem.inodes import VisibleTree, fail, visible_tree
from powercut.filesystem.state import State
from powercut.profile import Claim, Profile, load_profile, profile_names
from powercut.published.cases import RESULTS, PublishedCase, PublishedResult
from powercut.published.disputes import disputed_points
from powercut.published.predicates import MarkedState, Predicate
from powercut.rules import RULES

STRONG: Final = ("model", "doc", "regression-test", "computed")
"""The kinds of evidence that gate; a `measured` result does where a state was seen: see _SEEN."""

_SEEN: Final = ("reachable", "violated")
"""The results that say that a state was seen, or one that must not be."""

RAN_QUIETLY: Final = ("regression-test",)
"""The kinds of evidence that come from one crash, milliseconds after the first op."""

PIECES: Final = 2
"""How many pieces one event may have in a case, but for those that the question names."""

NAMED_OFFSETS: Final = 16
"""At how many of the offsets that a question names the events are cut as well."""

STATES_MAX: Final = 100_000
"""The most crash states that are counted where a source asserts their number."""

LARGEST_FILE: Final = (1 << 44) - 4096
"""The largest file that the kernel is asked for, in bytes: that of ext4; others hold more."""

NAME_BYTES_MAX: Final = 255
PATH_BYTES_MAX: Final = 4095


@frozen
class ConformanceRow:
    """One published result beside ours.

    `ours` is in the words of the question, or "unknown" where it hangs on rules in doubt; None
    where the case was not run, and `not_run` says why.  `agrees` is None where one of the two does
    not say.  `quiet` says how a published test was judged: by quiet "rules", or by the "still"
    state alone.
    `blame` are the rules that a disagreement hangs on, each enough by itself.
    """

    case: PublishedCase
    published: PublishedResult
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


def published_names(beside: Iterable[Profile] = ()) -> dict[str, Profile]:
    """The profile for each name that others use: a built-in one, or one of those beside.

    ProfileError where two profiles stand for one name.
    """
    found: dict[str, Profile] = {}
    for profile in (*map(load_profile, profile_names()), *beside):
        for name in profile.published:
            if name in found:
                raise ProfileError(
                    f"{profile.reference}: {name!r} is a published name of {found[name].name} "
                    "already. Nothing was run."
                )
            found[name] = profile
    return found


def compare_case(
    case: PublishedCase, names: Mapping[str, Profile], only: Profile | None = None
) -> Iterator[ConformanceRow]:
    """A row for each published result of a case; `names` are those of `published_names`.

    With `only`, a row for the results of that profile alone.
    """
    for published in case.published:
        profile = names.get(published.name)
        if only is not None:
            own = None if profile is None else profile.name
            if only.name not in (own, published.name):
                continue
            profile = only
        yield _row(case, published, profile)


def _row(
    case: PublishedCase, published: PublishedResult, profile: Profile | None
) -> ConformanceRow:
    not_run = case.not_run or _unasked(case, published)
    if profile is None:
        not_run = not_run or f"no profile stands for {published.name!r}"
    if profile is None or not_run:
        name = None if profile is None else profile.name
        return ConformanceRow(
            case, published, name, None, gated=False, agrees=None, not_run=not_run
        )
    try:
        points = case_points(case)
    except OSError as error:
        why = f"the kernel refuses an op of it: {error}"
        return ConformanceRow(
            case, published, profile.name, None, gated=False, agrees=None, not_run=why
        )
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
    return ConformanceRow(
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


def _unasked(case: PublishedCase, published: PublishedResult) -> str:
    """Why a published result cannot be held against the model's answer; empty where it can.

    That a conjunction holds says that its parts do; that it does not says nothing of each.
    """
    if published.odd:
        return published.odd
    if case.unspoken and not (case.weaker and RESULTS[published.result] == "yes"):
        return f"the model does not speak of it: {case.unspoken}"
    return ""


def _in_our_words(result: str, kind: str) -> str | None:
    """A published result in the words of the question; None where it says nothing."""
    if RESULTS[result] == "no":
        return "violated" if kind == "must" else "reachable"
    if RESULTS[result] == "yes":
        return "holds" if kind == "must" else "unreachable"
    return None


def _is_strong(published: PublishedResult) -> bool:
    seen = published.evidence == "measured" and published.result in _SEEN
    return seen or published.evidence in STRONG


def _ours(
    case: PublishedCase, profile: Profile, points: Sequence[CasePoint]
) -> tuple[str, tuple[str, ...]]:
    """Our answer, and the rules in doubt where it hangs on them."""
    relied_on = answer(case, profile, points)
    if not profile.unknown or relied_on in ("holds", "unreachable"):
        return relied_on, ()

    def turns(doubted: Sequence[Claim]) -> bool:
        hopeful = evolve(profile, claims=(*profile.claims, *doubted))
        return answer(case, hopeful, points) != relied_on

    if not turns(profile.unknown):
        return relied_on, ()
    return "unknown", tuple(claim.rule.id for claim in turning(profile.unknown, turns))


def turning(
    doubted: Sequence[Claim], turns: Callable[[Sequence[Claim]], bool]
) -> tuple[Claim, ...]:
    """The claims that an answer hangs on, where all the doubted ones together turn it.

    Each that turns it by itself; where none does, a set of which none can be left out.
    """
    alone = tuple(claim for claim in doubted if turns((claim,)))
    if alone:
        return alone
    needed = tuple(doubted)
    for claim in doubted:
        fewer = tuple(other for other in needed if other is not claim)
        needed = fewer if turns(fewer) else needed
    return needed


@frozen
class CasePoint:
    """A moment at which the crash may come: the state, and the marks that have been passed."""

    state: State
    marks: frozenset[str]


def case_points(case: PublishedCase) -> tuple[CasePoint, ...]:
    """The moments that a case asks about; after each op and, for `anywhere`, inside each as well.

    OSError where the kernel would refuse an op of the case.
    """
    return tuple(_points(case))


def _performed(state: State, op: ops.Op, op_id: str) -> State:
    """The state after an op. OSError: its own, and those for names and sizes beyond all limits."""
    _check_names(op)
    after = state.perform(op, op_id)
    for event in after.issued[len(state.issued) :]:
        if isinstance(event, Size) and event.new > LARGEST_FILE:
            what = f"a file of {event.new} bytes; {LARGEST_FILE} are the most that ext4 holds"
            raise OSError(errno.EFBIG, errno.errorcode[errno.EFBIG], what)
    return after


def _check_names(op: ops.Op) -> None:
    """OSError: ENOENT for an empty path, ENAMETOOLONG for a long one or a long name in it."""
    for key in ("path", "src", "dst", "target"):
        path = getattr(op, key, None)
        if not isinstance(path, str) or path.startswith("@"):
            continue
        if not path:
            raise fail(errno.ENOENT, path)
        as_bytes = path.encode("utf-8", "surrogateescape")
        names = as_bytes.split(b"/")
        if len(as_bytes) > PATH_BYTES_MAX or max(map(len, names)) > NAME_BYTES_MAX:
            raise fail(errno.ENAMETOOLONG, f"{path[:32]}...")


def _points(case: PublishedCase) -> Iterator[CasePoint]:
    state = State()
    for number, op in enumerate(case.setup, start=1):
        state = _performed(state, op, f"s{number}")
    state = State.settled(state.view, state.next_inode, state.handles)
    marks: frozenset[str] = frozenset()
    if case.crash == "anywhere":
        yield CasePoint(state, marks)
    for number, op in enumerate(case.program, start=1):
        after = _performed(state, op, f"o{number}")
        if case.crash == "anywhere":
            yield CasePoint(state.begin(op, f"o{number}"), marks)
        state = after
        marks |= {op.label} if isinstance(op, ops.Mark) else frozenset()
        if case.crash == "anywhere":
            yield CasePoint(state, marks)
    if case.crash == "end":
        yield CasePoint(state, marks)


def answer(
    case: PublishedCase, profile: Profile, points: Sequence[CasePoint], *, still: bool = False
) -> str:
    """The answer of a profile as it is relied on: holds or violated, reachable or unreachable.

    Where it is `still`, only of the states in which nothing has landed but what a sync put there.
    """
    predicate = case.predicate
    if predicate is None:
        raise CaseError(f"case {case.id} has no predicate that can be run")
    wanted = case.kind == "reachable"
    cuts = named_cuts(profile, case.offsets)
    for point in points:
        space = CrashSpace.of(point.state, profile, case.crash_class, cuts)
        asked = partial(_asked, predicate, point.marks)
        if any(found == wanted for found, _ in LazySearch(space, still).answers(asked)):
            return "reachable" if wanted else "violated"
    return "unreachable" if wanted else "holds"


def named_cuts(profile: Profile, offsets: Sequence[int]) -> Cuts:
    """Even cuts, and cuts on either side of the first NAMED_OFFSETS of those offsets.

    What a question tells apart can so be told apart by what has landed. Cuts are where units of the
    file system end: sizes are cut at blocks, data at sectors.
    """
    even = even_cuts(profile, PIECES)

    def cuts(event: Event) -> Sequence[int]:
        if isinstance(event, Entry):
            return ()
        start, stop = event.span
        unit = profile.sector_bytes if isinstance(event, Extent) else profile.block_bytes
        inside = [offset for offset in offsets if start < offset < stop][:NAMED_OFFSETS]
        named = {edge for at in inside for edge in (at // unit * unit, -(-at // unit) * unit)}
        return sorted({*even(event), *(cut for cut in named if start < cut < stop)})

    return cuts


def _asked(predicate: Predicate, marks: frozenset[str], at: PartialState) -> bool:
    return predicate(MarkedState(at, marks))


def count_states(case: PublishedCase, profile: Profile, points: Sequence[CasePoint]) -> int | None:
    """How many distinct trees the crashes of a case leave; None beyond STATES_MAX."""
    looks: set[VisibleTree] = set()
    count = 0
    for point in points:
        space = CrashSpace.of(point.state, profile, case.crash_class, even_cuts(profile, PIECES))
        for _, _, after in space.states():
            count += 1
            if count > STATES_MAX:
                return None
            looks.add(visible_tree(after.base))
    return len(looks)


def _blame(case: PublishedCase, profile: Profile, ours: str) -> Iterator[str]:
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
