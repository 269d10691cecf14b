"""Member: every enumerated tree is a yes, every other one a no, whatever the cuts."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import Cuts, even_cuts, no_cuts
from powercut.errors import TreeError
from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.inodes import Tree, visible_tree
from powercut.filesystem.state import State, run_program
from powercut.membership.crash_points import ANYWHERE, membership_query
from powercut.membership.membership import MembershipChecker
from powercut.membership.observed_tree import Observed
from powercut.profile import Profile, load_profile
from powercut.simulation.world import Perform
from tests.harness.profiles import PROFILES
from tests.model.membership.near_trees import (
    Paths,
    TooMany,
    agrees,
    check_witness,
    every_cut,
    trees_of,
)

EXAMPLES = max(300, settings().max_examples)

# --- small programs ---------------------------------------------------------------------------

PATHS = ("/a", "/b", "/d", "/d/a", "/d/e", "/d/e/a")
paths = st.sampled_from(PATHS)
places = st.sampled_from(("/", *PATHS))
contents = st.sampled_from((b"x", b"yz", b"\0\0", b"abcd", b"0123456789"))
waits = st.sampled_from(((), (), (), ("O_SYNC",), ("O_DSYNC",)))


def any_op() -> st.SearchStrategy[ops.Op]:
    """One op on few paths; writes and renames more often than others."""
    writes = st.builds(ops.Write, paths, st.integers(0, 6), contents, waits)
    changes: list[st.SearchStrategy[ops.Op]] = [
        st.builds(ops.Create, paths),
        st.builds(ops.Mkdir, paths),
        writes,
        writes,
        st.builds(ops.Append, paths, contents, waits),
        st.builds(ops.Truncate, paths, st.integers(0, 12)),
        st.builds(ops.Rename, paths, paths),
        st.builds(ops.Rename, paths, paths),
        st.builds(ops.Rename, paths, paths, st.just(("EXCHANGE",))),
        st.builds(ops.Link, paths, paths),
        st.builds(ops.Symlink, st.sampled_from(("a", "/d")), paths),
        st.builds(ops.Unlink, paths),
        st.builds(ops.Rmdir, paths),
        st.builds(ops.Fsync, places),
        st.builds(ops.Fsync, places, st.booleans()),
        st.builds(ops.Fdatasync, paths),
        st.builds(ops.Barrier, paths),
        st.builds(ops.Fullsync, paths),
        st.builds(ops.Sync),
    ]
    return st.one_of(changes)


@st.composite
def moments(draw: st.DrawFn, max_ops: int = 9) -> State:
    """A state that a short program leaves; the last op may not have returned."""
    state = State()
    if draw(st.booleans()):
        setup: list[tuple[str, ops.Op]] = [
            ("s0", ops.Mkdir("/d")),
            ("s1", ops.Create("/a")),
            ("s2", ops.Write("/a", 0, b"old")),
        ]
        settled = run_program(setup)
        state = State.settled(settled.view, settled.next_inode)
    program = draw(st.lists(any_op(), min_size=2, max_size=max_ops))
    for number, op in enumerate(program):
        last = number == len(program) - 1
        perform = state.begin if last and draw(st.booleans()) else state.perform
        try:
            state = perform(op, f"{number}-{ops.op_name(op)}")
        except OSError:
            continue
    return state


@st.composite
def small_units(draw: st.DrawFn) -> Profile:
    """A profile, its units so small that small writes are torn."""
    profile = draw(st.sampled_from([*PROFILES.values()]))
    block, sector = draw(st.sampled_from(((4, 2), (4, 4), (2, 2), (2, 1), (1, 1))))
    return evolve(profile, block_bytes=block, sector_bytes=sector)


randoms = st.randoms(use_true_random=False)


def listed(*question: Any) -> list[Tree]:
    """Every crash state; a question of too many is none."""
    try:
        return trees_of(*question)
    except TooMany:
        reject()


def every_choice(state: State, profile: Profile) -> list[Cuts]:
    """Every choice of cuts; a state with too many places for them is no example."""
    try:
        return every_cut(state, profile)
    except TooMany:
        reject()


# --- member is enumeration --------------------------------------------------------------------


@given(
    state=moments(),
    profile=small_units(),
    crash_class=st.sampled_from(("power", "power", "kernel")),
    pieces=st.integers(1, 3),
    data=st.data(),
)
@settings(max_examples=EXAMPLES)
def test_member_is_enumeration(
    state: State, profile: Profile, crash_class: str, pieces: int, data: st.DataObject
) -> None:
    cuts = even_cuts(profile, pieces)
    trees = listed(state, profile, crash_class, cuts)
    exact = MembershipChecker(state, profile, crash_class, cuts)
    free = MembershipChecker(state, profile, crash_class)

    for tree in trees:
        seen = Observed.of_tree(tree)
        for member in (exact, free):
            answer = member.ask(seen)
            assert answer.verdict == "yes", answer.because
            check_witness(answer, seen)
    chosen = data.draw(st.sampled_from(trees))
    for mutant in Paths.of(chosen).mutants(data.draw(randoms)):
        try:
            seen = mutant.observed()
        except TreeError:
            continue  # a name that one directory has under one of its names only
        among = any(agrees(tree, seen) for tree in trees)
        answer = exact.ask(seen)
        assert answer.verdict == ("yes" if among else "no"), answer.because
        if among:
            check_witness(answer, seen)
        else:
            assert answer.because


@st.composite
def torn_moments(draw: st.DrawFn) -> State:
    """A state in which one or two files were written, over and over."""
    state = State()
    program: list[ops.Op] = [ops.Create("/a")]
    size = st.integers(1, 5)
    data = st.sampled_from((b"ABCDE", b"vwxyz", b"\0\0\0\0\0", b"Av\0\0E"))
    write = st.builds(
        lambda o, d, n, w: ops.Write("/a", o, d[:n], w), st.integers(0, 4), data, size, waits
    )
    more = [st.builds(ops.Truncate, st.just("/a"), st.integers(0, 6)), st.just(ops.Fsync("/a"))]
    more += [
        st.just(ops.Fsync("/a", fails=True)),
        st.just(ops.Fsync("/")),
        st.just(ops.Barrier("/a")),
    ]
    program += draw(st.lists(st.one_of(write, write, write, *more), min_size=1, max_size=4))
    for number, op in enumerate(program):
        state = state.perform(op, f"{number}-{ops.op_name(op)}")
    return state


@given(
    state=torn_moments(),
    profile=small_units(),
    crash_class=st.sampled_from(("power", "kernel")),
    data=st.data(),
)
def test_without_cuts_a_tree_is_a_member_where_some_choice_of_cuts_gives_it(
    state: State, profile: Profile, crash_class: str, data: st.DataObject
) -> None:
    trees = {
        visible_tree(tree): tree
        for cuts in every_choice(state, profile)
        for tree in listed(state, profile, crash_class, cuts)
    }
    member = MembershipChecker(state, profile, crash_class)

    for tree in trees.values():
        answer = member.ask(Observed.of_tree(tree))
        assert answer.verdict == "yes", answer.because
        check_witness(answer, Observed.of_tree(tree))
    alphabet = b"ABCDEvwxyz\0"
    for _ in range(8):
        content = bytes(data.draw(st.lists(st.sampled_from(alphabet), max_size=9)))
        mutant = Paths({"a": content}, {"a": 2}).observed()
        among = any(agrees(tree, mutant) for tree in trees.values())
        answer = member.ask(mutant)
        assert answer.verdict == ("yes" if among else "no"), answer.because
    for changed in Paths.of(data.draw(st.sampled_from(list(trees.values())))).mutants(
        data.draw(randoms)
    ):
        seen = changed.observed()
        among = any(agrees(tree, seen) for tree in trees.values())
        answer = member.ask(seen)
        assert answer.verdict == ("yes" if among else "no"), answer.because


@given(
    program=st.lists(any_op(), min_size=1, max_size=6),
    profile=st.sampled_from([*PROFILES.values()]),
    crash_class=st.sampled_from(("power", "kernel", "process")),
    data=st.data(),
)
def test_at_an_unknown_moment_every_moment_counts(
    program: list[ops.Op], profile: Profile, crash_class: str, data: st.DataObject
) -> None:
    steps, states = [], [State()]
    for number, op in enumerate(program):
        op_id = f"{number}-{ops.op_name(op)}"
        try:
            begun = states[-1].begin(op, op_id)
            states += [begun, states[-1].perform(op, op_id)]
            steps.append(Perform(op_id, op))
        except OSError:
            continue
    trees = {
        visible_tree(tree): tree
        for state in states
        for tree in (
            [state.view]
            if crash_class == "process"
            else listed(state, profile, crash_class, no_cuts)
        )
    }
    question = membership_query(steps, profile, crash_class, ANYWHERE)

    for tree in trees.values():
        found = question.ask(Observed.of_tree(tree))
        assert found.answer.verdict == "yes", found.answer.because
    for mutant in Paths.of(data.draw(st.sampled_from(list(trees.values())))).mutants(
        data.draw(randoms)
    ):
        if any(value for value in mutant.entries.values() if isinstance(value, bytes)):
            continue  # a write can be torn, and these trees are those of whole ones
        try:
            seen = mutant.observed()
        except TreeError:
            continue
        among = any(agrees(tree, seen) for tree in trees.values())
        answer = question.ask(seen).answer
        assert answer.verdict == ("yes" if among else "no"), answer.because


@pytest.mark.parametrize("profile", ["ext4-ordered", "xfs"])
def test_a_growth_that_a_direct_write_ends_in_is_torn_at_its_blocks_as_well(profile: str) -> None:
    state = run_program([("c", ops.Create("/a")), ("w", ops.Write("/a", 0, b"x"))])
    state = State.settled(state.view, state.next_inode)
    for op_id, op in (
        ("v", ops.Write("/a", 1, Fill(98, 12_000))),
        ("d", ops.Write("/a", 8192, Fill(99, 512), ("O_DIRECT",))),
    ):
        state = state.perform(op, op_id)
    held = load_profile(profile)
    checker = MembershipChecker(state, held, "power")

    space = CrashSpace.of(state, held, "power", even_cuts(held, 3))
    for tree in {visible_tree(after.base): after.base for _, _, after in space.states()}.values():
        assert checker.ask(Observed.of_tree(tree)).verdict == "yes"
