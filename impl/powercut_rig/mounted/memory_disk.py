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
from typing import Final

from powercut_rig.blocks.block_log import CHUNK_BYTES
from powercut_rig.system.lifecycle import ManagedResource
from powercut_rig.system.loop_device import LoopDevice

Cells = Mapping[int, tuple[bytes, int]]
"""Chunks that differ from the base: their bytes, and their term in the fingerprint."""

_ZEROS: Final = bytes(CHUNK_BYTES)
_SPARE_BYTES: Final = 64 << 20
_MAP_NORESERVE: Final = 0x4000
"""A sparse disk larger than the memory is no claim on so much of it."""


class SparseFile(ManagedResource):
    """A sparse file in memory of `size_bytes`, all zeros at first.

    Use as a context; `fd` is the file, which others may write to as well, and `flat` a map of it.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.fd = -1
        self.flat: mmap.mmap

    def _open(self, undo: contextlib.ExitStack) -> None:
        self.fd = os.memfd_create("powercut-rig-disk", os.MFD_CLOEXEC)
        undo.callback(os.close, self.fd)
        os.ftruncate(self.fd, self.size_bytes)
        self.flat = mmap.mmap(self.fd, self.size_bytes)
        undo.callback(self.flat.close)

    def load(self, content: Mapping[int, bytes]) -> None:
        """Set the file to these chunks, by number, and zeros elsewhere; it must not be in use."""
        self.flat.madvise(mmap.MADV_REMOVE, 0, self.size_bytes)
        for chunk, data in content.items():
            self._put(chunk, data)

    def _put(self, chunk: int, data: bytes) -> None:
        self.flat[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = data

    def chunks(self) -> dict[int, bytes]:
        """The chunks of the content, as it is now, that are not all zeros, by number."""
        found: dict[int, bytes] = {}
        for start, stop in data_extents(self.fd):
            for place in range(start, stop, CHUNK_BYTES):
                piece = self.flat[place : place + CHUNK_BYTES]
                if piece != _ZEROS:
                    found[place // CHUNK_BYTES] = piece
        return found


class MemoryDisk(SparseFile):
    """A file in memory that holds a base changed by cells, one set of them after the other."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._base: Mapping[int, bytes] = {}
        self._cells: Cells = {}
        self._wanted: mmap.mmap

    def _open(self, undo: contextlib.ExitStack) -> None:
        super()._open(undo)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._wanted = mmap.mmap(-1, self.size_bytes, flags=flags)
        undo.callback(self._wanted.close)

    def load(self, content: Mapping[int, bytes]) -> None:
        """Set the disk to this base and zeros elsewhere; it must not be in use."""
        for chunk in self._base.keys() | self._cells.keys():
            self._wanted[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = _ZEROS
        super().load(content)
        self._base, self._cells = content, {}

    def hold(self, cells: Cells) -> None:
        """Set the disk to the base with `cells`; no page of the content before survives.

        It must not be in use.
        """
        self._undo_writes_of_others()
        for chunk in self._cells.keys() - cells.keys():
            self._put(chunk, self._base.get(chunk, _ZEROS))
        for chunk, cell in cells.items():
            if self._cells.get(chunk) is not cell:
                self._put(chunk, cell[0])
        self._cells = cells

    def _put(self, chunk: int, data: bytes) -> None:
        start = chunk * CHUNK_BYTES
        self.flat[start : start + CHUNK_BYTES] = data
        self._wanted[start : start + CHUNK_BYTES] = data

    def _undo_writes_of_others(self) -> None:
        extents = list(data_extents(self.fd))
        if sum(stop - start for start, stop in extents) > _SPARE_BYTES:
            self.flat.madvise(mmap.MADV_REMOVE, 0, self.size_bytes)
            for chunk in self._base.keys() | self._cells.keys():
                start = chunk * CHUNK_BYTES
                self.flat[start : start + CHUNK_BYTES] = self._wanted[start : start + CHUNK_BYTES]
            return
        with memoryview(self.flat) as flat, memoryview(self._wanted) as wanted:
            for start, stop in extents:
                flat[start:stop] = wanted[start:stop]


class ScratchDisk(ManagedResource):
    """A `MemoryDisk` behind a loop device; `device` is its path, made in `folder`."""

    def __init__(
        self, folder: str, size_bytes: int, base: Mapping[int, bytes], *, block_bytes: int
    ) -> None:
        self._folder, self._base = folder, base
        self._block_bytes = block_bytes
        self._memory = MemoryDisk(size_bytes)
        self.loop: LoopDevice

    @property
    def device(self) -> str:
        """The path of the block device."""
        return self.loop.path

    def _open(self, undo: contextlib.ExitStack) -> None:
        undo.enter_context(self._memory)
        self._memory.load(self._base)
        self.loop = LoopDevice(
            f"/proc/self/fd/{self._memory.fd}",
            self._folder,
            block_bytes=self._block_bytes,
            direct=False,
        )
        undo.callback(self.loop.close)

    def hold(self, cells: Cells) -> None:
        """Set the disk to the base with `cells`; no page of the content before survives.

        The device must not be in use.  What the kernel still has to write goes out first, or it
        would go over the content; and what it read while the content changed is dropped.
        """
        self.loop.write_back()
        self._memory.hold(cells)
        self.loop.forget_cached_pages()


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
