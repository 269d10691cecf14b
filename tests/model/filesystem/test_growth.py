"""A cut and its zeros, growth over what it has left; and the name that nobody takes."""

from __future__ import annotations

import errno

import pytest

from powercut.crash.space import Crash
from powercut.errors import IllegalCrashError
from powercut.filesystem import ops
from powercut.filesystem.content import ByteRun, Content
from powercut.filesystem.events import Extent
from powercut.filesystem.inodes import File
from powercut.filesystem.state import State, run_program
from powercut.profile import load_profile
from powercut.simulation.world import after_crash


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


def left(state: State, profile: str, *lost: str) -> Content:
    """The bytes of /a where a power cut took these events and no others."""
    held = after_crash(state, load_profile(profile), Crash("power", lost)).base[2]
    assert isinstance(held, File)
    return held.content


def test_a_cut_waits_for_the_zeros_behind_it_where_its_block_is_on_the_medium() -> None:
    program = (ops.Create("/a"), ops.Write("/a", 0, b"abcd"))
    new = run_program(zip("cw", program, strict=True))
    old = State.settled(new.view, new.next_inode)
    cut = ops.Truncate("/a", 2)

    assert left(new.perform(cut, "t"), "ext4-ordered", "t.zeros").hidden == 4
    with pytest.raises(IllegalCrashError, match=r"t\.size has landed and t\.zeros.*has not"):
        left(old.perform(cut, "t"), "ext4-ordered", "t.zeros")


def test_a_size_waits_for_no_data_that_begin_where_it_ends() -> None:
    program = (ops.Create("/a"), ops.Write("/a", 0, b"x" * 12))
    state = run_program(zip("co", program, strict=True))
    state = State.settled(state.view, state.next_inode)
    state = state.perform(ops.Write("/a", 8, b"BBBB"), "w")
    state = state.perform(ops.Truncate("/a", 4), "t")
    state = state.perform(ops.Truncate("/a", 8), "g")

    assert left(state, "xfs", "w.data", "t.zeros").read() == b"x" * 8


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
