from __future__ import annotations

import os
import pickle
import shutil
import sys

import pytest

from powercut_rig import Rig, RigError, RigUnavailable, what_is_missing
from powercut_rig.system.worker import private_folder, run_in_worker


def test_without_root_the_lack_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert any("needs root" in sentence for sentence in what_is_missing())


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    for fs, program, package in (
        ("ext4", "mkfs.ext4", "e2fsprogs"),
        ("ext4", "e2fsck", "e2fsprogs"),
        ("xfs", "mkfs.xfs", "xfsprogs"),
        ("btrfs", "btrfs", "btrfs-progs"),
    ):
        sentence = f"The program {program} is not installed (package {package})."
        assert sentence in what_is_missing(fs)


def test_a_guest_needs_no_root_and_names_its_own_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not any("root" in sentence for sentence in what_is_missing("apfs-linux"))

    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    said = what_is_missing("apfs-linux")
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("mkapfs", "apfsprogs")):
        assert f"The program {program} is not installed (package {package})." in said


def test_elsewhere_than_on_linux_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert what_is_missing() == ["The block recorder needs Linux and this is darwin."]


def test_work_on_a_machine_that_lacks_something_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RigUnavailable, match="needs root") as caught:
        run_in_worker(int)
    assert any("needs root" in reason for reason in caught.value.reasons)


def test_an_unknown_file_system_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="ext4"):
        what_is_missing("fat")
    with pytest.raises(ValueError, match="ext4"):
        Rig(fs="fat")


@pytest.mark.parametrize("size_bytes", [0, 1 << 20, (32 << 20) + 1, 1 << 41])
def test_a_disk_of_an_unusable_size_is_refused(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected a multiple of 4096"):
        Rig(size_bytes=size_bytes)


def test_the_rig_refuses_to_mount_outside_of_a_worker() -> None:
    with pytest.raises(RigError, match="outside of its worker"), private_folder():
        pass


def test_unavailability_crosses_a_process_boundary_whole() -> None:
    error = pickle.loads(pickle.dumps(RigUnavailable(["No fuse.", "No loop."])))  # noqa: S301
    assert error.reasons == ("No fuse.", "No loop.")
    assert "No fuse. No loop." in str(error)
