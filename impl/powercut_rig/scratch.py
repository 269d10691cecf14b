"""A disk in memory that is set to one content after the other, each change of others undone.

Crash images are mounted on it.  The kernel writes to it as it likes: the next content is laid
over all that the memory file holds, and so what a mount or a recovery wrote is gone.  That costs
a copy of the pages in use, a few MB at most, and never one of the disk.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Mapping
from typing import Final, Self

from powercut_rig.blocklog import CHUNK_BYTES
from powercut_rig.loop import LoopDevice

Cells = Mapping[int, tuple[bytes, int]]
"""Chunks that differ from the base: their bytes, and their term in the fingerprint."""

_ZEROS: Final = bytes(CHUNK_BYTES)
_SPARE_BYTES: Final = 64 << 20


class ScratchDisk:
    """A disk of `size_bytes` whose content is `base` (chunk number to bytes), changed by cells.

    Use as a context; `device` is the path of its block device, made in `folder`.
    """

    def __init__(
        self, folder: str, size_bytes: int, base: Mapping[int, bytes], *, block_bytes: int
    ) -> None:
        self._folder, self._size_bytes, self._base = folder, size_bytes, base
        self._block_bytes = block_bytes
        self._cells: Cells = {}
        self._cleanup = contextlib.ExitStack()
        self._fd = -1
        self._flat: mmap.mmap
        self._wanted: mmap.mmap
        self._loop: LoopDevice

    @property
    def device(self) -> str:
        """The path of the block device."""
        return self._loop.path

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            self._fd = os.memfd_create("powercut-rig-images", os.MFD_CLOEXEC)
            undo.callback(os.close, self._fd)
            os.ftruncate(self._fd, self._size_bytes)
            self._flat = mmap.mmap(self._fd, self._size_bytes)
            undo.callback(self._flat.close)
            self._wanted = mmap.mmap(-1, self._size_bytes)
            undo.callback(self._wanted.close)
            self._loop = LoopDevice(
                f"/proc/self/fd/{self._fd}",
                self._folder,
                block_bytes=self._block_bytes,
                direct=False,
            )
            undo.callback(self._loop.close)
            for chunk, content in self._base.items():
                self._put(chunk, content)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, *_details: object) -> None:
        self._cleanup.close()

    def hold(self, cells: Cells) -> None:
        """Set the disk to the base with `cells`; no page of the content before survives.

        The device must not be in use.  What the kernel still has to write goes out first, or it
        would go over the content; and what it read while the content changed is dropped.
        """
        self._loop.write_back()
        self._undo_writes_of_others()
        for chunk in self._cells.keys() - cells.keys():
            self._put(chunk, self._base.get(chunk, _ZEROS))
        for chunk, cell in cells.items():
            if self._cells.get(chunk) is not cell:
                self._put(chunk, cell[0])
        self._cells = cells
        self._loop.forget_cached_pages()

    def _put(self, chunk: int, content: bytes) -> None:
        start = chunk * CHUNK_BYTES
        self._flat[start : start + CHUNK_BYTES] = content
        self._wanted[start : start + CHUNK_BYTES] = content

    def _undo_writes_of_others(self) -> None:
        extents = list(data_extents(self._fd))
        if sum(stop - start for start, stop in extents) > _SPARE_BYTES:
            self._flat.madvise(mmap.MADV_REMOVE, 0, self._size_bytes)
            for chunk in self._base.keys() | self._cells.keys():
                start = chunk * CHUNK_BYTES
                self._flat[start : start + CHUNK_BYTES] = self._wanted[start : start + CHUNK_BYTES]
            return
        with memoryview(self._flat) as flat, memoryview(self._wanted) as wanted:
            for start, stop in extents:
                flat[start:stop] = wanted[start:stop]


def data_extents(fd: int) -> Iterator[tuple[int, int]]:
    """The parts of a sparse file that are in memory, as half-open ranges of bytes."""
    stop = 0
    while True:
        try:
            start = os.lseek(fd, stop, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        stop = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, stop
