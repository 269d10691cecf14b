"""Member: can this observed tree come from this program, crashed at that moment?

A `MembershipChecker` is made once for a state, a profile and a crash class, and asked about many
trees.
Each look at a tree (a name, a size, some bytes) says which events may be the last there that
landed; where every write carries bytes of its own, that is one, and the answer follows without a
choice.  Elsewhere the deduction supposes and takes back, within a budget.  The three answers are
*yes*, with a crash that leaves this tree; *no*, with the observed fact and the event or rule that
contradict each other; and *undecided*, when the budget is spent.

Which writes are torn, and where, is read from the tree: a tree is a member where *some* choice of
cuts, at the profile's sectors for data and at its blocks for sizes, makes it one.  Where a shorter
piece is bound by more rules than a longer one, the deduction first leaves those rules out: what is
impossible then is impossible with every cut.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from powercut.crash.constraints import Constraints
from powercut.crash.space import Crash, CrashSpace
from powercut.crash.torn_writes import Cuts, no_cuts
from powercut.filesystem.events import Entry, Event, Extent
from powercut.filesystem.state import State
from powercut.membership.constraint_index import ConstraintIndex
from powercut.membership.content_match import Cuttings
from powercut.membership.observed_tree import Observed
from powercut.membership.solver import BudgetExceeded
from powercut.membership.tree_match import TreeMatch
from powercut.profile import Profile

BUDGET: Final = 5_000_000
"""How many steps of deduction an answer may cost, if nobody says otherwise."""

_KEPT = 32  # spaces kept for the cuts of earlier trees
_CUTS_MAX = 4096  # more places to tear at than that are not tried
_CHOICES_MAX = 6  # with more places than that, not every choice of cuts is tried


@frozen
class MembershipAnswer:
    """What came of one question: `verdict` is "yes", "no" or "undecided".

    `because` says why not; it is empty for a yes.  For a yes, `landed` is one set of pieces of
    `space` that leaves the observed tree; `crash` names what it loses.
    """

    verdict: str
    because: str = ""
    space: CrashSpace | None = field(default=None, eq=False, repr=False)
    landed: int = field(default=0, repr=False)

    @property
    def crash(self) -> Crash | None:
        """One crash that leaves the tree, by the names of what was lost; None unless yes."""
        return None if self.space is None else self.space.crash(self.landed)


@define
class MembershipChecker:
    """One moment of one program, under one profile and crash class, ready to be asked.

    With `cuts`, events are cut there and nowhere else; without, where the tree says so.
    """

    state: State
    profile: Profile
    crash_class: str
    cuts: Cuts | None = None
    _whole: ConstraintIndex = field(init=False)
    _spaces: OrderedDict[object, ConstraintIndex] = field(factory=OrderedDict)

    def __attrs_post_init__(self) -> None:
        self._whole = ConstraintIndex.of(self._space(self.cuts or no_cuts))

    def ask(self, tree: Observed, budget: int = BUDGET) -> MembershipAnswer:
        """Whether the tree is among the crash states. Never a wrong yes or no."""
        asking = TreeMatch(self._whole, tree, budget)
        answer = _solved(asking)
        if answer.verdict == "yes" or self.cuts is not None:
            return answer
        torn = asking.cuts(self._spans())
        if not torn:
            return answer
        if sum(map(len, torn.values())) > _CUTS_MAX:
            return MembershipAnswer(
                "undecided", f"the tree could be torn in more than {_CUTS_MAX} places"
            )
        return self._ask_torn(tree, torn, answer, budget)

    def _ask_torn(
        self, tree: Observed, torn: Cuttings, whole: MembershipAnswer, budget: int
    ) -> MembershipAnswer:
        """The answer where events may have landed in part, and not whole."""
        fine = self._prepared(torn)
        eased = fine.eased(self._whole)
        answer = _solved(TreeMatch(eased, tree, budget))
        if answer.verdict != "yes" or eased is fine:
            undecided = "undecided" in (answer.verdict, whole.verdict) and answer.verdict != "yes"
            return evolve(answer, verdict="undecided") if undecided else answer
        sure = True
        for cuts in self._choices(torn, fine, answer.landed):
            answer = _solved(TreeMatch(self._prepared(cuts), tree, budget))
            if answer.verdict == "yes":
                return answer
            sure &= answer.verdict == "no"
        if sure and whole.verdict == "no" and sum(map(len, torn.values())) <= _CHOICES_MAX:
            return answer
        return MembershipAnswer(
            "undecided", "not every choice of where the writes were torn was tried"
        )

    def _choices(self, torn: Cuttings, fine: ConstraintIndex, landed: int) -> Iterator[Cuttings]:
        """Choices of cuts, the likeliest first; all that there are where they are few."""
        seams: Cuttings = {}
        for one, other in itertools.pairwise(range(len(fine.space.pieces))):
            left, right = fine.space.pieces[one], fine.space.pieces[other]
            if isinstance(right.event, Entry):
                continue  # its halves are always apart
            if left.index == right.index and (landed >> one ^ landed >> other) & 1:
                event = right.event
                start = event.span[0] if isinstance(event, Extent) else event.old
                seams.setdefault(event.name, []).append(start)
        yield seams
        yield torn
        places = [(name, place) for name, where in torn.items() for place in where]
        if len(places) <= _CHOICES_MAX:
            for count in range(1, len(places)):
                for chosen in itertools.combinations(places, count):
                    cuts: Cuttings = {}
                    for name, place in chosen:
                        cuts.setdefault(name, []).append(place)
                    yield cuts

    def _prepared(self, torn: Cuttings) -> ConstraintIndex:
        """The space with these cuts; the last few are kept."""
        key = tuple((name, *places) for name, places in sorted(torn.items()))
        if key in self._spaces:
            self._spaces.move_to_end(key)
            return self._spaces[key]

        def cuts(event: Event) -> Sequence[int]:
            return torn.get(event.name, ())

        made = self._spaces[key] = ConstraintIndex.of(self._space(cuts), whole=self._whole)
        if len(self._spaces) > _KEPT:
            self._spaces.popitem(last=False)
        return made

    def _space(self, cuts: Cuts) -> CrashSpace:
        space = CrashSpace.of(self.state, self.profile, self.crash_class, cuts)
        if self.crash_class != "process":
            return space
        return evolve(space, bound=_kept(space.bound))  # what the kernel has, it keeps

    def _spans(self) -> dict[int, list[tuple[int, int]]]:
        """The byte ranges that syncs have named, by inode."""
        found: dict[int, list[tuple[int, int]]] = {}
        for sync in self.state.syncs:
            if sync.span is not None and sync.inode is not None:
                found.setdefault(sync.inode, []).append(sync.span)
        return found


def _kept(bound: Constraints) -> Constraints:
    """The constraints after a process kill: nothing is lost."""
    everything = (1 << len(bound.pieces)) - 1
    return evolve(bound, durable=everything, synced=everything, logged=0, never=0)


def _solved(asking: TreeMatch) -> MembershipAnswer:
    """The answer with one choice of cuts."""
    clashes: list[str] = []
    try:
        landed = asking.landed(clashes)
    except BudgetExceeded:
        return MembershipAnswer("undecided", "the budget of this question is spent")
    if landed is not None:
        return MembershipAnswer("yes", "", asking.prepared.space, landed)
    return MembershipAnswer("no", "; or ".join(dict.fromkeys(clashes)) or "nothing explains it")
