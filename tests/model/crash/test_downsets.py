from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from powercut.crash.downsets import (
    bits,
    closures,
    count_downsets,
    downset_of,
    downsets,
    is_downset,
    largest_downset_in,
)


@st.composite
def relations(draw: st.DrawFn) -> list[int]:
    size = draw(st.integers(0, 6))
    return draw(st.lists(st.integers(0, (1 << size) - 1), min_size=size, max_size=size))


def brute(requires: list[int], landed: int, never: int) -> set[int]:
    return {
        events
        for events in range(1 << len(requires))
        if is_downset(events, requires) and events & landed == landed and not events & never
    }


@given(requires=relations(), data=st.data())
def test_downsets_are_exactly_those_that_trying_every_set_finds(
    requires: list[int], data: st.DataObject
) -> None:
    every = st.integers(0, (1 << len(requires)) - 1)
    landed, never = data.draw(every), data.draw(every)

    found = list(downsets(requires, landed, never))

    assert set(found) == brute(requires, landed, never)
    assert len(found) == len(set(found))


@given(requires=relations())
def test_the_count_by_components_is_the_number_of_downsets(requires: list[int]) -> None:
    assert count_downsets(requires, 0, 0, 1000) == (len(brute(requires, 0, 0)), True)


def test_all_is_exact_for_each_relation_of_three_events() -> None:
    for requires in itertools.product(range(8), repeat=3):
        every = [events for events in range(8) if is_downset(events, requires)]
        for one in range(8):
            assert downset_of(one, requires) == min(d for d in every if not one & ~d)
            assert largest_downset_in(one, requires) == max(d for d in every if not d & ~one)
        for landed, never in itertools.product(range(8), repeat=2):
            wanted = [d for d in every if not landed & ~d and not never & d]
            assert sorted(downsets(requires, landed, never)) == wanted
            assert count_downsets(requires, landed, never, 8) == (len(wanted), True)


def test_a_count_beyond_the_limit_is_a_lower_bound_and_says_so() -> None:
    chain = [0, *(1 << e for e in range(9))]

    assert count_downsets(chain, 0, 0, 5) == (5, False)
    assert count_downsets(chain, 0, 0, 11) == (11, True)


@given(requires=relations(), data=st.data())
def test_closures_are_the_least_and_the_greatest(requires: list[int], data: st.DataObject) -> None:
    events = data.draw(st.integers(0, (1 << len(requires)) - 1))
    every = brute(requires, 0, 0)

    smallest = min((d for d in every if d & events == events), key=int.bit_count)
    largest = max((d for d in every if d & ~events == 0), key=int.bit_count)

    assert downset_of(events, requires) == smallest
    assert largest_downset_in(events, requires) == largest


@given(requires=relations())
def test_what_needs_an_event_is_the_converse_of_what_it_needs(requires: list[int]) -> None:
    down, up = closures(requires)

    for one, other in itertools.product(range(len(requires)), repeat=2):
        assert (down[one] >> other & 1) == (up[other] >> one & 1)


def test_the_first_downset_loses_nothing_and_the_second_loses_the_latest() -> None:
    first, second = itertools.islice(downsets([0, 0, 0], 0, 0), 2)

    assert list(bits(first)) == [0, 1, 2]
    assert list(bits(second)) == [0, 1]
