"""Strategies: small programs of ops, most of which succeed."""

from __future__ import annotations

from hypothesis import strategies as st

from powercut import ops
from powercut.state import State

PATHS = ("/a", "/b", "/d", "/d/a", "/d/e", "/d/e/a")
"""Few names, so that ops meet each other; `/d/e/a` needs two directories."""

paths = st.sampled_from(PATHS)
contents = st.sampled_from((b"x", b"yz", b"abcd", b"0123456789"))


def any_op() -> st.SearchStrategy[ops.Op]:
    """One op on few paths."""
    where = st.sampled_from(("/", *PATHS))
    changes: list[st.SearchStrategy[ops.Op]] = [
        st.builds(ops.Create, paths),
        st.builds(ops.Mkdir, paths),
        st.builds(ops.Write, paths, st.integers(0, 6), contents),
        st.builds(ops.Truncate, paths, st.integers(0, 12)),
        st.builds(ops.Rename, paths, paths),
        st.builds(ops.Link, paths, paths),
        st.builds(ops.Unlink, paths),
        st.builds(ops.Rmdir, paths),
    ]
    changes += [st.builds(ops.Fsync, where), st.builds(ops.Fdatasync, where), st.builds(ops.Sync)]
    return st.one_of(changes)


@st.composite
def states(draw: st.DrawFn, max_ops: int = 6) -> State:
    """A state that a short program leaves; ops that the kernel would refuse are left out."""
    state = State()
    if draw(st.booleans()):
        setup: list[ops.Op] = [ops.Mkdir("/d"), ops.Create("/a"), ops.Write("/a", 0, b"old")]
        for number, op in enumerate(setup):
            state = state.perform(op, f"s{number}")
        state = State.settled(state.view, state.next_inode)
    for number, op in enumerate(draw(st.lists(any_op(), max_size=max_ops))):
        try:
            state = state.perform(op, f"{number}-{ops.op_name(op)}")
        except OSError:
            continue
    return state
