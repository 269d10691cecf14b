"""The oracle: what a recovery may return, given what was saved, acknowledged and promised.

The properties are those of docs/properties.md.  Saves are numbered from 1 in the order in which
they began; the content of each is unlike any other's, so that a recovered group names its save.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve, field, frozen

PROPERTIES: Final = {
    "P1": "integrity: what recovery returns equals, byte for byte, one group whose save had begun",
    "P2": "availability: if any group was acknowledged, recovery returns some group by itself",
    "P3": "durability: recovery returns nothing older than the newest acknowledged group",
    "P4": "stability: nothing older than what a writable recovery has once returned",
    "P5": "progress: after recovery the next save works and the next recovery returns it",
}


@frozen
class Violation:
    """One property broken by one look, in words."""

    property: str
    because: str


@frozen
class Oracle:
    """What has been saved so far, and what is owed to whoever saved it.

    `saves` maps a save's number to its parts; `acknowledged` and `promised` are the newest save
    that returned and the newest that a writable recovery returned (0: none); `clean` is the save
    that the next recovery must return because nothing has crashed since (0: none).  `generations`
    are those given or found since the last crash: what was lost may lose its number too.
    """

    saves: Mapping[int, Mapping[str, bytes]] = field(factory=dict)
    acknowledged: int = 0
    promised: int = 0
    clean: int = 0
    generations: Mapping[int, int] = field(factory=dict)

    @property
    def key(self) -> tuple[int, ...]:
        """All that a judgement depends on, given the same contents of saves."""
        newest = max(self.generations.values(), default=0)
        return (len(self.saves), self.acknowledged, self.promised, self.clean, newest)

    def begin(self, number: int, parts: Mapping[str, bytes]) -> Oracle:
        """A save has begun."""
        return evolve(self, saves={**self.saves, number: parts})

    def acknowledge(self, number: int, generation: int | None = None) -> Oracle:
        """That save has returned, with its generation where the subject's own code ran."""
        generations = self.generations
        if generation is not None:
            generations = {**generations, number: generation}
        return evolve(
            self,
            acknowledged=max(self.acknowledged, number),
            clean=number,
            generations=generations,
        )

    def judge_generation(self, generation: int) -> list[Violation]:
        """What a save breaks by returning a generation that does not grow."""
        newest = max(self.generations.values(), default=None)
        if newest is None or generation > newest:
            return []
        what = f"the next save got generation {generation}; {newest} had been given"
        return [Violation("P5", what)]

    def crashed(self) -> Oracle:
        """A crash, of whatever class: what is owed stays owed."""
        return evolve(self, clean=0, generations={})

    def returned(self, parts: Mapping[str, bytes] | None, generation: int | None) -> Oracle:
        """A writable recovery has returned those parts: from now on it is a promise."""
        number = self.number_of(parts) or 0
        generations = self.generations
        if number and generation is not None:
            generations = {**generations, number: generation}
        return evolve(self, promised=max(self.promised, number), generations=generations)

    def number_of(self, parts: Mapping[str, bytes] | None) -> int | None:
        """The save with exactly that content; 0 for no group at all, None for no save's content."""
        if parts is None:
            return 0
        for number in sorted(self.saves, reverse=True):
            if dict(self.saves[number]) == dict(parts):
                return number
        return None

    def judge(self, parts: Mapping[str, bytes] | None) -> list[Violation]:
        """Every property that a recovery breaks by returning `parts`."""
        number = self.number_of(parts)
        found = []
        got = f"save {number}" if number else "nothing"
        if number is None:
            # What no save wrote is no group at all: it serves none of the other properties either.
            got, number = f"{_brief(parts)}, which no save wrote", 0
            found.append(Violation("P1", f"recovery returned {got}"))
        if number == 0 and self.acknowledged:
            found.append(
                Violation(
                    "P2", f"recovery returned {got}; save {self.acknowledged} was acknowledged"
                )
            )
        if number < self.acknowledged:
            found.append(
                Violation(
                    "P3", f"recovery returned {got}; save {self.acknowledged} was acknowledged"
                )
            )
        if number < self.promised:
            found.append(
                Violation(
                    "P4",
                    f"recovery returned {got}; an earlier one had returned save {self.promised}",
                )
            )
        if self.clean and number != self.clean:
            found.append(
                Violation(
                    "P5",
                    f"recovery returned {got}; save {self.clean} had returned and nothing crashed",
                )
            )
        return found

    def judge_error(self, doing: str, error: Exception) -> list[Violation]:
        """Every property that is broken where `doing` ends in an error instead of an answer."""
        what = f"{doing} failed with {type(error).__name__}: {error}"
        found = [Violation("P5", what)]
        if doing == "recovery" and self.acknowledged:
            found += [Violation(p, what) for p in ("P2", "P3")]
        if doing == "recovery" and self.promised:
            found.append(Violation("P4", what))
        return found


def _brief(parts: Mapping[str, bytes] | None) -> str:
    """The parts in one line, long contents cut."""
    shown = (f"{name}={content[:16]!r}" for name, content in sorted((parts or {}).items()))
    return ", ".join(shown)
