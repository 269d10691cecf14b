"""What the closure of constraints promises, beyond the asserts of powercut.crash.downsets itself.

`requires` is cut to four events: enough for a chain, a fork, a join and a cycle.
"""

from __future__ import annotations

from powercut.crash.downsets import (
    closures,
    count_downsets,
    downset_of,
    downsets,
    is_downset,
    largest_downset_in,
)

EVENTS = 4


def downset_of_is_the_smallest(wanted: int, requires: tuple[int, ...], other: int) -> None:
    """Every downset that contains `wanted` contains `downset_of(wanted)`."""
    assert len(requires) <= EVENTS
    assert all(0 <= r < 1 << len(requires) for r in requires)
    assert 0 <= wanted < 1 << len(requires)
    assert 0 <= other < 1 << len(requires)
    assert is_downset(other, requires)
    assert wanted & ~other == 0

    found = downset_of(wanted, requires)

    assert found & ~other == 0


def largest_downset_is_the_largest(events: int, requires: tuple[int, ...], other: int) -> None:
    """Every downset inside `events` is inside `largest_downset_in(events)`."""
    assert len(requires) <= EVENTS
    assert all(0 <= r < 1 << len(requires) for r in requires)
    assert 0 <= events < 1 << len(requires)
    assert other >= 0
    assert other & ~events == 0
    assert is_downset(other, requires)

    found = largest_downset_in(events, requires)

    assert other & ~found == 0


def needing_is_the_converse_of_needed(requires: tuple[int, ...], a: int, b: int) -> None:
    """What an event needs and what needs it are one relation, read both ways."""
    assert len(requires) <= EVENTS
    assert all(0 <= r < 1 << len(requires) for r in requires)
    assert 0 <= a < len(requires)
    assert 0 <= b < len(requires)

    down, up = closures(requires)

    assert down[a] >> b & 1 == up[b] >> a & 1


def enumeration_is_exact(requires: tuple[int, ...], landed: int, never: int) -> None:
    """`downsets` yields what brute force finds, each once, and `count_downsets` agrees."""
    assert len(requires) <= EVENTS - 1
    assert all(0 <= r < 1 << len(requires) for r in requires)
    assert 0 <= landed < 1 << len(requires)
    assert 0 <= never < 1 << len(requires)

    found = list(downsets(requires, landed, never))
    wanted = [
        events
        for events in range(1 << len(requires))
        if is_downset(events, requires) and not landed & ~events and not never & events
    ]

    assert sorted(found) == wanted
    assert count_downsets(requires, landed, never, 100) == (len(wanted), True)
