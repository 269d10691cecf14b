"""What a rule is, and the book that rules.py writes its rules into. No rule stands here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from attrs import frozen

Kind = Literal["order", "atomic", "scope", "exposure", "ceiling"]
Promise = Literal["durable", "ordered", "unordered", "withdrawn"]


@frozen
class Rule:
    """One rule: its id, its kind, its readable form, and where the claim comes from.

    `on` and `promise` speak of scope rules: the kinds of sync that they apply to, and whether what
    is covered has landed when the sync returns, or lands before anything that is issued later.  The
    other two are permissions, once the sync has returned: the event is "unordered", a log may bring
    it by itself; and what a log had promised of it is "withdrawn".
    `needs_sent`: it reads `piece.sent`, which is worked out for such rules only.
    `litmus` names the tests that need the rule; `errs` says how it departs from the file systems
    it is used for.  A permission with a `measure` allows more than they do: that is the measurement
    which would settle a verdict that hangs on it.
    """

    id: str
    kind: Kind
    holds: Callable[..., bool]
    source: tuple[str, ...]
    litmus: tuple[str, ...]
    errs: str
    on: tuple[str, ...] = ()
    promise: Promise = "durable"
    needs_sent: bool = False
    measure: str = ""

    @property
    def permits(self) -> bool:
        """It adds states, where all others take states away."""
        return self.promise in ("unordered", "withdrawn")

    @property
    def permits_too_much(self) -> bool:
        """It adds states that the file systems it is used for do not have."""
        return self.permits and bool(self.measure)

    @property
    def claim(self) -> str:
        """The first paragraph of the rule's docstring, which is one sentence."""
        return " ".join((self.holds.__doc__ or "").split("\n\n")[0].split())


RULES: Final[dict[str, Rule]] = {}
"""Every rule there is, by id, in the order of rules.py."""


def rule(
    rule_id: str,
    kind: Kind,
    *,
    on: tuple[str, ...] = (),
    promise: Promise = "durable",
    needs_sent: bool = False,
) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    """Register a rule; `Source:`, `Litmus:`, `Errs:` and `Measure:` are read from its docstring."""

    def register(holds: Callable[..., bool]) -> Callable[..., bool]:
        source, litmus = _after(holds, "Source:"), _after(holds, "Litmus:")
        RULES[rule_id] = Rule(
            rule_id,
            kind,
            holds,
            tuple(label.strip() for label in source.split(",") if label.strip()),
            tuple(label.strip() for label in litmus.split(",") if label.strip()),
            _after(holds, "Errs:"),
            on,
            promise,
            needs_sent,
            _after(holds, "Measure:"),
        )
        return holds

    return register


def _after(holds: Callable[..., bool], heading: str) -> str:
    """What stands behind a heading of a docstring, up to the next heading."""
    found: list[str] = []
    for line in (holds.__doc__ or "").splitlines():
        text = line.strip()
        if text.startswith(heading):
            found = [text.removeprefix(heading).strip()]
        elif found and not text.startswith(("Source:", "Litmus:", "Errs:", "Measure:")):
            found.append(text)
        elif found:
            break
    return " ".join(found).strip()
