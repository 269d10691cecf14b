"""What a sync knows of the history before it: who was synced alone, and what a log may bring."""

from __future__ import annotations

import pytest

from powercut.filesystem import ops
from powercut.filesystem.events import Entry
from powercut.filesystem.state import State, run_program
from powercut.filesystem.syncs import SyncCall

TAKE = ops.Rename("/f", "/n")
LAST = ops.Fsync("/o")


def ran(*steps: ops.Op | tuple[ops.Op, str]) -> State:
    """A program on what is durable, in which an op may name a thread."""
    made: list[ops.Op] = [ops.Create(f"/{name}") for name in "nfgo"]
    made += [ops.Mkdir("/d"), ops.Create("/d/g"), ops.Create("/d/y")]
    made += [ops.Mkdir("/e"), ops.Mkdir("/m"), ops.Create("/m/f")]
    state = run_program((f"s{n}", op) for n, op in enumerate(made))
    state = State.settled(state.view, state.next_inode)
    for number, step in enumerate(steps):
        op, thread = step if isinstance(step, tuple) else (step, "")
        state = state.perform(op, f"p{number}", thread)
    return state


def last_sync(state: State) -> SyncCall:
    return next(sync for sync in reversed(state.syncs) if sync.kind != "return")


WRITE, SYNC = ops.Append("/f", b"x"), ops.Fsync("/f")
TAKERS: dict[str, tuple[bool, list[ops.Op | tuple[ops.Op, str]]]] = {
    "changed and synced": (True, [WRITE, SYNC, TAKE, LAST]),
    "by fdatasync": (True, [WRITE, ops.Fdatasync("/f"), TAKE, LAST]),
    "synced twice": (True, [WRITE, SYNC, SYNC, TAKE, LAST]),
    "changed, synced, and changed since it took the name": (
        True,
        [WRITE, SYNC, TAKE, ops.Append("/n", b"y"), LAST],
    ),
    "another file changed since": (True, [WRITE, SYNC, ops.Append("/g", b"y"), TAKE, LAST]),
    "never changed": (False, [TAKE, LAST]),
    "never changed, synced, and changed since it took the name": (
        False,
        [SYNC, TAKE, ops.Append("/n", b"y"), LAST],
    ),
    "never synced": (False, [WRITE, TAKE, LAST]),
    "synced before the change": (False, [SYNC, WRITE, TAKE, LAST]),
    "synced after it took the name": (False, [WRITE, TAKE, ops.Fsync("/n")]),
    "another was synced": (False, [WRITE, ops.Fsync("/g"), TAKE, LAST]),
    "another was synced as well": (False, [WRITE, SYNC, ops.Fsync("/g"), TAKE, LAST]),
    "another was synced before the change": (True, [ops.Fsync("/g"), WRITE, SYNC, TAKE, LAST]),
    "by a sync of another kind": (False, [WRITE, ops.Barrier("/f"), TAKE, LAST]),
    "everything was synced as well": (False, [WRITE, SYNC, ops.Sync(), TAKE, LAST]),
    "a rename since": (False, [WRITE, SYNC, ops.Rename("/g", "/h"), TAKE, LAST]),
    "a link since": (False, [WRITE, SYNC, ops.Link("/g", "/h"), TAKE, LAST]),
    "a link since, and a creation": (
        False,
        [WRITE, SYNC, ops.Link("/g", "/h"), ops.Create("/i"), TAKE, LAST],
    ),
    "made by the first event of all": (
        True,
        [ops.Create("/t"), ops.Fsync("/t"), ops.Rename("/t", "/n"), LAST],
    ),
    "a creation since": (True, [WRITE, SYNC, ops.Create("/h"), TAKE, LAST]),
    "an unlinking since": (True, [WRITE, SYNC, ops.Unlink("/g"), TAKE, LAST]),
    "a rename before the change": (True, [ops.Rename("/g", "/h"), WRITE, SYNC, TAKE, LAST]),
    "threads": (False, [WRITE, SYNC, TAKE, (ops.Create("/d/h"), "1"), (LAST, "2")]),
}


@pytest.mark.parametrize(("alone", "steps"), TAKERS.values(), ids=TAKERS)
def test_a_taker_was_synced_alone_where_nothing_came_between(
    alone: bool, steps: list[ops.Op | tuple[ops.Op, str]]
) -> None:
    sync = last_sync(ran(*steps))
    index, taker = next(
        (index, event.target)
        for index, event in enumerate(sync.issued)
        if isinstance(event, Entry) and event.entry == "n" and event.target is not None
    )

    assert sync.synced_alone(taker, index) is alone


def test_a_log_of_a_name_made_anew_has_what_is_beside_the_removed_one() -> None:
    beside: list[ops.Op] = [ops.Create("/z"), ops.Create("/d/h"), ops.Unlink("/d/g")]
    anew: list[ops.Op] = [ops.Create("/d/g"), ops.Fsync("/d/g")]
    other: list[ops.Op] = [ops.Create("/d/i"), ops.Fsync("/d/i")]

    assert last_sync(ran(*beside, *anew)).may_log == {"p1", "p2", "p3"}
    assert last_sync(ran(*beside, *other)).may_log == {"p3"}


def test_a_log_that_one_removal_came_before_follows_what_is_beside_it() -> None:
    steps: list[ops.Op] = [
        ops.Unlink("/d/g"),
        ops.Fsync("/m/f"),
        ops.Create("/e/k"),
        ops.Rename("/d/y", "/e/y"),
        ops.Rename("/m/f", "/d/g"),
    ]

    assert last_sync(ran(*steps, LAST)).may_log == {"p0", "p2", "p3", "p4"}
