"""A store on a mount that is read-only: nobody saves to it, and anybody loads from it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from lastgood import StorageError, Store, open_read_only
from powercut_rig import run_in_worker
from powercut_rig.system import linux_syscalls
from powercut_rig.system.worker import private_folder

pytestmark = pytest.mark.rig

_MS_RDONLY = 1
_MS_REMOUNT = 32


def on_a_read_only_mount() -> tuple[str, str, int | None]:
    """What an opening says of a store that is there, and of one that is not; the step loaded."""
    with private_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disk = Path(folder) / "disk"
        disk.mkdir()
        linux_syscalls.mount("disk", str(disk), "tmpfs", 0, "mode=0700")
        try:
            with Store(disk / "store") as store:
                store.save(7, {"model": b"weights"})
            linux_syscalls.mount("disk", str(disk), "tmpfs", _MS_REMOUNT | _MS_RDONLY)
            errors = []
            for name in ("store", "new"):
                with pytest.raises(StorageError) as caught:
                    Store(disk / name)
                errors.append(str(caught.value))
            loaded = open_read_only(disk / "store").load_latest()
            return errors[0], errors[1], None if loaded is None else loaded.step
        finally:
            linux_syscalls.umount(str(disk), linux_syscalls.MNT_DETACH)


def test_a_read_only_mount_points_to_reading_and_can_be_loaded_from() -> None:
    there, new, step = run_in_worker(on_a_read_only_mount)

    assert "a mount that is read-only" in there
    assert "EROFS" in new
    assert "It is mounted read-only" in new
    assert all("open_read_only()" in said for said in (there, new))
    assert step == 7
