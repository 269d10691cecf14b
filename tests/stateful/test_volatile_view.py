"""The volatile view against real file systems of this machine: contents, names, links and errors.

Each sequence runs by system calls in a fresh folder, on a tmpfs and on a disk.  What is compared
on Linux is everything that a program could ask: which op fails with which errno, and in the end
every name, size, content, link and target, and what is read through the open handles.

Two things are left out.  No op waits for the disk: a sync only opens what it names, and O_SYNC
counts on the tmpfs alone; one test of its own waits for real.  A store through a mapping behind
the end of the file is a signal, not an error: it is not tried.

Where this process may not change its root, no op is tried that could lead out of the folder that
stands for the root, nor one that would remove it.  Elsewhere than on Linux the errnos differ by
right, so that only success and failure are compared, and O_TMPFILE, O_DIRECT, the flags of rename,
pwrite through an O_APPEND handle and paths that are spelt in an odd way are not.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.state import State
from tests.harness.comparison import comparison, is_compared, name_of
from tests.harness.programs import TARGETS, any_op, fitting_op, setups
from tests.harness.real_disk import LINUX, Disk
from tests.harness.spellings import respelt

READING: Final[list[ops.Op]] = [ops.Open("/a", "h", ("O_RDONLY",))]
TMPFILE: Final[list[ops.Op]] = [ops.Tmpfile("/", "h")]
CHAIN: Final[list[ops.Op]] = [
    *(ops.Symlink(f"l{i + 1}", f"/l{i}") for i in range(40)),
    ops.Create("/l40"),
]
EXAMPLES: Final = max(200, settings().max_examples)


def answers_of_the_model(program: list[ops.Op]) -> list[str]:
    """What the model alone answers."""
    state, answers = State(), []
    for number, op in enumerate(program):
        try:
            state = state.perform(op, str(number))
            answers.append("done")
        except OSError as error:
            answers.append(name_of(error.errno))
    return answers


@settings(max_examples=EXAMPLES)
@given(setup=setups, count=st.integers(0, 14), data=st.data())
def test_the_volatile_view_is_what_the_kernel_shows(
    disk: Disk, setup: list[ops.Op], count: int, data: st.DataObject
) -> None:
    with comparison(disk) as both:
        for op in setup:
            both.perform(op)
        for _ in range(count):
            some = st.one_of(fitting_op(both.state), any_op())
            op = data.draw(st.one_of(some, respelt(some)))
            if is_compared(op, disk):
                both.perform(op)
        both.compare()


TABLE: list[tuple[str, list[ops.Op]]] = [
    ("ENOENT", [ops.Unlink("/a")]),
    ("ENOENT", [ops.Symlink("", "/a")]),
    ("ENOENT", [ops.Symlink("b", "/a"), ops.Write("/a", 0, b"x")]),
    ("ENOENT", [ops.Create("/a"), ops.Rename("/a", "/b", ("EXCHANGE",))]),
    ("ENOENT", [ops.Open("/a", "h", ("O_CREAT",)), ops.Unlink("/a"), ops.Link("@h", "/b")]),
    ("ENOENT", [*TMPFILE, ops.Link("@h", "/a"), ops.Unlink("/a"), ops.Link("@h", "/b")]),
    ("EEXIST", [ops.Mkdir("/")]),
    ("EEXIST", [ops.Symlink("b", "/a"), ops.Open("/a", "h", ("O_CREAT", "O_EXCL"))]),
    ("EEXIST", [ops.Create("/a"), ops.Rename("/a", "/", ("NOREPLACE",))]),
    ("ENOTDIR", [ops.Create("/d"), ops.Create("/d/a")]),
    ("ENOTDIR", [ops.Create("/a"), ops.Rmdir("/a")]),
    ("ENOTDIR", [ops.Create("/a"), ops.Tmpfile("/a", "h")]),
    ("ENOTDIR", [ops.Mkdir("/d"), ops.Create("/a"), ops.Rename("/d", "/a")]),
    ("EISDIR", [ops.Mkdir("/d"), ops.Unlink("/d")]),
    ("EISDIR", [ops.Mkdir("/d"), ops.Open("/d", "h", ("O_RDONLY", "O_TRUNC"))]),
    ("ENOTEMPTY", [ops.Mkdir("/d"), ops.Create("/d/a"), ops.Rmdir("/d")]),
    ("ENOTEMPTY", [ops.Mkdir("/d"), ops.Mkdir("/d/e"), ops.Rename("/d/e", "/d")]),
    ("EINVAL", [ops.Mkdir("/d"), ops.Rename("/d", "/d/e")]),
    ("EINVAL", [ops.Create("/a"), ops.Rename("/a", "/b", ("EXCHANGE", "NOREPLACE"))]),
    ("EINVAL", [ops.Create("/a"), *READING, ops.Truncate("@h", 1)]),
    ("EINVAL", [ops.Create("/a"), *READING, ops.Write("@h", -1, b"x")]),
    ("EINVAL", [ops.Create("/a"), ops.Write("/a", 1, b"x", ("O_DIRECT",))]),
    ("EINVAL", [ops.Mkdir("/d"), ops.Open("/d", "h", ("O_DIRECT", "O_RDONLY"))]),
    ("ELOOP", [ops.Symlink("a", "/a"), ops.Fsync("/a")]),
    ("ELOOP", [ops.Symlink("b/a", "/a"), ops.Symlink("a", "/b"), ops.Mkdir("/a/d")]),
    ("ELOOP", [*CHAIN, ops.Symlink("l0", "/k"), ops.Append("/k", b"x")]),
    ("EBADF", [ops.Create("/a"), *READING, ops.Write("@h", 0, b"x")]),
    ("EBADF", [ops.Open("/a", "h", ("O_CREAT",)), ops.Close("h"), ops.Write("@h", 0, b"x")]),
    ("EPERM", [ops.Mkdir("/d"), ops.Link("/d", "/a")]),
    ("EPERM", [ops.Mkdir("/d"), ops.Open("/d", "h", ("O_RDONLY",)), ops.Link("@h", "/a")]),
    ("EBUSY", [ops.Create("/a"), ops.Rename("/a", "/")]),
    ("EBUSY", [ops.Rename("/", "/a")]),
    ("EACCES", [ops.Create("/a"), ops.Append("/a", b"x"), *READING, ops.Mapwrite("@h", 0, b"y")]),
    ("EFAULT", [ops.Create("/a"), ops.Mapwrite("/a", 0, b"x")]),
]
"""An errno, and a program whose last op fails with it."""


@pytest.mark.skipif(not LINUX, reason="errnos are compared on Linux alone")
@pytest.mark.parametrize(
    ("wanted", "program"), TABLE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_error_that_the_model_knows_comes_from_the_kernel_too(
    disk: Disk, wanted: str, program: list[ops.Op]
) -> None:
    if not all(is_compared(op, disk) for op in program):
        assert answers_of_the_model(program)[-1] == wanted  # this disk has no such call
        return
    with comparison(disk) as both:
        answers = [both.perform(op) for op in program]
        both.compare()

    assert answers == [*["done"] * (len(program) - 1), wanted]


SUCCESSES: list[list[ops.Op]] = [
    [ops.Open("/a", "h", ("O_CREAT",)), ops.Write("@h", 2, b"x"), ops.Unlink("/a")],
    [*TMPFILE, ops.Append("@h", b"xy"), ops.Link("@h", "/a"), ops.Truncate("/a", 1)],
    [
        ops.Open("/a", "h", ("O_APPEND", "O_CREAT")),
        ops.Append("@h", b"x"),
        ops.Write("@h", 0, b"y"),
    ],
    [
        ops.Create("/a"),
        ops.Append("/a", b"old"),
        ops.Mapwrite("/a", 1, b"xy"),
        ops.Msync("/a", 0, 3),
    ],
    [ops.Mkdir("/d"), ops.Create("/d/a"), ops.Create("/b"), ops.Rename("/d", "/b", ("EXCHANGE",))],
    [ops.Mkdir("/d"), ops.Mkdir("/d/e"), ops.Symlink("d/e", "/a"), ops.Create("/a/b")],
    [ops.Mkdir("/d"), ops.Symlink("d/..", "/a"), ops.Create("/a/a/a/b")],
    [ops.Symlink("b", "/a"), ops.Open("/a", "h", ("O_CREAT",)), ops.Link("/a", "/d")],
    [ops.Create("/a"), ops.Append("/a", b"old"), ops.Open("/a", "h", ("O_RDONLY", "O_TRUNC"))],
    [ops.Create("/a"), ops.Write("/a", 512, Fill(7, 512), ("O_DIRECT",)), ops.Append("/a", b"x")],
    [ops.Create("/a"), ops.Link("/a", "/b"), ops.Rename("/a", "/b"), ops.Append("/b", b"x")],
    [*CHAIN, ops.Append("/l0", b"x")],
]


@pytest.mark.parametrize("program", SUCCESSES, ids=lambda program: ops.op_name(program[-1]))
def test_what_succeeds_leaves_the_same_on_both_sides(disk: Disk, program: list[ops.Op]) -> None:
    if not all(is_compared(op, disk) for op in program):
        assert set(answers_of_the_model(program)) == {"done"}  # this disk has no such call
        return
    with comparison(disk) as both:
        assert [both.perform(op) for op in program] == ["done"] * len(program)
        both.compare()


def test_a_file_opened_to_wait_takes_the_same_writes(disk: Disk) -> None:
    with comparison(disk) as both:
        both.real.waits = True
        for number, flag in enumerate(("O_SYNC", "O_DSYNC")):
            opened = ops.Open(f"/{number}", "h", ("O_CREAT", flag))
            for op in (opened, ops.Append("@h", b"old"), ops.Write(f"/{number}", 1, b"x", (flag,))):
                assert both.perform(op) == "done"
        both.compare()


def test_no_link_can_lead_out_of_the_folder_that_stands_for_the_root() -> None:
    # A link that goes down cannot leave, and coming back from below ends at most where it began.
    assert not any(target.startswith(("/", ".")) for target in TARGETS)
    assert [target for target in TARGETS if ".." in target] == ["d/.."]
