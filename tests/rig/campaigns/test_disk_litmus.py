"""Published cases on real disks: what a disk shows, and what that says of a published answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner
from hypothesis import given

from powercut.filesystem import ops
from powercut.filesystem.ops import Op
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.published.cases import PublishedCase, PublishedResult
from powercut.published.predicates import MarkedState, read_predicate
from powercut_rig import run_in_worker
from powercut_rig.campaigns import disk_litmus as dl
from powercut_rig.cli.disk_litmus import disk_litmus
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.membership import snapshot_of
from powercut_rig.judge.recovery_answer import state_of
from powercut_rig.mounted.tree_reader import Tag, TreeSnapshot
from tests import ROOT
from tests.harness.programs import states

FEW = dl.LitmusEffort(images=20)
SAVE: tuple[Op, ...] = (
    ops.Create("/f"),
    ops.Write("/f", 0, b"content"),
    ops.Rename("/f", "/g"),
)


def case(
    program: tuple[Op, ...], predicate: list[Any], kind: str = "must", **more: Any
) -> PublishedCase:
    asked = read_predicate(predicate, "a test")
    published = (PublishedResult("ext4", "holds", "doc"), PublishedResult("xfs", "violated", "doc"))
    return PublishedCase(
        "one", "made-up", "", (), program, "end", "power", kind, asked, published, **more
    )


def holds(snapshot: TreeSnapshot, predicate: list[Any]) -> bool:
    at = dl.decided_state(snapshot, load_profile("ext4-ordered"))
    return read_predicate(predicate, "a test")(MarkedState(at, frozenset()))


@given(state=states())
def test_a_tree_that_was_seen_becomes_a_state_that_looks_the_same(state: State) -> None:
    snapshot = snapshot_of(state.view)

    assert snapshot_of(state_of(snapshot.tree, snapshot.links).view) == snapshot


def test_a_tree_of_a_disk_answers_predicates() -> None:
    tree = {"d": None, "d/a": b"xyz", "d/b": b"xyz", "s": Tag("symlink", "d/a")}
    snapshot = TreeSnapshot(tree, (("d/a", "d/b"),))

    assert holds(snapshot, ["content", "d/a", [["x", 1], ["y", 1], ["z", 1]]])
    assert holds(snapshot, ["nlink", "d/a", 2])
    assert holds(snapshot, ["readlink", "s", "d/a"])
    assert holds(snapshot, ["entries", "d", ["a", "b"]])
    assert holds(snapshot, ["absent", "e"])
    assert not holds(snapshot, ["size", "d/a", 4])


@pytest.mark.parametrize(
    ("result", "answers", "standing"),
    [
        ("holds", 0, "not contradicted"),
        ("holds", 1, "contradicted"),
        ("violated", 0, "not seen here"),
        ("violated", 1, "seen"),
        ("not-run", 1, "not asked"),
    ],
)
def test_a_disk_can_contradict_that_something_never_is_and_confirm_that_it_is(
    result: str, answers: int, standing: str
) -> None:
    row = dl.DiskLitmusResult(
        "one", "made-up", "ext4", "must", ours="violated", images=9, answers=answers
    )

    assert row.standing(PublishedResult("ext4", result, "doc")) == standing
    assert row.agrees


def test_a_disk_that_shows_what_its_profile_rules_out_does_not_agree() -> None:
    row = dl.DiskLitmusResult("one", "made-up", "ext4", "must", ours="holds", images=9, answers=1)

    assert not row.agrees


def test_what_only_macos_has_is_not_run_on_another_disk() -> None:
    row = dl.ask_disk(case((*SAVE, ops.Fullsync("/g")), ["exists", "g"]), "ext4")

    assert row.seen == "not run"
    assert "macOS" in row.not_run


@pytest.mark.rig
@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_rename_without_a_sync_is_seen_to_lose_the_file(fs: str) -> None:
    row = run_in_worker(dl.ask_disk, case(SAVE, ["exists", "g"]), fs, FEW)

    assert (row.seen, row.ours, row.findings) == ("violated", "violated", [])
    assert row.agrees


@pytest.mark.rig
def test_a_synced_file_is_never_seen_to_be_lost() -> None:
    program = (*SAVE, ops.Fsync("/g"), ops.Fsync("/"))
    row = run_in_worker(dl.ask_disk, case(program, ["exists", "g"]), "ext4", FEW)

    assert (row.seen, row.ours) == ("not violated here", "holds")
    assert row.images > 1


@pytest.mark.rig
def test_a_profile_that_is_too_strong_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    strong = evolve(FILE_SYSTEMS["ext4"], profile="sequential")
    monkeypatch.setitem(FILE_SYSTEMS, "ext4", strong)
    question = case((*SAVE, ops.Create("/h"), ops.Fsync("/h")), ["exists", "g"], "reachable")

    row = run_in_worker(dl.ask_disk, evolve(question, crash="anywhere"), "ext4", FEW)

    assert row.outside > 0
    assert not row.agrees


@pytest.mark.rig
def test_the_command_prints_published_beside_seen() -> None:
    published = ROOT / "tests/litmus/published.json"
    done = CliRunner().invoke(
        disk_litmus,
        [str(published), "--case", "alice-app-001", "--images", "10", "--recordings", "1",
         "--json"],
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["cases"]
    assert (row["id"], row["fs"], row["agrees"]) == ("alice-app-001", "ext4", True)
    assert {each["standing"] for each in row["published"]} == {"not contradicted"}


def test_a_case_that_is_not_there_is_bad_input() -> None:
    published = ROOT / "tests/litmus/published.json"

    done = CliRunner().invoke(disk_litmus, [str(published), "--case", "none"])

    assert done.exit_code == 2
    assert "no case has the id 'none'" in done.output


@pytest.mark.parametrize("arguments", [["cases.json", "--fs", "apfs"], [""]])
def test_a_disk_that_is_asked_elsewhere_and_an_empty_path_are_bad_input(
    arguments: list[str],
) -> None:
    done = CliRunner().invoke(disk_litmus, arguments)

    assert done.exit_code == 2
    assert "Traceback" not in done.output
