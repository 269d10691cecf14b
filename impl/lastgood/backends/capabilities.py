"""The three capabilities that a disk may offer beside `Disk`, and what stands in for each.

A disk offers a capability when its class has all of its methods. One that can do only some of it
answers the rest as each method says here. Whether a class offers a capability is looked up once: an
`isinstance` of a protocol takes as long as some of the system calls of a save.
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
from lastgood.format.lease_holder import LeaseHolder


@runtime_checkable
class SystemInfo(Protocol):
    """Facts about the file system, its locks and its entries."""

    def canonical(self, path: str) -> str:
        """Give the absolute path without symlinks; what does not exist is left as it is."""

    def file_system(self, path: str) -> FileSystemTraits:
        """Describe the one that holds, or would hold, this canonical path, if only as unknown."""

    def holds(self, path: str) -> bool:
        """Say whether the file locked here has this path now; True if not known. OSError."""

    def free_bytes(self, path: str) -> int | None:
        """Give what this user may still write below a directory; None if not known. OSError."""

    def used_bytes(self, path: str) -> int | None:
        """Give what an entry takes on the disk, a symlink's own; None if not known. OSError."""

    def may_write(self, path: str) -> bool:
        """Say whether names can be made in a directory now; True if not known."""

    def link_count(self, path: str) -> int | None:
        """Give the number of names that an entry has; None if not known. OSError."""

    def stamp(self, path: str) -> tuple[int, ...] | None:
        """Give numbers that change with an entry, a symlink's own; None if not known. OSError."""

    def owner(self, path: str) -> str | None:
        """Say in words whose an entry is, and its mode; None where it may not be looked at."""


@runtime_checkable
class WriteHints(Protocol):
    """Hints about files that are open for writing. They promise nothing and wait for nothing."""

    def preallocate(self, path: str, size_bytes: int) -> None:
        """Keep space for a file whose size stays 0. ENOSPC; nothing where it cannot be."""

    def write_early(self, path: str) -> None:
        """Begin to write what is dirty, before the sync that waits for it, or do nothing."""


@runtime_checkable
class FastReads(Protocol):
    """Reads that go through a regular file once, or not at all. Errors as `DiskReader.read`."""

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """Give the size in bytes and the digest in hex."""

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        """Read all of it, and digest each piece while it is in the cache."""

    def map(self, path: str, limit_bytes: int) -> memoryview:
        """Map it read-only, or read it; it stays readable after its name is gone."""

    def open_file(self, path: str, limit_bytes: int) -> AbstractContextManager[OpenFile]:
        """Open it for the length of a block, to read pieces of it in any order."""


class _UnknownSystem:
    """Nothing is known, and nothing is in the way."""

    def canonical(self, path: str) -> str:
        return path.rstrip("/") or "/"

    def file_system(self, path: str) -> FileSystemTraits:  # noqa: ARG002
        return UNKNOWN_FILE_SYSTEM

    def holds(self, path: str) -> bool:  # noqa: ARG002
        return True

    def free_bytes(self, path: str) -> int | None:  # noqa: ARG002
        return None

    def used_bytes(self, path: str) -> int | None:  # noqa: ARG002
        return None

    def may_write(self, path: str) -> bool:  # noqa: ARG002
        return True

    def link_count(self, path: str) -> int | None:  # noqa: ARG002
        return None

    def stamp(self, path: str) -> tuple[int, ...] | None:  # noqa: ARG002
        return None

    def owner(self, path: str) -> str | None:  # noqa: ARG002
        return None


class _NoHints:
    def preallocate(self, path: str, size_bytes: int) -> None:
        pass

    def write_early(self, path: str) -> None:
        pass


class _PlainReads:
    """Each of them is a read of the whole file."""

    def __init__(self, reader: DiskReader) -> None:
        self._reader = reader

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        data, digest = self.read_and_digest(path, limit_bytes, algorithm)
        return len(data), digest

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        data = self.map(path, limit_bytes)
        return data, digest_of(data, algorithm)

    def map(self, path: str, limit_bytes: int) -> memoryview:
        return memoryview(self._reader.read(path, limit_bytes))

    @contextlib.contextmanager
    def open_file(self, path: str, limit_bytes: int) -> Iterator[OpenFile]:
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
    return cast("SystemInfo", disk) if _offers(type(disk), SystemInfo) else _UnknownSystem()


def write_hints(disk: DiskReader) -> WriteHints:
    """The disk itself, where it offers this, or the stand-in."""
    return cast("WriteHints", disk) if _offers(type(disk), WriteHints) else _NoHints()


def fast_reads(reader: DiskReader) -> FastReads:
    """The reader itself, where it offers this, or the stand-in."""
    return cast("FastReads", reader) if _offers(type(reader), FastReads) else _PlainReads(reader)


def full_sync(disk: Disk) -> Callable[[str], None] | None:
    """The sync of a directory that also makes the drive keep all that it was given before. OSError.

    None where the disk has no such `full_sync_dir`: its `fsync_dir` does that (but on macOS).
    """
    found: Callable[[str], None] | None = getattr(disk, "full_sync_dir", None)
    return found


def lease_holder(disk: Disk, path: str) -> LeaseHolder:
    """The process that holds the lock file of this path, as far as the disk can tell."""
    found: Callable[[str], LeaseHolder] | None = getattr(disk, "lease_holder", None)
    return LeaseHolder() if found is None else found(path)


@cache
def _offers(kind: type, capability: type) -> bool:
    return issubclass(kind, capability)
