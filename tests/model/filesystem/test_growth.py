"""Growth over what a cut has left behind the end of a file; and the name that nobody takes."""

from __future__ import annotations

import errno

import pytest

from powercut.filesystem import ops
from powercut.filesystem.content import ByteRun
from powercut.filesystem.events import Extent
from powercut.filesystem.inodes import File
from powercut.filesystem.state import State, run_program


def cut_short() -> State:
    """A file /a of two bytes, behind which the medium still has two more."""
    made = run_program([("c", ops.Create("/a")), ("w", ops.Write("/a", 0, b"abcd"))])
    held = made.view[2]
    assert isinstance(held, File)
    return State.settled({**made.view, 2: File(held.content.cut(2))}, made.next_inode)


@pytest.mark.parametrize(
    "op", [ops.Truncate("/a", 6), ops.Write("/a", 5, b"z"), ops.Write("/a", 4, b"zz")], ids=str
)
def test_growth_over_what_a_cut_has_left_writes_zeros_there_first(op: ops.Op) -> None:
    state = cut_short().perform(op, "g")
    held = state.view[2]

    zeros = [e.run for e in state.issued if isinstance(e, Extent) and e.zeroes]

    assert zeros == [ByteRun(2, 4, 0)]
    assert isinstance(held, File)
    assert held.content.read()[:4] == b"ab\0\0"


def test_a_write_at_the_end_leaves_no_hidden_byte_to_be_zeroed() -> None:
    state = cut_short().perform(ops.Write("/a", 2, b"zz"), "g")

    assert [e.name for e in state.issued if isinstance(e, Extent)] == ["g.data"]


@pytest.mark.parametrize(
    ("op", "error"),
    [
        (ops.Rename("/a", "/"), errno.EBUSY),
        (ops.Rename("/a", "/", ("NOREPLACE",)), errno.EEXIST),
        (ops.Rename("/", "/b"), errno.EBUSY),
        (ops.Rename("/a", "/.."), errno.EBUSY),
    ],
    ids=str,
)
def test_the_root_is_neither_renamed_nor_replaced(op: ops.Op, error: int) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        cut_short().perform(op, "r")

    assert caught.value.errno == error
