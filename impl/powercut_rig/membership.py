"""Member by search: can this tree come from this program, crashed at this moment?

Every crash state of a moment is enumerated once and kept by its look.  That is for small traces;
beyond `STATES_MAX` sets the answer is None: undecided.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

from powercut.crash import CrashSpace, even_cuts
from powercut.profile import Profile
from powercut.state import State
from powercut.subject import Subject
from powercut.tree import plain
from powercut.world import Perform
from powercut_rig.answers import Answer, PlainTree, recover_on_model

STATES_MAX: Final = 200_000
PIECES_MAX: Final = 3

_Key = frozenset[tuple[str, bytes | None]]


@frozen
class Program:
    """The ops that were run for real, and the profile that they are held against."""

    steps: tuple[Perform, ...]
    profile: Profile

    def state(self, completed: int, begun: int) -> State:
        """The state when `completed` ops had returned and `begun` had begun."""
        state = State()
        for step in self.steps[:completed]:
            state = state.perform(step.op, step.id)
        for step in self.steps[completed:begun]:
            state = state.begin(step.op, step.id)
        return state


@define
class Member:
    """All that the model allows for one program, found moment by moment and kept."""

    program: Program
    _allowed: dict[tuple[int, int, str], frozenset[_Key] | None] = field(factory=dict)
    _seen: set[_Key] = field(factory=set)
    _recovered: dict[_Key, Answer] = field(factory=dict)

    def ask(self, tree: PlainTree, completed: int, begun: int, crash_class: str) -> bool | None:
        """Whether the model has that tree when `completed` ops had returned; None: undecided."""
        moment = (completed, begun, crash_class)
        if moment not in self._allowed:
            self._allowed[moment] = self._enumerate(*moment)
        allowed = self._allowed[moment]
        if allowed is None:
            return None
        key = frozenset(tree.items())
        if key in allowed:
            self._seen.add(key)
        return key in allowed

    def coverage(self) -> tuple[int, int]:
        """How many distinct trees the model has for the moments asked about; how many were seen."""
        every: set[_Key] = set()
        for allowed in self._allowed.values():
            every |= allowed or frozenset()
        return len(every), len(self._seen)

    def recovered(self, tree: PlainTree, subject: Subject) -> Answer:
        """What the subject's recovery answers on the model's disk with that tree."""
        key = frozenset(tree.items())
        if key not in self._recovered:
            self._recovered[key] = recover_on_model(subject, self.program.profile, tree)
        return self._recovered[key]

    def _enumerate(self, completed: int, begun: int, crash_class: str) -> frozenset[_Key] | None:
        profile = self.program.profile
        state = self.program.state(completed, begun)
        space = CrashSpace.of(state, profile, crash_class, even_cuts(profile, PIECES_MAX))
        found: set[_Key] = set()
        for count, (_, _, after) in enumerate(space.states()):
            if count >= STATES_MAX:
                return None
            found.add(frozenset(plain(after.base).items()))
        return frozenset(found)
