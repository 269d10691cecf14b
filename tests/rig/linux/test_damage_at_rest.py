"""Damage at rest on a real btrfs: its checksums find it, and a read of it fails with EIO."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import LastgoodWarning, LatestN, Rejection, Store
from powercut_rig import run_in_worker
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.linux.recorder import mounted
from powercut_rig.system.loop_device import LoopDevice
from powercut_rig.system.worker import private_folder

pytestmark = pytest.mark.rig

SIZE = 64 << 10
"""Large enough that btrfs keeps it in extents of its own, beside its metadata."""


def content(step: int) -> bytes:
    """Bytes that occur nowhere else in the image."""
    block = hashlib.sha256(b"group %d" % step).digest()
    return b"".join(hashlib.sha256(block + b"%d" % n).digest() for n in range(SIZE // 32))


def name(step: int) -> str:
    return f"gen-{step:08d}-step-{step:08d}"


@contextlib.contextmanager
def btrfs(image: Path, folder: str, *, make: bool = False) -> Iterator[str]:
    """A mount of the image file, below a private folder; it and its device go, whatever happens."""
    fs = FILE_SYSTEMS["btrfs"]
    loop = LoopDevice(str(image), folder, block_bytes=512, direct=False)
    with contextlib.closing(loop) as device:
        if make:
            fs.make(device.path)
        with mounted(fs, device.path, folder) as root:
            yield root


def flip_one_byte(image: Path, wanted: bytes) -> None:
    """Change one byte in the middle of a content that is in the image once."""
    with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as disk:
        at = disk.find(wanted[:4096])
        assert at >= 0
        assert disk.find(wanted[:4096], at + 1) < 0
        disk[at + 100] ^= 0x01
        disk.flush()


def tries_of(hold: Any) -> dict[str, Any]:
    """What each call says of three groups, the newest of which cannot be read any more."""
    with private_folder() as folder, warnings.catch_warnings():
        # The image lies in memory, and a store says so: no machine dies here.
        warnings.simplefilter("ignore", LastgoodWarning)
        image = Path(folder) / "image"
        with image.open("wb") as file:
            file.truncate(FILE_SYSTEMS["btrfs"].size_bytes)
        with btrfs(image, folder, make=True) as root, Store(f"{root}/run") as store:
            for step in (1, 2, 3):
                store.save(step, {"model": content(step), "rng": b"state"})
        flip_one_byte(image, content(3))
        with btrfs(image, folder) as root:
            # What is mapped there keeps the mount busy for as long as somebody refers to it.
            return tries_in(f"{root}/run", hold)


def tries_in(path: str, hold: Any) -> dict[str, Any]:
    reader = lastgood.open_read_only(path)
    loaded = reader.load_latest(hold=hold)
    said: dict[str, Any] = {"verify": [reason_of(answer) for answer in reader.verify()]}
    said["reader"] = loaded and (loaded.step, bytes(loaded["model"]) == content(2))
    with Store(path) as store:
        loaded = store.load_latest(hold=hold)
        said["writer"] = loaded and (loaded.step, [each.reason for each in loaded.rejected])
        said["restored"] = store.restore().step
        pruning = store.prune(LatestN(1))
        assert pruning is not None
        said["pruned"] = [group.name.step for group in pruning.given_up]
        said["unreadable"] = [each.reason for each in pruning.unreadable]
        said["moved"] = [each.name for each in store.repair().moved]
        said["saved"] = store.save(4, {"model": content(4)}).generation
        said["latest"] = store.latest_step()
    said["names"] = sorted(each.name for each in Path(path).iterdir())
    return said


def reason_of(answer: Any) -> str:
    return answer.reason if isinstance(answer, Rejection) else "valid"


@pytest.mark.parametrize("hold", ["nothing", "memory", "map"])
def test_a_flipped_byte_that_btrfs_finds_costs_its_group_and_no_other(hold: str) -> None:
    said = run_in_worker(tries_of, hold)

    assert said["verify"] == ["unreadable:model", "valid", "valid"]
    assert said["reader"] == (2, True)
    assert said["writer"] == (2, ["unreadable:model"])
    assert said["restored"] == 2
    assert (said["pruned"], said["unreadable"]) == ([1], ["unreadable:model"])
    assert said["moved"] == []
    assert (said["saved"], said["latest"]) == (4, 4)
    assert said["names"] == [name(2), name(3), name(4), "lock"]
