"""Crash images on a real disk: set the content, mount, let somebody look and recover, unmount.

One disk in memory and one loop device serve all images of a recording.  Going from one image
to the next changes only the chunks that differ, and undoes what the image's own mount wrote.
So an image never costs a copy of the disk, and two images are never mounted side by side.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Plan
from powercut_rig.blocks.block_log import BlockLog, Recipe, Replay
from powercut_rig.errors import ImageRefused, RigError
from powercut_rig.filesystems import FileSystem
from powercut_rig.mounted.memory_disk import Cells, ScratchDisk
from powercut_rig.mounted.rooted_disk import RootedDisk
from powercut_rig.mounted.tree_reader import TreeSnapshot, read_snapshot
from powercut_rig.system import linux_syscalls
from powercut_rig.system.lifecycle import ManagedResource
from powercut_rig.system.subprocesses import run_tool

_FSCK_STATUSES: Final = tuple(range(-64, 256))  # a signal too: damage can kill a checker
_SHOWN_CHARACTERS: Final = 4000
_KERNEL_LINES: Final = 8


@frozen
class FsckReport:
    """The word of fsck on an image after the kernel's own recovery: a witness, not a judge."""

    clean: bool
    output: str


@frozen
class TimeSpent:
    """Time so far: of the clock, and of the processor in this process and its system calls."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def now(cls) -> TimeSpent:
        """Both clocks as they stand."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: TimeSpent) -> TimeSpent:
        return TimeSpent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: TimeSpent) -> TimeSpent:
        return TimeSpent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


@define
class Phases:
    """The time spent in each phase, over all images so far.

    `mount` and `unmount` are one system call each, and what btrfs needs to be forgotten.
    """

    images: int = 0
    content: TimeSpent = TimeSpent()
    mount: TimeSpent = TimeSpent()
    use: TimeSpent = TimeSpent()
    unmount: TimeSpent = TimeSpent()


@define
class MountedImage:
    """One crash image while it is mounted, read-write, its journal replayed by the kernel.

    `refusal` holds the error when the file system would not mount it, and `kernel_said` the last
    that the kernel's log says of its disk then: a finding, for the caller to judge.
    """

    recipe: Recipe
    refusal: OSError | None
    kernel_said: str
    _mount_point: str
    _unmount: Callable[[], None] = field(repr=False)
    _fsck: Callable[[], FsckReport] = field(repr=False)

    @property
    def mountpoint(self) -> str:
        """The path at which the image is mounted; raises `ImageRefused` when it is not."""
        if self.refusal is not None:
            raise ImageRefused(
                f"The crash image {self.recipe} does not mount: {self.refusal}. A crash may not "
                f"leave such a disk; keep the recording. The kernel said:\n{self.kernel_said}"
            )
        return self._mount_point

    def look(self) -> TreeSnapshot:
        """The tree of the image; raises `ImageRefused` where it does not mount."""
        return read_snapshot(self.mountpoint)

    def disk(self, plan: Plan) -> SubjectDisk:
        """A subject's own disk, with its paths below the mount."""
        return RootedDisk(plan.real_disk(), self.mountpoint)

    def unmount(self) -> None:
        """End the mount, if the image is mounted. RigError where it is still in use."""
        self._unmount()

    def fsck(self) -> FsckReport:
        """Ends the mount and checks what is on the image's disk then, changing nothing."""
        return self._fsck()


class ImageMounter(ManagedResource):
    """Mounts recipes of one log, one after the other, on one disk.

    Use as a context; leaving it unmounts.  `folder` is a private folder of the rig.
    """

    def __init__(
        self,
        folder: str,
        fs: FileSystem,
        log: BlockLog,
        mount_options: str = "",
        phases: Phases | None = None,
    ) -> None:
        self._fs = fs
        self._log = log
        self._replay = Replay(log)
        self._options = ",".join(filter(None, (fs.mount_options, mount_options)))
        self._mount_point = Path(folder) / "image"
        self._folder = folder
        self._disk = ScratchDisk(folder, log.size_bytes, log.base, block_bytes=fs.image_block_bytes)
        self._mounted = False
        self._used_since = TimeSpent()
        self.phases = Phases() if phases is None else phases

    def _open(self, undo: contextlib.ExitStack) -> None:
        undo.enter_context(self._disk)
        self._mount_point.mkdir(mode=0o700)
        undo.callback(self._mount_point.rmdir)
        undo.callback(self._detach)

    def mount(self, recipe: Recipe) -> MountedImage:
        """Unmount the image before, if it still is, and mount this one."""
        self.unmount()
        return self.mount_cells(recipe, self._replay.content(recipe).cells)

    def mount_cells(self, recipe: Recipe, cells: Cells) -> MountedImage:
        """Mount the base with `cells`, which some `recipe` gave."""
        self.unmount()
        started = TimeSpent.now()
        self._disk.hold(cells)
        ready = TimeSpent.now()
        refusal, kernel_said = None, ""
        try:
            linux_syscalls.mount(
                self._disk.device,
                str(self._mount_point),
                self._fs.kind,
                linux_syscalls.MS_NOATIME,
                self._options,
            )
            self._mounted = True
        except OSError as error:
            refusal = error
            kernel_said = linux_syscalls.kernel_words(_KERNEL_LINES, self._disk.device)
        mounted = TimeSpent.now()
        self.phases.images += 1
        self.phases.content += ready - started
        self.phases.mount += mounted - ready
        self._used_since = mounted
        return MountedImage(
            recipe, refusal, kernel_said, str(self._mount_point), self.unmount, self._check
        )

    def unmount(self) -> None:
        """Unmount the image, if one is mounted.

        Raises `RigError` when something still uses it; then it stays mounted.
        """
        if not self._mounted:
            return
        started = TimeSpent.now()
        try:
            linux_syscalls.umount(str(self._mount_point))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise RigError(
                "A crash image is still in use: a file in it is open, or a process works in it. "
                "Close what the image's reader opened before going to the next image."
            ) from error
        self._mounted = False
        self._fs.forget(self._disk.device, self._folder)
        self.phases.use += started - self._used_since
        self.phases.unmount += TimeSpent.now() - started

    def _detach(self) -> None:
        if self._mounted:
            linux_syscalls.umount(str(self._mount_point), linux_syscalls.MNT_DETACH)
            self._mounted = False
        with contextlib.suppress(OSError):  # a list of the kernel's, not worth an error here
            self._fs.forget(self._disk.device, self._folder)

    def _check(self) -> FsckReport:
        self.unmount()
        return fsck(self._fs, self._disk.device)


def fsck(fs: FileSystem, device: str) -> FsckReport:
    """Run the file system's own checker on an unmounted disk, changing nothing."""
    done = run_tool((*fs.fsck, device), ok=_FSCK_STATUSES)
    said = (done.stdout + done.stderr)[-_SHOWN_CHARACTERS:]
    return FsckReport(done.returncode == 0, said)
