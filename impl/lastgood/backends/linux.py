"""Linux: what is mounted under a path, and how far its fsync reaches."""

from __future__ import annotations

import re
from typing import Final

from lastgood.backends.posix import PosixDisk
from lastgood.disk import UNKNOWN, FileSystem

MOUNTS: Final = "/proc/self/mountinfo"
ATOMIC_RENAME: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "apfs"})
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
JOURNALLED: Final = frozenset({"ext3", "ext4", "xfs", "btrfs", "f2fs"})


class LinuxDisk(PosixDisk):
    """A POSIX disk that reads the mount table."""

    def _probe(self, path: str) -> FileSystem:
        try:
            with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as table:
                return file_system_of(path, table.read())
        except OSError:
            return UNKNOWN


def file_system_of(path: str, mounts: str) -> FileSystem:
    """The file system of a canonical path, by the text of a mount table (mountinfo)."""
    best, name = "", "unknown"
    for line in mounts.splitlines():
        fields, dash, tail = line.partition(" - ")
        columns = fields.split(" ")
        if not dash or len(columns) < 5:
            continue
        point = _unescaped(columns[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point, the later one is what a path sees.
        if inside and len(point) >= len(best):
            best, name = point, tail.split(" ")[0]
    return describe(name, best or "/")


def describe(name: str, mount_point: str) -> FileSystem:
    """What lastgood relies on, on a Linux file system of that name."""
    if name in IN_MEMORY:
        note = "it lives in memory: nothing on it survives the machine"
        return FileSystem(name, mount_point, name in ATOMIC_RENAME, "process", note)
    note = "if the drive honours cache flushes"
    if name not in JOURNALLED:
        note += f" and the fsync of {name} reaches the medium, which lastgood has not looked into"
    return FileSystem(name, mount_point, name in ATOMIC_RENAME, "power", note)


def _unescaped(field: str) -> str:
    """A path of the mount table: space, tab, newline and backslash are octal there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
