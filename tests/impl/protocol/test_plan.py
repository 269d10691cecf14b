"""The protocol, word for word: which steps, in which order, in each form and mode."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from lastgood.format.names import GroupName
from lastgood.protocol.plan import (
    Form,
    Mode,
    plan_ancestors,
    plan_delete,
    plan_give_up,
    plan_resync,
    plan_save,
    plan_seal,
    subdirs,
)
from lastgood.protocol.steps import Step, Together
from tests.impl.disks import PARTS, WatchedDisk, open_store, spelled

GROUP = "gen-00000007-step-00000042"


def plan(form: Form, mode: Mode) -> list[str]:
    return spelled_out(plan_save(form, mode, "/s", 7, 42, ["model", "sub/a", "sub/b"]))


def spelled_out(steps: Iterable[Step]) -> list[str]:
    """The steps in the order in which one thread takes them."""
    return [
        spelled(each)
        for step in steps
        for each in (
            [one for branch in step.branches for one in branch]
            if isinstance(step, Together)
            else [step]
        )
    ]


def test_the_record_form_writes_under_the_final_name_and_the_manifest_last() -> None:
    assert plan("record", "atomic_dirsync") == [
        f"MakeDir /s/{GROUP}",
        f"MakeDir /s/{GROUP}/sub",
        f"CreateFile /s/{GROUP}/model",
        f"WritePart /s/{GROUP}/model",
        f"SyncFile /s/{GROUP}/model",
        f"CloseFile /s/{GROUP}/model",
        f"CreateFile /s/{GROUP}/sub/a",
        f"WritePart /s/{GROUP}/sub/a",
        f"SyncFile /s/{GROUP}/sub/a",
        f"CloseFile /s/{GROUP}/sub/a",
        f"CreateFile /s/{GROUP}/sub/b",
        f"WritePart /s/{GROUP}/sub/b",
        f"SyncFile /s/{GROUP}/sub/b",
        f"CloseFile /s/{GROUP}/sub/b",
        f"CreateFile /s/{GROUP}/MANIFEST",
        f"WriteRecord /s/{GROUP}/MANIFEST",
        f"SyncFile /s/{GROUP}/MANIFEST",
        f"CloseFile /s/{GROUP}/MANIFEST",
        f"SyncDir /s/{GROUP}/sub",
        f"SyncDir /s/{GROUP}",
        "SyncDir /s",
    ]


def test_the_rename_form_publishes_a_synced_attempt_by_one_rename() -> None:
    record = plan("record", "atomic_dirsync")

    assert plan("rename", "atomic_dirsync") == [
        *(step.replace(f"/s/{GROUP}", f"/s/attempt-{GROUP}") for step in record[:-1]),
        f"RenameEntry /s/attempt-{GROUP} /s/{GROUP}",
        "SyncDir /s",
    ]


@pytest.mark.parametrize("form", ["record", "rename"])
def test_nodirsync_is_the_same_without_the_directories(form: Form) -> None:
    full = plan(form, "atomic_dirsync")

    assert plan(form, "atomic_nodirsync") == [s for s in full if not s.startswith("SyncDir")]


@pytest.mark.parametrize("form", ["record", "rename"])
def test_unsafe_is_the_record_form_without_any_sync(form: Form) -> None:
    full = plan("record", "atomic_dirsync")

    assert plan(form, "unsafe") == [s for s in full if not s.startswith("Sync")]


@pytest.mark.parametrize("form", ["record", "rename"])
def test_a_full_sync_takes_the_place_of_the_last_one_only(form: Form) -> None:
    assert plan(form, "atomic_fullsync") == [
        *plan(form, "atomic_dirsync")[:-1],
        "FullSyncDir /s",
    ]


def test_an_attempt_is_synced_before_it_is_digested() -> None:
    steps = plan_seal("rename", "atomic_dirsync", "/s", 7, 42, ["model", "sub/a"])
    home = f"/s/attempt-{GROUP}"

    assert spelled_out(steps)[:5] == [
        f"SyncFile {home}/model",
        f"ReadPart {home}/model",
        f"SyncFile {home}/sub/a",
        f"ReadPart {home}/sub/a",
        f"CreateFile {home}/MANIFEST",
    ]


def test_what_is_given_up_loses_its_name_durably_before_anything_is_deleted() -> None:
    names = [GroupName(1, 10), GroupName(2, 20)]

    assert spelled_out(plan_give_up("unsafe", "/s", names)) == [
        "RenameEntry /s/gen-00000001-step-00000010 /s/pruned-gen-00000001-step-00000010",
        "RenameEntry /s/gen-00000002-step-00000020 /s/pruned-gen-00000002-step-00000020",
        "SyncDir /s",
    ]
    assert spelled_out(plan_give_up("atomic_fullsync", "/s", names[:1]))[-1] == "FullSyncDir /s"
    assert spelled_out(plan_give_up("atomic_dirsync", "/s", [])) == []


def test_a_deletion_takes_the_manifest_first_and_folders_from_the_inside() -> None:
    files, dirs = ["model", "MANIFEST", "a/b/x"], ["a", "a/b"]

    assert spelled_out(plan_delete("/s/p", files, dirs)) == [
        "Remove /s/p/MANIFEST",
        "Remove /s/p/model",
        "Remove /s/p/a/b/x",
        "RemoveDir /s/p/a/b",
        "RemoveDir /s/p/a",
        "RemoveDir /s/p",
    ]


def test_a_resync_covers_all_that_a_save_syncs() -> None:
    saved = {s for s in plan("record", "atomic_dirsync") if s.startswith("Sync")}
    steps = plan_resync("atomic_dirsync", "/s", f"/s/{GROUP}", ["model", "sub/a", "sub/b"])

    assert {spelled(step) for step in steps} == saved


def test_the_ancestors_are_synced_from_the_nearest_up_to_the_mount_point() -> None:
    assert [spelled(s) for s in plan_ancestors("atomic_dirsync", "/a/b/s", "/")] == [
        "SyncDir /a/b",
        "SyncDir /a",
        "SyncDir /",
    ]
    assert [spelled(s) for s in plan_ancestors("atomic_dirsync", "/a/b/s", "/a")] == [
        "SyncDir /a/b",
        "SyncDir /a",
    ]
    assert list(plan_ancestors("atomic_nodirsync", "/a/b/s", "/")) == []


def test_directories_of_parts_come_once_and_parents_first() -> None:
    assert subdirs(["a/b/x", "a/y", "c/z", "plain"]) == ["a", "a/b", "c"]


def test_a_store_asks_its_disk_for_exactly_the_plan(tmp_path: Path) -> None:
    """From the first open to the acknowledgement: no call more, none less, in this order."""
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form="rename", disk=disk) as store:
        opened = disk.changes()
        disk.calls.clear()
        store.save(42, PARTS)
    home, group = "store/attempt-gen-00000001-step-00000042", "store/gen-00000001-step-00000042"

    above = [str(path) for path in tmp_path.resolve().parents]
    assert opened == [
        "mkdir store",
        "lock store/lock",
        "fsync_dir .",
        *(f"fsync_dir {path}" for path in above),
    ]
    assert disk.changes() == [
        f"mkdir {home}",
        f"mkdir {home}/optim",
        f"create {home}/model",
        f"create {home}/optim/adam",
        f"write {home}/model",
        f"write {home}/optim/adam",
        f"fsync {home}/model",
        f"fsync {home}/optim/adam",
        f"close {home}/model",
        f"close {home}/optim/adam",
        f"create {home}/MANIFEST",
        f"write {home}/MANIFEST",
        f"fsync {home}/MANIFEST",
        f"close {home}/MANIFEST",
        f"fsync_dir {home}/optim",
        f"fsync_dir {home}",
        f"rename {home} {group}",
        "fsync_dir store",
        "unlock store/lock",
    ]


def test_a_recovery_syncs_what_it_returns_before_it_moves_anything(tmp_path: Path) -> None:
    with open_store(tmp_path, form="record") as store:
        store.save(1, PARTS)
        store.save(2, PARTS)
    newest = "store/gen-00000002-step-00000002"
    (tmp_path / newest / "model").write_bytes(b"WEIGHTS")
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form="record", disk=disk) as store:
        disk.calls.clear()
        loaded = store.load_latest()
    group = "store/gen-00000001-step-00000001"
    aside = "store/quarantine/gen-00000002-step-00000002"

    assert loaded is not None
    assert disk.changes() == [
        f"fsync {group}/model",
        f"fsync {group}/optim/adam",
        f"fsync {group}/MANIFEST",
        f"fsync_dir {group}/optim",
        f"fsync_dir {group}",
        "fsync_dir store",
        "mkdir store/quarantine",
        f"rename {newest} {aside}",
        f"create {aside}.report.json",
        f"write {aside}.report.json",
        f"close {aside}.report.json",
        "unlock store/lock",
    ]
