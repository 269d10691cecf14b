"""The log of QEMU's blklogwrites driver: each write and each flush, in the order they came.

The format is that of the kernel's dm-log-writes.  With an update interval of one the count in the
first sector is right after each request, so that it can be read while the guest runs.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from typing import Final

from powercut_rig.blocks.block_log import LoggedFlush, LoggedWrite, LogRecord
from powercut_rig.errors import RigError
from powercut_rig.system import linux_syscalls

SECTOR_BYTES: Final = 512
MAGIC: Final = 0x6A736677736872
_SUPER: Final = struct.Struct("<QQQI")  # magic, version, entries, sector size
_ENTRY: Final = struct.Struct("<QQQQ")  # sector, sectors, flags, length of a mark's text
_FLUSH: Final = 1
_FUA: Final = 2
_DISCARD: Final = 4
_MARK: Final = 8
_KNOWN: Final = _FLUSH | _FUA | _DISCARD | _MARK
_LARGEST_WRITE: Final = 1 << 16  # sectors: 32 MiB, more than a virtio request carries


LOG_BYTES: Final = 1 << 30
"""How long a log may become; what was read and given back counts, because it keeps its place."""

_ROOM_BYTES: Final = 64 << 20


def log_file(size_bytes: int = LOG_BYTES) -> int:
    """A file in memory for a log, which never grows: beyond its end writes fail."""
    fd = os.memfd_create("powercut-guest-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return fd


def is_full(fd: int, room_bytes: int = _ROOM_BYTES) -> bool:
    """Say whether a log has so little room that the next request may not fit."""
    try:
        os.lseek(fd, os.fstat(fd).st_size - room_bytes, os.SEEK_DATA)
    except OSError:  # no data there
        return False
    return True


class LogReader:
    """Reads a log that is being written; `fd` is a file that the writer shares."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._place = SECTOR_BYTES
        self._read = 0

    @property
    def place(self) -> int:
        """Up to which byte it was read."""
        return self._place

    def count(self) -> int:
        """The number of entries; 0 where nothing was ever written.

        Raises `RigError` where the file is no such log.
        """
        data = os.pread(self._fd, _SUPER.size, 0)
        if not any(data):
            return 0
        if len(data) < _SUPER.size:
            raise RigError(f"The guest's block log has {len(data)} B, less than its own header.")
        magic, version, entries, sector = _SUPER.unpack(data)
        if (magic, version, sector) != (MAGIC, 1, SECTOR_BYTES):
            raise RigError(
                f"The guest's block log begins with {magic:#x}, version {version}, sectors of "
                f"{sector} B; expected {MAGIC:#x}, version 1, sectors of {SECTOR_BYTES} B."
            )
        return int(entries)

    def skip(self) -> int:
        """Pass over all entries there are now, and give their room back; how many there are."""
        for _ in self.until(self.count()):
            pass
        linux_syscalls.punch_hole(self._fd, SECTOR_BYTES, self._place - SECTOR_BYTES)
        return self._read

    def until(self, count: int) -> Iterator[tuple[int, LogRecord]]:
        """The records of the entries before entry `count`, each with its entry's number.

        Raises `RigError` for an entry that is cut short or of a kind that has no place here.
        """
        while self._read < count:
            head = os.pread(self._fd, _ENTRY.size, self._place)
            if len(head) < _ENTRY.size:
                raise RigError(f"The guest's block log ends inside entry {self._read}.")
            sector, sectors, flags, _ = _ENTRY.unpack(head)
            empty = not sectors and not flags  # never written: the log was full
            unknown = flags & ~_KNOWN or flags & (_DISCARD | _MARK)
            if empty or unknown or sectors > _LARGEST_WRITE:
                raise RigError(
                    f"Entry {self._read} of the guest's block log has flags {flags:#x} and "
                    f"{sectors} sectors; expected writes and flushes only."
                )
            number, length = self._read, sectors * SECTOR_BYTES
            data = os.pread(self._fd, length, self._place + SECTOR_BYTES)
            if len(data) != length:
                raise RigError(f"The guest's block log ends inside entry {number}.")
            self._read += 1
            self._place += SECTOR_BYTES + length
            if flags & _FLUSH:
                yield number, LoggedFlush()
            if data:
                yield number, LoggedWrite(sector * SECTOR_BYTES, data)
            if flags & _FUA:
                yield number, LoggedFlush()
