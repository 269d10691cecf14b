"""The disk seam: all that lastgood ever asks of a file system.

Paths are strings with "/" between names. Every method raises OSError with the errno of the real
call. Any object of this shape will do: the POSIX back end, a recorder, a model of a disk.

An errno says two things: ENOENT of an open means that there is no such file, ENOENT of a read of
the open file means that its bytes cannot be had (a FUSE file system may give any errno). So what a
read raises has the attribute `of_a_read`, which is true: see `ReadFailedError`. So has what an open
or a look raises, where its errno says of an entry what another look at it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, Protocol

from attrs import frozen

from lastgood.errors import storage_error

CrashClass = Literal["none", "process", "kernel", "power"]


class ReadFailedError(OSError):
    """A read of a file that was open already failed, whatever its errno means of an open."""

    of_a_read: Final = True


class DiskReader(Protocol):
    """Looking. No method follows a symlink in the last component of a path."""

    def kind(self, path: str) -> str:
        """Say "file", "dir", "other" (a symlink too) or "missing"."""

    def names(self, path: str) -> list[str]:
        """List the entry names of a directory, sorted."""

    def read(self, path: str, limit_bytes: int) -> bytes:
        """Read a whole regular file: EFBIG beyond the limit, ELOOP or EINVAL if not regular."""

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """Give a regular file's size in bytes and lower-case hex SHA-256: errors as `read`."""


class Disk(DiskReader, Protocol):
    """Looking and changing."""

    def mkdir(self, path: str) -> None:
        """Make one directory; EEXIST where the name is taken."""

    def create(self, path: str) -> None:
        """Make a file, which stays open under this path until `close`; EEXIST if taken."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Append all of `data` to the file that `create` opened."""

    def fsync(self, path: str) -> None:
        """Sync a regular file, through its open handle if it has one."""

    def close(self, path: str) -> None:
        """Close what `create` opened."""

    def fsync_dir(self, path: str) -> None:
        """Sync a directory."""

    def rename(self, src: str, dst: str) -> None:
        """POSIX rename."""

    def unlink(self, path: str) -> None:
        """Remove one name of a file."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""

    def lock(self, path: str) -> None:
        """Take an exclusive lock without waiting; EWOULDBLOCK where a live process has it.

        Any other errno of the lock itself is `of_a_read`: it says nothing of the file.
        """

    def unlock(self, path: str) -> None:
        """Give the lock back."""


@frozen
class FileSystemTraits:
    """The traits of the file system that a store stands on.

    `mount_point` is the top of it; `sync_serves` is the strongest crash class that what its fsync
    has reached survives; `note` says in words what that rests on. `full_sync_serves` is the same
    of the strongest sync there is, where that is another one, `full_sync_note` what that rests on,
    and `full_sync_call` the call by which the drive is asked for it. `weakness` says, loudly, why
    less is promised than people expect of a disk; empty where nothing is amiss.
    """

    name: str
    mount_point: str
    rename_is_atomic: bool
    sync_serves: CrashClass
    note: str
    full_sync_serves: CrashClass | None = None
    full_sync_note: str = ""
    full_sync_call: str = ""
    weakness: str = ""


_UNNAMED: Final = "nothing here says what file system it is (no mount table could be read)"
UNKNOWN_FILE_SYSTEM: Final = FileSystemTraits(
    "unknown", "/", False, "process", _UNNAMED, weakness=_UNNAMED
)
"""A file system that cannot be found out: nothing is assumed of its fsync, nor of its rename."""


class OpenFile(Protocol):
    """A regular file that is open for reading."""

    @property
    def size_bytes(self) -> int:
        """Its size when it was opened."""

    def read_into(self, offset_bytes: int, room: memoryview) -> int:
        """Fill the room from there on; fewer bytes only where the file ends. Any thread. OSError"""


def kind_at(reader: DiskReader, path: str) -> str:
    """The kind of an entry, as `DiskReader.kind`. StorageError."""
    try:
        return reader.kind(path)
    except OSError as error:
        raise storage_error(f"looking at {path!r}", error) from error


def describe_kind(kind: str) -> str:
    """The kind of an entry for people: "a directory", "nothing"."""
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
