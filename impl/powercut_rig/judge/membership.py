"""Membership: whether a tree can come from a program that crashed at a moment.

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
from powercut_rig.judge.recovery_answer import RecoveryAnswer, recover_on_model
from powercut_rig.mounted import tree_reader as rig_tree
from powercut_rig.mounted.tree_reader import Tag, TreeSnapshot

LISTED_MAX: Final = 20_000
"""Of how many crash states at one moment a list is made, for coverage."""

BUDGET: Final = 300_000
"""How many steps of deduction one answer may cost."""

_PIECES_MAX: Final = 2

TreeDigest = int


@frozen
class Program:
    """The ops that were run for real, the profile they are held against, and where they began."""

    steps: tuple[Perform, ...]
    profile: Profile
    start: State = field(factory=State)

    def states(self, completed: int, begun: int) -> list[State]:
        """The states that there may be when `completed` ops had returned and `begun` had begun."""
        state = self.start
        for step in self.steps[:completed]:
            state = state.perform(step.op, step.id)
        states = [state]
        for step in self.steps[completed:begun]:
            states = [
                after
                for before in states
                for after in (before.begin(step.op, step.id), before.perform(step.op, step.id))
            ]
        return states


def snapshot_of(tree: Tree) -> TreeSnapshot:
    """The snapshot that a reader would take of a tree of the model."""
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
    return TreeSnapshot(dict(sorted(found.items())), tuple(groups))


def observed_tree(snapshot: TreeSnapshot) -> Observed | None:
    """The snapshot as the model takes it; None where the model has no such thing."""
    entries: dict[str, bytes | SymlinkInode | None] = {}
    for path, content in snapshot.tree.items():
        if isinstance(content, Tag):
            if content.kind != "symlink":
                return None
            entries[path] = SymlinkInode(content.detail)
        else:
            entries[path] = content
    return Observed.of(entries, snapshot.links)


@define
class ProgramMembership:
    """The model's answers about one program's trees, by moment, and the trees that were seen."""

    program: Program
    seen: set[TreeDigest] = field(factory=set)
    _moments: dict[tuple[int, int, str], list[model.MembershipChecker]] = field(factory=dict)
    _answers: dict[tuple[TreeDigest, int, int, str], bool | None] = field(factory=dict)
    _recovered: dict[TreeDigest, RecoveryAnswer] = field(factory=dict)
    _why: dict[tuple[TreeDigest, int, int, str], str] = field(factory=dict)

    def ask(
        self, snapshot: TreeSnapshot, completed: int, begun: int, crash_class: str
    ) -> bool | None:
        """Ask if the model has that tree when `completed` ops had returned; None: undecided."""
        key = (snapshot.digest, completed, begun, crash_class)
        if key not in self._answers:
            self._answers[key] = self._asked(snapshot, *key)
        if self._answers[key]:
            self.seen.add(snapshot.digest)
        return self._answers[key]

    def why(self, snapshot: TreeSnapshot, completed: int, begun: int, crash_class: str) -> str:
        """The reason why the model does not have it; empty where it does."""
        return self._why.get((snapshot.digest, completed, begun, crash_class), "")

    def _asked(
        self,
        snapshot: TreeSnapshot,
        digest: TreeDigest,
        completed: int,
        begun: int,
        crash_class: str,
    ) -> bool | None:
        tree = observed_tree(snapshot)
        if tree is None:
            return False
        moment = (completed, begun, crash_class)
        if moment not in self._moments:
            self._moments[moment] = [
                model.MembershipChecker(state, self.program.profile, crash_class)
                for state in self.program.states(completed, begun)
            ]
        words = set()
        for checker in self._moments[moment]:
            answer = checker.ask(tree, BUDGET)
            self._why[digest, completed, begun, crash_class] = answer.because
            if answer.verdict == "yes":
                return True
            words.add(answer.verdict)
        return False if words == {"no"} else None

    def allowed(self) -> set[TreeDigest] | None:
        """The trees that the model has for the moments asked about; None: too many to list.

        Data are cut into two pieces at most, so that a torn write counts once.
        """
        every: set[TreeDigest] = set()
        for moment in self._moments:
            found = self._listed(*moment)
            if found is None:
                return None
            every |= found
        return every

    def recovered(self, snapshot: TreeSnapshot, subject: Subject) -> RecoveryAnswer:
        """The answer of the subject's recovery on the model's disk with that tree."""
        if snapshot.digest not in self._recovered:
            answer = recover_on_model(subject, self.program.profile, snapshot.plain)
            self._recovered[snapshot.digest] = answer
        return self._recovered[snapshot.digest]

    def _listed(self, completed: int, begun: int, crash_class: str) -> set[TreeDigest] | None:
        profile = self.program.profile
        cuts = even_cuts(profile, _PIECES_MAX)
        found: set[TreeDigest] = set()
        for state in self.program.states(completed, begun):
            space = CrashSpace.of(state, profile, crash_class, cuts)
            for count, (_, _, after) in enumerate(space.states()):
                if count >= LISTED_MAX:
                    return None
                found.add(snapshot_of(after.base).digest)
        return found
