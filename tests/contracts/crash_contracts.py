"""The arithmetic of torn writes and of the fast forms of order rules."""

from __future__ import annotations

import itertools

from powercut import rules
from powercut.crash import fast_order_rules
from powercut.crash.fast_order_rules import Reach
from powercut.crash.torn_writes import _Blocks, even_cuts
from powercut.filesystem.content import ByteRun
from powercut.filesystem.events import Extent, Piece, Size
from powercut.profile import load_profile
from tests.contracts.contract import LIMIT, Mutant, contract

TORN = "model/powercut/crash/torn_writes.py"
FAST = "model/powercut/crash/fast_order_rules.py"
PROFILE = load_profile("ext4-ordered")
SECTOR = PROFILE.sector_bytes


def meet(one: Reach | None, other: Reach | None) -> bool:
    """Both have a reach, and the reaches meet."""
    return one is not None and other is not None and one[0] <= other[1] and other[0] <= one[1]


@contract(
    Mutant(TORN, "bisect_right(self.firsts, last + 1)", "bisect_right(self.firsts, last)"),
    *[(0, 1, 2)] * 6,
    *[(0, 1, 2, 3)] * 2,
)
def a_set_of_blocks_is_what_was_put_into_it(
    a: int, b: int, c: int, d: int, e: int, f: int, low: int, high: int
) -> None:
    """It meets the ranges that one of those put into it meets, and joins those that touch.

    Domain: three ranges put in, [a, b], [c, d] and [e, f], and one that is asked for, below 2^62.
    """
    assert 0 <= a <= b < LIMIT
    assert 0 <= c <= d < LIMIT
    assert 0 <= e <= f < LIMIT
    assert 0 <= low <= high < LIMIT

    blocks = _Blocks()
    for first, last in ((a, b), (c, d), (e, f)):
        blocks.add(first, last)

    wanted = any(meet((low, high), put) for put in ((a, b), (c, d), (e, f)))
    assert blocks.meets(low, high) == wanted
    held = itertools.pairwise(zip(blocks.firsts, blocks.lasts, strict=True))
    assert all(last + 1 < first for (_, last), (first, _) in held)


@contract(
    Mutant(TORN, "(stop - 1) // block - start // block", "stop // block - start // block"),
    *[(*range(0, 4 * SECTOR, 128), *range(1, 4 * SECTOR, 128))] * 2,
    (1, 2, 3),
)
def even_cuts_are_at_sectors_inside_the_write(start: int, stop: int, pieces_max: int) -> None:
    """The cuts rise, at sectors strictly inside; as many as were asked for, or as there are.

    Domain: a write of any length and place below 2^62, at most one, two or three pieces of it.
    """
    assert 0 <= start < stop < LIMIT
    assert pieces_max in (1, 2, 3)

    cuts = even_cuts(PROFILE, pieces_max)(Extent("w1", 1, ByteRun(start, stop, 0)))

    assert all(low < high for low, high in itertools.pairwise([start, *cuts, stop]))
    assert all(cut % SECTOR == 0 for cut in cuts)
    inside = (stop - 1) // SECTOR - start // SECTOR
    assert len(cuts) == min(pieces_max - 1, inside)


@contract(
    Mutant(FAST, "if end >= first:", "if end > first:"),
    *[(0, 1, 2, 3)] * 4,
    *[range(-1, 5)] * 2,
)
def the_reaches_that_are_found_are_all_that_meet(
    a: int, b: int, c: int, d: int, low: int, high: int
) -> None:
    """Of the reaches that are held, just those are found that meet the one asked for.

    Domain: two reaches, [a, b] and [c, d], and one that is asked for, all below 2^62.
    """
    assert 0 <= a <= b < LIMIT
    assert 0 <= c <= d < LIMIT
    assert 0 <= low <= high < LIMIT

    held = fast_order_rules._Reaches()
    held.add(a, b, 0)
    held.add(c, d, 1)

    found = list(held.meeting(low, high))
    assert found.count(0) == meet((a, b), (low, high))
    assert found.count(1) == meet((c, d), (low, high))


@contract(
    Mutant(FAST, "return (0, event.new) if", "return (0, event.new - 1) if"),
    *[range(7)] * 4,
    (False, True),
)
def new_blocks_before_size_ties_only_within_reach(
    start: int, stop: int, old: int, new: int, fresh: bool
) -> None:
    """The fast form looks at every pair that the rule `new-blocks-before-size` ties.

    Domain: a write and a change of the size of one file, of any place and size below 2^62.
    """
    assert 0 <= start < stop < LIMIT
    assert 0 <= old < LIMIT
    assert 0 <= new < LIMIT

    data = Piece(0, Extent("w1", 1, ByteRun(start, stop, 1)), "w1.data", fresh)
    size = Piece(1, Size("w1", 1, old, new), "w1.size")

    if rules.new_blocks_before_size(data, size):
        assert meet(fast_order_rules._fresh_end(data), fast_order_rules._up_to(size))


@contract(
    Mutant(
        FAST,
        "return event.span if isinstance(event, Size) and not event.truncates else None",
        "return (event.new,) * 2 if isinstance(event, Size) and not event.truncates else None",
    ),
    *[range(7)] * 4,
    (False, True),
)
def data_before_its_size_ties_only_within_reach(
    start: int, stop: int, old: int, new: int, zeroes: bool
) -> None:
    """The fast form looks at every pair that the rule `data-before-its-size` ties.

    Domain: a write and a change of the size of one file, of any place and size below 2^62.
    """
    assert 0 <= start < stop < LIMIT
    assert 0 <= old < LIMIT
    assert 0 <= new < LIMIT

    data = Piece(0, Extent("w1", 1, ByteRun(start, stop, 1), zeroes=zeroes), "w1.data")
    size = Piece(1, Size("w1", 1, old, new), "w1.size")

    if rules.data_before_its_size(data, size):
        assert meet(fast_order_rules._data(data), fast_order_rules._exposed(size))
