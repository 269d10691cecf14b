"""Unreadable blocks: one bit of a block is flipped below btrfs, whose checksum makes that an EIO.

The disk lies in memory behind a loop device, and is mounted in a process of its own, in a mount
namespace of its own: when that ends, in whatever way, the kernel removes all of it.  Run as
a module with SUBJECT, MODE, COUNT, SEED and FOLDER it prints rows as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import astuple, define

from lastgood.backends.detect import disk_here
from lastgood.guard import Guard
from powercut_lab.corruption.changes import CONTROL, UNREADABLE, Change, draw_file
from powercut_lab.corruption.file_runs import SUBJECT as SINGLE_FILE
from powercut_lab.corruption.file_runs import judge_file, new_checkpoint
from powercut_lab.corruption.group_layers import expect
from powercut_lab.corruption.group_runs import AT_REST, drawing, judge_group
from powercut_lab.corruption.groups import (
    MODEL,
    NEWER,
    OLDER,
    OPTIMIZER,
    FaultyDisk,
    GroupSubject,
    all_subjects,
    parts_of,
)
from powercut_lab.corruption.raw import Injection
from powercut_lab.errors import LabError
from powercut_rig.filesystems import BTRFS, missing_for
from powercut_rig.mounted.memory_disk import SparseFile, data_extents
from powercut_rig.system import linux_syscalls
from powercut_rig.system.loop_device import LoopDevice
from powercut_rig.system.requirements import missing_everywhere
from powercut_rig.system.subprocesses import TOOL_ENVIRONMENT, run_tool

_BLOCK_BYTES: Final = 4096
_START_S: Final = 120.0
_EACH_S: Final = 2.0

Judge = Callable[[Path, bool, str, Change], Injection]
"""Judges what is mounted there: effective, the fault, and where it struck."""


def why_missing() -> list[str]:
    """One sentence for each thing that is missing here; it only looks."""
    return [*missing_everywhere(), *missing_for(BTRFS)]


def inject_unreadable(
    subject: str, mode: str, count: int, seed: int, folder: Path
) -> list[Injection]:
    """The injections, by a process with a deadline. RigError; LabError where it prints no rows."""
    arguments = (subject, mode, str(count), str(seed), str(folder))
    places = os.pathsep.join(place for place in sys.path if place)
    done = run_tool(
        (sys.executable, "-m", __name__, *arguments),
        timeout_s=_START_S + _EACH_S * count,
        environment={**TOOL_ENVIRONMENT, "PYTHONPATH": places},
        folder=folder,
    )
    try:
        return [Injection(*row) for row in json.loads(done.stdout)]
    except (ValueError, TypeError) as error:
        raise LabError(f"the process for btrfs printed no rows: {done.stdout[-300:]}") from error


def main() -> None:
    """Do it in this process, which has to be one of its own."""
    subject, mode, count, seed, folder = sys.argv[1:]
    linux_syscalls.enter_private_mount_namespace()
    rows = list(_inject(subject, mode, int(count), int(seed), Path(folder)))
    sys.stdout.write(json.dumps([astuple(row) for row in rows]))


@define
class _Disk:
    """A btrfs in memory."""

    memory: SparseFile
    loop: LoopDevice
    folder: Path

    @contextlib.contextmanager
    def mounted(self, flags: int = 0) -> Iterator[Path]:
        """The file system, for the length of a block; nothing of it stays in the kernel's cache."""
        target = self.folder / "mounted"
        target.mkdir(exist_ok=True)
        linux_syscalls.mount(self.loop.path, str(target), BTRFS.kind, flags, BTRFS.mount_options)
        try:
            yield target
        finally:
            linux_syscalls.umount(str(target))
            BTRFS.forget(self.loop.path, str(self.folder))
            self.loop.forget_cached_pages()

    def places(self) -> dict[bytes, list[int]]:
        """The place of each block of the disk, by its content."""
        found: dict[bytes, list[int]] = {}
        for start, stop in data_extents(self.memory.fd):
            for at in range(start, stop, _BLOCK_BYTES):
                found.setdefault(self.memory.flat[at : at + _BLOCK_BYTES], []).append(at)
        return found

    @contextlib.contextmanager
    def flipped(self, places: list[int], byte: int, bit: int) -> Iterator[None]:
        """One bit of each copy of a block is flipped."""
        for place in places:
            self.memory.flat[place + byte] ^= 1 << bit
        try:
            yield
        finally:
            for place in places:
                self.memory.flat[place + byte] ^= 1 << bit


@contextlib.contextmanager
def _new_disk(folder: Path) -> Iterator[_Disk]:
    with SparseFile(BTRFS.size_bytes) as memory:
        loop = LoopDevice(
            f"/proc/self/fd/{memory.fd}", str(folder), block_bytes=_BLOCK_BYTES, direct=False
        )
        try:
            BTRFS.make(loop.path)
            yield _Disk(memory, loop, folder)
        finally:
            loop.close()


def _inject(subject: str, mode: str, count: int, seed: int, folder: Path) -> Iterator[Injection]:
    draw = drawing(seed, subject, mode, UNREADABLE)
    with Guard() as guard, _new_disk(folder) as disk:
        if subject == SINGLE_FILE:
            targets, judge = _file_on(disk, guard, mode, seed)
        else:
            found = [each for each in all_subjects() if (each.name, each.mode) == (subject, mode)]
            targets, judge = _group_on(disk, guard, found[0], seed)
        # A control sees the same disk in the same way.
        with disk.mounted(linux_syscalls.MS_RDONLY) as root:
            yield judge(root, False, CONTROL, Change({}, ""))
        places = disk.places()
        for _ in range(count):
            yield _one(disk, targets, judge, draw, places)


def _one(
    disk: _Disk,
    targets: Mapping[str, bytes],
    judge: Judge,
    draw: random.Random,
    known: Mapping[bytes, list[int]],
) -> Injection:
    name = draw_file(targets, draw)
    block = draw.randrange(len(targets[name]) // _BLOCK_BYTES)
    data = targets[name][block * _BLOCK_BYTES : (block + 1) * _BLOCK_BYTES]
    places = known.get(data, [])
    change = Change({}, f"{name}: block {block}")
    with (
        disk.flipped(places, draw.randrange(_BLOCK_BYTES), draw.randrange(8)),
        disk.mounted(linux_syscalls.MS_RDONLY) as root,
    ):
        return judge(root, bool(places), UNREADABLE, change)


def _group_on(
    disk: _Disk, guard: Guard, subject: GroupSubject, seed: int
) -> tuple[dict[str, bytes], Judge]:
    expected = expect(guard, disk.folder, seed)
    with disk.mounted() as root:
        for number, step in enumerate((OLDER, NEWER), 1):
            subject.save(root / "store", seed, number, step, FaultyDisk(disk_here()))
    newer = subject.directory(2, NEWER)

    def judge(root: Path, effective: bool, fault: str, change: Change) -> Injection:
        what = (fault, AT_REST, effective, change)
        return judge_group(guard, subject, root / "store", newer, expected, what)

    # The smallest part lies inside the metadata, of which btrfs keeps two copies.
    return {name: parts_of(seed, NEWER)[name] for name in (MODEL, OPTIMIZER)}, judge


def _file_on(disk: _Disk, guard: Guard, ending: str, seed: int) -> tuple[dict[str, bytes], Judge]:
    name = f"ckpt.{ending}"
    checkpoint = new_checkpoint(guard, disk.folder, name, ending, seed)
    with disk.mounted() as root:
        for file, data in {**checkpoint.parts, **checkpoint.records}.items():
            (root / file).write_bytes(data)

    def judge(root: Path, effective: bool, fault: str, change: Change) -> Injection:
        return judge_file(guard, root / name, ending, (fault, effective, change))

    return dict(checkpoint.parts), judge


if __name__ == "__main__":
    main()
