"""macOS: fsync hands the data to the drive; F_FULLFSYNC asks the drive to keep them.

Written from Apple's manual pages; it has not been run on a Mac yet.  So no more is promised than
that a group survives the program.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import subprocess
from typing import Final

from lastgood.backends.darwin_syscalls import map_file
from lastgood.backends.interface import UNKNOWN_FILE_SYSTEM, FileSystemTraits
from lastgood.backends.posix import PosixDisk
from lastgood.backends.posix_files import READ_FLAGS, open_descriptor

_MOUNT: Final = "/sbin/mount"
_TIMEOUT_S: Final = 10
_LINE: Final = re.compile(r"^.* on (?P<point>/.*?) \((?P<name>[^,)]+)(?P<rest>[^)]*)\)$")
_NOTE: Final = (
    "fsync on macOS does not flush the drive's cache, its manual page promises nothing after a "
    "crash of the system, and nobody has measured yet what is left then"
)
_FULL_NOTE: Final = (
    "Apple does not document that a full sync of a directory keeps its names, and nobody has "
    "measured it yet"
)
_FULL: Final = frozenset({"apfs", "hfs"})
"""File systems that are documented to pass F_FULLFSYNC on to their drive."""
_CANNOT: Final = frozenset({errno.ENOTSUP, errno.ENOTTY, errno.EINVAL})
_F_PREALLOCATE: Final = 42
_F_ALLOCATEALL: Final = 4
_F_PEOFPOSMODE: Final = 3


class DarwinDisk(PosixDisk):
    """A POSIX disk that asks the `mount` command what is under a path."""

    def full_sync_dir(self, path: str) -> None:
        """See `capabilities.full_sync`. OSError also where the drive cannot be made to flush."""
        self._own(path)
        # A plain fsync first: it is what the file system itself owes a directory.
        with open_descriptor(path, READ_FLAGS | os.O_DIRECTORY) as fd:
            os.fsync(fd)
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined,unused-ignore]

    def _mapped(self, fd: int, size_bytes: int) -> memoryview:
        return map_file(fd, size_bytes)

    def _keep_space(self, fd: int, size_bytes: int) -> None:
        # struct fstore: flags, position mode, offset, length, and what was allocated.
        store = struct.pack("Iiqqq", _F_ALLOCATEALL, _F_PEOFPOSMODE, 0, size_bytes, 0)
        try:
            fcntl.fcntl(fd, _F_PREALLOCATE, store)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise

    def _probe(self, path: str) -> FileSystemTraits:
        try:
            done = subprocess.run(
                [_MOUNT], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return UNKNOWN_FILE_SYSTEM
        return file_system_of(path, done.stdout)


def file_system_of(path: str, mounts: str) -> FileSystemTraits:
    """The file system of a canonical path, by what `mount` prints."""
    best, name = "/", "unknown"
    for line in mounts.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        point = match["point"]
        # Firmlinks join the data volume into "/": its paths are not under its mount point.
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, name = point, match["name"]
    if name not in _FULL:
        weakness = f"whether {name} passes a full sync on to its disk is not known"
        return FileSystemTraits(name, best, False, "process", weakness, weakness=weakness)
    return FileSystemTraits(
        name, best, name == "apfs", "process", _NOTE, "process", _FULL_NOTE, "F_FULLFSYNC"
    )
