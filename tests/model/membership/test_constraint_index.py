"""The lists of what a piece needs: bundles shorten them, and change nothing that follows."""

from __future__ import annotations

from random import Random

import pytest

from powercut.crash.downsets import bits, closures
from powercut.membership.constraint_index import _DENSE, _lists


def reached(need: list[list[int]], size: int) -> list[int]:
    """What each piece needs by its lists, the bundles behind the pieces followed and left out."""
    masks = [sum(1 << other for other in others) for others in need]
    return [down & ((1 << size) - 1) for down in closures(masks)[0][:size]]


def barriers(size: int, pick: Random) -> list[int]:
    """Relations as barriers and rules make them: later pieces need many, in growing sets."""
    requires, covered = [], 0
    for position in range(size):
        if pick.random() < 0.15:
            covered |= pick.getrandbits(size) & ((1 << position) - 1)
        mask = covered if pick.random() < 0.8 else 0
        own = pick.getrandbits(size) & pick.getrandbits(size) if pick.random() < 0.3 else 0
        requires.append(mask | (own & ((1 << position) - 1)))
    return requires


@pytest.mark.parametrize("seed", range(40))
def test_lists_with_bundles_reach_what_the_relation_does(seed: int) -> None:
    pick = Random(seed)  # noqa: S311
    size = pick.randint(1, 60)
    requires = barriers(size, pick)
    durable = pick.getrandbits(size) if seed % 2 else 0
    durable &= pick.getrandbits(size)
    need = _lists(requires, durable)

    wanted = [0 if durable >> n & 1 else mask & ~durable for n, mask in enumerate(requires)]

    assert reached(need, size) == closures(wanted)[0]
    assert all(other < len(need) for others in need for other in others)


def test_a_dense_relation_has_bundles_and_short_lists() -> None:
    first = (1 << 40) - 1
    requires = [0] * 40 + [first] * 40

    need = _lists(requires, 0)

    assert len(need) == 81
    assert max(map(len, need[:80])) <= _DENSE
    assert need[40:80] == [[80]] * 40
    assert need[80] == [*bits(first)]
