"""The oracle: what a recovery may return, given what was saved, acknowledged and promised.

The properties are those of docs/properties.md.  Saves are numbered from 1 in the order in which
they began; the content of each is unlike any other's, so that a recovered group names its save.

A save is *damaged* once something of it has gone bad at rest.  It is owed to nobody any more: P2 to
P4 speak of the newest undamaged save instead, among those that the store still had to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import evolve, field, frozen

PROPERTIES: Final = {
    "P1": "integrity: what recovery returns is one group whose save had begun: bytes and numbers",
    "P2": "availability: if any group was acknowledged, recovery returns some group by itself",
    "P3": "durability: recovery returns nothing older than the newest acknowledged group",
    "P4": "stability: nothing older than what a writable recovery has once returned",
    "P5": "progress: after recovery the next save works and the next recovery returns it",
    "P7": "detection: recovery reports damage at rest, and falls back to what is undamaged",
}

OF_CRASHES: Final = ("P1", "P2", "P3", "P4", "P5")
"""The properties that a history without damage can break: what is asked of a real disk."""

LOOK_LIMIT_BYTES: Final = 16 << 20
"""Files that are longer are not looked into for the parts of saves."""


@frozen
class Violation:
    """One property broken by one look, in words."""

    property: str
    because: str


@frozen
class Home:
    """The place of a save: the entry of the store, and what is in there as long as it is whole.

    `inodes` are those in there, wherever they are moved.
    """

    entry: str
    look: tuple[tuple[str, object], ...]
    inodes: frozenset[int] = field(default=frozenset(), eq=False)


@frozen
class Harm:
    """Damage to a save: the entry that is its home, what went bad there, and whether to EIO."""

    entry: str
    path: str
    unreadable: bool


@frozen
class Oracle:
    """What has been saved so far, and what is owed to whoever saved it.

    `saves` maps a save's number to its parts; `returned` are the saves that returned, `recovered`
    those that a writable recovery returned; `clean` is the save that the next recovery must return
    because nothing has crashed since (0: none).  `generations` are those of saves, as each was told
    first: by the save itself, or by the recovery that returned it.  `newest_generation` is the
    newest told since the last crash (0: none): what was lost may lose its number too.  Where a
    store `keeps` so many groups (None: all of them), `kept` are the saves that it was never free to
    give up.  `homes` and `damaged` are of saves that returned, or were recovered: where each one
    lies, and what was done to it.
    """

    saves: Mapping[int, Mapping[str, bytes]] = field(factory=dict)
    returned: frozenset[int] = frozenset()
    recovered: frozenset[int] = frozenset()
    clean: int = 0
    generations: Mapping[int, int] = field(factory=dict)
    newest_generation: int = 0
    keeps: int | None = None
    kept: frozenset[int] = frozenset()
    homes: Mapping[int, Home] = field(factory=dict)
    damaged: Mapping[int, Harm] = field(factory=dict)

    @property
    def acknowledged(self) -> int:
        """The newest save that returned and that is still owed; 0 for none."""
        return self._newest_owed(self.returned)

    @property
    def promised(self) -> int:
        """The newest save that a writable recovery returned and that is still owed; 0 for none."""
        return self._newest_owed(self.recovered)

    @property
    def key(self) -> tuple[object, ...]:
        """All that a judgement depends on, given the same contents of saves."""
        told = (self.newest_generation, *sorted(self.generations.items()))
        plain = (len(self.saves), self.acknowledged, self.promised, self.clean, told)
        if not self.damaged:
            return plain
        known = (*sorted(self.homes.items()), *sorted(self.damaged.items()))
        return (*plain, self.returned, self.recovered, self.kept, *known)

    def begin(self, number: int, parts: Mapping[str, bytes]) -> Oracle:
        """A save has begun."""
        return evolve(self, saves={**self.saves, number: parts})

    def acknowledge(self, number: int, generation: int | None = None) -> Oracle:
        """That save has returned, with its generation where the subject's own code ran."""
        return evolve(
            self.told(number, generation),
            returned=self.returned | {number},
            clean=number,
            kept=self.keeping(number),
        )

    def judge_generation(self, generation: int, there: Iterable[int] = ()) -> list[Violation]:
        """What a save breaks by returning a generation that does not grow.

        Something is still `there` of those saves, so that theirs are taken, crash or no crash.
        """
        taken = (self.generations.get(number, 0) for number in there)
        newest = max(self.newest_generation, *taken, 0)
        if not newest or generation > newest:
            return []
        what = f"the next save got generation {generation}; {newest} had been given"
        return [Violation("P5", what)]

    def crashed(self) -> Oracle:
        """A crash, of whatever class: what is owed stays owed."""
        return evolve(self, clean=0, newest_generation=0)

    def settle_in(self, number: int, home: Home) -> Oracle:
        """That save is known to lie there."""
        return evolve(self, homes={**self.homes, number: home})

    def damage(self, harms: Mapping[int, Harm], held: Iterable[int]) -> Oracle:
        """Those saves have gone bad at rest, while the store held these in full."""
        return evolve(
            self,
            clean=0 if self.clean in harms else self.clean,
            kept=self.keeping(*held),
            damaged={**harms, **self.damaged},
        )

    def recover(self, parts: Mapping[str, bytes] | None, generation: int | None) -> Oracle:
        """A writable recovery has returned those parts: from now on it is a promise."""
        number = self.number_of(parts)
        if not number:
            return self
        return evolve(
            self.told(number, generation),
            recovered=self.recovered | {number},
            kept=self.keeping(number),
        )

    def told(self, number: int, generation: int | None) -> Oracle:
        """That save is said to have that generation; what was said of it before stays."""
        if generation is None:
            return self
        return evolve(
            self,
            generations={number: generation, **self.generations},
            newest_generation=max(self.newest_generation, generation),
        )

    def keeping(self, *more: int) -> frozenset[int]:
        """The saves that the store may not give up, if it holds these as well.

        They are as many undamaged ones as it `keeps`, and the damaged ones that are no older.
        """
        kept = self.kept.union(more)
        undamaged = sorted(kept - self.damaged.keys(), reverse=True)
        if self.keeps is None or len(undamaged) <= self.keeps:
            return kept
        return frozenset(n for n in kept if n >= undamaged[self.keeps - 1])

    def _newest_owed(self, numbers: frozenset[int]) -> int:
        if self.damaged:
            numbers = (numbers & self.kept) - self.damaged.keys()
        return max(numbers, default=0)

    def number_of(self, parts: Mapping[str, bytes] | None) -> int | None:
        """The save with exactly that content; 0 for no group at all, None for no save's content."""
        if parts is None:
            return 0
        for number in sorted(self.saves, reverse=True):
            if dict(self.saves[number]) == dict(parts):
                return number
        return None

    def judge(
        self,
        parts: Mapping[str, bytes] | None,
        generation: int | None = None,
        step: int | None = None,
    ) -> list[Violation]:
        """Every property that a recovery breaks by returning `parts` as that generation and step.

        None for either is what nobody said.
        """
        number = self.number_of(parts)
        found = []
        got = f"save {number}" if number else "nothing"
        if number is None:
            # What no save wrote is no group at all: it serves none of the other properties either.
            got, number = f"{_brief(parts)}, which no save wrote", 0
            found.append(Violation("P1", f"recovery returned {got}"))
        told = (("generation", generation, self.generations.get(number)), ("step", step, number))
        found += [
            Violation("P1", f"recovery returned {got} as {what} {said}; it has {what} {known}")
            for what, said, known in told
            if number and None not in (said, known) and said != known
        ]
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

    def judge_error(
        self, doing: str, error: Exception, *, is_any_left: bool = True
    ) -> list[Violation]:
        """Every property that is broken where `doing` ends in an error instead of an answer.

        A recovery may end so where something is damaged and nothing undamaged `is_any_left`.
        """
        what = f"{doing} failed with {type(error).__name__}: {error}"
        broken = ["P5"] if is_any_left or not self.damaged else []
        if doing == "recovery":
            broken += ["P2", "P3"] if self.acknowledged else []
            broken += ["P4"] if self.promised else []
            broken += ["P7"] if self.damaged and is_any_left else []
        return [Violation(name, what) for name in broken]


def _brief(parts: Mapping[str, bytes] | None) -> str:
    """The parts in one line, long contents cut."""
    shown = (f"{name}={content[:16]!r}" for name, content in sorted((parts or {}).items()))
    return ", ".join(shown)
