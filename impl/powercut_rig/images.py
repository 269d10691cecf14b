"""Crash images on a real disk: set the content, mount, let somebody look and recover, unmount.

One disk and one loop device serve all images of a recording.  Going from one image to the
next changes only the chunks that differ; what an image's own mount writes goes to an overlay
in the disk's server and is thrown away.  So an image never costs a copy of the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from attrs import define, field, frozen

from powercut_rig import fuse, linux
from powercut_rig.blocklog import CHUNK_BYTES, BlockLog, Recipe, Replay
from powercut_rig.disk import Disk
from powercut_rig.errors import ImageRefused, RigError
from powercut_rig.filesystems import FileSystem
from powercut_rig.tools import run_tool

_ZEROS: Final = bytes(CHUNK_BYTES)
_GAP_CHUNKS: Final = 32
_TAIL_CHUNKS: Final = 32  # recovery looks this far past the end of a journal
_FSCK_STATUSES: Final = tuple(range(256))
_SHOWN_CHARACTERS: Final = 4000


@frozen
class FsckReport:
    """What fsck says of an image after the kernel's own recovery: a witness, not a judge."""

    clean: bool
    output: str


@define
class Phases:
    """Seconds spent in each phase, over all images so far."""

    images: int = 0
    content_s: float = 0.0
    mount_s: float = 0.0
    use_s: float = 0.0
    unmount_s: float = 0.0


@define
class MountedImage:
    """One crash image while it is mounted, read-write, its journal replayed by the kernel.

    `refusal` holds the error when the file system would not mount it: a finding, for the
    caller to judge.
    """

    recipe: Recipe
    refusal: OSError | None
    _mount_point: str
    _fsck: Callable[[], FsckReport] = field(repr=False)

    @property
    def mountpoint(self) -> str:
        """Where the image is mounted; raises `ImageRefused` when it is not."""
        if self.refusal is not None:
            raise ImageRefused(
                f"The crash image {self.recipe} does not mount: {self.refusal}. A crash may not "
                "leave such a disk; keep the recording."
            )
        return self._mount_point

    def fsck(self) -> FsckReport:
        """Ends the mount and checks what is on the image's disk then, changing nothing."""
        return self._fsck()


class ImageMounter:
    """Mounts recipes of one log, one after the other, on one disk.

    Use as a context; leaving it unmounts.  `folder` is a private folder of the rig.
    """

    def __init__(self, folder: str, fs: FileSystem, log: BlockLog, mount_options: str = "") -> None:
        self._fs = fs
        self._log = log
        self._replay = Replay(log)
        self._options = ",".join(filter(None, (fs.mount_options, mount_options)))
        self._mount_point = Path(folder) / "image"
        self._disk = Disk(folder, log.size_bytes, block_bytes=fs.image_block_bytes)
        self._cells: dict[int, tuple[bytes, int]] = {}
        self._mounted = False
        self._used_since = 0.0
        self._cleanup = contextlib.ExitStack()
        self.phases = Phases()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            disk = undo.enter_context(self._disk)
            self._mount_point.mkdir(mode=0o700)
            undo.callback(self._mount_point.rmdir)
            for chunk, content in self._log.base.items():
                disk.flat[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = content
            self._cells = {}
            undo.callback(self._detach)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, *_details: object) -> None:
        self._cleanup.close()

    def mount(self, recipe: Recipe) -> MountedImage:
        """Unmount the image before, if it still is, and mount this one."""
        self.unmount()
        started = time.perf_counter()
        self._set_content(recipe)
        ready = time.perf_counter()
        refusal = None
        try:
            linux.mount(
                self._disk.device,
                str(self._mount_point),
                self._fs.name,
                linux.MS_NOATIME,
                self._options,
            )
            self._mounted = True
        except OSError as error:
            refusal = error
        mounted = time.perf_counter()
        self.phases.images += 1
        self.phases.content_s += ready - started
        self.phases.mount_s += mounted - ready
        self._used_since = mounted
        return MountedImage(recipe, refusal, str(self._mount_point), self._check)

    def unmount(self) -> None:
        """Unmount the image, if one is mounted.

        Raises `RigError` when something still uses it; then it stays mounted.
        """
        if not self._mounted:
            return
        started = time.perf_counter()
        try:
            linux.umount(str(self._mount_point))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise RigError(
                "A crash image is still in use: a file in it is open, or a process works in it. "
                "Close what the image's reader opened before going to the next image."
            ) from error
        self._mounted = False
        self.phases.use_s += started - self._used_since
        self.phases.unmount_s += time.perf_counter() - started

    def _detach(self) -> None:
        if self._mounted:
            linux.umount(str(self._mount_point), linux.MNT_DETACH)
            self._mounted = False

    def _set_content(self, recipe: Recipe) -> None:
        """Bring the disk to the recipe's content; no page of the image before survives."""
        wanted = self._replay.content(recipe).cells
        flat, base, cells = self._disk.flat, self._log.base, self._cells
        for chunk in cells.keys() - wanted.keys():
            start = chunk * CHUNK_BYTES
            flat[start : start + CHUNK_BYTES] = base.get(chunk, _ZEROS)
        for chunk, cell in wanted.items():
            if cells.get(chunk) is not cell:
                start = chunk * CHUNK_BYTES
                flat[start : start + CHUNK_BYTES] = cell[0]
        self._cells = wanted
        self._disk.loop.forget_cached_pages()
        self._disk.command(fuse.COMMAND_IMAGE)
        self._read_ahead(wanted.keys())

    def _read_ahead(self, touched: Iterable[int]) -> None:
        """Ask the kernel for all that is not zero, in large pieces.

        A mount reads its journal block by block; from a warm cache that costs no messages.
        """
        for first, end in _ranges(sorted(self._log.base.keys() | set(touched))):
            start, length = first * CHUNK_BYTES, (end + _TAIL_CHUNKS - first) * CHUNK_BYTES
            os.posix_fadvise(self._disk.loop.fd, start, length, os.POSIX_FADV_WILLNEED)

    def _check(self) -> FsckReport:
        self.unmount()
        done = run_tool((*self._fs.fsck, self._disk.device), ok=_FSCK_STATUSES)
        said = (done.stdout + done.stderr)[-_SHOWN_CHARACTERS:]
        return FsckReport(done.returncode in self._fs.fsck_clean, said)


def _ranges(chunks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Half-open ranges that cover the sorted chunks, across gaps of a few."""
    first = end = -1
    for chunk in chunks:
        if first >= 0 and chunk > end + _GAP_CHUNKS:
            yield first, end
            first = chunk
        elif first < 0:
            first = chunk
        end = chunk + 1
    if first >= 0:
        yield first, end
