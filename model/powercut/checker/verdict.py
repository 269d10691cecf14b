"""Verdicts as data, in the one JSON form that every command keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from attrs import asdict, field, frozen

from powercut.profile import Limit
from powercut.simulation.world import Step

VerdictWord = Literal["holds", "fails", "unknown", "not refuted"]
NOT_REFUTED: Final = 5
"""The exit status where nothing is worse than a property that was not refuted."""
Method = Literal["sampled", "enumerated", "explored", "certified"]


_STATUSES: Final[Mapping[VerdictWord, int]] = {"fails": 1, "unknown": 4, "not refuted": NOT_REFUTED}
"""The worst word that a report has decides."""


@frozen
class Counterexample:
    """The steps that break a property, and what went wrong in words.

    `needs` are the permissions of the profile without which one of its crashes is illegal.
    """

    property: str
    because: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()


@frozen
class Verdict:
    """The answer for one property.

    `holds` speaks for every history within `bound`.  What was sampled, or cut off, and broke
    nothing is `not refuted`: nothing was found, and no more is known.

    `unknown_rules` are what an unknown answer hangs on: rules in doubt, and permissions that allow
    too much.

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
            "needs": list(self.counterexample.needs) if self.counterexample else [],
            "trace": self.trace,
            "missed": list(self.missed),
        }


@frozen
class CheckReport:
    """The verdicts of one subject under one profile and one crash class.

    `doubts` has what a verdict hangs on, rules in doubt and permissions that allow too much, each
    with the measurement that would settle it.  `limits` are the profile's: no verdict speaks of
    them.
    """

    subject: str
    profile: str
    crash_class: str
    properties: Mapping[str, Verdict] = field(factory=dict)
    doubts: Mapping[str, str] = field(factory=dict)
    limits: tuple[Limit, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as the commands print it."""
        return {
            "subject": self.subject,
            "profile": self.profile,
            "crash_class": self.crash_class,
            "properties": {name: v.to_json() for name, v in self.properties.items()},
            "doubts": dict(self.doubts),
            "limits": [limit.to_json() for limit in self.limits],
        }

    @property
    def exit_code(self) -> int:
        """0: all hold; 1: one fails; 4: none, but one is unknown; 5: nor that, one not refuted."""
        return _STATUSES.get(_weakest([v.verdict for v in self.properties.values()]), 0)


@frozen
class SetReport:
    """The verdicts of one subject under each profile of a set, one report a member.

    `left_out` maps each profile that was not asked to the reason.
    """

    profile: str
    members: tuple[CheckReport, ...]
    left_out: Mapping[str, str]

    @property
    def weakest(self) -> dict[str, VerdictWord]:
        """The answer of the set: for each property, the weakest word that a member has."""
        asked = self.members[0].properties
        return {
            name: _weakest([report.properties[name].verdict for report in self.members])
            for name in asked
        }

    def to_json(self) -> dict[str, Any]:
        """The report as `powercut check --json` prints it."""
        first = self.members[0]
        return {
            "subject": first.subject,
            "profile": self.profile,
            "crash_class": first.crash_class,
            "properties": {
                name: {
                    "verdict": word,
                    "profiles": [
                        report.profile
                        for report in self.members
                        if report.properties[name].verdict == word
                    ],
                }
                for name, word in self.weakest.items()
            },
            "members": [report.to_json() for report in self.members],
            "left_out": dict(self.left_out),
        }

    @property
    def exit_code(self) -> int:
        """That of the weakest answer, as of a `CheckReport`."""
        return _STATUSES.get(_weakest(list(self.weakest.values())), 0)


def _weakest(words: Sequence[VerdictWord]) -> VerdictWord:
    """The word that decides among these."""
    return next((word for word in _STATUSES if word in words), "holds")


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
