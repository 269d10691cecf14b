"""The rig on a Mac: record a program on an APFS image by cloning it, and mount the clones.

It is used as the block recorder's `Rig` is.  A log holds marks only, and a recipe means the clone
taken at that place; all clones are of the kernel class.  Two images with one content share their
ids, so no two are ever attached at a time: clones are looked at when the recording has ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from attrs import define, field, frozen

from powercut.filesystem.ops import Op
from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Plan
from powercut_rig.blocks.block_log import BlockLog, Recipe
from powercut_rig.blocks.crash_images import Bounds, CrashImage, CrashImages
from powercut_rig.errors import RigError
from powercut_rig.macos.clone_recorder import BackgroundLoop, CloneTaker, loop_in_thread
from powercut_rig.macos.clones import Cloner
from powercut_rig.macos.darwin_syscalls import MacCalls
from powercut_rig.macos.disk_images import DiskImages
from powercut_rig.macos.op_runner import MacOpRunner
from powercut_rig.macos.subprocesses import CommandError
from powercut_rig.mounted.image_mounter import FsckReport, MountedImage
from powercut_rig.mounted.op_runner import MarkWriter, ProgramRunner
from powercut_rig.mounted.rooted_disk import RootedDisk
from powercut_rig.mounted.tree_reader import TreeSnapshot, read_snapshot
from powercut_rig.mounted.writeback import WriteBack, default_plan

_T = TypeVar("_T")

SIZE_BYTES: Final = 64 << 20
CLONES_PER_SYNC: Final = 4
"""Clones taken while one sync runs."""

_ROOT: Final = "root"
_FILL: Final = "fill"
_BLOCKS_AT_ONCE: Final = 256
_QUIET_FILES: Final = (".metadata_never_index", ".fseventsd/no_log")
"""Names that keep Spotlight and the event log of macOS away from a volume."""


@frozen
class CloneLog(BlockLog):
    """A recording by clones: its records are marks; `clones` holds image files by position."""

    clones: Mapping[int, Path] = field(factory=dict)
    found: CrashImages = field(factory=lambda: CrashImages((), {}, {}))


@define
class MacRig:
    """Records and mounts below `folder`, which lies on APFS and belongs to this process alone.

    `during` clones at most are taken beside each sync while it runs, by what `background` starts.
    """

    folder: Path
    disks: DiskImages
    clone: Cloner
    calls: MacCalls
    size_bytes: int = SIZE_BYTES
    during: int = CLONES_PER_SYNC
    background: BackgroundLoop = loop_in_thread
    _recordings: int = 0
    _shown: contextlib.ExitStack = field(factory=contextlib.ExitStack)

    def record(
        self,
        ops: Sequence[Op],
        *,
        setup: Sequence[Op] = (),
        writeback: Sequence[WriteBack] | None = None,
        fill: bytes = b"",
    ) -> CloneLog:
        """Run `ops` on a fresh volume and return a clone for each step.

        `fill`, a block, is written all over the volume's free room, which is freed again.  `setup`
        ops run then and are synced with the volume.  Clones are taken before the first
        op, after each op and each early write, beside syncs that run, and after a last sync of
        the volume.  Raises RigError when an op fails; everything is detached then.
        """
        plan = default_plan(ops) if writeback is None else writeback
        image = self._folder_of_recording() / "recording.dmg"
        self.disks.create(image, self.size_bytes)
        taker = CloneTaker(image, self.clone, self.during, self.background)
        with self._mounted(image) as root, contextlib.ExitStack() as stack:
            stack.callback(taker.end)  # before anything is detached
            self._begin(root)
            if fill:
                self._fill_and_free(root.parent / _FILL, fill)
            program = ProgramRunner(MacOpRunner(str(root), self.calls), taker.mark)
            stack.enter_context(contextlib.closing(program))
            program.perform(setup)
            program.sync()
            taker.take()
            program.run(ops, plan)
            taker.mark("end of program", len(ops), "note")
            program.sync()
            taker.take()
        image.unlink()
        return self._log(taker)

    def record_on(
        self,
        recording: BlockLog,
        recipe: Recipe,
        act: Callable[[Callable[[Plan], SubjectDisk], MarkWriter], _T],
    ) -> tuple[CloneLog, _T]:
        """Mount a clone once more, read-write, let `act` work on it, and clone at each mark.

        The image that is mounted now is detached.
        """
        self._shown.close()
        image = self._folder_of_recording() / "again.dmg"
        self.clone(_clone_of(recording, recipe), image)
        taker = CloneTaker(image, self.clone, self.during, self.background)
        with self._mounted(image) as root, contextlib.ExitStack() as stack:
            stack.callback(taker.end)
            taker.take()
            below = str(root)
            answer = act(lambda plan: RootedDisk(plan.real_disk(), below), taker.mark)
            taker.take()
        image.unlink()
        return self._log(taker), answer

    def crash_images(self, log: BlockLog, bounds: Bounds) -> CrashImages:  # noqa: ARG002 - a clone is a clone
        """The clones of a recording, equal contents merged."""
        return log.found if isinstance(log, CloneLog) else CrashImages((), {}, {})

    def images(
        self,
        recording: BlockLog,
        recipes: Iterable[CrashImage | Recipe],
        *,
        only_read: bool = False,  # noqa: ARG002 - that both mounts show one tree is looked at too
    ) -> Iterator[MountedImage]:
        """Mount one clone after the other: read-only to look, then a clone of it read-write.

        The two must show the same tree.  What is done to a mounted image is thrown away.  The
        image that is mounted now is detached.
        """
        self._shown.close()
        for item in recipes:
            recipe = item.recipe if isinstance(item, CrashImage) else item
            path = _clone_of(recording, recipe)
            with contextlib.ExitStack() as stack:
                self._shown = stack
                try:
                    before = self._looked(path)
                    root = stack.enter_context(self._scratch(path))
                    refusal = _difference(before, read_snapshot(str(root)))
                except (CommandError, OSError) as error:
                    refusal, root = _refused(error), self.folder
                fsck = _Fsck(self.disks, path, stack.close)
                yield MountedImage(recipe, refusal, "", str(root), stack.close, fsck)

    images_after = images

    def tree(self, recording: BlockLog, recipe: Recipe) -> TreeSnapshot:
        """The tree of a clone, attached read-only. CommandError, OSError, RigError."""
        return self._looked(_clone_of(recording, recipe))

    def forget(self, recording: CloneLog) -> None:
        """Remove the clones of a recording that nobody needs any more."""
        for path in recording.clones.values():
            path.unlink(missing_ok=True)

    def _looked(self, path: Path) -> TreeSnapshot:
        with self.disks.attached(path, self._mount_point(), writable=False):
            return read_snapshot(str(self._mount_point() / _ROOT))

    @contextlib.contextmanager
    def _scratch(self, path: Path) -> Iterator[Path]:
        """A clone of a clone, mounted read-write; gone afterwards."""
        scratch = self.folder / "scratch.dmg"
        self.clone(path, scratch)
        try:
            with self._mounted(scratch) as root:
                yield root
        finally:
            scratch.unlink()

    @contextlib.contextmanager
    def _mounted(self, image: Path) -> Iterator[Path]:
        with self.disks.attached(image, self._mount_point(), writable=True):
            yield self._mount_point() / _ROOT

    def _begin(self, root: Path) -> None:
        """Make the folder that a program sees as its root, beside the system's own names."""
        root.mkdir()
        for name in _QUIET_FILES:
            quiet = root.parent / name
            with contextlib.suppress(OSError):  # they only keep others from looking
                quiet.parent.mkdir(exist_ok=True)
                quiet.touch()

    def _fill_and_free(self, path: Path, block: bytes) -> None:
        """Write copies of a block until there is no room, and free them; both are synced."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            left, piece_bytes = self.size_bytes, len(block) * _BLOCKS_AT_ONCE
            while left >= len(block) <= piece_bytes:
                try:
                    left -= os.write(fd, block * (min(piece_bytes, left) // len(block)))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece_bytes //= 2  # a smaller piece may still find room
            self.calls.volume(fd)
            path.unlink()
            self.calls.volume(fd)
        finally:
            os.close(fd)

    def _mount_point(self) -> Path:
        point = self.folder / "mount"
        point.mkdir(mode=0o700, exist_ok=True)
        return point

    def _folder_of_recording(self) -> Path:
        self._recordings += 1
        folder = self.folder / f"recording-{self._recordings}"
        folder.mkdir(mode=0o700)
        return folder

    def _log(self, taker: CloneTaker) -> CloneLog:
        clones, found = taker.distinct()
        return CloneLog(self.size_bytes, {}, tuple(taker.records), clones, found)


@frozen
class _Fsck:
    """Ends a mount and asks fsck_apfs about the clone that it was made from."""

    disks: DiskImages
    path: Path
    unmount: Callable[[], None]

    def __call__(self) -> FsckReport:
        self.unmount()
        return self.disks.fsck(self.path)


def _clone_of(recording: BlockLog, recipe: Recipe) -> Path:
    if not isinstance(recording, CloneLog) or recipe.position not in recording.clones:
        raise RigError(f"No clone was taken at {recipe}; nothing was attached.")
    return recording.clones[recipe.position]


def _refused(error: CommandError | OSError) -> OSError:
    return error if isinstance(error, OSError) else OSError(errno.EIO, str(error))


def _difference(before: TreeSnapshot, after: TreeSnapshot) -> OSError | None:
    """The error where the two ways to mount an image show two trees."""
    if before.digest == after.digest:
        return None
    differing = sorted(
        path
        for path in {*before.plain, *after.plain}
        if before.plain.get(path, -1) != after.plain.get(path, -1)
    )
    return OSError(errno.EIO, f"mounted read-only and read-write it differs in {differing[:5]}")
