"""The exhaustive check: where its histories are crashed, how a counterexample is spelt out."""

from __future__ import annotations

from attrs import evolve

from powercut.checker.exhaustive import DEEP, HistoryPoint, pinned, point_of, points_within
from powercut.crash.space import Crash
from powercut.filesystem import ops
from powercut.profile import load_profile
from powercut.simulation.oracle import Oracle
from powercut.simulation.world import Ack, Begin, CrashStep, Perform, Recover, SaveLive, Step, World
from tests.harness.toys import toy

POSIX = load_profile("posix-minimal")
ONE, TWO = (SaveLive(n, {"part1": f"save{n}".encode()}) for n in (1, 2))
KILL = CrashStep(Crash("process"))


def end_of(steps: tuple[Step, ...]) -> World:
    world = World(POSIX, toy("good"))
    for step in steps:
        world.apply(step)
    return world


def spelt_out(*steps: Step) -> tuple[Step, ...]:
    """The history pinned; what it comes to is the same, and its steps give the same ops."""
    found = pinned(steps, POSIX, toy("good"))
    one, other = end_of(steps), end_of(found)
    assert (one.state.view, _owed(one)) == (other.state.view, _owed(other))
    return found


def _owed(world: World) -> Oracle:
    """What is owed, but for the generations: an acknowledgement that is spelt out has none."""
    return evolve(world.oracle, generations={}, newest_generation=0)


def test_a_pinned_history_has_the_ops_of_the_first_process_between_begin_and_ack() -> None:
    found = spelt_out(ONE, TWO, KILL, Recover())
    world = World(POSIX, toy("good"))
    world.apply(ONE)
    first = len(world.program)
    world.apply(TWO)
    performed = [Perform(op_id, op) for op_id, op, _ in world.program]

    assert found == (
        Begin(1, ONE.parts),
        *performed[:first],
        Ack(1),
        Begin(2, TWO.parts),
        *performed[first:],
        Ack(2),
        KILL,
        Recover(),
    )


def test_a_save_that_was_cut_short_is_pinned_without_its_acknowledgement() -> None:
    found = spelt_out(ONE, SaveLive(2, TWO.parts, stop=1), KILL, Recover())
    after = found[found.index(Begin(2, TWO.parts)) + 1 :]

    assert found.count(Ack(1)) == 1
    assert [type(step) for step in after] == [Perform, CrashStep, Recover]


def test_a_save_that_had_returned_before_its_stop_is_acknowledged() -> None:
    found = spelt_out(SaveLive(1, ONE.parts, stop=1000), KILL, Recover())

    assert Ack(1) in found


def test_a_later_process_stays_the_code_of_the_subject() -> None:
    found = spelt_out(ONE, KILL, TWO, Recover())

    assert found[-3:] == (KILL, TWO, Recover())
    assert isinstance(found[0], Begin)


def test_a_history_whose_first_process_does_more_than_save_is_left_as_it_is() -> None:
    for steps in ((ONE, Recover(), KILL, Recover()), (Recover(), ONE, KILL), (ONE,), ()):
        assert pinned(steps, POSIX, toy("good")) == steps


def test_a_step_can_be_crashed_before_each_op_and_killed_in_the_middle_of_a_write() -> None:
    world = World(POSIX, toy("good"))
    before = point_of(world)
    world.apply(ONE)
    points = list(points_within(before, ONE, world.program))
    writes = [op for _, op, _ in world.program if isinstance(op, ops.Write)]

    assert writes
    assert sum(point.kill_only for point in points) == len(writes)
    assert [p.ops_done for p in points if not p.kill_only] == list(range(len(world.program)))
    for point in points:
        if point.kill_only:
            half = point.steps[-1]
            assert isinstance(half, Perform)
            assert isinstance(half.op, ops.Write)
            assert half.op.data == b"save1."[: len(writes[0].data) // 2]


def test_damage_can_not_be_crashed_in_its_middle() -> None:
    damage = Perform("d", ops.Damage("/a", "changed"))
    before = HistoryPoint(end_of((ONE,)).state, Oracle(), ())
    program = [("d", ops.Create("/x"), before.state)]

    assert list(points_within(before, damage, program)) == []
    assert list(points_within(before, Recover(), program)) != []


def test_the_deep_bound_has_two_crashes_of_something_that_was_saved() -> None:
    assert DEEP.crashes == 2
    assert min(DEEP.saves, DEEP.parts, DEEP.pieces) == 1
    assert DEEP.damages == 0
