"""Deaths at the paper's crash points: nothing acknowledged is lost, and a hole is seen."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from powercut.simulation.subject import load_subject
from powercut_lab.crash.children import Say, run_child
from powercut_lab.crash.crash_points import (
    AFTER_MODEL,
    BEFORE_COMMIT,
    BEFORE_MANIFEST,
    MANIFEST_PARTIAL,
    NO_CRASH,
    POINTS,
    SHORT_COMMITTED,
    PlacedPoint,
    commit_step,
    place,
)
from powercut_lab.crash.dying_disk import AtStep
from powercut_lab.crash.groups import MODEL_BYTES, OPTIMIZER_BYTES, paper_group
from powercut_lab.crash.hooks import hook_units, run_hooks
from powercut_lab.crash.summaries import summed
from powercut_lab.crash.tables import HOOKS, PROTOCOLS
from powercut_lab.crash.trials import Protocol
from powercut_lab.errors import LabError
from powercut_lab.result_folder import check_row
from tests.lab.crash.toys import toy

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

GROUPS = 2


def asked(label: str) -> Protocol:
    return Protocol(load_subject(label))


def placed(protocol: Protocol, point: str) -> PlacedPoint:
    return place(point, commit_step(protocol.subject.name, protocol.subject.mode))


def test_the_group_is_the_papers_and_follows_from_the_seed() -> None:
    group = paper_group(3, 7)

    assert {name: len(data) for name, data in group.items() if name != "rng.json"} == {
        "model.bin": MODEL_BYTES,
        "optim.bin": OPTIMIZER_BYTES,
    }
    assert list(group) == ["model.bin", "optim.bin", "rng.json"]
    paper_group.cache_clear()
    assert paper_group(3, 7) == group
    assert paper_group(4, 7) != group != paper_group(3, 8)


@pytest.mark.parametrize("label", PROTOCOLS)
@pytest.mark.parametrize("point", [AFTER_MODEL, BEFORE_MANIFEST, MANIFEST_PARTIAL, BEFORE_COMMIT])
def test_a_killed_process_loses_nothing_that_was_acknowledged(
    label: str, point: str, tmp_path: Path
) -> None:
    protocol = asked(label)
    every = summed(run_hooks(protocol, placed(protocol, point), 5, GROUPS, tmp_path / "s").values())

    assert every.trials == every.died == GROUPS
    assert every.kept == every.returned == every.whole == every.next_kept == GROUPS
    # Where the manifest is the commit, the group in flight is there already.
    commits_before = (label, point) == ("lastgood:unsafe", BEFORE_COMMIT)
    assert every.in_flight_ok == (GROUPS if commits_before else 0)


@pytest.mark.parametrize(
    ("label", "point", "reason"),
    [
        ("paper:unsafe", NO_CRASH, "valid"),
        ("paper:unsafe", AFTER_MODEL, "no_commit"),
        ("paper:unsafe", MANIFEST_PARTIAL, "manifest_error:JSONDecodeError;no_commit"),
        ("paper:unsafe", BEFORE_COMMIT, "no_commit"),
        ("paper:unsafe", SHORT_COMMITTED, "size_mismatch:model.bin"),
        ("paper:atomic_dirsync", MANIFEST_PARTIAL, "no_commit"),
        ("lastgood:unsafe", BEFORE_COMMIT, "valid"),
        ("lastgood:atomic_dirsync", NO_CRASH, "valid"),
        ("lastgood:atomic_dirsync", AFTER_MODEL, "no_commit"),
        ("lastgood:atomic_dirsync", SHORT_COMMITTED, "size_mismatch:model.bin"),
    ],
)
def test_the_reason_is_the_papers(label: str, point: str, reason: str, tmp_path: Path) -> None:
    protocol = asked(label)

    counts = run_hooks(protocol, placed(protocol, point), 0, 2, tmp_path / "s")

    assert {why: each.trials for why, each in counts.items()} == {reason: 2}


@pytest.mark.parametrize("label", ["paper:unsafe", "lastgood:atomic_fullsync"])
def test_a_silent_short_write_is_acknowledged_and_never_handed_out(
    label: str, tmp_path: Path
) -> None:
    protocol = asked(label)
    counts = run_hooks(protocol, placed(protocol, SHORT_COMMITTED), 0, GROUPS, tmp_path / "s")
    every = summed(counts.values())

    assert every.died == every.kept == every.in_flight_ok == 0
    assert every.returned == every.whole == GROUPS


def test_a_protocol_that_acknowledges_before_it_writes_is_seen_to_lose(tmp_path: Path) -> None:
    for name, point in (("a", AFTER_MODEL), ("b", BEFORE_MANIFEST), ("c", MANIFEST_PARTIAL)):
        counts = run_hooks(toy("hasty"), place(point, "close"), 0, 2, tmp_path / name)
        every = summed(counts.values())
        assert (every.died, every.kept, every.next_kept) == (2, 0, 0)


def test_a_protocol_that_does_not_verify_hands_out_what_is_torn(tmp_path: Path) -> None:
    counts = run_hooks(toy("trusting"), place(AFTER_MODEL, "close"), 0, 1, tmp_path / "s")
    every = summed(counts.values())

    assert (every.returned, every.whole, every.kept) == (1, 0, 0)


@pytest.mark.parametrize("point", [NO_CRASH, AFTER_MODEL, MANIFEST_PARTIAL])
def test_the_same_protocol_without_the_hole_loses_nothing(point: str, tmp_path: Path) -> None:
    every = summed(run_hooks(toy("sound"), place(point, "close"), 0, 2, tmp_path / "s").values())

    assert every.kept == every.whole == every.next_kept == every.trials == 2


def test_a_point_that_is_not_reached_is_no_trial(tmp_path: Path) -> None:
    nowhere = PlacedPoint(AtStep("rename", 9), "at a ninth rename")

    with pytest.raises(LabError, match="ninth rename"):
        run_hooks(asked("paper:unsafe"), nowhere, 0, 1, tmp_path / "s")


def test_the_same_seed_gives_the_same_rows_and_they_fit_their_table(tmp_path: Path) -> None:
    (unit,) = (u for u in hook_units("quick", 3) if "lastgood:unsafe manifest" in u.key)
    first = list(unit.work(tmp_path / "a"))

    assert list(unit.work(tmp_path / "b")) == first
    for row in first:
        check_row(HOOKS, row)


def test_the_counts_are_the_papers() -> None:
    units = list(hook_units("full", 0))

    assert len(units) == len(PROTOCOLS) * len(POINTS)
    assert all(unit.key.endswith("10 x 40") for unit in units)


def test_what_a_child_said_before_it_was_killed_is_heard() -> None:
    def work(say: Say) -> None:
        say({"saved": 1})
        signal.raise_signal(signal.SIGKILL)

    end = run_child(work)

    assert end.killed
    assert end.said == ({"saved": 1},)


def test_an_error_of_a_child_is_said_and_another_signal_is_no_trial() -> None:
    def fails(say: Say) -> None:
        raise ValueError("no such thing")

    assert run_child(fails).said == ({"error": "ValueError: no such thing"},)
    with pytest.raises(LabError, match="status"):
        run_child(lambda _say: signal.raise_signal(signal.SIGUSR1))


def test_a_child_that_hangs_is_ended() -> None:
    with pytest.raises(LabError, match="status"):
        run_child(lambda _say: signal.pause(), deadline_s=0.05)
