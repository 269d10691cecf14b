"""The disk seam: all that lastgood ever asks of a file system.

Paths are strings with "/" between names. Every method raises OSError with the errno of the real
call. Any object of this shape will do: the POSIX back end, a recorder, a model of a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol, runtime_checkable

from attrs import frozen

from lastgood.format.chunks import Span

CrashClass = Literal["none", "process", "kernel", "power"]


class Reader(Protocol):
    """Looking. No method follows a symlink in the last component of a path."""

    def kind(self, path: str) -> str:
        """Say "file", "dir", "other" (a symlink too) or "missing"."""
        ...

    def names(self, path: str) -> list[str]:
        """List the entry names of a directory, sorted."""
        ...

    def read(self, path: str, limit_bytes: int) -> bytes:
        """Read a whole regular file: EFBIG beyond the limit, ELOOP or EINVAL if not regular."""
        ...

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """Give a regular file's size in bytes and lower-case hex SHA-256: errors as `read`."""
        ...


class Disk(Reader, Protocol):
    """Looking and changing."""

    def mkdir(self, path: str) -> None:
        """Make one directory; EEXIST where the name is taken."""
        ...

    def create(self, path: str) -> None:
        """Make a file, which stays open under this path until `close`; EEXIST if taken."""
        ...

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Append all of `data` to the file that `create` opened."""
        ...

    def fsync(self, path: str) -> None:
        """Sync a regular file, through its open handle if it has one."""
        ...

    def close(self, path: str) -> None:
        """Close what `create` opened."""
        ...

    def fsync_dir(self, path: str) -> None:
        """Sync a directory."""
        ...

    def rename(self, src: str, dst: str) -> None:
        """POSIX rename."""
        ...

    def unlink(self, path: str) -> None:
        """Remove one name of a file."""
        ...

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    def lock(self, path: str) -> None:
        """Take an exclusive lock without waiting; EWOULDBLOCK where a live process has it."""
        ...

    def unlock(self, path: str) -> None:
        """Give the lock back."""
        ...


@frozen
class FileSystem:
    """What a store stands on.

    `mount_point` is the top of it; `sync_serves` is the strongest crash class that what its fsync
    has reached survives; `note` says in words what that rests on. `full_sync_serves` is the same
    of the strongest sync there is, where that is another one, and `full_sync_note` what that rests
    on. `weakness` says, loudly, why less is promised than people expect of a disk; empty where
    nothing is amiss.
    """

    name: str
    mount_point: str
    rename_is_atomic: bool
    sync_serves: CrashClass
    note: str
    full_sync_serves: CrashClass | None = None
    full_sync_note: str = ""
    weakness: str = ""


_UNNAMED: Final = "nothing here says what file system it is (no mount table could be read)"
UNKNOWN: Final = FileSystem("unknown", "/", False, "process", _UNNAMED, weakness=_UNNAMED)
"""What cannot be found out: nothing is assumed of its fsync, nor of its rename."""


@runtime_checkable
class KnowsItself(Protocol):
    """What a disk may offer beside the seam: the real name of a path, and what is under it."""

    def canonical(self, path: str) -> str:
        """Give the absolute path without symlinks."""
        ...

    def file_system(self, path: str) -> FileSystem:
        """Describe the file system that holds, or would hold, this path."""
        ...


@runtime_checkable
class KnowsItsLocks(Protocol):
    """What a disk may offer beside the seam: whether a lock is still the one that others see."""

    def holds(self, path: str) -> bool:
        """Say whether the file locked here is the one that has this path now. OSError."""
        ...


@runtime_checkable
class SyncsFully(Protocol):
    """What a disk offers whose fsync does not make the drive flush its cache (macOS)."""

    def full_sync_dir(self, path: str) -> None:
        """Sync a directory, and make the drive keep all that it was given before. OSError."""
        ...


@runtime_checkable
class Preallocates(Protocol):
    """What a disk may offer beside the seam: space that is kept for a file before it is written."""

    def preallocate(self, path: str, size_bytes: int) -> None:
        """Keep space for an open file; its size stays 0. ENOSPC; nothing where it cannot be."""
        ...


@runtime_checkable
class WritesEarly(Protocol):
    """What a disk may offer beside the seam: write-back before the sync that waits for it."""

    def write_early(self, path: str) -> None:
        """Begin to write what an open file has dirty; waits for nothing and promises nothing."""
        ...


@runtime_checkable
class KnowsItsSpace(Protocol):
    """What a disk may offer beside the seam: how much room is left."""

    def free_bytes(self, path: str) -> int:
        """Give what this user may still write to the file system of a directory. OSError."""
        ...


@runtime_checkable
class KnowsItsPermissions(Protocol):
    """What a disk may offer beside the seam: whether this user may change a directory."""

    def may_write(self, path: str) -> bool:
        """Say whether names could be made in a directory now; False on a read-only mount."""
        ...


@runtime_checkable
class DigestsOtherwise(Protocol):
    """What a reader may offer beside the seam: other digests than SHA-256."""

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """Give a regular file's size in bytes and digest in hex: errors as `Reader.read`."""
        ...


@runtime_checkable
class Stamps(Protocol):
    """What a reader may offer beside the seam: whether an entry was touched meanwhile."""

    def stamp(self, path: str) -> tuple[int, ...]:
        """Give numbers that every change of this entry changes; a symlink's own. OSError."""
        ...


@runtime_checkable
class LetsGo(Protocol):
    """What a reader may offer beside the seam: it keeps what it has read, and can forget it."""

    def let_go(self, folder: str) -> None:
        """Forget all that was read below a directory."""
        ...


@runtime_checkable
class Maps(Protocol):
    """What a reader may offer beside the seam: a file's content without a copy of it."""

    def map(self, path: str, limit_bytes: int) -> memoryview:
        """Map a regular file, read-only; it stays readable after its name is gone: as `read`."""
        ...


@runtime_checkable
class ReadsAndDigests(Protocol):
    """What a reader may offer beside the seam: a file's content and its digest in one pass."""

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        """Read a whole regular file, digesting each piece while it is in the cache: as `read`."""
        ...


class OpenFile(Protocol):
    """A regular file that is open for reading."""

    @property
    def size_bytes(self) -> int:
        """Its size when it was opened."""
        ...

    def read_into(self, offset_bytes: int, room: memoryview) -> int:
        """Fill the room from there on; fewer bytes only where the file ends. Any thread. OSError"""
        ...


@runtime_checkable
class OpensFiles(Protocol):
    """What a reader may offer beside the seam: a file's content in pieces, in any order."""

    def open_file(self, path: str, limit_bytes: int) -> AbstractContextManager[OpenFile]:
        """Open a regular file for the length of a block: errors as `Reader.read`."""
        ...


@runtime_checkable
class DigestsChunks(Protocol):
    """What a reader may offer beside the seam: digests of some chunks of a file."""

    def digest_chunks(self, path: str, span: Span, algorithm: str) -> tuple[int, tuple[str, ...]]:
        """Give a file's size and the chunks' hex digests: as `Reader.read`. Any thread.

        Where its size is not `span.file_bytes` there may be no digests.
        """
        ...


def kind_said(kind: str) -> str:
    """What `Reader.kind` says, for people: "a directory", "nothing"."""
    words = {
        "dir": "a directory",
        "file": "a regular file",
        "other": "a symlink or special file",
        "missing": "nothing",
    }
    return words.get(kind, f"an entry of the kind {kind!r}")


def join(*names: str) -> str:
    """One path of several names; an empty first name is no directory."""
    head = names[0].rstrip("/") if names[0] != "/" else ""
    return "/".join((head, *names[1:]))


def parents(path: str, top: str = "/") -> Iterator[str]:
    """Every directory above an absolute `path`, the nearest first, the last one `top`."""
    while path not in (top, "/"):
        path = path.rpartition("/")[0] or "/"
        yield path
