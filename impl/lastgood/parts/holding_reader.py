"""A reader that keeps the bytes that it verifies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Literal, get_args

from lastgood.backends.capabilities import fast_reads
from lastgood.backends.interface import DiskReader, OpenFile
from lastgood.buffers import fresh_memory
from lastgood.format.chunks import Span
from lastgood.format.digests import digest_of
from lastgood.parts.part_reader import chunk_digests

Hold = Literal["nothing", "memory", "map"]
"""The bytes that a load keeps of those that it verified: none, all, or a map of each file."""
HOLDS: Final[tuple[Hold, ...]] = get_args(Hold)


class HoldingReader:
    """A reader that keeps what it digests, so that what was verified is what is handed out.

    Each file is read once: into memory, or mapped where the disk can. `held` has the bytes of
    every path that was digested, but for those of groups that were rejected: they are let go as
    soon as that is known, so that a load needs the memory of one group and not of all it tried.
    """

    def __init__(self, reader: DiskReader, hold: Hold) -> None:
        self.held: dict[str, memoryview] = {}
        self.reader = reader
        self._fast, self._hold = fast_reads(reader), hold
        self._rooms: dict[str, memoryview] = {}
        self._lock = threading.Lock()

    def kind(self, path: str) -> str:
        """See `DiskReader.kind`."""
        return self.reader.kind(path)

    def names(self, path: str) -> list[str]:
        """See `DiskReader.names`."""
        return self.reader.names(path)

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `DiskReader.read`."""
        return self.reader.read(path, limit_bytes)

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `DiskReader.digest`; keeps the bytes."""
        return self.digest_with(path, limit_bytes, "sha256")

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """See `FastReads.digest_with`; keeps the bytes."""
        data, digest = self.read_and_digest(path, limit_bytes, algorithm)
        return len(data), digest

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        """See `FastReads.read_and_digest`; keeps the bytes."""
        if self._hold == "map":
            data = self._fast.map(path, limit_bytes)
            digest = digest_of(data, algorithm)
        else:
            data, digest = self._fast.read_and_digest(path, limit_bytes, algorithm)
        self.held[path] = data
        return data, digest

    def map(self, path: str, limit_bytes: int) -> memoryview:
        """See `FastReads.map`."""
        return self._fast.map(path, limit_bytes)

    def open_file(self, path: str, limit_bytes: int) -> AbstractContextManager[OpenFile]:
        """See `FastReads.open_file`."""
        return self._fast.open_file(path, limit_bytes)

    def digest_chunks(self, path: str, span: Span, algorithm: str) -> tuple[int, tuple[str, ...]]:
        """Give a file's size and the chunks' hex digests, and keep the bytes. Any thread.

        Where its size is not `span.file_bytes` there may be no digests. Errors as `read`.
        """
        size_bytes = span.file_bytes
        if self._hold == "map":
            data = self._kept(path, lambda: self._fast.map(path, size_bytes))
            return len(data), tuple(digest_of(data[a:b], algorithm) for a, b in span)
        with self._fast.open_file(path, size_bytes) as file:
            if file.size_bytes != size_bytes:
                return file.size_bytes, ()
            # Nothing is taken for a size that only the manifest knows of.
            room = self._kept(path, lambda: memoryview(fresh_memory(size_bytes)))
            return size_bytes, chunk_digests(file, span, algorithm, lambda a, b: room[a:b])

    def forget(self, folder: str) -> None:
        """Forget all that was read below a directory."""
        for kept in (self.held, self._rooms):
            for path in [path for path in kept if path.startswith(f"{folder}/")]:
                del kept[path]

    def _kept(self, path: str, make: Callable[[], memoryview]) -> memoryview:
        """The memory of a file's bytes, made by the first thread that comes to it."""
        with self._lock:
            if path not in self._rooms:
                self._rooms[path] = make()
                self.held[path] = self._rooms[path].toreadonly()
            return self._rooms[path]
