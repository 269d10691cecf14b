"""Lowering: the events of each op, the kind of sync that it is, and what a failed op leaves."""

from __future__ import annotations

import errno
from copy import deepcopy

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.events import Entry, Event, Extent, Size, touches
from powercut.filesystem.inodes import ROOT, Directory, File, resolve, visible_tree
from powercut.filesystem.state import State, run_program
from tests.harness.programs import any_op, fitting_op, states

D, A = 2, 3


def settled() -> State:
    """`/d`, inode 2, and `/a`, inode 3, which holds "old"."""
    program: list[tuple[str, ops.Op]] = [
        ("d", ops.Mkdir("/d")),
        ("c", ops.Create("/a")),
        ("w", ops.Append("/a", b"old")),
    ]
    state = run_program(program)
    return State.settled(state.view, state.next_inode)


def told(event: Event) -> str:
    """An event in words: what it is of, and how it changes."""
    match event:
        case Extent(inode=inode, run=run, direct=direct):
            return f"{inode} bytes {run.start}:{run.stop}{' direct' * direct}"
        case Size(inode=inode, old=old, new=new):
            return f"{inode} size {old}>{new}"
        case Entry():
            change = f"{event.replaced}>{event.target}{' first' * event.first}"
            return f"{event.role} {event.directory}/{event.entry} {change}"


EVENTS: list[tuple[list[ops.Op], list[str]]] = [
    ([ops.Create("/b")], ["entry 1/b None>4 first"]),
    ([ops.Mkdir("/d/e")], ["entry 2/e None>4 first"]),
    ([ops.Symlink("a", "/b")], ["entry 1/b None>4 first"]),
    ([ops.Write("/a", 1, b"xy")], ["3 bytes 1:3"]),
    ([ops.Write("/a", 2, b"xy")], ["3 bytes 2:4", "3 size 3>4"]),
    ([ops.Write("/a", 5, b"x")], ["3 bytes 5:6", "3 size 3>6"]),
    ([ops.Write("/a", 5, b"")], []),
    ([ops.Write("/a", 0, Fill(1, 512), ("O_DIRECT",))], ["3 bytes 0:512 direct", "3 size 3>512"]),
    ([ops.Append("/a", b"xy")], ["3 bytes 3:5", "3 size 3>5"]),
    ([ops.Mapwrite("/a", 0, b"xy")], ["3 bytes 0:2"]),
    ([ops.Truncate("/a", 1)], ["3 bytes 1:3", "3 size 3>1"]),
    ([ops.Truncate("/a", 9)], ["3 size 3>9"]),
    ([ops.Truncate("/a", 3)], []),
    ([ops.Link("/a", "/d/b")], ["entry 2/b None>3"]),
    ([ops.Unlink("/a")], ["entry 1/a 3>None"]),
    ([ops.Rmdir("/d")], ["entry 1/d 2>None"]),
    ([ops.Rename("/a", "/d/b")], ["add 2/b None>3", "remove 1/a 3>None"]),
    ([ops.Create("/b"), ops.Rename("/b", "/a")], ["add 1/a 3>4", "remove 1/b 4>None"]),
    ([ops.Rename("/a", "/b", ("NOREPLACE",))], ["add 1/b None>3", "remove 1/a 3>None"]),
    ([ops.Rename("/a", "/d", ("EXCHANGE",))], ["add 1/d 2>3", "swap 1/a 3>2"]),
    ([ops.Link("/a", "/b"), ops.Rename("/a", "/b")], []),
    ([ops.Open("/a", "h")], []),
    ([ops.Open("/b", "h", ("O_CREAT",))], ["entry 1/b None>4 first"]),
    ([ops.Open("/a", "h", ("O_CREAT", "O_TRUNC"))], ["3 size 3>0"]),
    ([ops.Tmpfile("/d", "h")], []),
    ([ops.Tmpfile("/d", "h"), ops.Link("@h", "/b")], ["entry 1/b None>4 first"]),
    ([ops.Open("/a", "h"), ops.Link("@h", "/b")], ["entry 1/b None>3"]),
    ([ops.Open("/a", "h", ("O_APPEND",)), ops.Write("@h", 0, b"x")], ["3 bytes 3:4", "3 size 3>4"]),
    (
        [ops.Open("/a", "h"), ops.Unlink("/a"), ops.Append("@h", b"x")],
        ["3 bytes 3:4", "3 size 3>4"],
    ),
    ([ops.Symlink("d/b", "/l"), ops.Open("/l", "h", ("O_CREAT",))], ["entry 2/b None>5 first"]),
    ([ops.Fsync("/a")], []),
    ([ops.Sync()], []),
    ([ops.Mark("here")], []),
    ([ops.Damage("/a", "changed")], []),
]
"""Ops, and the events of the last of them."""


def last_op(value: list[ops.Op] | list[str]) -> str:
    """The name of a case: its last op."""
    last = value[-1] if value else ""
    return last if isinstance(last, str) else ops.op_name(last)


@pytest.mark.parametrize(("program", "events"), EVENTS, ids=last_op)
def test_each_op_causes_these_events(program: list[ops.Op], events: list[str]) -> None:
    state = run_program([(str(number), op) for number, op in enumerate(program)], settled())

    last = str(len(program) - 1)
    assert [told(event) for event in state.issued if event.op == last] == events


def test_every_op_is_in_the_table() -> None:
    shown = {type(op) for program, _ in EVENTS for op in program}

    # What else syncs causes no events either; the kinds of sync are tested by themselves.
    others = {ops.Fdatasync, ops.Barrier, ops.Fullsync, ops.Msync, ops.Close}
    assert shown | others == set(ops.OP_NAMES.values())


@pytest.mark.parametrize(
    ("op", "kind", "span"),
    [
        (ops.Fsync("/a"), "fsync", None),
        (ops.Fsync("/a", fails=True), "failed", None),
        (ops.Fdatasync("/a"), "fdatasync", None),
        (ops.Fdatasync("/a", fails=True), "failed", None),
        (ops.Barrier("/a"), "barrier", None),
        (ops.Fullsync("/a"), "fullsync", None),
        (ops.Msync("/a", 1, 2), "msync", (1, 3)),
        (ops.Write("/a", 1, b"xyz", ("O_SYNC",)), "o_sync", (1, 4)),
        (ops.Append("/a", b"xyz", ("O_DSYNC",)), "o_dsync", (3, 6)),
        (ops.Write("/a", 1, b"xyz"), "return", None),
        (ops.Mapwrite("/a", 1, b"x"), "return", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_op_returns_as_this_kind_of_sync(
    op: ops.Op, kind: str, span: tuple[int, int] | None
) -> None:
    sync = settled().perform(op, "1").syncs[-1]

    assert (sync.kind, sync.span) == (kind, span)
    assert sync.inode == (None if kind == "return" else A)


def test_a_write_through_a_handle_waits_as_its_file_was_opened() -> None:
    state = settled().perform(ops.Open("/a", "h", ("O_SYNC",)), "o")
    written, stored = (
        state.perform(ops.Append("@h", b"x"), "1"),
        state.perform(ops.Mapwrite("@h", 0, b"x"), "1"),
    )

    assert written.syncs[-1].kind == "o_sync"
    assert stored.syncs[-1].kind == "return"


def test_a_handle_means_its_file_until_it_is_closed_or_its_process_dies() -> None:
    state = settled().perform(ops.Open("/a", "h"), "1").perform(ops.Rename("/a", "/b"), "2")
    state = state.perform(ops.Unlink("/b"), "3").perform(ops.Append("@h", b"er"), "4")

    held = state.view[state.handles["h"].inode]
    assert isinstance(held, File)
    assert held.content.read() == b"older"
    for gone in (state.perform(ops.Close("h"), "5"), state.killed()):
        with pytest.raises(OSError, match="EBADF") as caught:
            gone.perform(ops.Append("@h", b"x"), "6")
        assert caught.value.errno == errno.EBADF


def test_the_root_cannot_be_removed() -> None:
    # The one error that the comparison with a real folder leaves out.
    with pytest.raises(OSError, match="EBUSY"):
        State().perform(ops.Rmdir("/"), "1")


def test_a_file_without_a_name_can_be_given_its_first_name_once() -> None:
    state = State().perform(ops.Tmpfile("/", "h"), "1").perform(ops.Link("@h", "/a"), "2")
    state = state.perform(ops.Link("@h", "/b"), "3")
    assert resolve(state.view, "/a") == resolve(state.view, "/b")

    nameless = state.perform(ops.Unlink("/a"), "4").perform(ops.Unlink("/b"), "5")
    with pytest.raises(OSError, match="ENOENT"):
        nameless.perform(ops.Link("@h", "/a"), "6")


@given(state=states(), data=st.data())
def test_an_op_that_fails_changes_nothing(state: State, data: st.DataObject) -> None:
    before = deepcopy(state)
    with pytest.raises(OSError, match="E") as caught:
        state.perform(data.draw(any_op().filter(lambda op: fails(state, op))), "1")

    assert caught.value.errno in errno.errorcode
    assert state == before


def fails(state: State, op: ops.Op) -> bool:
    try:
        state.perform(op, "trial")
    except OSError:
        return True
    return False


@given(state=states(), data=st.data())
def test_the_events_of_an_op_are_all_that_it_changes(state: State, data: st.DataObject) -> None:
    op = data.draw(fitting_op(state))
    assume(not fails(state, op))
    after = state.perform(op, "1")
    own = [event for event in after.issued if event.op == "1"]

    for number, inode in after.view.items():
        if state.view.get(number, fresh(inode)) != inode:
            assert any(touches(event, number) for event in own)
    if not own:
        assert visible_tree(after.view) == visible_tree(state.view)


def fresh(inode: object) -> object:
    """What a new inode is before anything happens to it."""
    match inode:
        case File():
            return File()
        case Directory():
            return Directory({})
        case link:
            return link


@given(state=states())
def test_an_inode_gets_its_first_name_once(state: State) -> None:
    named = [event.target for event in state.issued if isinstance(event, Entry) and event.first]

    assert len(named) == len(set(named))
    assert not set(named) & (set(state.base) | {ROOT})
