"""What a store promises on real mounts: never a power cut where nothing supports it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from attrs import frozen

from lastgood import Store
from lastgood.backends.linux import LinuxDisk
from lastgood.cli.doctor import diagnose
from powercut_rig import run_in_worker
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.linux.recorder import mounted
from powercut_rig.system import linux_syscalls
from powercut_rig.system.loop_device import LoopDevice
from powercut_rig.system.subprocesses import run_tool
from powercut_rig.system.worker import private_folder

pytestmark = pytest.mark.rig


@frozen
class Promise:
    """What the doctor, a store and its receipt say of one path."""

    file_system: str
    mount_point: str
    doctor: str
    is_strong: bool
    receipt: str
    power: str
    warned: str


def promise_at(path: str) -> Promise:
    diagnosis = diagnose(LinuxDisk(), path, probe=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Store(path) as store:
            receipt = store.save(1, {"model": b"weights"})
    here = diagnosis.strength.file_system
    return Promise(
        here.name,
        here.mount_point,
        diagnosis.as_json()["survives"],
        diagnosis.is_strong,
        receipt.guarantee.survives,
        receipt.guarantee.power,
        " ".join(str(each.message) for each in caught),
    )


@contextlib.contextmanager
def disk_on(folder: str, fs: str, *options: str) -> Iterator[str]:
    """A file system on a loop device over a file in that folder, mounted."""
    entry, image = FILE_SYSTEMS[fs], Path(folder) / "image"
    with image.open("xb") as file:
        file.truncate(entry.size_bytes)
    with contextlib.closing(LoopDevice(str(image), folder, block_bytes=512, direct=False)) as loop:
        entry.make(loop.path)
        if options:
            run_tool(("tune2fs", *options, loop.path))
        with mounted(entry, loop.path, folder) as root:
            yield root


def on_a_loop_over_memory(fs: str) -> Promise:
    with private_folder() as folder, disk_on(folder, fs) as root:
        return promise_at(f"{root}/store")


def without_a_journal(*options: str) -> Promise:
    with private_folder() as folder, disk_on(folder, "ext4", *options) as root:
        return promise_at(f"{root}/store")


def under_a_tmpfs_that_hides_it() -> tuple[Promise, str]:
    """ext4 at x/over/inner/disk, and then a tmpfs over x/over that has the same names."""
    with private_folder() as folder:
        over = Path(folder) / "over"
        inner = over / "inner"
        inner.mkdir(parents=True)
        with disk_on(str(inner), "ext4") as root:
            linux_syscalls.mount("over", str(over), "tmpfs", 0, "mode=0700")
            try:
                Path(root).mkdir(parents=True)
                return promise_at(f"{root}/store"), str(over)
            finally:
                linux_syscalls.umount(str(over), linux_syscalls.MNT_DETACH)


def on_a_loop_whose_file_is_gone() -> Promise:
    with private_folder() as folder, disk_on(folder, "xfs") as root:
        (Path(folder) / "image").unlink()
        return promise_at(f"{root}/store")


def test_a_file_system_mounted_over_the_named_one_is_the_one_that_is_judged() -> None:
    found, over = run_in_worker(under_a_tmpfs_that_hides_it)

    assert (found.file_system, found.mount_point) == ("tmpfs", over)
    assert (found.doctor, found.receipt, found.is_strong) == ("process", "process", False)
    assert "lives in memory" in found.power


def test_ext4_without_a_journal_promises_no_power_cut() -> None:
    found = run_in_worker(without_a_journal, "-O", "^has_journal")

    assert found.file_system == "ext4"
    assert (found.doctor, found.receipt, found.is_strong) == ("process", "process", False)
    assert "this ext4 has no journal" in found.power
    assert "this ext4 has no journal" in found.warned


def doctor_after_a_sync(fs: str) -> str:
    """What the doctor says is weak on a fresh file system, in words."""
    with private_folder() as folder, disk_on(folder, fs) as root:
        return "; ".join(diagnose(LinuxDisk(), f"{root}/store", probe=True).weaknesses)


def test_the_doctor_names_fast_commits_of_ext4_and_of_no_other_disk() -> None:
    found = {
        fs: run_in_worker(doctor_after_a_sync, fs)
        for fs in ("ext4", "ext4-fast-commit", "ext4-journal", "xfs")
    }

    assert [fs for fs, said in found.items() if "this ext4 has fast_commit" in said] == [
        "ext4-fast-commit"
    ]
    assert "EUCLEAN" in found["ext4-fast-commit"]


def on_a_fresh_disk(fs: str) -> Promise:
    """As if the image lay on a disk and not in memory."""
    below = "lastgood.backends.linux._weakness_under"
    with private_folder() as folder, disk_on(folder, fs) as root, patch(below, lambda _path: ""):
        return promise_at(f"{root}/store")


def test_the_first_save_on_an_ext4_that_commits_fast_promises_no_power_cut() -> None:
    found, plain = (run_in_worker(on_a_fresh_disk, fs) for fs in ("ext4-fast-commit", "ext4"))

    assert (plain.receipt, plain.warned) == ("power", "")
    assert found.receipt == "process"
    assert "this ext4 has fast_commit" in found.power
    assert "with tune2fs -O ^fast_commit" in found.warned


def with_the_default_of_writeback() -> Promise:
    below = "lastgood.backends.linux._weakness_under"
    with (
        private_folder() as folder,
        disk_on(folder, "ext4", "-o", "journal_data_writeback") as root,
        patch(below, lambda _path: ""),
    ):
        return promise_at(f"{root}/store")


@pytest.mark.parametrize("by", ["option", "default"])
def test_ext4_with_data_writeback_promises_no_power_cut_and_says_so_once(by: str) -> None:
    if by == "option":
        found = run_in_worker(on_a_fresh_disk, "ext4-writeback")
    else:
        found = run_in_worker(with_the_default_of_writeback)

    assert (found.doctor, found.receipt, found.is_strong) == ("process", "process", False)
    assert "data=writeback" in found.power
    assert found.warned.count("can bring back a file that an fsync had kept") == 1


def test_ext4_with_a_journal_is_not_said_to_have_none() -> None:
    assert "journal" not in run_in_worker(without_a_journal).power


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_loop_device_whose_file_lies_on_tmpfs_promises_no_power_cut(fs: str) -> None:
    found = run_in_worker(on_a_loop_over_memory, fs)

    assert found.file_system == fs
    assert (found.doctor, found.receipt, found.is_strong) == ("process", "process", False)
    for said in (found.power, found.warned):
        assert "its device loop" in said
        assert "on tmpfs, it lives in memory" in said


def test_a_loop_device_whose_file_cannot_be_seen_promises_no_power_cut() -> None:
    found = run_in_worker(on_a_loop_whose_file_is_gone)

    assert (found.doctor, found.receipt) == ("process", "process")
    assert "a file that cannot be seen from here" in found.warned
