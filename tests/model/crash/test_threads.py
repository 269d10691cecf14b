"""Concurrent ops: every order that the program leaves open, and no other.

The referee is brute force: a program of threads may leave what one of its interleavings may leave,
each performed as a program of one thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.errors import ConcurrencyError
from powercut.filesystem import ops
from powercut.filesystem.inodes import VisibleTree, visible_tree
from powercut.filesystem.state import State, run_program
from powercut.filesystem.syncs import concurrent
from powercut.profile import Claim, Profile, load_profile
from powercut.rules import RULES
from tests.harness.profiles import PROFILES
from tests.harness.programs import CARRIERS, profiles

Step = tuple[str, str, ops.Op]
"""A name, a thread ("" for none) and an op."""


def in_folder(folder: str) -> list[ops.Op]:
    """What a thread can do in a folder of its own."""
    a, b, c, n = (f"{folder}/{name}" for name in "abcn")
    return [
        ops.Create(c),
        ops.Append(a, b"x"),
        ops.Write(a, 0, b"NEW"),
        ops.Truncate(a, 1),
        ops.Append(c, b"y"),
        ops.Rename(a, c),
        ops.Rename(c, a),
        ops.Unlink(b),
        ops.Unlink(a),
        ops.Link(a, f"{folder}/g"),
        ops.Mkdir(n),
        ops.Create(f"{n}/a"),
        ops.Rename(n, "/k"),
        ops.Mkdir("/m"),
        ops.Rename("/d/a", "/e/z"),
        ops.Open(a, "h", ("O_CREAT",)),
        ops.Open(b, f"{folder[1:]}-own", ("O_TRUNC",)),
        ops.Append(f"@{folder[1:]}-own", b"z"),
        ops.Write("@h", 0, b"hhh"),
        ops.Link("@h", f"{folder}/h"),
        ops.Close("h"),
    ]


SYNCS: list[ops.Op] = [
    *(ops.Fsync(path) for path in ("/", "/d", "/e", "/d/a", "/e/a", "/d/c", "/e/z", "/d/n")),
    *(ops.Fdatasync(path) for path in ("/d/a", "/e/a", "/e/c")),
    ops.Fsync("/d/a", fails=True),
    ops.Barrier("/d/a"),
    ops.Fullsync("/e/a"),
    ops.Sync(),
]

one = st.tuples(st.just("one"), st.sampled_from(in_folder("/d")))
two = st.tuples(st.just("two"), st.sampled_from(in_folder("/e")))
alone = st.tuples(st.just(""), st.sampled_from([*SYNCS, *in_folder("/d"), *in_folder("/e")]))
programs = st.lists(st.one_of(one, two, one, two, alone), min_size=2, max_size=7)


def settled() -> State:
    """Two folders with two old files each."""
    program: list[tuple[str, ops.Op]] = [("m", ops.Mkdir("/d")), ("n", ops.Mkdir("/e"))]
    for name in ("/d/a", "/d/b", "/e/a", "/e/b"):
        program += [(f"c{name}", ops.Create(name)), (f"w{name}", ops.Append(name, b"old"))]
    state = run_program(program)
    return State.settled(state.view, state.next_inode)


BASE = settled()


def run(steps: Sequence[Step]) -> State:
    """The state after the steps, each of its thread."""
    state = BASE
    for op_id, thread, op in steps:
        state = state.perform(op, op_id, thread)
    return state


def those_that_succeed(program: Sequence[tuple[str, ops.Op]]) -> list[Step]:
    """The steps of a program, without those that fail or meet an op of another thread."""
    state, steps = BASE, list[Step]()
    for number, (thread, op) in enumerate(program):
        try:
            state = state.perform(op, str(number), thread)
        except (OSError, ConcurrencyError):
            continue
        steps.append((str(number), thread, op))
    return steps


def interleavings(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Every order of the steps that keeps each thread's own, as steps of no thread."""
    stretches: list[list[list[Step]]] = []
    for of_none, group in itertools.groupby(steps, key=lambda step: not step[1]):
        held = list(group)
        stretches.append([held] if of_none else list(merges(held)))
    for chosen in itertools.product(*stretches):
        yield [(op_id, "", op) for stretch in chosen for op_id, _, op in stretch]


def merges(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Every merge of the steps of two threads."""
    first = [step for step in steps if step[1] == "one"]
    second = [step for step in steps if step[1] == "two"]
    for chosen in itertools.combinations(range(len(steps)), len(first)):
        left, right = iter(first), iter(second)
        yield [next(left if place in chosen else right) for place in range(len(steps))]


def looks(state: State, profile: Profile, crash_class: str = "power") -> set[VisibleTree]:
    space = CrashSpace.of(state, profile, crash_class, no_cuts)
    return {visible_tree(after.base) for _, _, after in space.states()}


def compare(steps: Sequence[Step], profile: Profile, crash_class: str) -> None:
    """What the threads may leave is what their interleavings may leave.

    An interleaving moves whole ops, and the model lets the events of two ops alternate: where a
    concurrent op has several, more may be left than any interleaving leaves, and never less.
    """
    state = run(steps)
    threaded = looks(state, profile, crash_class)
    merged: set[VisibleTree] = set()
    for order in interleavings(steps):
        sequential = run(order)
        assert visible_tree(sequential.view) == visible_tree(state.view)
        assert sequential.handles.keys() == state.handles.keys()
        merged |= looks(sequential, profile, crash_class)
    events = [event.op for event in state.issued if event.op in state.thread_slots]
    assert (profile.name, merged - threaded) == (profile.name, set())
    if len(events) == len(set(events)):
        assert (profile.name, threaded - merged) == (profile.name, set())


@settings(max_examples=settings().max_examples // 2)
@given(program=programs, trial=profiles(), crash_class=st.sampled_from(("power", "kernel")))
def test_threads_leave_what_their_interleavings_leave(
    program: list[tuple[str, ops.Op]], trial: Profile, crash_class: str
) -> None:
    steps = those_that_succeed(program)
    assume(len({thread for _, thread, _ in steps if thread}) == 2)
    assume(len(run(steps).issued) <= 8)
    for profile in (*PROFILES.values(), trial):
        compare(steps, profile, crash_class)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_sync_of_one_file_leaves_open_what_another_thread_did(profile: Profile) -> None:
    # In program order the other thread's ops stand before the last change of the synced file.
    steps: list[Step] = [
        ("0", "one", ops.Link("/d/a", "/d/g")),
        ("1", "two", ops.Write("/e/a", 0, b"NEW")),
        ("2", "one", ops.Rename("/d/a", "/d/c")),
        ("3", "", ops.Fsync("/e/a")),
    ]

    for crash_class in ("power", "kernel"):
        compare(steps, profile, crash_class)


def trial(rule: str) -> Profile:
    """A file system with one rule."""
    carrier = CARRIERS.get(RULES[rule].kind, ("",))[0]
    return Profile(
        "trial", "a trial", 1, (Claim(RULES[rule], "", "", carrier=carrier),), sector_bytes=1
    )


def landed(state: State, profile: Profile) -> set[tuple[str, ...]]:
    """What may have landed, by names."""
    space = CrashSpace.of(state, profile, "power", no_cuts)
    return {space.names(each) for each in space.landed_sets()}


def test_every_consistent_cut_of_two_threads_can_be_left() -> None:
    steps: list[Step] = [
        ("1", "one", ops.Create("/d/x")),
        ("2", "one", ops.Create("/d/y")),
        ("3", "two", ops.Create("/e/x")),
        ("4", "two", ops.Create("/e/y")),
    ]
    names = [(), ("1.entry",), ("1.entry", "2.entry")]
    others = [(), ("3.entry",), ("3.entry", "4.entry")]

    assert landed(run(steps), trial("namespace-in-order")) == {
        (*some, *more) for some, more in itertools.product(names, others)
    }


@pytest.mark.parametrize("rule", ["namespace-in-order", "all-in-order"])
def test_nothing_orders_concurrent_events_and_what_follows_waits_for_both(rule: str) -> None:
    steps: list[Step] = [
        ("0", "", ops.Create("/x")),
        ("1", "one", ops.Create("/d/x")),
        ("2", "two", ops.Create("/e/x")),
        ("3", "", ops.Create("/y")),
    ]

    assert landed(run(steps), trial(rule)) == {
        (),
        ("0.entry",),
        ("0.entry", "1.entry"),
        ("0.entry", "2.entry"),
        ("0.entry", "1.entry", "2.entry"),
        ("0.entry", "1.entry", "2.entry", "3.entry"),
    }


CONFLICTS: list[tuple[ops.Op, ops.Op]] = [
    (ops.Create("/d/x"), ops.Create("/d/y")),
    (ops.Append("/d/a", b"x"), ops.Append("/d/a", b"y")),
    (ops.Append("/d/a", b"x"), ops.Fsync("/d/a")),
    (ops.Mkdir("/d/x"), ops.Fsync("/d")),
    (ops.Rename("/d", "/k"), ops.Append("/d/a", b"x")),
    (ops.Rename("/d/a", "/e/z"), ops.Create("/e/x")),
    (ops.Link("/d/a", "/e/z"), ops.Truncate("/d/a", 0)),
    (ops.Append("/d/a", b"x"), ops.Unlink("/d/a")),
    (ops.Truncate("/d/a", 1), ops.Truncate("/d/a", 1)),
    (ops.Append("/d/a", b"x"), ops.Mapwrite("/d/a", 0, b"y")),
    (ops.Open("/d/a", "h"), ops.Open("/e/a", "h")),
    (ops.Tmpfile("/d", "h"), ops.Append("@h", b"x")),
]


@pytest.mark.parametrize(("first", "second"), CONFLICTS, ids=ops.op_name)
def test_two_threads_at_one_inode_or_name_are_refused_and_both_named(
    first: ops.Op, second: ops.Op
) -> None:
    refused = 0
    for mine, other in ((first, second), (second, first)):
        try:
            BASE.perform(mine, "mine").perform(other, "yours")
        except OSError:
            continue  # in this order one of them fails: nothing meets
        before = BASE.perform(mine, "mine", "one")
        with pytest.raises(
            ConcurrencyError, match=r"^yours of thread 'two' and mine of thread 'one'"
        ):
            before.perform(other, "yours", "two")
        assert before == BASE.perform(mine, "mine", "one")
        refused += 1
    assert refused


def test_a_handle_that_is_opened_once_more_is_another_handle() -> None:
    state = BASE.perform(ops.Open("/d/a", "h"), "0").perform(ops.Open("/d/a", "h"), "1", "one")

    with pytest.raises(ConcurrencyError):
        state.perform(ops.Close("h"), "2", "two")


def test_an_op_of_no_thread_ends_the_concurrency() -> None:
    state = BASE.perform(ops.Create("/d/x"), "1", "one")
    state = state.perform(ops.Mark("both have arrived"), "m")
    state = state.perform(ops.Create("/d/y"), "2", "two")

    assert not concurrent(state.thread_slots, "1", "2")
    assert landed(state, trial("namespace-in-order")) == {
        (),
        ("1.entry",),
        ("1.entry", "2.entry"),
    }


@pytest.mark.parametrize(
    ("rule", "sync"),
    [("sync-all", ops.Sync()), ("fsync-commits-all", ops.Fsync("/e/a"))],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sync_covers_what_happens_before_it_and_nothing_beside_it(
    rule: str, sync: ops.Op
) -> None:
    beside: Step = ("1", "one", ops.Write("/d/a", 0, b"NEW"))
    # The new end is a change of the inode for sure, whatever the clock says.
    own: list[Step] = [("2", "two", ops.Append("/e/a", b"NEW")), ("3", "two", sync)]

    for steps in ([beside, *own], [own[0], beside, own[1]]):
        found = landed(run(steps), trial(rule))
        assert {("2.data" in names) for names in found} == {True}
        assert {("1.data" in names) for names in found} == {True, False}


def test_a_barrier_of_one_thread_holds_back_nothing_of_another() -> None:
    steps: list[Step] = [
        ("0", "", ops.Write("/e/b", 0, b"NEW")),
        ("1", "two", ops.Write("/e/a", 0, b"NEW")),
        ("2", "two", ops.Fsync("/e/a")),
        ("3", "two", ops.Write("/e/a", 0, b"two")),
        ("4", "one", ops.Write("/d/a", 0, b"NEW")),
    ]
    found = landed(run(steps), trial("fsync-is-a-barrier"))

    assert ("4.data",) in found
    assert all({"0.data", "1.data"} <= set(names) for names in found if "3.data" in names)


def test_draining_the_drive_does_not_count_on_a_sync_of_another_thread() -> None:
    profile = load_profile("apfs")
    steps: list[Step] = [
        ("0", "", ops.Write("/d/a", 0, b"NEW")),
        ("1", "one", ops.Fsync("/d/a")),
        ("2", "two", ops.Fullsync("/e/a")),
    ]

    assert landed(run(steps), profile) == {(), ("0.data",)}


def test_a_failed_sync_is_not_made_good_by_a_sync_of_another_thread() -> None:
    steps: list[Step] = [
        ("0", "", ops.Write("/d/a", 0, b"NEW")),
        ("1", "two", ops.Sync()),
        ("2", "one", ops.Fsync("/d/a", fails=True)),
    ]

    for order in (steps, [steps[0], steps[2], steps[1]]):
        assert landed(run(order), trial("sync-all")) == {(), ("0.data",)}


def test_handles_of_threads_are_told_apart_by_their_files() -> None:
    state = BASE.perform(ops.Open("/d/a", "h"), "o").perform(ops.Open("/e/a", "g"), "p")
    state = state.perform(ops.Append("@h", b"x"), "1", "one")

    assert state.perform(ops.Append("@g", b"x"), "2", "two").thread_slots
    with pytest.raises(ConcurrencyError):
        state.perform(ops.Append("/d/a", b"y"), "2", "two")
