"""The bytes of a file, as runs: where a run is cut, and what shows after each change.

A fill stands for any bytes, so that a domain can hold files of any size.
"""

from __future__ import annotations

import itertools

from powercut.filesystem.content import PAGE_BYTES, ByteRun, Content, Payload, page_end
from powercut.membership.content_match import segments
from tests.contracts.contract import LIMIT, Mutant, contract

CONTENT = "model/powercut/filesystem/content.py"
FEW = (0, 1, 2, 3, 5, 8, LIMIT - 1)
MANY = (*range(700), PAGE_BYTES, *range(LIMIT - 700, LIMIT))


def payload_at(content: Content, at: int) -> Payload:
    """What a content holds at one place; 0 where nothing was written."""
    return next((run.payload for run in content.runs if run.start <= at < run.stop), 0)


def is_well_formed(content: Content) -> bool:
    """No run is empty; they are sorted and do not overlap."""
    return all(run.start < run.stop for run in content.runs) and all(
        one.stop <= other.start for one, other in itertools.pairwise(content.runs)
    )


@contract(
    Mutant(
        CONTENT, "-(-offset // PAGE_BYTES) * PAGE_BYTES", "(offset // PAGE_BYTES + 1) * PAGE_BYTES"
    ),
    MANY,
)
def page_end_is_the_first_border_from_an_offset_on(offset: int) -> None:
    """The end is a border between pages, and none lies between it and the offset.

    Domain: every offset below 2^62.
    """
    assert 0 <= offset < LIMIT

    end = page_end(offset)

    assert end % PAGE_BYTES == 0
    assert 0 <= end - offset < PAGE_BYTES


@contract(
    Mutant(
        CONTENT,
        "start, stop = max(start, self.start), min(stop, self.stop)",
        "start, stop = max(start, self.start), stop",
    ),
    *[FEW] * 5,
)
def a_run_cut_is_where_it_overlaps(start: int, stop: int, low: int, high: int, at: int) -> None:
    """A place is in the cut run where it is in the run and in the range, and holds the same.

    Domain: a run of one byte's copies, a range that meets it and a place, all below 2^62.
    """
    assert 0 <= start < stop < LIMIT
    assert 0 <= low < high < LIMIT
    assert max(start, low) < min(stop, high)
    assert 0 <= at < LIMIT

    part = ByteRun(start, stop, 7).cut(low, high)

    assert (part.start <= at < part.stop) == (start <= at < stop and low <= at < high)
    assert part.payload == 7


@contract(
    Mutant(
        CONTENT,
        "payload[start - self.start : stop - self.start]",
        "payload[: stop - start]",
    ),
    range(8),
    (b"", b"a", b"ab", b"abc", b"abcd"),
    *[range(11)] * 3,
)
def a_run_cut_keeps_bytes_in_their_place(
    start: int, payload: bytes, low: int, high: int, at: int
) -> None:
    """Literal bytes are cut with their run: each that is left is where it was.

    Domain: a run of one to three bytes, a range that meets it and a place in both, below 2^62.
    """
    assert 0 <= start < LIMIT
    assert 0 < len(payload) <= 3
    assert 0 <= low <= at < high < LIMIT
    assert start <= at < start + len(payload)

    part = ByteRun(start, start + len(payload), payload).cut(low, high)

    assert isinstance(part.payload, bytes)
    assert len(part.payload) == part.stop - part.start
    assert part.payload[at - part.start] == payload[at - start]


@contract(
    Mutant(CONTENT, "if right.stop > run.stop:", "if right.stop > run.stop + 1:"),
    (0, 1),
    (1, 2),
    (2, 3),
    (4, 6),
    *[(0, 1, 2, 3, 4, 5, 6)] * 3,
)
def what_is_written_shows_over_what_was_there(
    a: int, b: int, c: int, d: int, low: int, high: int, at: int
) -> None:
    """The new run shows where it is; everywhere else, what showed before. The runs stay in order.

    Domain: two runs, [a, b) and [c, d), a third and a place, all below 2^62.
    """
    assert 0 <= a < b <= c < d < LIMIT
    assert 0 <= low < high < LIMIT
    assert 0 <= at < LIMIT

    before = Content(d, (ByteRun(a, b, 1), ByteRun(c, d, 2)))
    after = before.overlay(ByteRun(low, high, 3))

    assert payload_at(after, at) == (3 if low <= at < high else payload_at(before, at))
    assert is_well_formed(after)


@contract(
    Mutant(CONTENT, "for older in self.runs:", "for older in self.runs[1:]:"),
    (0, 1),
    (1, 2),
    (2, 3),
    (4, 6),
    *[(0, 1, 2, 3, 4, 5, 6)] * 3,
)
def what_is_put_beneath_shows_where_nothing_was_written(
    a: int, b: int, c: int, d: int, low: int, high: int, at: int
) -> None:
    """What was written stays; the run beneath shows only where nothing was.

    Domain: two runs, [a, b) and [c, d), a third and a place, all below 2^62.
    """
    assert 0 <= a < b <= c < d < LIMIT
    assert 0 <= low < high < LIMIT
    assert 0 <= at < LIMIT

    before = Content(d, (ByteRun(a, b, 1), ByteRun(c, d, 2)))
    after = before.underlay(ByteRun(low, high, 3))

    assert payload_at(after, at) == (payload_at(before, at) or (3 if low <= at < high else 0))
    assert is_well_formed(after)


@contract(
    Mutant(
        CONTENT,
        "if size >= self.size and all(r.stop <= size for r in self.runs):",
        "if size >= self.size:",
    ),
    (0, 1),
    (1, 2),
    (2, 3),
    (4, 6),
    *[(0, 1, 2, 3, 4, 5, 6)] * 3,
)
def a_truncation_leaves_nothing_behind_the_size(
    a: int, b: int, c: int, d: int, old_size: int, size: int, at: int
) -> None:
    """Before the new size all is as it was; from there on nothing is left, hidden or not.

    Domain: two runs, [a, b) and [c, d), any size before and after, and a place, all below 2^62.
    """
    assert 0 <= a < b <= c < d < LIMIT
    assert 0 <= old_size < LIMIT
    assert 0 <= size < LIMIT
    assert 0 <= at < LIMIT

    before = Content(old_size, (ByteRun(a, b, 1), ByteRun(c, d, 2)))
    after = before.truncate(size)

    assert after.size == size
    assert payload_at(after, at) == (payload_at(before, at) if at < size else 0)
    assert is_well_formed(after)


@contract(
    Mutant(CONTENT, "self.truncate(page_end(size)).resize(size)", "self.truncate(size)"),
    *[(0, 1, 4095, 4096, 4097)] * 2,
    (4097, 8192, 8193),
    *[(0, 1, 4095, 4096, 4097, 8191, 8192)] * 2,
)
def a_cut_on_the_medium_keeps_the_rest_of_the_page(
    start: int, stop: int, old_size: int, size: int, at: int
) -> None:
    """Up to the end of the page in which the file now ends all stays; behind it nothing does.

    Domain: one run inside the file, a smaller size and a place, all below 2^62.
    """
    assert 0 <= start < stop <= old_size < LIMIT
    assert 0 <= size < old_size
    assert 0 <= at < LIMIT

    before = Content(old_size, (ByteRun(start, stop, 1),))
    after = before.cut(size)

    assert after.size == size
    assert payload_at(after, at) == (payload_at(before, at) if at < page_end(size) else 0)


@contract(
    Mutant(
        "model/powercut/membership/content_match.py",
        "place = bisect_right(runs, start, key=lambda run: run.stop)",
        "place = bisect_left(runs, start, key=lambda run: run.stop)",
    ),
    (0, 1),
    (1, 2),
    (2, 3),
    (4, 6),
    *[(0, 1, 2, 3, 4, 5, 6, 7)] * 3,
)
def the_segments_of_a_stretch_divide_it(
    a: int, b: int, c: int, d: int, start: int, stop: int, at: int
) -> None:
    """Each place of the stretch is in one segment, which holds what is there. None is empty.

    Domain: two runs, [a, b) and [c, d), a stretch and a place in it, all below 2^62.
    """
    assert 0 <= a < b <= c < d < LIMIT
    assert 0 <= start <= at < stop < LIMIT

    content = Content(d, (ByteRun(a, b, 1), ByteRun(c, d, 2)))
    found = list(segments(content, start, stop))

    assert [held for low, high, held, _ in found if low <= at < high] == [payload_at(content, at)]
    assert all(start <= low < high <= stop for low, high, _, _ in found)
