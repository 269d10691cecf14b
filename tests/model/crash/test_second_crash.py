"""A crash after a crash: what the first one left is known by its bytes, not by its layout."""

from __future__ import annotations

import pytest

from powercut.crash.space import Crash, CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.errors import NotModelledError, PowercutError
from powercut.filesystem import ops
from powercut.filesystem.content import Content, Fill, run_of
from powercut.filesystem.inodes import ROOT, Directory, File, plain
from powercut.filesystem.state import State, run_program
from powercut.membership.membership import MembershipChecker
from powercut.membership.observed_tree import Observed
from powercut.profile import load_profile
from powercut.simulation.world import CrashStep, World, after_crash

DIRECT_PROFILES = [
    "ext4-ordered",
    "ext4-ordered-nodelalloc",
    "ext4-writeback",
    "ext4-fast-commit",
    "xfs",
    "lying-drive",
]
direct_profiles = pytest.mark.parametrize("name", DIRECT_PROFILES)
BLOCK = 4096


def state_with(*runs: tuple[int, bytes | Fill], size: int) -> State:
    """A state in which the file /f of these bytes is durable, as an observed tree becomes one."""
    content = Content(size)
    for start, data in runs:
        content = content.overlay(run_of(start, data))
    return State.settled({ROOT: Directory({"f": 2}), 2: File(content)}, 3)


def direct(offset: int, size: int) -> ops.Write:
    """A direct write of that range of /f."""
    return ops.Write("/f", offset, Fill(121, size), ("O_DIRECT",))


def is_promised(state: State, op: ops.Write, name: str) -> bool:
    """A kernel crash right after the direct write must leave its data."""
    space = CrashSpace.of(state.perform(op, "w"), load_profile(name), "kernel", no_cuts)
    return bool(space.set_of(("w.data",)) & space.bound.durable)


@direct_profiles
@pytest.mark.parametrize("first", ["kernel", "power"])
def test_the_zeros_of_a_cut_file_may_be_a_hole_after_a_crash(name: str, first: str) -> None:
    made: list[ops.Op] = [
        ops.Create("/f"),
        ops.Truncate("/f", 2 * BLOCK),
        ops.Truncate("/f", 100),
        ops.Sync(),
    ]
    state = run_program([(f"s{number}", op) for number, op in enumerate(made)])
    left = after_crash(state, load_profile(name), Crash(first))

    assert plain(left.base) == {"f": bytes(100)}
    assert not is_promised(left, direct(0, 512), name)


@direct_profiles
def test_the_zeros_of_an_observed_tree_may_be_a_hole(name: str) -> None:
    zeros = state_with((0, bytes(2 * BLOCK)), size=2 * BLOCK)
    long = state_with((0, Fill(0, 4 * BLOCK)), size=4 * BLOCK)

    assert not is_promised(zeros, direct(0, 512), name)
    assert not is_promised(zeros, direct(BLOCK, BLOCK), name)
    assert not is_promised(long, direct(BLOCK, BLOCK), name)


@direct_profiles
def test_a_block_that_shows_a_byte_is_on_the_medium(name: str) -> None:
    state = state_with((0, bytes(BLOCK - 1) + b"x" + bytes(2 * BLOCK)), size=3 * BLOCK)
    two_runs = state_with((0, bytes(7)), (9, b"x"), (BLOCK, b"y"), size=2 * BLOCK)
    long = state_with((0, Fill(7, 4 * BLOCK)), size=4 * BLOCK)

    assert is_promised(state, direct(0, 512), name)
    assert not is_promised(state, direct(BLOCK, 512), name)
    assert not is_promised(state, direct(0, 2 * BLOCK), name)
    assert is_promised(two_runs, direct(0, 2 * BLOCK), name)
    assert is_promised(long, direct(BLOCK, 2 * BLOCK), name)
    assert not is_promised(long, direct(3 * BLOCK, 2 * BLOCK), name)


def test_a_cut_does_not_wait_for_the_zeros_of_what_may_be_a_hole() -> None:
    profile = load_profile("ext4-ordered")

    def can_lose_zeros(state: State) -> bool:
        state = state.perform(ops.Truncate("/f", 100), "t")
        space = CrashSpace.of(state, profile, "power", no_cuts)
        return space.why_illegal(space.everything & ~space.set_of(("t.zeros",))) is None

    assert can_lose_zeros(state_with((0, bytes(BLOCK)), size=BLOCK))
    assert not can_lose_zeros(state_with((0, b"x" + bytes(BLOCK - 1)), size=BLOCK))


def left_by(crash_class: str) -> State:
    """The state after `write x; fsync; write Y` and a crash that lost nothing."""
    state = run_program(
        [
            ("c", ops.Create("/a")),
            ("v", ops.Write("/a", 0, b"x")),
            ("s", ops.Fsync("/a")),
            ("w", ops.Write("/a", 0, b"Y")),
        ]
    )
    return after_crash(state, load_profile("xfs"), Crash(crash_class))


def test_a_power_cut_after_a_kernel_crash_is_not_answered() -> None:
    profile = load_profile("xfs")
    state = left_by("kernel")
    later = state.perform(ops.Mark("read Y"), "m").killed()
    harmed = later.perform(ops.Damage("/a", "changed"), "b")
    again = after_crash(later, profile, Crash("kernel"))

    for moment in (state, later, harmed, again):
        with pytest.raises(NotModelledError, match=r"power cut after a crash of the kernel"):
            CrashSpace.of(moment, profile, "power", no_cuts)
    with pytest.raises(NotModelledError, match=r"expected machine crashes of one class"):
        MembershipChecker(later, profile, "power").ask(Observed.of({"a": b"x"}))


def test_other_pairs_of_crashes_are_answered() -> None:
    profile = load_profile("xfs")

    for first, second in [("power", "power"), ("power", "kernel"), ("kernel", "kernel")]:
        after = after_crash(left_by(first), profile, Crash(second))
        assert plain(after.base) == {"a": b"Y"}
    killed = after_crash(left_by("process"), profile, Crash("power"))
    assert plain(killed.base) == {"a": b"Y"}


def test_a_history_that_is_not_answered_stays_where_it_was() -> None:
    world = World(load_profile("xfs"), state=left_by("kernel"))

    with pytest.raises(PowercutError, match=r"outside of the model"):
        world.apply(CrashStep(Crash("power")))
    assert world.steps == []
