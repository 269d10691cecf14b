"""The paper's protocol, op for op, and what its recovery accepts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lastgood import UsageError
from lastgood.backends.posix import PosixDisk
from lastgood.crashtest import paper_protocol
from lastgood.crashtest.subjects import PAPER
from lastgood.format.manifest import Part
from lastgood.protocol.plan import Mode
from tests.impl.disks import spelled


def plan(mode: Mode, existing: frozenset[str] = frozenset()) -> list[str]:
    return [
        spelled(step) for step in paper_protocol.plan_save(mode, "/r", 3, ["model.bin"], existing)
    ]


def test_unsafe_writes_under_the_final_names() -> None:
    assert plan("unsafe") == [
        "MakeDir /r/epoch_0003",
        "CreateFile /r/epoch_0003/model.bin",
        "WritePart /r/epoch_0003/model.bin",
        "CloseFile /r/epoch_0003/model.bin",
        "CreateFile /r/epoch_0003/MANIFEST.json",
        "WriteRecord /r/epoch_0003/MANIFEST.json",
        "CloseFile /r/epoch_0003/MANIFEST.json",
        "CreateFile /r/epoch_0003/COMMIT.json",
        "WriteRecord /r/epoch_0003/COMMIT.json",
        "CloseFile /r/epoch_0003/COMMIT.json",
    ]


def test_nodirsync_syncs_and_renames_each_file() -> None:
    steps = plan("atomic_nodirsync")

    assert steps[:6] == [
        "MakeDir /r/epoch_0003",
        "CreateFile /r/epoch_0003/.tmp_gc_0_0",
        "WritePart /r/epoch_0003/.tmp_gc_0_0",
        "SyncFile /r/epoch_0003/.tmp_gc_0_0",
        "CloseFile /r/epoch_0003/.tmp_gc_0_0",
        "RenameEntry /r/epoch_0003/.tmp_gc_0_0 /r/epoch_0003/model.bin",
    ]
    assert [step.split("/")[-1] for step in steps if step.startswith("RenameEntry")] == [
        "model.bin",
        "MANIFEST.json",
        "COMMIT.json",
    ]


def test_dirsync_adds_one_sync_and_never_the_directory_above() -> None:
    assert plan("atomic_dirsync") == [*plan("atomic_nodirsync"), "SyncDir /r/epoch_0003"]


def test_a_directory_that_a_dead_attempt_left_is_used_again() -> None:
    left = frozenset({".", "model.bin", ".tmp_gc_0_0"})

    assert plan("unsafe", left)[:2] == [
        "Remove /r/epoch_0003/model.bin",
        "CreateFile /r/epoch_0003/model.bin",
    ]
    assert plan("atomic_dirsync", left)[0] == "CreateFile /r/epoch_0003/.tmp_gc_0_1"


@pytest.mark.parametrize("mode", PAPER.modes)
def test_what_is_saved_is_recovered_and_damage_falls_back(tmp_path: Path, mode: Mode) -> None:
    disk, root = PosixDisk(), f"{tmp_path}/deep/run"
    session = PAPER.open(disk, root, mode, rename_is_atomic=True)
    assert session.recover() is None
    for epoch in (1, 2):
        assert session.save(epoch, {"model.bin": b"m%d" % epoch, "rng.json": b"{}"}) == epoch
    group = Path(root) / "epoch_0002"
    found = session.recover()
    assert found is not None
    assert (found.generation, dict(found.parts)) == (2, {"model.bin": b"m2", "rng.json": b"{}"})
    assert sorted(json.loads((group / "COMMIT.json").read_bytes())) == [
        "epoch",
        "manifest_sha256",
        "seed",
        "ts",
    ]

    for name in ("model.bin", "MANIFEST.json", "COMMIT.json"):
        kept = (group / name).read_bytes()
        for harm in (b"", kept[:-1], b"\0" * len(kept)):
            (group / name).write_bytes(harm)
            found = session.recover()
            assert found is not None
            assert found.generation == 1
        (group / name).write_bytes(kept)
    # Saved again after a death: over whatever is there.
    assert session.save(2, {"model.bin": b"again"}) == 2
    found = PAPER.read(disk, root)
    assert found is not None
    assert found.parts == {"model.bin": b"again"}
    session.close()


def test_a_part_outside_the_epoch_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    group = tmp_path / "run" / "epoch_0001"
    group.mkdir(parents=True)
    part = Part("../../secret", 1, hashlib.sha256(b"s").hexdigest())
    for name in (paper_protocol.MANIFEST, paper_protocol.COMMIT):
        (group / name).write_bytes(paper_protocol.record(name, [part], epoch=1, time_s=0))

    assert PAPER.read(PosixDisk(), f"{tmp_path}/run") is None


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="atomic_fullsync"):
        PAPER.open(PosixDisk(), f"{tmp_path}/run", "atomic_fullsync", rename_is_atomic=True)


@pytest.mark.parametrize("link", ["epoch_0001", "epoch_0001/inner"])
def test_a_symlink_on_the_way_to_a_part_is_not_followed(tmp_path: Path, link: str) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    disk = PosixDisk()
    session = PAPER.open(disk, str(run), "unsafe", rename_is_atomic=True)
    session.save(1, {"inner/model.bin": b"m"})
    found = session.recover()
    assert found is not None
    (run / link).rename(outside)
    (run / link).symlink_to(outside)

    assert session.recover() is None
