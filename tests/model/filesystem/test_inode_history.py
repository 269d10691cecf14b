"""The history of an inode: shifts beside it, names that it removed; and paths that lead up."""

from __future__ import annotations

import pytest

from powercut.filesystem import ops
from powercut.filesystem.inodes import resolve
from powercut.filesystem.state import State, run_program

MADE: list[ops.Op] = [ops.Mkdir("/d"), ops.Mkdir("/e"), ops.Mkdir("/g"), ops.Create("/d/x")]
MADE += [ops.Create("/d/y"), ops.Create("/e/z"), ops.Mkdir("/g/s")]


def shifted_by(*program: ops.Op) -> int:
    """How far back something shifted beside /d/x when it is synced."""
    made = run_program((f"s{n}", op) for n, op in enumerate(MADE))
    state = State.settled(made.view, made.next_inode)
    state = run_program(
        [(f"p{n}", op) for n, op in enumerate((*program, ops.Fsync("/d/x")))], state
    )
    return state.syncs[-1].about.shifted


@pytest.mark.parametrize(
    ("op", "counts"),
    [
        (ops.Rename("/d/y", "/e/y"), 2),  # out of its directory: the entry that vanishes there
        (ops.Rename("/g/s", "/d/s"), 1),  # a directory into it: the entry that appears
        (ops.Rename("/e/z", "/d/z"), 0),  # a file into it
        (ops.Rename("/d/y", "/d/w"), 0),  # within it
        (ops.Rename("/e/z", "/g/z"), 0),  # elsewhere
    ],
)
def test_what_counts_as_a_shift_leads_out_of_its_directory_or_a_directory_into_it(
    op: ops.Op, counts: int
) -> None:
    assert shifted_by(op) == counts


@pytest.mark.parametrize(
    ("op", "removed", "named"),
    [
        (ops.Unlink("/e/w"), 1, 1),
        (ops.Rename("/e/w", "/e/v"), 2, 2),
        (ops.Rename("/e/z", "/e/w"), 0, 0),  # another file takes the name
        (ops.Rename("/e/w", "/e/z", ("EXCHANGE",)), 0, 1),  # it takes the other's name itself
    ],
)
def test_a_name_that_another_takes_is_no_name_that_the_file_removed(
    op: ops.Op, removed: int, named: int
) -> None:
    made = run_program((f"s{n}", op) for n, op in enumerate([*MADE, ops.Link("/d/x", "/e/w")]))
    state = State.settled(made.view, made.next_inode)

    about = run_program([("p", op), ("s", ops.Fsync("/d/x"))], state).syncs[-1].about

    assert (about.removed, about.named) == (removed, named)
    assert about.dropped > 0


def test_a_path_leads_up_by_one_directory_for_each_pair_of_dots() -> None:
    made: list[ops.Op] = [ops.Mkdir("/d"), ops.Mkdir("/d/e"), ops.Mkdir("/d/e/f")]
    made += [ops.Create("/x"), ops.Create("/d/x"), ops.Create("/d/e/x"), ops.Create("/d/e/f/x")]
    made += [ops.Symlink("../" * n + "x", f"/d/e/f/l{n}") for n in range(5)]
    view = run_program((f"s{n}", op) for n, op in enumerate(made)).view

    leads = [resolve(view, f"/d/e/f/l{n}") for n in range(5)]

    assert leads == [resolve(view, p) for p in ("/d/e/f/x", "/d/e/x", "/d/x", "/x", "/x")]
