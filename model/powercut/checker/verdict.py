"""Verdicts as data, in the one JSON form that every command keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from attrs import asdict, field, frozen

from powercut.simulation.world import Step

VerdictWord = Literal["holds", "fails", "unknown", "not refuted"]
NOT_REFUTED: Final = 5
"""The exit status where nothing is worse than a property that was not refuted."""
Method = Literal["sampled", "enumerated", "explored", "certified"]


_STATUSES: Final[Mapping[VerdictWord, int]] = {"fails": 1, "unknown": 4, "not refuted": NOT_REFUTED}
"""The worst word that a report has decides."""


@frozen
class Counterexample:
    """The steps that break a property, and what went wrong in words."""

    property: str
    because: str
    steps: tuple[Step, ...]


@frozen
class Verdict:
    """The answer for one property.

    `holds` speaks for every history within `bound`.  What was sampled, or cut off, and broke
    nothing is `not refuted`: nothing was found, and no more is known.

    `represented` counts the crash states that were looked at, `run` those among them, each look
    once, on which recovery was really run.  `missed` says in sentences what no history met, so that
    the property asked for nothing there.
    """

    verdict: VerdictWord
    method: Method
    exhaustive: bool
    bound: Mapping[str, int]
    represented: int
    run: int
    unknown_rules: tuple[str, ...] = ()
    counterexample: Counterexample | None = None
    trace: str | None = None
    missed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The verdict as the commands print it."""
        return {
            "verdict": self.verdict,
            "method": self.method,
            "exhaustive": self.exhaustive,
            "bound": dict(self.bound),
            "states": {"represented": self.represented, "run": self.run},
            "unknown_rules": list(self.unknown_rules),
            "trace": self.trace,
            "missed": list(self.missed),
        }


@frozen
class CheckReport:
    """The verdicts of one subject under one profile and one crash class.

    `doubts` has the profile's rules in doubt that a verdict hangs on, each with the measurement
    that would settle it.
    """

    subject: str
    profile: str
    crash_class: str
    properties: Mapping[str, Verdict] = field(factory=dict)
    doubts: Mapping[str, str] = field(factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as the commands print it."""
        return {
            "subject": self.subject,
            "profile": self.profile,
            "crash_class": self.crash_class,
            "properties": {name: v.to_json() for name, v in self.properties.items()},
        }

    @property
    def exit_code(self) -> int:
        """0: all hold; 1: one fails; 4: none, but one is unknown; 5: nor that, one not refuted."""
        answers = {verdict.verdict for verdict in self.properties.values()}
        return next((code for word, code in _STATUSES.items() if word in answers), 0)


def bound_of(bounds: Sequence[Any]) -> dict[str, int]:
    """Bounds as the JSON mapping.

    Those of the second are called `deep_...`, those of one with damage `damaged_...`.
    """
    plain = [bound for bound in bounds if not bound.damages]
    damaged = [bound for bound in bounds if bound.damages]
    named = [*zip(("", "deep_"), plain, strict=False), *zip(("damaged_",), damaged, strict=False)]
    return {
        prefix + name: int(value)
        for prefix, bound in named
        for name, value in asdict(bound).items()
        if name != "damages" or value
    }
