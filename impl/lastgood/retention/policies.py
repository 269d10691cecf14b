"""Retention: which groups are worth keeping, as objects that can be combined. Pure.

    LatestN(3) | EveryKSteps(1000) | BestN("accuracy", mode="max")

A policy only ever adds to what is kept. Whatever it says, the newest valid group stays, and so
do those that a run was restored from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from attrs import field, frozen

from lastgood.arguments import as_tuple, check_all_are, check_count, check_seconds
from lastgood.errors import UsageError


@frozen
class Candidate:
    """The facts about a group that a policy sees; `saved_at_s` is its writer's Unix time."""

    generation: int
    step: int
    saved_at_s: int | None = None
    metadata: Mapping[str, Any] = field(factory=dict)


class Policy:
    """Says which groups to keep. Subclass it, or combine those below with `|`."""

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        """The generations to keep, of groups that are given newest first.

        Whatever it raises, and whatever it gives that is no generation of theirs, ends the prune
        before anything is given up; a save whose retention fails so stands.
        """
        raise NotImplementedError

    def notes(self, candidates: Sequence[Candidate]) -> tuple[str, ...]:  # noqa: ARG002
        """Say what somebody should hear about these groups: a metric that none has. Mostly nothing.

        It is told with each prune, by an event and in `Receipt.notes`.
        """
        return ()

    def __or__(self, other: Policy) -> AnyOf:
        return AnyOf((self, other)) if isinstance(other, Policy) else NotImplemented


@frozen
class KeepAll(Policy):
    """Nothing is ever given up."""

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:  # noqa: ARG002
        """See `Policy.keeps`."""
        return {each.generation for each in candidates}


@frozen
class LatestN(Policy):
    """The `count` newest generations."""

    count: int = field(validator=check_count)

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:  # noqa: ARG002
        """See `Policy.keeps`."""
        return {each.generation for each in candidates[: self.count]}


@frozen
class EveryKSteps(Policy):
    """Groups of a step that `steps` divides; of several of one step, the newest."""

    steps: int = field(validator=check_count)

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:  # noqa: ARG002
        """See `Policy.keeps`."""
        newest: dict[int, int] = {}
        for each in candidates:
            if each.step % self.steps == 0:
                newest.setdefault(each.step, each.generation)
        return set(newest.values())


@frozen
class EverySeconds(Policy):
    """The oldest group, and from there one at least every `seconds` apart.

    A time stamp that is missing, from the future, or earlier than that of an older group says
    nothing: its group is kept, because what is deleted by mistake does not come back.
    """

    seconds: float = field(validator=check_seconds)

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        """See `Policy.keeps`."""
        kept: set[int] = set()
        last_s: int | None = None
        for each in reversed(candidates):
            at_s = each.saved_at_s
            if at_s is None or at_s > now_s:
                kept.add(each.generation)
            elif last_s is None or at_s < last_s or at_s - last_s >= self.seconds:
                kept.add(each.generation)
                last_s = at_s
        return kept


def _require_metric(_policy: object, _field: object, value: str) -> None:
    if not isinstance(value, str):
        raise UsageError(f"metric is {value!r}, expected a key of the metadata, such as 'loss'.")


def _require_mode(_policy: object, _field: object, value: str) -> None:
    if value not in ("min", "max"):
        raise UsageError(
            f"mode is {value!r}, expected 'min' where less is better, or 'max' where more is."
        )


@frozen
class BestN(Policy):
    """The `count` best by a number in the metadata; what has no such number is not among them.

    `mode` says what is best: "min" or "max". Of equals the newer one is better. NaN and infinity
    are no numbers here. Where no group has such a number, the metric may be misspelt: then every
    group is kept, and `notes` says so.
    """

    metric: str = field(validator=_require_metric)
    count: int = field(default=1, validator=check_count)
    mode: Literal["min", "max"] = field(kw_only=True, validator=_require_mode)

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:  # noqa: ARG002
        """See `Policy.keeps`."""
        found = self._scores(candidates)
        if not found:
            return {each.generation for each in candidates}
        return {-generation for _, generation in sorted(found)[: self.count]}

    def notes(self, candidates: Sequence[Candidate]) -> tuple[str, ...]:
        """See `Policy.notes`."""
        if not candidates or self._scores(candidates):
            return ()
        keys = sorted({key for each in candidates for key in each.metadata})
        known = ", ".join(map(ascii, keys[:8])) or "no key at all"
        note = (
            f"no group has a number {self.metric!r} in its metadata, which has {known}: nothing "
            "is given up until one has"
        )
        return (note,)

    def _scores(self, candidates: Sequence[Candidate]) -> list[tuple[float, int]]:
        """The groups that have the number: the better first once they are sorted."""
        sign = 1 if self.mode == "min" else -1
        found = []
        for each in candidates:
            value = each.metadata.get(self.metric)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if math.isfinite(value):
                found.append((sign * value, -each.generation))
        return found


def _policies(given: Iterable[Policy]) -> tuple[Policy, ...]:
    return as_tuple("the policies", given)


@frozen
class AnyOf(Policy):
    """Whatever one of several policies keeps."""

    policies: tuple[Policy, ...] = field(converter=_policies, validator=check_all_are(Policy))

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        """See `Policy.keeps`."""
        return {
            generation for policy in self.policies for generation in policy.keeps(candidates, now_s)
        }

    def notes(self, candidates: Sequence[Candidate]) -> tuple[str, ...]:
        """See `Policy.notes`."""
        return tuple(note for policy in self.policies for note in policy.notes(candidates))


def needs_manifests(policy: Policy) -> bool:
    """Say whether a policy may look at more of a group than its name: its time, or its metadata.

    Those that do not also keep, of fewer groups, at least what they kept of more. So where such a
    policy gives nothing up of all that has a group's name, it gives nothing up of those among them
    that are valid; and nothing need be read to know that. A policy of somebody's own, one derived
    from these as well, may look at anything.
    """
    if type(policy) is AnyOf:
        return any(map(needs_manifests, policy.policies))
    return type(policy) not in (KeepAll, LatestN, EveryKSteps)


def generations_to_prune(
    policy: Policy, candidates: Iterable[Candidate], protected: Iterable[int], now_s: float
) -> list[int]:
    """The generations to give up, the oldest first; never the newest nor a protected one.

    UsageError where the policy raises, or keeps what is none of the candidates' generations: it
    may have meant their steps, and what is deleted by mistake does not come back.
    """
    newest_first = sorted(candidates, key=lambda each: -each.generation)
    try:
        kept = set(policy.keeps(newest_first, now_s))
    except Exception as error:  # it is the caller's code: it may raise anything
        raise UsageError(
            f"the retention policy {policy!r} failed: {type(error).__name__}: {error}. "
            "Nothing was given up. Mend its keeps()."
        ) from error
    unknown = kept - {each.generation for each in newest_first}
    if unknown:
        raise UsageError(
            f"the retention policy {policy!r} keeps {next(iter(unknown))!r}, expected generations "
            "of the candidates. Nothing was given up. Mend its keeps()."
        )
    kept |= set(protected)
    return sorted(each.generation for each in newest_first[1:] if each.generation not in kept)


def policy_notes(policy: Policy, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The notes of a policy on groups that are given newest first. UsageError where it raises."""
    try:
        return tuple(map(str, policy.notes(candidates)))
    except Exception as error:  # it is the caller's code: it may raise anything
        raise UsageError(
            f"the retention policy {policy!r} failed: {type(error).__name__}: {error}. "
            "Nothing was given up. Mend its notes()."
        ) from error
