"""The disks that saves are timed on: the one of the work folder, and those that are made for it.

What is made is made in a worker with mounts of its own, so that nothing of it can be left over.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

from attrs import evolve, frozen

from lastgood.backends.capabilities import system_info
from lastgood.backends.detect import disk_here
from powercut_lab.study import Missing
from powercut_rig.errors import RigError
from powercut_rig.filesystems import BTRFS, EXT4, XFS, FileSystem, missing_for
from powercut_rig.linux.recorded_disk import RecordedDisk
from powercut_rig.linux.recorder import mounted
from powercut_rig.system.loop_device import LoopDevice
from powercut_rig.system.worker import private_folder, run_in_worker_within

_T = TypeVar("_T")

FLUSH_S: Final = 0.005
"""The time of a flush on the disk of known latency: as on many a drive for consumers."""

_FILLING: Final = bytes(1 << 20)
_SPARE_BYTES: Final = 512 << 20

# The rig's recorder wants a journal as small as can be; a disk in use has mkfs choose it.
_USUAL_EXT4: Final = evolve(
    EXT4,
    mkfs=(
        "mkfs.ext4", "-q", "-F", "-b", "4096", "-U", "{id}",
        "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
    ),
    mkfs_environment={},
)  # fmt: skip

Kind = Literal["here", "file", "memory", "delayed"]


@frozen
class DiskKind:
    """A disk to time saves on.

    `kind` says what it is made of: nothing ("here"), a file on the disk of the work folder
    behind a loop device, memory, or the rig's recorder with flushes of `FLUSH_S` seconds more.
    `pace` is how long saves take on it, in those of a usual disk: a guess, for estimates.
    """

    name: str
    kind: Kind
    about: str
    pace: float
    file_system: FileSystem | None = None


HERE: Final = DiskKind(
    "own disk", "here", "the disk of the folder for temporary files, as it is", 1.0
)
_LOOP: Final = (
    "{} with its default options on a loop device over a file of the own disk: each of its "
    "flushes is an fsync of that file"
)
EXT4_LOOP: Final = DiskKind("ext4", "file", _LOOP.format("ext4"), 1.2, _USUAL_EXT4)
XFS_LOOP: Final = DiskKind("xfs", "file", _LOOP.format("xfs"), 0.7, XFS)
BTRFS_LOOP: Final = DiskKind("btrfs", "file", _LOOP.format("btrfs"), 1.4, BTRFS)
TMPFS: Final = DiskKind("tmpfs", "memory", "memory: nothing is ever flushed", 0.3)
DELAYED: Final = DiskKind(
    "slow-flush ext4",
    "delayed",
    f"ext4 on a disk in memory whose every flush takes {FLUSH_S * 1000:g} ms, served by a process",
    4.0,
    _USUAL_EXT4,
)
DISKS: Final = (HERE, EXT4_LOOP, XFS_LOOP, BTRFS_LOOP, TMPFS, DELAYED)
BY_NAME: Final = {disk.name: disk for disk in DISKS}


def disk_bytes(size_bytes: int) -> int:
    """The size of a disk that is made for groups of that size.

    One group is on it at a time; what was removed is given back only when the file system has
    committed, and one that is nearly full is slow.
    """
    return max(384 << 20, 4 * size_bytes)


def why_missing(disk: DiskKind, size_bytes: int, machine_lacks: Sequence[str]) -> Missing | None:
    """The reason why a disk for groups of that size cannot be made here, or None. Looks only.

    `machine_lacks` is what `missing_everywhere` says, which takes a process.
    """
    if disk.kind == "here":
        return None
    part, reasons = f"Saves on the disk {disk.name!r}", list(machine_lacks)
    remedy = "Run it as root on Linux with /dev/fuse and loop devices."
    if not reasons and disk.file_system is not None and (lacks := missing_for(disk.file_system)):
        reasons, remedy = lacks, f"Install {' or '.join(disk.file_system.packages)}."
    if not reasons and disk.kind == "file":
        home = tempfile.gettempdir()
        free, wanted = shutil.disk_usage(home).free, disk_bytes(size_bytes) + _SPARE_BYTES
        if free < wanted:
            part = f"Saves of {size_bytes >> 10} KiB on the disk {disk.name!r}"
            reasons = [f"{home} has {free >> 20} MiB free, and {wanted >> 20} are needed."]
            remedy = "Set TMPDIR to a folder with more room."
    return Missing(part, " ".join(reasons), remedy) if reasons else None


def on_disk(
    disk: DiskKind, workplace: Path, size_bytes: int, timeout_s: float, work: Callable[[Path], _T]
) -> _T:
    """The result of `work` for an empty folder on that disk, which is made for it and removed.

    `workplace` is an empty folder on the own disk.  What it gives must pickle: it comes from a
    process of its own, but for the disk `here`.  RigError.
    """
    if disk.kind == "here":
        return work(workplace)
    return run_in_worker_within(timeout_s, _on_made_disk, disk, workplace, size_bytes, work)


def _on_made_disk(
    disk: DiskKind, workplace: Path, size_bytes: int, work: Callable[[Path], _T]
) -> _T:
    with private_folder() as folder, _made(disk, workplace, folder, size_bytes) as home:
        return work(home)


@contextlib.contextmanager
def _made(disk: DiskKind, workplace: Path, folder: str, size_bytes: int) -> Iterator[Path]:
    fs = disk.file_system
    if fs is None:
        home = Path(folder) / "home"
        home.mkdir()
        yield home
        return
    whole_bytes = disk_bytes(size_bytes)
    with contextlib.ExitStack() as stack:
        if disk.kind == "delayed":
            recorded = RecordedDisk(folder, whole_bytes, flush_s=FLUSH_S)
            device = stack.enter_context(recorded).device
        else:
            device = stack.enter_context(_loop_over_file(workplace, folder, whole_bytes))
        fs.make(device)
        root = stack.enter_context(mounted(fs, device, folder))
        home = Path(root) / "home"
        home.mkdir()
        yield home
        shutil.rmtree(home)


@contextlib.contextmanager
def _loop_over_file(workplace: Path, folder: str, size_bytes: int) -> Iterator[str]:
    """A loop device over a new file, every block of which is on the disk already.

    Else the disk below would have to find room for each block in the middle of a save.
    """
    backing = workplace / "disk"
    with backing.open("xb", buffering=0) as file:
        for _ in range(0, size_bytes, len(_FILLING)):
            file.write(_FILLING)
        os.fsync(file.fileno())
    try:
        device = _attached(str(backing), folder)
    finally:
        # The device holds the file: it goes with the device, also where this process is killed.
        backing.unlink()
    try:
        yield device.path
    finally:
        device.close()


def _attached(backing: str, folder: str) -> LoopDevice:
    try:
        return LoopDevice(backing, folder, block_bytes=4096)
    except RigError:  # the disk below takes no direct I/O: the page cache stands between
        return LoopDevice(backing, folder, block_bytes=4096, direct=False)


def known_file_system(name: str) -> str:
    """The file system of a disk that is made; "" of one that is found, or not known by name."""
    disk = BY_NAME.get(name)
    if disk is None or disk.kind == "here":
        return ""
    return "tmpfs" if disk.file_system is None else disk.file_system.name


def file_system_of(folder: Path) -> str:
    """The name of the file system that holds a folder; "unknown" where it cannot be found out."""
    info = system_info(disk_here())
    return info.file_system(info.canonical(str(folder))).name
