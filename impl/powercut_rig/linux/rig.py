"""The rig: record a program on a real file system, and mount the crash images that follow.

def look() -> list[Tree]:
    with Rig(fs="ext4") as rig:
        recording = rig.record(ops)
        found = crash_images(recording)
        return [read_tree(i.mountpoint) for i in rig.images(recording, found.images)]

trees = run_in_worker(look)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from powercut.filesystem.ops import Op
from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Plan
from powercut_rig.blocks.block_log import BlockLog, Recipe, Replay
from powercut_rig.blocks.crash_images import Bounds, CrashImage, CrashImages, crash_images
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.filesystems import FILE_SYSTEMS, missing_for
from powercut_rig.linux.recorded_disk import RecordedDisk as BlockDisk
from powercut_rig.linux.recorder import record, record_on
from powercut_rig.mounted.image_mounter import ImageMounter, MountedImage, Phases
from powercut_rig.mounted.op_runner import MarkWriter
from powercut_rig.mounted.rooted_disk import RootedDisk
from powercut_rig.mounted.writeback import WriteBack, default_plan
from powercut_rig.system.lifecycle import ManagedResource
from powercut_rig.system.requirements import missing_everywhere
from powercut_rig.system.worker import private_folder

_T = TypeVar("_T")

_LARGEST_BYTES: Final = 1 << 30


class Rig(ManagedResource):
    """Records and mounts inside a worker; see `run_in_worker`.

    `fs` names an entry of `FILE_SYSTEMS`, `size_bytes` is the disk's size (None: the entry's own);
    `mount_options` are given to each mount, of the recording and of images ("data=journal").
    Entering raises `RigUnavailable` with all that is missing, and `RigError` outside of a
    worker.  Leaving unmounts and detaches everything, also after an error or Ctrl-C.
    """

    def __init__(
        self, fs: str = "ext4", size_bytes: int | None = None, mount_options: str = ""
    ) -> None:
        if fs not in FILE_SYSTEMS:
            known = ", ".join(sorted(FILE_SYSTEMS))
            raise ValueError(f"The file system {fs!r} was found; the rig records {known}.")
        self._fs = FILE_SYSTEMS[fs]
        if self._fs.in_guest:
            raise ValueError(f"{fs} is a file system of the guest; use powercut_rig.rigs.rig_for.")
        smallest = self._fs.smallest_bytes
        size_bytes = self._fs.size_bytes if size_bytes is None else size_bytes
        if not smallest <= size_bytes <= _LARGEST_BYTES or size_bytes % 4096:
            raise ValueError(
                f"A disk of {size_bytes} B was found; expected a multiple of 4096 from {smallest} "
                f"to {_LARGEST_BYTES} B: it is kept in memory."
            )
        self._size_bytes = size_bytes
        self._mount_options = mount_options
        self._folder = ""
        self._images = contextlib.ExitStack()
        self._mounter: ImageMounter | None = None
        self._again_cleanup = contextlib.ExitStack()
        self._again: BlockDisk | None = None
        self.phases = Phases()

    def _open(self, undo: contextlib.ExitStack) -> None:
        if missing := missing_everywhere() + missing_for(self._fs):
            raise RigUnavailable(missing)
        self._folder = undo.enter_context(private_folder())
        undo.callback(self._close_again)
        undo.callback(self._close_images)
        undo.callback(self._shut)

    def record(
        self,
        ops: Sequence[Op],
        *,
        setup: Sequence[Op] = (),
        writeback: Sequence[WriteBack] | None = None,
    ) -> BlockLog:
        """Runs `ops` on a fresh file system and returns all that it wrote.

        `setup` ops run first and are synced, so no crash loses them.  `writeback` says when
        the kernel writes early; without it `default_plan(ops)` does.
        """
        self._check_open()
        self._close_images()
        return record(
            self._folder,
            self._fs,
            self._size_bytes,
            ops,
            setup=setup,
            plan=default_plan(ops) if writeback is None else writeback,
            mount_options=self._mount_options,
        )

    def crash_images(self, log: BlockLog, bounds: Bounds) -> CrashImages:
        """The contents that a crash could have left, within bounds; see `crash_images`."""
        return crash_images(log, bounds)

    def images(
        self,
        recording: BlockLog,
        recipes: Iterable[CrashImage | Recipe],
        *,
        only_read: bool = False,  # noqa: ARG002 - mounted for writing all the same: it costs nothing
    ) -> Iterator[MountedImage]:
        """Mounts one crash image after the other; each is unmounted when the next is asked for.

        Changes made to an image are thrown away with it.  Images of two recordings are not
        mounted side by side: a new call ends the one before.
        """
        self._check_open()
        self._close_images()
        mounter = ImageMounter(self._folder, self._fs, recording, self._mount_options, self.phases)
        self._mounter = mounter
        self._images.enter_context(mounter)
        return self._mount_each(mounter, recipes)

    def record_on(
        self,
        recording: BlockLog,
        recipe: Recipe,
        act: Callable[[Callable[[Plan], SubjectDisk], MarkWriter], _T],
    ) -> tuple[BlockLog, _T]:
        """Mounts a crash image once more, lets `act` work on it, and returns all that was written.

        `act` gets what makes a subject's own disk there, and a writer of marks.

        So a recovery becomes a recording of its own, from which crash images follow again
        (`images_after`).  The image that is mounted now is unmounted.
        """
        self._check_open()
        if self._mounter is not None:
            self._mounter.unmount()
        if self._again is None:
            folder = Path(self._folder) / "again"
            folder.mkdir(mode=0o700)
            disk = BlockDisk(str(folder), recording.size_bytes)
            self._again = self._again_cleanup.enter_context(disk)
        content = {**recording.base, **dict(Replay(recording).content(recipe).chunks())}
        return record_on(
            self._again,
            str(Path(self._folder) / "again"),
            self._fs,
            content,
            lambda root, mark: act(lambda plan: RootedDisk(plan.real_disk(), root), mark),
            mount_options=self._mount_options,
        )

    def images_after(
        self, recording: BlockLog, recipes: Iterable[CrashImage | Recipe]
    ) -> Iterator[MountedImage]:
        """Mounts images of a recording that `record_on` made; the images before can go on then."""
        folder = str(Path(self._folder) / "again")
        with ImageMounter(folder, self._fs, recording, self._mount_options) as mounter:
            yield from self._mount_each(mounter, recipes)

    def _mount_each(
        self, mounter: ImageMounter, recipes: Iterable[CrashImage | Recipe]
    ) -> Iterator[MountedImage]:
        for item in recipes:
            yield mounter.mount(item.recipe if isinstance(item, CrashImage) else item)
        mounter.unmount()

    def _shut(self) -> None:
        self._folder = ""

    def _close_images(self) -> None:
        self._mounter = None
        self._images.close()

    def _close_again(self) -> None:
        self._again = None
        self._again_cleanup.close()

    def _check_open(self) -> None:
        if not self._folder:
            raise RigError("The rig is not open; use it as `with Rig() as rig:`.")
