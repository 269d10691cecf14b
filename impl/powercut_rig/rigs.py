"""One shape for all rigs: what a comparison asks of disks, whoever's kernel mounts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from powercut.filesystem.ops import Op
from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Plan
from powercut_rig.blocks.block_log import BlockLog, Recipe
from powercut_rig.blocks.crash_images import Bounds, CrashImage, CrashImages
from powercut_rig.filesystems import FILE_SYSTEMS, missing_for
from powercut_rig.guest.build.packages import missing_programs
from powercut_rig.guest.rig import GuestRig
from powercut_rig.linux.rig import Rig
from powercut_rig.mounted.image_mounter import FsckReport
from powercut_rig.mounted.op_runner import MarkWriter
from powercut_rig.mounted.tree_reader import TreeSnapshot
from powercut_rig.mounted.writeback import WriteBack
from powercut_rig.system.requirements import missing_everywhere

_T = TypeVar("_T")


class AnyImage(Protocol):
    """A crash image while it is mounted; see `powercut_rig.mounted.image_mounter.MountedImage`."""

    @property
    def refusal(self) -> OSError | None:
        """The error where the file system would not mount it."""

    @property
    def kernel_said(self) -> str:
        """The last of the kernel's log then."""

    def look(self) -> TreeSnapshot:
        """The tree."""

    def disk(self, plan: Plan) -> SubjectDisk:
        """A subject's own disk on it."""

    def unmount(self) -> None:
        """End the mount, if it is mounted."""

    def fsck(self) -> FsckReport:
        """End the mount, and ask the file system's own checker."""


class AnyRig(Protocol):
    """Records, and mounts what crashes leave; see `powercut_rig.linux.rig.Rig`."""

    def record(
        self,
        ops: Sequence[Op],
        *,
        setup: Sequence[Op] = (),
        writeback: Sequence[WriteBack] | None = None,
    ) -> BlockLog:
        """All that ops make a fresh file system write."""

    def crash_images(self, log: BlockLog, bounds: Bounds) -> CrashImages:
        """The crash images that follow from a recording."""

    def images(
        self,
        recording: BlockLog,
        recipes: Iterable[CrashImage | Recipe],
        *,
        only_read: bool = False,
    ) -> Iterator[AnyImage]:
        """The crash images, one mounted after the other; `only_read` promises to write nothing."""

    def record_on(
        self,
        recording: BlockLog,
        recipe: Recipe,
        act: Callable[[Callable[[Plan], SubjectDisk], MarkWriter], _T],
    ) -> tuple[BlockLog, _T]:
        """A recording of what `act` does on a crash image."""

    def images_after(
        self, recording: BlockLog, recipes: Iterable[CrashImage | Recipe]
    ) -> Iterator[AnyImage]:
        """The crash images of such a recording."""


def rig_for(fs: str) -> AbstractContextManager[AnyRig]:
    """The rig that has that file system, to be entered in a worker.

    Raises ValueError for a name that no rig knows.
    """
    found = FILE_SYSTEMS.get(fs)
    return GuestRig(fs) if found is not None and found.in_guest else Rig(fs)


def what_is_missing(fs: str = "ext4") -> list[str]:
    """One sentence for each thing that keeps the rig from running here; empty when it can.

    Looks only: makes no mount and attaches no device (one child process tries a private mount
    namespace and ends).  Raises ValueError for a file system that the rig does not know.
    """
    if fs not in FILE_SYSTEMS:
        known = ", ".join(sorted(FILE_SYSTEMS))
        raise ValueError(f"The rig does not know {fs!r}; it knows {known}.")
    found = FILE_SYSTEMS[fs]
    common = missing_programs() if found.in_guest else missing_everywhere()
    return common + missing_for(found)
