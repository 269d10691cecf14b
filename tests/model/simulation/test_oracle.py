"""What is owed of undamaged saves once others have gone bad, and what a damage damages."""

from __future__ import annotations

import pytest
from attrs import evolve

from powercut.checker.exhaustive import parts_of
from powercut.filesystem import ops
from powercut.filesystem.state import State, run_program
from powercut.profile import load_profile
from powercut.simulation import detection
from powercut.simulation.oracle import Harm, Oracle
from powercut.simulation.subject import STORE, load_subject
from powercut.simulation.world import Perform, Recover, SaveLive, World

HARM = Harm("entry", f"{STORE}/entry", False)
POSIX = load_profile("posix-minimal")


def saved(count: int, keeps: int | None = None) -> Oracle:
    oracle = Oracle(keeps=keeps)
    for number in range(1, count + 1):
        oracle = oracle.begin(number, parts_of(number, 1)).acknowledge(number)
    return oracle


def broken(oracle: Oracle, number: int) -> set[str]:
    parts = parts_of(number, 1) if number else None
    return {violation.property for violation in oracle.judge(parts)}


def test_what_is_owed_is_the_newest_save_that_is_undamaged() -> None:
    oracle = saved(3).damage({3: HARM}, [1, 2, 3])

    assert (oracle.acknowledged, broken(oracle, 2), broken(oracle, 3)) == (2, set(), set())
    assert broken(oracle, 1) == {"P3"}
    assert broken(oracle, 0) == {"P2", "P3"}


def test_a_recovery_tells_the_generation_and_the_step_that_its_group_was_saved_under() -> None:
    oracle = Oracle().begin(1, parts_of(1, 1)).acknowledge(1, 7).crashed()
    oracle = oracle.begin(2, parts_of(2, 1)).recover(parts_of(2, 1), 8).crashed()

    assert oracle.judge(parts_of(2, 1), 8, 2) == []
    assert [v.property for v in oracle.judge(parts_of(2, 1), 9, 2)] == ["P1"]
    assert [v.property for v in oracle.judge(parts_of(2, 1), 8, 1)] == ["P1"]
    (only,) = evolve(oracle, returned=frozenset(), recovered=frozenset()).judge(parts_of(1, 1), 8)
    assert only.because == "recovery returned save 1 as generation 8; it has generation 7"
    assert oracle.judge(parts_of(2, 1)) == []  # who tells nothing tells nothing wrong


def test_a_generation_that_was_told_of_is_given_again_only_once_nothing_of_it_is_left() -> None:
    oracle = Oracle().begin(1, parts_of(1, 1)).acknowledge(1, 7)
    assert [v.property for v in oracle.judge_generation(7)] == ["P5"]

    lost = oracle.crashed()
    assert lost.judge_generation(7) == []
    assert [v.property for v in lost.judge_generation(7, there=[1])] == ["P5"]
    assert lost.judge_generation(8, there=[1]) == []


def test_a_save_is_there_as_long_as_something_of_it_is_wherever_that_was_moved() -> None:
    found = world()
    assert detection.left_in(found.oracle, found.state.view) == [1, 2]

    found.apply(Perform("aside", ops.Rename(GROUP, f"{STORE}/aside")))
    assert detection.left_in(found.oracle, found.state.view) == [1, 2]
    files = ("part1", "part2", "MANIFEST")
    for number, name in enumerate(files):
        found.apply(Perform(f"gone-{number}", ops.Unlink(f"{STORE}/aside/{name}")))
    found.apply(Perform("gone", ops.Rmdir(f"{STORE}/aside")))
    assert detection.left_in(found.oracle, found.state.view) == [1]


def test_nothing_is_owed_of_saves_that_are_all_damaged_but_that_no_other_content_comes() -> None:
    oracle = saved(2).damage({1: HARM, 2: HARM}, [1, 2])

    assert broken(oracle, 0) == set()
    assert {v.property for v in oracle.judge({"part1": b"save2-\x8fart1"})} == {"P1"}


def test_a_promise_of_a_recovery_ends_with_damage_to_what_it_returned() -> None:
    oracle = saved(2).recover(parts_of(2, 1), None)
    assert broken(oracle.crashed(), 1) == {"P3", "P4"}

    assert broken(oracle.damage({2: HARM}, [1, 2]).crashed(), 1) == set()


def test_a_store_may_have_given_up_what_is_older_than_the_groups_that_it_keeps() -> None:
    assert saved(4, keeps=2).damage({4: HARM}, [3, 4]).acknowledged == 3
    assert saved(4, keeps=1).damage({4: HARM}, [4]).acknowledged == 0
    assert saved(4).damage({4: HARM}, [3, 4]).acknowledged == 3


def test_a_damaged_group_does_not_count_among_those_that_a_store_keeps() -> None:
    bad = saved(4, keeps=3).damage({3: HARM}, [2, 3, 4])
    more = bad.begin(5, parts_of(5, 1)).acknowledge(5)

    assert more.kept == {2, 3, 4, 5}
    assert more.damage({4: HARM, 5: HARM}, [2, 3, 4, 5]).acknowledged == 2


def test_a_recovery_may_fail_only_where_nothing_undamaged_is_left() -> None:
    oracle, error = saved(2).damage({1: HARM, 2: HARM}, [1, 2]), RuntimeError("nothing left")

    assert oracle.judge_error("recovery", error, is_any_left=False) == []
    assert {v.property for v in oracle.judge_error("the next save", error)} == {"P5"}
    left = saved(2).damage({2: HARM}, [1, 2]).judge_error("recovery", error)
    assert {v.property for v in left} == {"P2", "P3", "P5", "P7"}
    whole = saved(2).judge_error("recovery", error, is_any_left=False)
    assert {v.property for v in whole} == {"P2", "P3", "P5"}


def world() -> World:
    found = World(POSIX, load_subject("lastgood:atomic_dirsync"))
    for number in (1, 2):
        found.apply(SaveLive(number, parts_of(number, 2)))
    return found


GROUP = f"{STORE}/gen-00000002-step-00000002"


@pytest.mark.parametrize(
    ("path", "how", "saves"),
    [
        (f"{GROUP}/part1", "changed", {2}),
        (f"{GROUP}/MANIFEST", "truncated", {2}),
        (f"{GROUP}/part2", "unreadable", {2}),
        (GROUP, "unreadable", {2}),
        (STORE, "unreadable", {1, 2}),
        (f"{STORE}/lock", "unreadable", set()),
    ],
)
def test_damage_damages_the_saves_that_lie_where_it_strikes(
    path: str, how: str, saves: set[int]
) -> None:
    found = world()
    found.apply(Perform("bad", ops.Damage(path, how)))

    assert set(found.oracle.damaged) == saves


def test_damage_comes_beneath_the_live_process_and_does_not_end_it() -> None:
    found = world()
    before = len(found.program)
    found.apply(Perform("bad", ops.Damage(f"{GROUP}/part1", "changed")))
    assert [op_id for op_id, _, _ in found.program[before:]] == ["bad"]

    found.apply(Recover())
    assert found.violations == []
    assert found.oracle.recovered == {1}


def test_what_a_crash_had_torn_is_not_damaged() -> None:
    program: list[ops.Op] = [ops.Mkdir("/ckpt"), ops.Mkdir(STORE), ops.Mkdir(f"{STORE}/g")]
    for name, data in {**parts_of(1, 1), "MANIFEST": b"whole"}.items():
        path = f"{STORE}/g/{name}"
        program += [ops.Create(path), ops.Write(path, 0, data)]
    tree = run_program([(str(n), op) for n, op in enumerate(program)], State()).view
    oracle = detection.settle_in(saved(1), tree, 1)
    torn = run_program([(str(n), op) for n, op in enumerate(program[:-1])], State()).view
    bad = ops.Damage(f"{STORE}/g/part1", "unreadable")

    assert set(detection.damage(oracle, tree, bad).damaged) == {1}
    assert set(detection.damage(oracle, torn, bad).damaged) == set()
    assert (detection.undamaged_in(oracle, tree), detection.undamaged_in(oracle, torn)) == (
        {1},
        set(),
    )


def test_a_recovery_says_where_its_save_lies_and_one_that_does_not_changes_nothing_known() -> None:
    parts = {"part1": b"x"}
    begun = Oracle().begin(1, parts)

    assert begun.recover(parts, 7).generations == {1: 7}
    assert begun.acknowledge(1, 3).recover(parts, None).generations == {1: 3}
