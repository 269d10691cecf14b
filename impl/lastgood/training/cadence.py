"""When to save, as objects that can be combined. Pure: steps and times are given.

EverySteps(500) | EveryInterval(600)
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from lastgood.arguments import as_integer, as_tuple, check_all_are, check_count, check_seconds


@frozen
class LastSave:
    """The newest save of a run: its step, and when it ended by the caller's clock, in seconds.

    `at_s` says nothing of the time of day: it is for comparing with `now_s` of the same clock.
    """

    step: int | None
    at_s: float


class Cadence:
    """Says whether a save is due. Subclass it, or combine those below with `|`."""

    def is_due(self, step: int, now_s: float, last: LastSave) -> bool:
        """Say whether to save at this step. `last.step` is None where nothing was saved yet."""
        raise NotImplementedError

    def __or__(self, other: Cadence) -> AnyCadence:
        return AnyCadence((self, other)) if isinstance(other, Cadence) else NotImplemented


@frozen
class EverySteps(Cadence):
    """Steps that `steps` divides, 0 not among them."""

    steps: int = field(validator=check_count)

    def is_due(self, step: int, now_s: float, last: LastSave) -> bool:  # noqa: ARG002
        """See `Cadence.is_due`."""
        return step > 0 and step % self.steps == 0 and step != last.step


@frozen
class EveryInterval(Cadence):
    """So many seconds after the end of the newest save, or after the store was opened.

    By the store's `clock`, which only grows: a wall clock that is set makes no save due.
    """

    seconds: float = field(validator=check_seconds)

    def is_due(self, step: int, now_s: float, last: LastSave) -> bool:
        """See `Cadence.is_due`."""
        return step != last.step and now_s - last.at_s >= self.seconds


def _steps(given: Iterable[int]) -> frozenset[int]:
    return frozenset(as_integer("a step of AtSteps", step) for step in as_tuple("steps", given))


@frozen
class AtSteps(Cadence):
    """Exactly these steps."""

    steps: frozenset[int] = field(converter=_steps)

    def is_due(self, step: int, now_s: float, last: LastSave) -> bool:  # noqa: ARG002
        """See `Cadence.is_due`."""
        return step in self.steps and step != last.step


def _cadences(given: Iterable[Cadence]) -> tuple[Cadence, ...]:
    return as_tuple("the cadences", given)


@frozen
class AnyCadence(Cadence):
    """Whenever one of several is due."""

    cadences: tuple[Cadence, ...] = field(converter=_cadences, validator=check_all_are(Cadence))

    def is_due(self, step: int, now_s: float, last: LastSave) -> bool:
        """See `Cadence.is_due`."""
        return any(cadence.is_due(step, now_s, last) for cadence in self.cadences)
