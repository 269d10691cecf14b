"""Model against real disks: a holding trace, a failing one, and a profile that is too strong."""

from __future__ import annotations

from pathlib import Path

import pytest

from powercut.errors import TraceError
from powercut.filesystem import ops
from powercut.filesystem.inodes import plain
from powercut.profile import load_profile
from powercut.simulation.world import Perform
from powercut.trace.trace_file import read_trace
from powercut_rig import run_in_worker
from powercut_rig.judge.judge import JudgeEffort, compare_in_worker
from powercut_rig.judge.membership import Program, ProgramMembership
from powercut_rig.judge.recovery_answer import state_of
from powercut_rig.judge.result import OUTSIDE, REFUSED, Comparison
from powercut_rig.judge.trace_case import check_judgeable
from powercut_rig.mounted.tree_reader import Tag, Tree, TreeSnapshot
from tests import ROOT

TRACES = ROOT / "traces"
HOLDING = TRACES / "regressions/lastgood-atomic-dirsync-two-saves.toml"
FAILING = TRACES / "counterexamples/lastgood-unsafe-ext4-ordered-power-P3.toml"


FAMILIES = ("ext4", "xfs", "btrfs")
SMALL = JudgeEffort(limit=60, again=1, again_limit=12, fsck_every=30)


def compare(path: Path, fs: str, profile: str | None = None) -> Comparison:
    return run_in_worker(
        compare_in_worker,
        read_trace(path),
        path.name,
        fs,
        profile_name=profile,
        plans=(0, 2),
        effort=SMALL,
    )


def test_a_trace_with_damage_at_rest_is_refused_before_a_disk_is_made() -> None:
    path = TRACES / "counterexamples/paper-atomic-dirsync-posix-minimal-process-P7.toml"

    with pytest.raises(TraceError, match=r"it has damage at rest.* Nothing was run\."):
        check_judgeable(read_trace(path), path.name)


@pytest.mark.rig
@pytest.mark.parametrize("fs", FAMILIES)
def test_a_holding_trace_holds_on_every_crash_image_of_a_real_disk(fs: str) -> None:
    result = compare(HOLDING, fs)

    assert result.findings == []
    assert result.agrees
    assert result.images > 50
    assert result.second_images > 10
    assert result.violations == {}
    assert result.unclean == 0
    assert result.fsck_run > 0


@pytest.mark.rig
@pytest.mark.parametrize("fs", FAMILIES)
def test_a_failing_trace_fails_on_a_real_disk_and_only_as_the_model_allows(fs: str) -> None:
    result = compare(FAILING, fs)

    assert result.findings == []
    assert result.agrees
    assert result.violations["P3"] > 0


@pytest.mark.rig
@pytest.mark.parametrize("fs", FAMILIES)
def test_a_profile_that_is_too_strong_is_caught_by_images_outside_of_it(fs: str) -> None:
    result = compare(FAILING, fs, profile="sequential")

    assert result.outside > 0
    assert not result.agrees
    assert {each.kind for each in result.findings} == {OUTSIDE}
    assert all(each.timeline is not None for each in result.findings)


@pytest.mark.rig
@pytest.mark.parametrize(
    ("trace", "fs", "too_strong"),
    [
        ("ext4-size-before-new-blocks", "ext4", "ext4-ordered+new-blocks-before-size"),
        pytest.param(
            "btrfs-unsynced-neighbour",
            "btrfs",
            "btrfs+fsync-commits-journal",
            marks=pytest.mark.thorough,
        ),
        pytest.param("btrfs-synced-then-replaced", "btrfs", "xfs", marks=pytest.mark.thorough),
    ],
)
def test_a_rule_too_many_is_refuted_by_a_disk(trace: str, fs: str, too_strong: str) -> None:
    path = TRACES / f"regressions/{trace}.toml"

    own, strong = compare(path, fs), compare(path, fs, profile=too_strong)

    assert own.findings == []
    assert strong.outside > 0
    assert {each.kind for each in strong.findings} == {OUTSIDE}


@pytest.mark.rig
def test_a_volume_that_the_kernel_will_not_mount_is_no_tree_outside_of_the_model() -> None:
    """Of Linux 6.18; a kernel whose replay is mended mounts it, and nothing is found."""
    path = TRACES / "regressions/ext4-fast-commit-unlinked.toml"

    fast, plain = compare(path, "ext4-fast-commit"), compare(path, "ext4")

    assert (plain.refused, plain.findings) == (0, [])
    assert (fast.outside, fast.agrees) == (0, fast.refused == 0)
    assert {each.kind for each in fast.findings} == ({REFUSED} if fast.refused else set())
    assert all("[Errno 117]" in each.detail for each in fast.findings)
    if not fast.refused:
        pytest.skip("this kernel mounts what an fsync of an unlinked file leaves")


@pytest.mark.rig
def test_a_directory_that_takes_a_removed_ones_number_refutes_fast_commits() -> None:
    """Of Linux 6.18: one finding is a tree without what was synced, another one no tree at all."""
    path = TRACES / "regressions/ext4-fast-commit-reused-number.toml"

    fast, plain = compare(path, "ext4-fast-commit"), compare(path, "ext4")

    assert (plain.outside, plain.refused, plain.findings) == (0, 0, [])
    wrong = {OUTSIDE} if fast.outside else set()
    wrong |= {REFUSED} if fast.refused else set()
    assert {each.kind for each in fast.findings} == wrong
    assert fast.agrees is not bool(wrong)
    if not wrong:
        pytest.skip("this kernel replays the two directories right")


@pytest.mark.rig
def test_freed_blocks_that_are_written_anew_refute_ext4_with_data_writeback() -> None:
    """Of Linux 6.18: a synced file is back, with another file's bytes."""
    path = TRACES / "regressions/ext4-writeback-freed-blocks.toml"

    loose, ordered = compare(path, "ext4-writeback"), compare(path, "ext4")

    assert (ordered.outside, ordered.refused, ordered.findings) == (0, 0, [])
    assert {each.kind for each in loose.findings} == ({OUTSIDE} if loose.outside else set())
    assert any(limit.refutes for limit in loose.limits)
    if not loose.outside:
        pytest.skip("this kernel keeps freed blocks until their removal is committed")


def test_membership_knows_what_a_moment_allows() -> None:
    program = Program(
        (Perform("c", ops.Create("/a")), Perform("s", ops.Fsync("/"))),
        load_profile("posix-minimal"),
    )
    membership = ProgramMembership(program)

    assert membership.ask(TreeSnapshot({}), 1, 2, "power")
    assert membership.ask(TreeSnapshot({"a": b""}), 1, 2, "power")
    assert not membership.ask(TreeSnapshot({}), 2, 2, "power")
    assert not membership.ask(TreeSnapshot({"a": b"x"}), 2, 2, "power")
    assert "a" in membership.why(TreeSnapshot({"a": b"x"}), 2, 2, "power")
    assert membership.allowed() == membership.seen
    assert len(membership.seen) == 2


def test_hard_links_and_symbolic_links_are_part_of_what_is_seen() -> None:
    steps = (
        Perform("c", ops.Create("/a")),
        Perform("l", ops.Link("/a", "/b")),
        Perform("s", ops.Symlink("a", "/s")),
        Perform("y", ops.Sync()),
    )
    membership = ProgramMembership(Program(steps, load_profile("posix-minimal")))
    tree: Tree = {"a": b"", "b": b"", "s": Tag("symlink", "a")}

    assert membership.ask(TreeSnapshot(tree, (("a", "b"),)), 4, 4, "power")
    assert not membership.ask(TreeSnapshot(tree), 4, 4, "power")
    assert not membership.ask(
        TreeSnapshot({**tree, "s": Tag("symlink", "b")}, (("a", "b"),)), 4, 4, "power"
    )
    assert not membership.ask(
        TreeSnapshot({**tree, "s": Tag("fifo")}, (("a", "b"),)), 4, 4, "power"
    )


def test_a_tree_becomes_a_state_with_that_tree() -> None:
    tree = {"d": None, "d/e": None, "d/e/a": b"xyz", "d-b": b"", "z": b"\0\0"}

    assert plain(state_of(tree).view) == tree
