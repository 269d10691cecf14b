"""Member: can this tree come from this program, crashed at this moment?

The one place where the rig asks the model.  `powercut.membership.membership` answers; what it said
of a tree at a moment is kept.  Coverage, how many trees the model has for the moments asked about,
needs a list of them, which is made on demand and within a bound.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

import powercut.membership.membership as model
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.inodes import File, SymlinkInode, Tree, walk
from powercut.filesystem.state import State
from powercut.membership.observed_tree import Observed
from powercut.profile import Profile
from powercut.simulation.subject import Subject
from powercut.simulation.world import Perform
from powercut_rig.judge.recovery_answer import Answer, recover_on_model
from powercut_rig.mounted import tree_reader as rig_tree
from powercut_rig.mounted.tree_reader import Sight, Tag

LISTED_MAX: Final = 20_000
"""Of how many crash states at one moment a list is made, for coverage."""

BUDGET: Final = 300_000
"""How many steps of deduction one answer may cost."""

_PIECES_MAX: Final = 2

Digest = int


@frozen
class Program:
    """The ops that were run for real, the profile they are held against, and where they began."""

    steps: tuple[Perform, ...]
    profile: Profile
    start: State = field(factory=State)

    def state(self, completed: int, begun: int) -> State:
        """The state when `completed` ops had returned and `begun` had begun."""
        state = self.start
        for step in self.steps[:completed]:
            state = state.perform(step.op, step.id)
        for step in self.steps[completed:begun]:
            state = state.begin(step.op, step.id)
        return state


def sight_of(tree: Tree) -> Sight:
    """What a reader would see of a tree of the model."""
    found: rig_tree.Tree = {}
    names: dict[int, list[str]] = {}
    for path, number in walk(tree):
        inode = tree[number]
        match inode:
            case File(content=content):
                found[path[1:]] = content.read()
                names.setdefault(number, []).append(path[1:])
            case SymlinkInode(target=target):
                found[path[1:]] = Tag("symlink", target)
                names.setdefault(number, []).append(path[1:])
            case _:
                found[path[1:]] = None
    groups = sorted(tuple(sorted(paths)) for paths in names.values() if len(paths) > 1)
    return Sight(dict(sorted(found.items())), tuple(groups))


def observed(sight: Sight) -> Observed | None:
    """What was seen, as the model takes it; None where the model has no such thing."""
    entries: dict[str, bytes | SymlinkInode | None] = {}
    for path, content in sight.tree.items():
        if isinstance(content, Tag):
            if content.kind != "symlink":
                return None
            entries[path] = SymlinkInode(content.detail)
        else:
            entries[path] = content
    return Observed.of(entries, sight.links)


@define
class Member:
    """What the model says of one program's trees, moment by moment, and what of it was seen."""

    program: Program
    seen: set[Digest] = field(factory=set)
    _moments: dict[tuple[int, int, str], model.MembershipChecker] = field(factory=dict)
    _answers: dict[tuple[Digest, int, int, str], bool | None] = field(factory=dict)
    _recovered: dict[Digest, Answer] = field(factory=dict)
    _why: dict[tuple[Digest, int, int, str], str] = field(factory=dict)

    def ask(self, sight: Sight, completed: int, begun: int, crash_class: str) -> bool | None:
        """Whether the model has that tree when `completed` ops had returned; None: undecided."""
        key = (sight.digest, completed, begun, crash_class)
        if key not in self._answers:
            self._answers[key] = self._asked(sight, *key)
        if self._answers[key]:
            self.seen.add(sight.digest)
        return self._answers[key]

    def why(self, sight: Sight, completed: int, begun: int, crash_class: str) -> str:
        """Why the model does not have it; empty where it does."""
        return self._why.get((sight.digest, completed, begun, crash_class), "")

    def _asked(
        self, sight: Sight, digest: Digest, completed: int, begun: int, crash_class: str
    ) -> bool | None:
        tree = observed(sight)
        if tree is None:
            return False
        moment = (completed, begun, crash_class)
        if moment not in self._moments:
            state = self.program.state(completed, begun)
            self._moments[moment] = model.MembershipChecker(
                state, self.program.profile, crash_class
            )
        answer = self._moments[moment].ask(tree, BUDGET)
        self._why[digest, completed, begun, crash_class] = answer.because
        return {"yes": True, "no": False}.get(answer.verdict)

    def allowed(self) -> set[Digest] | None:
        """The trees that the model has for the moments asked about; None: too many to list.

        Data are cut into two pieces at most, so that a torn write counts once.
        """
        every: set[Digest] = set()
        for moment in self._moments:
            found = self._listed(*moment)
            if found is None:
                return None
            every |= found
        return every

    def recovered(self, sight: Sight, subject: Subject) -> Answer:
        """What the subject's recovery answers on the model's disk with that tree."""
        if sight.digest not in self._recovered:
            answer = recover_on_model(subject, self.program.profile, sight.plain)
            self._recovered[sight.digest] = answer
        return self._recovered[sight.digest]

    def _listed(self, completed: int, begun: int, crash_class: str) -> set[Digest] | None:
        profile = self.program.profile
        state = self.program.state(completed, begun)
        space = CrashSpace.of(state, profile, crash_class, even_cuts(profile, _PIECES_MAX))
        found: set[Digest] = set()
        for count, (_, _, after) in enumerate(space.states()):
            if count >= LISTED_MAX:
                return None
            found.add(sight_of(after.base).digest)
        return found
