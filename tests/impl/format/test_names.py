from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.format.names import (
    MAX_GENERATION,
    MAX_NUMBER,
    GroupName,
    free_name,
    newest_first,
    next_generation,
    parse_name,
)

GENERATIONS = st.integers(0, MAX_GENERATION)


@pytest.mark.parametrize(
    "name",
    [GroupName(7, 42), GroupName(7, 42, attempt=True), GroupName(123456789, 0), GroupName(0, 0)],
)
def test_a_name_is_read_back_as_it_was_written(name: GroupName) -> None:
    assert parse_name(str(name)) == name


@given(GENERATIONS, st.integers(0, MAX_NUMBER), st.sampled_from(["", "attempt", "pruned"]))
def test_any_name_that_is_written_is_read_as_its_group(
    generation: int, step: int, prefix: str
) -> None:
    name = GroupName(generation, step, prefix == "attempt", prefix == "pruned")

    assert parse_name(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "gen-7-step-42",
        "gen-000000007-step-00000042",
        "gen-00000007-step-00000042 ",
        "gen-00000007-step-00000042.1",
        "gen-0000000\N{ARABIC-INDIC DIGIT SEVEN}-step-00000042",
        "Gen-00000007-step-00000042",
        "gen--0000007-step-00000042",
        "gen-" + "9" * 19 + "-step-00000042",
        "gen-" + "9" * 18 + "-step-00000042",
        "gen-1" + "0" * 15 + "-step-00000042",
        "lock",
        "quarantine",
        "",
    ],
)
def test_no_other_spelling_is_a_name(text: str) -> None:
    assert parse_name(text) is None


def test_the_newest_generation_comes_first_whatever_its_step() -> None:
    names = ["gen-00000002-step-00000900", "lock", "gen-00000003-step-00000001", "junk"]

    assert [name.generation for name in newest_first(names)] == [3, 2]


def test_no_name_anywhere_lends_its_generation_to_the_next_group() -> None:
    assert next_generation([], []) == 1
    assert next_generation(["gen-00000004-step-00000001"], []) == 5
    assert next_generation(["attempt-gen-00000009-step-00000001"], []) == 10
    assert next_generation([], ["gen-00000011-step-00000001.3"]) == 12


@given(GENERATIONS, GENERATIONS, GENERATIONS)
def test_the_next_generation_is_one_above_all_that_any_name_has(
    live: int, dead: int, aside: int
) -> None:
    names = [str(GroupName(live, 1)), str(GroupName(dead, 2, attempt=True)), "lock"]

    found = next_generation(names, [f"{GroupName(aside, 3)}.1"])

    assert found == 1 + max(live, dead, aside)


def test_a_name_that_is_taken_gets_the_first_free_number() -> None:
    assert free_name("a", []) == "a"
    assert free_name("a", ["a", "a.1", "a.3"]) == "a.2"


def test_a_generation_that_no_store_can_have_counted_to_blocks_nothing() -> None:
    assert next_generation(["gen-" + "9" * 18 + "-step-00000001"], []) == 1
    assert next_generation([], ["gen-" + "9" * 18 + "-step-00000001.1"]) == 1
    assert parse_name("gen-" + "9" * 15 + "-step-" + "9" * 18) is not None
