"""Model against a real ext4: a holding trace, a failing one, and a profile that is too strong."""

from __future__ import annotations

from pathlib import Path

import pytest

from powercut import ops
from powercut.profile import load_profile
from powercut.trace import read_trace
from powercut.tree import plain
from powercut.world import Perform
from powercut_rig import run_in_worker
from powercut_rig.answers import state_of
from powercut_rig.compare import Comparison, compare_in_worker
from powercut_rig.membership import Member, Program

TRACES = Path(__file__).parents[2] / "traces"
HOLDING = TRACES / "regressions/lastgood-atomic-dirsync-two-saves.toml"
FAILING = TRACES / "counterexamples/lastgood-unsafe-ext4-ordered-power-P3.toml"


def compare(path: Path, profile: str | None = None) -> Comparison:
    return run_in_worker(
        compare_in_worker, read_trace(path), path.name, "ext4", profile_name=profile
    )


@pytest.mark.rig
def test_a_holding_trace_holds_on_every_crash_image_of_a_real_ext4() -> None:
    result = compare(HOLDING)

    assert result.findings == []
    assert result.agrees
    assert result.images > 50
    assert result.violations == {}
    assert result.unclean == 0
    assert result.undecided == 0


@pytest.mark.rig
def test_a_failing_trace_fails_on_a_real_ext4_and_only_as_the_model_allows() -> None:
    result = compare(FAILING)

    assert result.findings == []
    assert result.agrees
    assert result.violations["P3"] > 0


@pytest.mark.rig
def test_a_profile_that_is_too_strong_is_caught_by_images_outside_of_it() -> None:
    result = compare(FAILING, profile="sequential")

    assert result.outside > 0
    assert not result.agrees
    assert result.findings[0].kind == "outside the model"


def test_membership_knows_what_a_moment_allows() -> None:
    program = Program(
        (Perform("c", ops.Create("/a")), Perform("s", ops.Fsync("/"))),
        load_profile("posix-minimal"),
    )
    member = Member(program)

    assert member.ask({}, 1, 2, "power")
    assert member.ask({"a": b""}, 1, 2, "power")
    assert not member.ask({}, 2, 2, "power")
    assert not member.ask({"a": b"x"}, 2, 2, "power")
    assert member.coverage() == (2, 2)


def test_a_tree_becomes_a_state_with_that_tree() -> None:
    tree = {"d": None, "d/e": None, "d/e/a": b"xyz", "d-b": b"", "z": b"\0\0"}

    assert plain(state_of(tree).view) == tree
