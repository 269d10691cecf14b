"""Persists-before as arithmetic: closures of implications over events, in bit masks.

Events are numbered from 0 and a set of events is an int whose bit e stands for event e.
`requires[e]` is the set that must have landed if e has.  A downset is a set closed under it.
Every set that is given holds events of `requires` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def bits(mask: int) -> Iterator[int]:
    """The members of a set, in rising order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def subsets(mask: int) -> Iterator[int]:
    """Every subset of a set, the empty one first."""
    subset = 0
    while True:
        yield subset
        if subset == mask:
            return
        subset = (subset - mask) & mask


def downset_of(wanted: int, requires: Sequence[int]) -> int:
    """The smallest downset that contains `wanted`. Linear in the members reached."""
    downset, todo = wanted, wanted
    while todo:
        event = todo & -todo
        todo ^= event
        new = requires[event.bit_length() - 1] & ~downset
        downset |= new
        todo |= new
    return downset


def is_downset(events: int, requires: Sequence[int]) -> bool:
    """Every member's requirements are members."""
    return all(requires[e] & ~events == 0 for e in bits(events))


def largest_downset_in(events: int, requires: Sequence[int]) -> int:
    """The largest downset inside `events`: drop what lacks a requirement until none does."""
    downset, changed = events, True
    while changed:
        changed = False
        for event in bits(downset):
            if requires[event] & ~downset:
                downset &= ~(1 << event)
                changed = True
    return downset


def closures(requires: Sequence[int]) -> tuple[list[int], list[int]]:
    """For each event: the downset it needs, and all that needs it; both include it."""
    down = [downset_of(1 << e, requires) for e in range(len(requires))]
    up = [0] * len(requires)
    for event, needed in enumerate(down):
        for other in bits(needed):
            up[other] |= 1 << event
    return down, up


def downsets(requires: Sequence[int], landed: int, never: int) -> Iterator[int]:
    """Every downset that contains `landed` and nothing of `never`, each exactly once.

    The largest comes first: whoever stops early has seen the states that lost the least.
    """
    down, up = closures(requires)
    start_in = downset_of(landed, requires)
    start_out = 0
    for event in bits(never):
        start_out |= up[event]
    if start_in & start_out:
        return
    everything = (1 << len(requires)) - 1
    stack = [(start_in, start_out)]
    while stack:
        inside, outside = stack.pop()
        free = everything & ~(inside | outside)
        if not free:
            yield inside
            continue
        event = (free & -free).bit_length() - 1
        # What needs a lost event is lost too; what a landed event needs has landed too.
        stack.append((inside, outside | up[event]))
        stack.append((inside | down[event], outside))


def count_downsets(
    requires: Sequence[int], landed: int, never: int, limit: int
) -> tuple[int, bool]:
    """How many sets `downsets` yields, and whether the count is exact.

    Independent components multiply; within one the count is by enumeration, up to `limit` each.
    """
    size = len(requires)
    component = list(range(size))

    def root(event: int) -> int:
        while component[event] != event:
            component[event] = component[component[event]]
            event = component[event]
        return event

    for event, needed in enumerate(requires):
        for other in bits(needed):
            component[root(event)] = root(other)
    members: dict[int, int] = {}
    for event in range(size):
        members[root(event)] = members.get(root(event), 0) | 1 << event

    total, exact = 1, True
    for mask in members.values():
        part = [needed if mask >> e & 1 else 0 for e, needed in enumerate(requires)]
        outside = ((1 << size) - 1) & ~mask
        found = 0
        for _ in downsets(part, landed & mask, never & mask | outside):
            found += 1
            if found > limit:
                exact = False
                break
        total *= min(found, limit)
    return total, exact
