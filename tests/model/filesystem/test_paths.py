"""Paths: where they end, what slashes behind them ask of each op, and what "." and ".." mean.

That the kernel says the same is the claim of tests/stateful/test_ends_of_paths.py.
"""

from __future__ import annotations

import pytest

from powercut.filesystem import ops
from powercut.filesystem.events import Entry
from powercut.filesystem.inodes import Place, locate, locate_name, resolve
from powercut.filesystem.state import State, run_program

MADE: list[ops.Op] = [
    ops.Mkdir("/d"),
    ops.Create("/d/f"),
    ops.Create("/f"),
    ops.Symlink("d", "/s"),
    ops.Symlink("new/", "/n"),
    ops.Symlink("f/", "/t"),
]
D, S = 2, 5


def made() -> State:
    """`/d`, inode 2, with a file in it, and `/s`, inode 5, which leads to it."""
    return run_program((str(number), op) for number, op in enumerate(MADE))


REFUSED: list[tuple[str, ops.Op]] = [
    ("ENOTDIR", ops.Rename("/f", "/g/")),
    ("ENOTDIR", ops.Rename("/f/", "/g")),
    ("ENOTDIR", ops.Rename("/f", "/d/")),
    ("ENOTDIR", ops.Rename("/s/", "/t")),
    ("ENOTDIR", ops.Rename("/f", "/g/", ("NOREPLACE",))),
    ("EEXIST", ops.Rename("/f", "/d/", ("NOREPLACE",))),
    ("ENOTDIR", ops.Rename("/d", "/f/", ("EXCHANGE",))),
    ("ENOTDIR", ops.Rename("/f/", "/d", ("EXCHANGE",))),
    ("ENOENT", ops.Rename("/d", "/g/", ("EXCHANGE",))),
    ("EBUSY", ops.Rename("/d/.", "/g")),
    ("EBUSY", ops.Rename("/f", "/d/..")),
    ("EEXIST", ops.Rename("/f", "/d/.", ("NOREPLACE",))),
    ("ENOENT", ops.Link("/f", "/g/")),
    ("EEXIST", ops.Link("/f", "/d/")),
    ("ENOTDIR", ops.Link("/f/", "/g")),
    ("EPERM", ops.Link("/s/", "/g")),
    ("ENOENT", ops.Symlink("x", "/g/")),
    ("EEXIST", ops.Symlink("x", "/f/")),
    ("ENOENT", ops.Symlink("x", "")),
    ("EEXIST", ops.Mkdir("/f/")),
    ("EEXIST", ops.Mkdir("/d/..")),
    ("ENOENT", ops.Mkdir("/g/.")),
    ("EISDIR", ops.Create("/g/")),
    ("EISDIR", ops.Create("/f/")),
    ("ENOENT", ops.Create("/g/h/")),
    ("EISDIR", ops.Open("/g/", "h", ("O_CREAT",))),
    ("EISDIR", ops.Open("/f/", "h", ("O_CREAT",))),
    ("EISDIR", ops.Open("/n", "h", ("O_CREAT",))),
    ("EEXIST", ops.Open("/n", "h", ("O_CREAT", "O_EXCL"))),
    ("ENOTDIR", ops.Open("/f/", "h", ("O_RDONLY",))),
    ("ENOTDIR", ops.Open("/t", "h", ("O_RDONLY",))),
    ("ENOENT", ops.Open("/n", "h", ("O_RDONLY",))),
    ("ENOTDIR", ops.Open("/f/.", "h", ("O_RDONLY",))),
    ("ENOTDIR", ops.Unlink("/f/")),
    ("ENOTDIR", ops.Unlink("/s/")),
    ("EISDIR", ops.Unlink("/d/")),
    ("EISDIR", ops.Unlink("/d/.")),
    ("ENOTDIR", ops.Rmdir("/s/")),
    ("EINVAL", ops.Rmdir("/d/.")),
    ("EINVAL", ops.Rmdir("/.")),
    ("ENOTEMPTY", ops.Rmdir("/d/..")),
    ("ENOTEMPTY", ops.Rmdir("/..")),
    ("EBUSY", ops.Rmdir("//")),
    ("ENOTDIR", ops.Fsync("/f/")),
    ("ENOTDIR", ops.Append("/f/", b"x")),
    ("ENOTDIR", ops.Truncate("/f/", 1)),
    ("EINVAL", ops.Truncate("/gone", -1)),
    ("EINVAL", ops.Truncate("/d", -1)),
    ("EINVAL", ops.Truncate("@gone", -1)),
    ("EINVAL", ops.Write("@gone", -1, b"x")),
    ("ENOENT", ops.Write("/gone", -1, b"x")),
    ("ENOENT", ops.Fsync("")),
    ("EINVAL", ops.Fsync("f")),
]


@pytest.mark.parametrize(("wanted", "op"), REFUSED, ids=str)
def test_what_the_end_of_a_path_asks_for_is_refused(wanted: str, op: ops.Op) -> None:
    with pytest.raises(OSError, match=f"] {wanted}"):
        made().perform(op, "op")


ENTRIES: list[tuple[ops.Op, list[str]]] = [
    (ops.Mkdir("/g//"), ["1/g"]),
    (ops.Rmdir("/e/"), ["1/e"]),
    (ops.Rename("/d/", "/g/"), ["1/g", "1/d"]),
    (ops.Rename("/d", "/e/"), ["1/e", "1/d"]),
    (ops.Rename("/f", "/d/", ("EXCHANGE",)), ["1/d", "1/f"]),
    (ops.Create("/d/../s/.//g"), [f"{D}/g"]),
    (ops.Link("/../f", "/s/g"), [f"{D}/g"]),
]


@pytest.mark.parametrize(("op", "wanted"), ENTRIES, ids=str)
def test_the_names_in_events_have_no_slashes(op: ops.Op, wanted: list[str]) -> None:
    state = made().perform(ops.Mkdir("/e"), "e")

    issued = state.perform(op, "op").issued[len(state.issued) :]

    assert [f"{e.directory}/{e.entry}" for e in issued if isinstance(e, Entry)] == wanted


def test_a_sync_through_slashes_is_of_the_directory_that_a_link_leads_to() -> None:
    assert made().perform(ops.Fsync("/s/"), "op").syncs[-1].inode == D


def test_slashes_behind_a_name_are_followed_by_a_look_up_and_noted_by_its_owner() -> None:
    tree = made().view

    assert locate(tree, "/s", follow=False).inode == S
    assert locate(tree, "/s/", follow=False).inode == D
    assert locate_name(tree, "/s//") == Place(1, "s", S, ((1, "s"),), slash=True)
    assert locate_name(tree, "/n", follow=True) == Place(
        1, "new", None, ((1, "n"), (1, "new")), slash=True
    )


@pytest.mark.parametrize("path", ["/", "//", "/.", "/..", "/d/..", "/s/../", "/d/../.."])
def test_no_path_leads_above_the_root(path: str) -> None:
    assert resolve(made().view, path) == 1
    assert locate_name(made().view, path).is_fixed


def test_a_directory_that_cannot_be_read_can_be_left_and_stays_where_it_is() -> None:
    state = made().perform(ops.Damage("/d", "unreadable"), "bad")

    assert resolve(state.view, "/d/..") == 1
    assert resolve(state.view, "/d/.") == D
    with pytest.raises(OSError, match="EIO"):
        resolve(state.view, "/d/f")
