"""Linux: what is mounted under a path, and how far its fsync reaches."""

from __future__ import annotations

import re
from typing import Final

from lastgood.backends.linux_calls import begin_write_back, keep_space
from lastgood.backends.posix import PosixDisk
from lastgood.disk import UNKNOWN, FileSystem

MOUNTS: Final = "/proc/self/mountinfo"
ATOMIC_RENAME: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "apfs"})
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
JOURNALLED: Final = frozenset({"ext3", "ext4", "xfs", "btrfs", "f2fs"})
SERVED: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "vboxsf", "afs", "ceph", "lustre"}
    | {"gpfs", "beegfs", "glusterfs", "ocfs2", "gfs2"}
)
"""Somebody else's disk: what fsync means there is the server's business."""
FLAT: Final = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk"})
"""File systems without a journal that lastgood could rely on."""
IGNORES_FSYNC: Final = {"overlay": "volatile", "ext4": "nobarrier", "xfs": "nobarrier"}
"""Mount options that make fsync, or the flush behind it, do nothing."""


class LinuxDisk(PosixDisk):
    """A POSIX disk that reads the mount table."""

    def _probe(self, path: str) -> FileSystem:
        try:
            with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as table:
                return file_system_of(path, table.read())
        except OSError:
            return UNKNOWN

    def _write_back(self, fd: int) -> None:
        begin_write_back(fd)

    def _keep_space(self, fd: int, size_bytes: int) -> None:
        keep_space(fd, size_bytes)


def file_system_of(path: str, mounts: str) -> FileSystem:
    """The file system of a canonical path, by the text of a mount table (mountinfo)."""
    best, name, options = "", "unknown", ""
    for line in mounts.splitlines():
        fields, dash, tail = line.partition(" - ")
        columns = fields.split(" ")
        if not dash or len(columns) < 6:
            continue
        point = _unescaped(columns[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point, the later one is what a path sees.
        if inside and len(point) >= len(best):
            best, name = point, tail.split(" ")[0]
            options = f"{columns[5]},{tail.rpartition(' ')[2]}"
    return describe(name, best or "/", frozenset(options.split(",")))


def describe(name: str, mount_point: str, options: frozenset[str] = frozenset()) -> FileSystem:
    """What lastgood relies on, on a Linux file system of that name.

    A promise is made only where a profile of the model, or the file system's own documents, say
    what its fsync does; elsewhere the file system is called weak, loudly.
    """
    renames = name in ATOMIC_RENAME
    if name in IN_MEMORY:
        note = "it lives in memory: nothing on it survives the machine"
        return FileSystem(name, mount_point, renames, "process", note, weakness=note)
    option = IGNORES_FSYNC.get(name, "")
    if option and {option, "barrier=0"} & options:
        note = f"it is mounted so that an fsync need not reach the medium ({option})"
        return FileSystem(name, mount_point, renames, "process", note, weakness=note)
    weakness = _weakness(name)
    if weakness:
        return FileSystem(name, mount_point, renames, "process", weakness, weakness=weakness)
    note = "if the drive honours cache flushes"
    if name not in JOURNALLED:
        note += f" and the fsync of {name} reaches the medium, which lastgood has not looked into"
    return FileSystem(name, mount_point, renames, "power", note)


def _weakness(name: str) -> str:
    """Why nothing is promised there beyond the death of the program; empty where more is."""
    if name in SERVED:
        return f"its disk is a server's ({name}): what its fsync reaches is not known here"
    if name in FLAT:
        return f"{name} has no journal that lastgood could rely on"
    if name.startswith("fuse"):
        return f"a program stands between it and the disk ({name}): it may ignore an fsync"
    if name == "unknown":
        return "no mount table says what it is"
    return ""


def _unescaped(field: str) -> str:
    """A path of the mount table: space, tab, newline and backslash are octal there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
