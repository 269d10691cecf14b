"""The plan of the experiment by machine, and a save that it really watches."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from lastgood.crashtest import paper_protocol
from lastgood.protocol.plan import plan_save
from lastgood.protocol.steps import SyncDir, SyncFile, Together
from powercut_lab.errors import LabError
from powercut_lab.observe import recording
from powercut_lab.observe.experiment import EXPERIMENT, SUBJECTS, Observe
from powercut_lab.observe.recording import record_here, save_and_tell
from powercut_lab.result_folder import check_row
from powercut_rig.system.ptrace import why_no_tracing


def a_rig(*file_systems: str) -> Observe:
    return Observe(lacking=lambda fs: [] if fs in file_systems else [f"mkfs.{fs} is missing."])


def test_with_the_rig_each_mode_is_observed_on_each_file_system() -> None:
    plan = a_rig("ext4", "xfs", "btrfs").plan("quick", 0)

    assert len(plan.units) == 3 * len(SUBJECTS)
    assert plan.units[0].key == "ext4/lastgood:unsafe/1"
    assert [m.part for m in plan.missing] == ["disk events of a Mac by fs_usage"]
    assert "has not been run on a Mac" in plan.missing[0].reason


def test_a_file_system_that_is_missing_is_named_with_the_reason_and_the_others_run() -> None:
    plan = a_rig("ext4", "btrfs").plan("quick", 0)

    assert plan.missing[0].reason == "mkfs.xfs is missing."
    assert {unit.key.partition("/")[0] for unit in plan.units} == {"ext4", "btrfs"}


def test_without_the_rig_phases_and_calls_are_observed_on_this_machine_s_own_disk() -> None:
    plan = a_rig().plan("quick", 0)

    assert [m.reason for m in plan.missing][:3] == [
        f"mkfs.{fs} is missing." for fs in ("ext4", "xfs", "btrfs")
    ]
    assert {unit.key.partition("/")[0] for unit in plan.units} == {"here"}


def test_more_runs_keep_the_keys_of_fewer() -> None:
    quick, full = (a_rig("ext4").plan(size, 7) for size in ("quick", "full"))

    assert {u.key for u in quick.units} < {u.key for u in full.units}
    assert len({u.key for u in full.units}) == len(full.units)


def test_a_mac_without_root_says_so_and_still_observes_what_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/fs_usage")
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    plan = Observe(lacking=lambda _fs: ["No loop devices."]).plan("quick", 0)

    assert plan.missing[-1].reason.startswith("fs_usage needs root; this is user id 501.")
    assert {unit.key.partition("/")[0] for unit in plan.units} == {"here"}


def test_a_mac_with_root_records_fs_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/fs_usage")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    plan = Observe(lacking=lambda _fs: ["No loop devices."]).plan("quick", 0)

    assert {unit.key.partition("/")[0] for unit in plan.units} == {"mac"}


@pytest.mark.parametrize("protocol", ["lastgood", "paper"])
def test_every_sync_of_the_plan_is_seen_as_a_system_call(protocol: str, tmp_path: Path) -> None:
    names = ["model.bin", "optim.bin", "rng.json"]
    every = (
        plan_save("rename", "atomic_dirsync", "/s", 2, 2, names)
        if protocol == "lastgood"
        else paper_protocol.plan_save("atomic_dirsync", "/s", 2, names)
    )
    steps = [
        one
        for each in every
        for one in (
            [s for branch in each.branches for s in branch]
            if isinstance(each, Together)
            else [each]
        )
    ]
    expected = sum(isinstance(one, SyncFile | SyncDir) for one in steps)

    saved = record_here(tmp_path, protocol, "atomic_dirsync")

    syncs = [span.name for span in saved.spans if span.look == "sync"]
    assert len(syncs) == expected, syncs
    assert saved.source == ("seam" if why_no_tracing() else "ptrace")
    calls = [span for span in saved.spans if span.lane == "calls"]
    assert all(call.belongs_to for call in calls)  # each call is part of some phase


@pytest.mark.skipif(why_no_tracing() is not None, reason=str(why_no_tracing()))
def test_the_bytes_of_the_write_calls_are_those_of_the_group(tmp_path: Path) -> None:
    saved = record_here(tmp_path, "paper", "unsafe")
    written: Counter[str] = Counter()
    for span in saved.spans:
        if span.name.startswith("write ") and span.lane == "calls":
            written[span.name.removeprefix("write ")] += span.bytes

    group = tmp_path / "store" / "epoch_0002"
    assert written == {path.name: path.stat().st_size for path in group.iterdir()}
    assert written["model.bin"] == 128 << 10


def test_without_ptrace_the_steps_stand_in_for_the_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_arguments: list[str]) -> None:
        raise PermissionError("ptrace: Operation not permitted")

    monkeypatch.setattr(recording, "_traced", forbidden)
    saved = record_here(tmp_path, "lastgood", "atomic_nodirsync")

    assert saved.source == "seam"
    assert sum(span.look == "sync" for span in saved.spans) == 4


def test_a_save_that_fails_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"status 1: .*No such file"):
        save_and_tell(recording.arguments_of(str(tmp_path / "no/such/s"), "paper", "unsafe"))


def test_the_rows_of_a_unit_fit_its_table(tmp_path: Path) -> None:
    unit = a_rig().plan("quick", 0).units[0]
    rows = list(unit.work(tmp_path))

    assert rows
    for row in rows:
        check_row(EXPERIMENT.tables[0], row)
