"""Member is enumeration on programs that truncate, sync ranges and replace files."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.model.membership.random_questions import compare

PROGRAMS, SEED = 240, 1
FEATURES = (
    "truncations",
    "ranged syncs",
    "replacements",
    "failed syncs",
    "rules of no profile",
)


@pytest.mark.parametrize("part", range(4))
def test_member_is_enumeration_on_random_programs(part: int) -> None:
    tally = Counter[str]()

    for number in range(part, PROGRAMS, 4):
        compare(number, SEED, tally)

    assert tally["programs"] > PROGRAMS / 4 * 0.8
    assert tally["programs with every choice of cuts"] > 5
    assert min(tally["answers yes"], tally["answers no"]) > 500
    assert min(tally[feature] for feature in FEATURES) > 2
