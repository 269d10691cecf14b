"""Coverage: what the model allows for the twenty, why, and how much of it a disk shows."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest
from click.testing import CliRunner

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.ops import Create, Fsync, Mkdir, Op, Rename, Sync, Write
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.simulation.world import Perform
from powercut_rig import BlockLog, Bounds, crash_images
from powercut_rig import Write as LogWrite
from powercut_rig.campaigns.coverage import REASONS, Coverage, allowed_trees, reason_of, sum_by_disk
from powercut_rig.campaigns.coverage_workloads import COVERAGE_WORKLOADS
from powercut_rig.campaigns.soak import SUBJECTS, SoakWorkload, can_run
from powercut_rig.cli.coverage import coverage, show_coverage
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.membership import Program, TreeDigest, snapshot_of
from powercut_rig.judge.trace_case import prepare_case
from powercut_rig.mounted.writeback import stepped_plans
from tests import ROOT

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
DOC = ROOT / "docs/rig.md"


def program_of(ops: list[Op], profile: str = "ext4-ordered") -> Program:
    steps = tuple(Perform(f"{number}-op", op) for number, op in enumerate(ops))
    return Program(steps, load_profile(profile))


def test_the_twenty_have_names_of_their_own_and_each_can_run() -> None:
    assert len({workload.name for workload in COVERAGE_WORKLOADS}) == 20
    for workload in COVERAGE_WORKLOADS:
        assert workload.subject or can_run(workload.ops, ())
    assert {workload.subject for workload in COVERAGE_WORKLOADS} >= {
        "lastgood:atomic_dirsync", "lastgood+keep1:atomic_dirsync",
    }  # fmt: skip


def test_what_a_crash_can_leave_of_two_new_files_is_said_with_its_reason() -> None:
    trees = allowed_trees(program_of([Create("/a"), Create("/b")], "ext4-ordered"))
    assert Counter(trees.values()) == {"in order": 3}  # neither, the first, both
    trees = allowed_trees(program_of([Create("/a"), Create("/b")], "posix-minimal"))
    assert Counter(trees.values()) == {"in order": 3, "names out of order": 1}


def test_every_reason_arises_somewhere() -> None:
    two: list[Op] = [
        Mkdir("/d"), Create("/a"), Write("/a", 0, b"1" * 5000), Create("/d/b"),
        Rename("/a", "/d/c"),
    ]  # fmt: skip
    found = set(allowed_trees(program_of(two, "ext4-writeback")).values())
    found |= set(allowed_trees(program_of(two, "posix-minimal")).values())
    assert found == set(REASONS)


def test_losing_nothing_is_in_order_and_half_a_write_is_torn() -> None:
    state = State().perform(Create("/a"), "1").perform(Write("/a", 0, b"x" * 1024), "2")
    profile = load_profile("ext4-ordered")
    space = CrashSpace.of(state, profile, "power", even_cuts(profile, 2))
    assert reason_of(space.pieces, space.everything) == "in order"
    assert reason_of(space.pieces, 0) == "in order"
    half = next(p for p, piece in enumerate(space.pieces) if piece.name.endswith("data[0:512]"))
    assert reason_of(space.pieces, space.everything & ~(1 << half)) == "torn"


def test_an_op_that_has_begun_allows_all_that_was_allowed_before_it() -> None:
    def trees_of(state: State) -> set[TreeDigest]:
        space = CrashSpace.of(state, program.profile, "power", even_cuts(program.profile, 2))
        return {snapshot_of(after.base).digest for _, _, after in space.states()}

    for workload in COVERAGE_WORKLOADS[:17]:
        program = prepare_case(
            workload.trace("ext4-ordered"), workload.name, load_profile("ext4-ordered")
        ).program
        for completed in range(len(program.steps)):
            (before,) = program.states(completed, completed)
            during, _ = program.states(completed, completed + 1)
            assert trees_of(before) <= trees_of(during), (workload.name, completed)


def test_stepped_plans_write_at_each_moment_and_can_all_be_run() -> None:
    ops: list[Op] = [
        Create("/a"), Write("/a", 0, b"x" * 9000), Fsync("/a"), Write("/a", 0, b"y"), Sync(),
    ]  # fmt: skip
    plans = stepped_plans(ops)
    assert len(set(plans)) == len(plans) == 11
    assert {each.after_op for plan in plans for each in plan} == set(range(5))
    assert {each.after_op for plan in plans for each in plan if each.kind == "data"} == {1, 3}
    assert all(can_run(ops, plan) for plan in plans)


def test_wide_bounds_tear_a_write_at_every_unit() -> None:
    log = BlockLog(1 << 20, {}, (LogWrite(0, bytes(range(256)) * 32),))
    few = crash_images(log, Bounds(tears=5)).tried["torn"]
    every = crash_images(log, Bounds(tears=64)).tried["torn"]
    assert (few, every) == (5, 30)


def test_saves_of_a_soak_prune_and_repair_in_turn() -> None:
    saves = [SoakWorkload(number, "xfs").trace().subject for number in range(0, 12, 2)]
    assert saves == [*SUBJECTS, *SUBJECTS]
    assert any("keep1" in subject for subject in SUBJECTS)
    assert any("repair" in subject for subject in SUBJECTS)


def test_sums_are_of_each_disk() -> None:
    rows = [
        Coverage("one", "xfs", "xfs", 3, Counter(drawn=1, wide=2), unseen=Counter(torn=1)),
        Coverage("two", "xfs", "xfs", 4, Counter(drawn=4, wide=4)),
        Coverage("one", "btrfs", "btrfs", 5, Counter(drawn=2, wide=5)),
    ]
    assert [(row.fs, row.allowed, row.seen, row.seen_by["drawn"]) for row in sum_by_disk(rows)] == [
        ("xfs", 7, 6, 5),
        ("btrfs", 5, 5, 2),
    ]


@pytest.mark.parametrize("fs", ["ext4", "xfs", *(("btrfs",) if SOAK else ())])
def test_the_documentation_has_the_models_own_numbers(fs: str) -> None:
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in DOC.read_text().splitlines()
        if line.startswith("| ") and line.count("|") == 5
    ]
    column = {"ext4": 1, "xfs": 2, "btrfs": 3}[fs]
    said = {
        row[0]: row[column]
        for row in rows
        if row[0] in {workload.name for workload in COVERAGE_WORKLOADS}
    }
    profile = FILE_SYSTEMS[fs].profile
    for workload in COVERAGE_WORKLOADS:
        program = prepare_case(
            workload.trace(profile), workload.name, load_profile(profile)
        ).program
        assert said[workload.name].endswith(f"of {len(allowed_trees(program))}"), workload.name


WHOLE = ("create", "remove-a-directory") if SOAK else ("create",)
"""Workloads all of whose trees every disk shows, as the documentation says."""


@pytest.mark.rig
def test_a_small_subset_is_seen_whole_on_three_disks() -> None:
    asked = [part for name in WHOLE for part in ("--workload", name)]
    done = CliRunner().invoke(coverage, [*asked, "--level", "drawn", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["fs"] for row in found["sums"]] == ["ext4", "xfs", "btrfs"]
    assert all(row["seen"] == row["allowed"] > 2 for row in found["sums"])
    assert all(row["agrees"] and row["images"] > 10 for row in found["workloads"])


def test_the_table_names_what_was_seen_and_why_not_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = Coverage("one", "xfs", "xfs", 9, Counter(drawn=4, stepped=7), unseen=Counter(torn=2))
    row.errors.append("it broke")
    show_coverage([row], "stepped")
    said = capsys.readouterr().out
    assert "torn 2" in said
    assert "level stepped" in said
    assert "one on xfs: it broke" in said
