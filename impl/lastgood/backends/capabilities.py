"""The three capabilities that a disk may offer beside `Disk`, and what stands in for each.

A disk offers a capability when its class has all of its methods. One that has only some derives
from the stand-in, which states for each method what an answer of "not here" is. Whether a class
offers a capability is looked up once: an `isinstance` of a protocol takes as long as some of the
system calls of a save.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol, cast, runtime_checkable

from lastgood.backends.interface import (
    UNKNOWN_FILE_SYSTEM,
    Disk,
    DiskReader,
    FileSystemTraits,
    OpenFile,
)
from lastgood.format.digests import digest_of


@runtime_checkable
class SystemInfo(Protocol):
    """Facts about the file system, its locks and its entries."""

    def canonical(self, path: str) -> str:
        """Give the absolute path without symlinks; what does not exist is left as it is."""
        ...

    def file_system(self, path: str) -> FileSystemTraits:
        """Describe the file system that holds, or would hold, this canonical path."""
        ...

    def holds(self, path: str) -> bool:
        """Say whether the file locked here is the one that has this path now. OSError."""
        ...

    def free_bytes(self, path: str) -> int | None:
        """Give what this user may still write to the file system of a directory. OSError."""
        ...

    def may_write(self, path: str) -> bool:
        """Say whether names could be made in a directory now; False on a read-only mount."""
        ...

    def stamp(self, path: str) -> tuple[int, ...] | None:
        """Give numbers that every change of this entry changes; a symlink's own. OSError."""
        ...


@runtime_checkable
class WriteHints(Protocol):
    """Hints about files that are open for writing. They promise nothing and wait for nothing."""

    def preallocate(self, path: str, size_bytes: int) -> None:
        """Keep space for a file whose size stays 0. ENOSPC; nothing where it cannot be."""
        ...

    def write_early(self, path: str) -> None:
        """Begin to write what is dirty, before the sync that waits for it."""
        ...


@runtime_checkable
class FastReads(Protocol):
    """Reads that go through a regular file once, or not at all. Errors as `DiskReader.read`."""

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """Give the size in bytes and the digest in hex."""
        ...

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        """Read all of it, and digest each piece while it is in the cache."""
        ...

    def map(self, path: str, limit_bytes: int) -> memoryview:
        """Map it, read-only; the map stays readable after its name is gone."""
        ...

    def open_file(self, path: str, limit_bytes: int) -> AbstractContextManager[OpenFile]:
        """Open it for the length of a block, to read pieces of it in any order."""
        ...


class UnknownSystem:
    """The stand-in for `SystemInfo`: nothing is known, and nothing is in the way."""

    def canonical(self, path: str) -> str:
        """Give the same path, without a slash at its end."""
        return path.rstrip("/") or "/"

    def file_system(self, path: str) -> FileSystemTraits:  # noqa: ARG002
        """Assume nothing."""
        return UNKNOWN_FILE_SYSTEM

    def holds(self, path: str) -> bool:  # noqa: ARG002
        """Trust the lock."""
        return True

    def free_bytes(self, path: str) -> int | None:  # noqa: ARG002
        """Give None: not known."""
        return None

    def may_write(self, path: str) -> bool:  # noqa: ARG002
        """Leave it to the write itself."""
        return True

    def stamp(self, path: str) -> tuple[int, ...] | None:  # noqa: ARG002
        """Give None: whether an entry has changed is not known."""
        return None


class NoWriteHints:
    """The stand-in for `WriteHints`: every hint is ignored."""

    def preallocate(self, path: str, size_bytes: int) -> None:
        """Do nothing."""

    def write_early(self, path: str) -> None:
        """Do nothing."""


class PlainReads:
    """The stand-in for `FastReads`: each is a read of the whole file."""

    def __init__(self, reader: DiskReader) -> None:
        self._reader = reader

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """See `FastReads.digest_with`."""
        data, digest = self.read_and_digest(path, limit_bytes, algorithm)
        return len(data), digest

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        """See `FastReads.read_and_digest`."""
        data = self.map(path, limit_bytes)
        return data, digest_of(data, algorithm)

    def map(self, path: str, limit_bytes: int) -> memoryview:
        """Give a copy of the content."""
        return memoryview(self._reader.read(path, limit_bytes))

    @contextlib.contextmanager
    def open_file(self, path: str, limit_bytes: int) -> Iterator[OpenFile]:
        """Give a file that was read whole."""
        yield _WholeFile(self.map(path, limit_bytes))


class _WholeFile:
    def __init__(self, data: memoryview) -> None:
        self.size_bytes = len(data)
        self._data = data

    def read_into(self, offset_bytes: int, room: memoryview) -> int:
        piece = self._data[offset_bytes : offset_bytes + len(room)]
        room[: len(piece)] = piece
        return len(piece)


def system_info(disk: DiskReader) -> SystemInfo:
    """The disk itself, where it offers this, or the stand-in."""
    return cast("SystemInfo", disk) if _offers(type(disk), SystemInfo) else UnknownSystem()


def write_hints(disk: DiskReader) -> WriteHints:
    """The disk itself, where it offers this, or the stand-in."""
    return cast("WriteHints", disk) if _offers(type(disk), WriteHints) else NoWriteHints()


def fast_reads(reader: DiskReader) -> FastReads:
    """The reader itself, where it offers this, or the stand-in."""
    return cast("FastReads", reader) if _offers(type(reader), FastReads) else PlainReads(reader)


def full_sync(disk: Disk) -> Callable[[str], None] | None:
    """The sync of a directory that also makes the drive keep all that it was given before. OSError.

    None where the disk has no such `full_sync_dir`: its `fsync_dir` does that (but on macOS).
    """
    found: Callable[[str], None] | None = getattr(disk, "full_sync_dir", None)
    return found


@cache
def _offers(kind: type, capability: type) -> bool:
    return issubclass(kind, capability)
