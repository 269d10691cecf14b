"""The disk of macOS on a pretended Mac: no more is promised there than anybody has measured."""

from __future__ import annotations

import fcntl
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from lastgood import LastgoodWarning, Store
from lastgood.backends import darwin
from lastgood.backends.detect import disk_here
from lastgood.cli.doctor import diagnose
from lastgood.protocol.plan import Mode
from tests.impl.disks import PARTS

F_FULLFSYNC = 51


@pytest.fixture(params=["apfs", "hfs"])
def full_syncs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The paths that F_FULLFSYNC was called for, where all is on such a volume of a Mac."""
    mount = tmp_path / "mount"
    mount.write_text(f"#!/bin/sh\necho '/dev/disk3s1s1 on / ({request.param}, local, journaled)'\n")
    mount.chmod(0o755)
    asked: list[str] = []
    plain = fcntl.fcntl

    def with_full_sync(fd: int, command: int, *arguments: Any) -> Any:
        if command != F_FULLFSYNC:
            return plain(fd, command, *arguments)
        asked.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        return 0

    monkeypatch.setattr(darwin, "_MOUNT", str(mount))
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", F_FULLFSYNC, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", with_full_sync)
    monkeypatch.setattr("sys.platform", "darwin")
    return asked


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="no /proc here to name a descriptor"
)


@needs_proc
@pytest.mark.parametrize(
    "mode", ["unsafe", "atomic_nodirsync", "atomic_dirsync", "atomic_fullsync"]
)
def test_a_group_is_promised_to_outlive_the_program_alone_in_every_mode(
    full_syncs: list[str], tmp_path: Path, mode: Mode
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LastgoodWarning)
        store = Store(tmp_path / "store", mode=mode)
    with store:
        receipt = store.save(1, PARTS)
    promise = receipt.guarantee

    assert (receipt.mode, promise.survives) == (mode, "process")
    assert promise.process == "kept: the kernel has all of it"
    assert promise.kernel.startswith("not promised: ")
    assert promise.power.startswith("not promised: ")
    (note,) = receipt.notes
    assert ("F_FULLFSYNC has returned" in note) == (full_syncs != []) == (mode == "atomic_fullsync")
    assert note.startswith("the drive was not asked") == (full_syncs == [])


@needs_proc
def test_the_default_asks_the_drive_once_for_each_save_and_warns_of_nothing(
    full_syncs: list[str], tmp_path: Path
) -> None:
    with Store(tmp_path / "store") as store:
        assert store.strength.weaknesses == ()
        first = store.save(1, PARTS)
        del full_syncs[:]
        assert store.save(2, PARTS).guarantee == first.guarantee

    assert first.mode == "atomic_fullsync"
    assert full_syncs == [str(tmp_path / "store")]


@needs_proc
def test_a_weaker_mode_that_was_asked_for_by_name_warns(
    full_syncs: list[str], tmp_path: Path
) -> None:
    with pytest.warns(LastgoodWarning, match=r"does not flush the drive.*the program only"):
        Store(tmp_path / "store", mode="atomic_dirsync").close()


@needs_proc
def test_the_doctor_says_what_the_receipt_says(full_syncs: list[str], tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        receipt = store.save(1, PARTS)
    diagnosis = diagnose(disk_here(), str(tmp_path / "store"), probe=True)
    said = diagnosis.as_json()

    assert (said["mode"], said["survives"], said["weaknesses"]) == (
        receipt.mode,
        receipt.guarantee.survives,
        [],
    )
    assert (said["kernel"], said["power"]) == (receipt.guarantee.kernel, receipt.guarantee.power)
    assert said["probes"]["full sync"] == "works"
    assert not diagnosis.is_strong
