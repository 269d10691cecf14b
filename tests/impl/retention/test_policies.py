"""Which groups a policy keeps: pure, by what is known of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from lastgood import UsageError
from lastgood.retention.policies import (
    AnyOf,
    BestN,
    Candidate,
    EveryKSteps,
    EverySeconds,
    KeepAll,
    LatestN,
    Policy,
    generations_to_prune,
)

NOW_S = 1_000_000.0


def run(*steps: int) -> list[Candidate]:
    """Groups of these steps, newest first."""
    return [Candidate(n, step) for n, step in sorted(enumerate(steps, 1), reverse=True)]


def stamped(*times_s: int | None) -> list[Candidate]:
    return [Candidate(n, n, at_s) for n, at_s in sorted(enumerate(times_s, 1), reverse=True)]


def scored(*values: object) -> list[Candidate]:
    return [
        Candidate(n, n, None, {"loss": value}) for n, value in sorted(enumerate(values, 1))[::-1]
    ]


@pytest.mark.parametrize(
    ("policy", "candidates", "kept"),
    [
        (KeepAll(), run(1, 2, 3), {1, 2, 3}),
        (LatestN(2), run(10, 20, 30), {2, 3}),
        (LatestN(9), run(10, 20), {1, 2}),
        (EveryKSteps(100), run(100, 150, 200, 250), {1, 3}),
        # A step that was saved again: the newer group.
        (EveryKSteps(100), run(100, 150, 100), {3}),
        (EverySeconds(60), stamped(0, 30, 60, 61, 119, 120), {1, 3, 6}),
        (BestN("loss", mode="min"), scored(0.5, 0.1, 0.4), {2}),
        (BestN("loss", 2, mode="max"), scored(0.5, 0.1, 0.4), {1, 3}),
        # Of equals, the newer.
        (BestN("loss", mode="min"), scored(0.1, 0.1), {2}),
        (LatestN(1) | EveryKSteps(100), run(100, 150, 160), {1, 3}),
        (AnyOf([LatestN(1), BestN("loss", mode="min")]), scored(0.1, 0.2, 0.3), {1, 3}),
    ],
)
def test_what_a_policy_keeps(
    policy: Policy, candidates: Sequence[Candidate], kept: set[int]
) -> None:
    assert policy.keeps(candidates, NOW_S) == kept


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.1", None, [0.1], 1j])
def test_what_is_no_number_is_never_the_best(value: object) -> None:
    assert BestN("loss", mode="min").keeps(scored(value, 0.5), NOW_S) == {2}
    assert BestN("loss", mode="min").keeps(scored(value, value), NOW_S) == {1, 2}  # there is none


@pytest.mark.parametrize("at_s", [None, int(NOW_S) + 1, 10**18])
def test_a_time_stamp_that_says_nothing_gives_nothing_up(at_s: int | None) -> None:
    """Neither its own group, nor by hiding the others."""
    assert EverySeconds(60).keeps(stamped(0, at_s, 30, 60), NOW_S) == {1, 2, 4}


def test_a_clock_that_went_back_begins_anew() -> None:
    assert EverySeconds(60).keeps(stamped(500, 100, 130, 160), NOW_S) == {1, 2, 4}


def test_neither_the_newest_nor_a_protected_group_goes() -> None:
    class KeepNone(Policy):
        def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
            return set()

    assert generations_to_prune(KeepNone(), run(1, 2, 3, 4), {2}, NOW_S) == [1, 3]
    assert generations_to_prune(KeepNone(), run(1), (), NOW_S) == []
    assert generations_to_prune(KeepNone(), [], (), NOW_S) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: LatestN(0),
        lambda: LatestN(1.5),  # type: ignore[arg-type]
        lambda: LatestN(True),
        lambda: LatestN("3"),  # type: ignore[arg-type]
        lambda: EveryKSteps(0),
        lambda: EverySeconds(0),
        lambda: EverySeconds(math.nan),
        lambda: EverySeconds("60"),  # type: ignore[arg-type]
        lambda: BestN("loss", 0, mode="min"),
        lambda: BestN(3, mode="min"),  # type: ignore[arg-type]
        lambda: AnyOf(LatestN(1)),  # type: ignore[arg-type]
        lambda: AnyOf([3]),  # type: ignore[list-item]
        lambda: BestN("loss", mode="most"),  # type: ignore[arg-type]
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make: Callable[[], Policy]) -> None:
    with pytest.raises(UsageError, match="expected"):
        make()


def test_the_best_by_a_metric_needs_to_know_what_is_best() -> None:
    with pytest.raises(TypeError, match="mode"):
        BestN("accuracy")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        BestN("accuracy", 3, "max")  # type: ignore[call-arg,misc,unused-ignore]


def test_a_metric_that_no_group_has_gives_nothing_up_and_is_told() -> None:
    groups = scored(0.5, 0.1, 0.4)
    policy = LatestN(1) | BestN("los", mode="min")

    assert generations_to_prune(policy, groups, (), NOW_S) == []
    (note,) = policy.notes(groups)
    assert note == (
        "no group has a number 'los' in its metadata, which has 'loss': nothing is given up until "
        "one has"
    )
    assert policy.notes([]) == ()
    assert (LatestN(1) | BestN("loss", mode="min")).notes(groups) == ()
    assert "no key at all" in BestN("x", mode="max").notes(run(1))[0]
