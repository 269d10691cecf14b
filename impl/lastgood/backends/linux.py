"""Linux: what is mounted under a path, and how far its fsync reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lastgood.backends.interface import UNKNOWN_FILE_SYSTEM, CrashClass, FileSystemTraits
from lastgood.backends.linux_devices import (
    REUSES_BLOCKS,
    WRITEBACK,
    device_doubt,
    device_weakness,
)
from lastgood.backends.linux_mounts import Mount, mount_under
from lastgood.backends.linux_syscalls import begin_write_back, keep_space
from lastgood.backends.posix import PosixDisk

ATOMIC_RENAME: Final = frozenset({"ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "apfs"})
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
PROFILED: Final = frozenset({"ext4", "xfs", "btrfs", "nilfs2"})
"""The only ones whose fsync is relied on: a profile of the model speaks for each, and holds."""
DOUBTED: Final = frozenset({"f2fs"})
"""A profile speaks for these, and has in doubt what would have to hold."""
SERVED: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "vboxsf", "afs", "ceph", "lustre"}
    | {"gpfs", "beegfs", "beegfs_nodev", "glusterfs", "ocfs2", "gfs2", "wekafs", "orangefs"}
)
"""Somebody else's disk: what fsync means there is the server's business."""
FLAT: Final = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "ext2"})
"""File systems without a journal that lastgood could rely on."""
NO_FLUSH: Final = "the drive is never told to flush its cache"
BREAKS: Final[Mapping[str, Mapping[str, str]]] = {
    "overlay": {"volatile": "an fsync does nothing"},
    "ext4": {
        "journal_async_commit": "a commit record can land before what it commits",
        WRITEBACK: REUSES_BLOCKS,
    },
    "f2fs": {
        "fsync_mode=nobarrier": NO_FLUSH,
        "checkpoint=disable": "an fsync makes nothing durable",
        "disable_roll_forward": "what an fsync wrote is not brought back by the next mount",
    },
}
"""Mount options under which no profile stands, and why; the first half of one that has a value.

Other options of ext4 that change what is *not* synced (`data=journal`, `nodelalloc`,
`noauto_da_alloc`) have profiles under which the protocol holds. `notreelog`, `nodatacow` and
`lazytime` weaken no fsync.
A file system is mounted read-only with `norecovery`.
"""
BARRIERS_OFF: Final = {"nobarrier": NO_FLUSH, "barrier=0": NO_FLUSH}
"""The same, on every file system."""


class LinuxDisk(PosixDisk):
    """A POSIX disk that asks the kernel for the mount of a path, and for the devices below it."""

    def _probe(self, path: str) -> FileSystemTraits:
        try:
            return traits_under(path)
        except (OSError, ValueError):
            return UNKNOWN_FILE_SYSTEM

    def _write_back(self, fd: int) -> None:
        begin_write_back(fd)

    def _keep_space(self, fd: int, size_bytes: int) -> None:
        keep_space(fd, size_bytes)


def traits_under(path: str) -> FileSystemTraits:
    """The file system that holds, or would hold, a canonical path. OSError."""
    mount = mount_under(path)
    return UNKNOWN_FILE_SYSTEM if mount is None else traits_of(mount)


def traits_of(mount: Mount) -> FileSystemTraits:
    """The traits of what is mounted, with what lies below it."""
    found = describe(mount.kind, mount.point, mount.options)
    if found.weakness:
        return found
    below = device_weakness(mount, _weakness_under)
    return describe(mount.kind, mount.point, mount.options, below, device_doubt(mount))


def _weakness_under(path: str) -> str:
    """The weakness of the file system of a file that a device is made of."""
    try:
        here = traits_under(path)
    except (OSError, ValueError):
        here = UNKNOWN_FILE_SYSTEM
    return f"on {here.name}, {here.weakness}" if here.weakness else ""


def describe(
    name: str,
    mount_point: str,
    options: frozenset[str] = frozenset(),
    below: str = "",
    doubt: str = "",
) -> FileSystemTraits:
    """The traits of a Linux file system of that name that lastgood relies on.

    More than the death of the program is promised only where a profile of the model speaks for the
    file system as it is mounted; any other is called weak, with the reason. `below` is the weakness
    of what lies below it, and `doubt` what the promise hangs on beside the drive.
    """
    weakness = _weakness(name, options) or below
    serves: CrashClass = "process" if weakness else "power"
    note = weakness or f"if the drive honours cache flushes{doubt}"
    renames = name in ATOMIC_RENAME
    return FileSystemTraits(name, mount_point, renames, serves, note, weakness=weakness)


def _weakness(name: str, options: frozenset[str]) -> str:
    """The reason why no more than the death of the program is survived there; empty for none."""
    breaking = {**BARRIERS_OFF, **BREAKS.get(name, {})}
    # f2fs says "checkpoint=disable:0": what follows the colon is no part of the answer.
    for option in sorted(each.partition(":")[0] for each in options):
        if option in breaking:
            return f"it is mounted with {option}, so that {breaking[option]}: mount it without that"
    if name in PROFILED:
        return ""
    if name in DOUBTED:
        return f"it is in doubt whether every fsync of {name} has the drive flush its cache"
    if name in IN_MEMORY:
        return "it lives in memory: nothing on it survives the machine"
    if name in SERVED:
        return f"its disk is a server's ({name}): what its fsync reaches is not known here"
    if name in FLAT:
        return f"{name} has no journal that lastgood could rely on"
    if name == "fuse" or name.startswith("fuse."):
        return f"a program stands between it and the disk ({name}): it may ignore an fsync"
    if name == UNKNOWN_FILE_SYSTEM.name:
        return UNKNOWN_FILE_SYSTEM.weakness
    return f"no profile of the model speaks for {name}: what its fsync keeps is not known here"
