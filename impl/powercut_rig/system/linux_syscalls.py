"""The few Linux calls that Python 3.11 does not have: mounts, namespaces, parent-death signals.

Each function raises `OSError` with errno, as the call it stands for would.  Nothing here
spawns a program: a mount costs a system call and not a process.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import signal
import struct
from pathlib import Path
from typing import Final

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOATIME: Final = 0x400
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 0x2

CLONE_NEWNS: Final = 0x20000

SYNC_FILE_RANGE_WAIT_BEFORE: Final = 1
SYNC_FILE_RANGE_WRITE: Final = 2
SYNC_FILE_RANGE_WAIT_AFTER: Final = 4

_PR_SET_PDEATHSIG: Final = 1
_AT_FDCWD: Final = -100
_RENAME_FLAGS: Final = {"NOREPLACE": 1, "EXCHANGE": 2}
_SYSLOG_READ_ALL: Final = 3
_KERNEL_LOG_BYTES: Final = 1 << 16
_SYS_CACHESTAT: Final = 451
"""The same number on every architecture; Linux 6.5 and later have the call."""

_CACHESTAT_RANGE: Final = struct.Struct("=QQ")
_CACHESTAT: Final = struct.Struct("=QQQQQ")
_FALLOC_FL_KEEP_SIZE: Final = 1
_FALLOC_FL_PUNCH_HOLE: Final = 2


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    chars, ulong, off64 = ctypes.c_char_p, ctypes.c_ulong, ctypes.c_int64
    libc.mount.argtypes = (chars, chars, chars, ulong, chars)
    libc.umount2.argtypes = (chars, ctypes.c_int)
    libc.unshare.argtypes = (ctypes.c_int,)
    libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
    libc.prctl.argtypes = (ctypes.c_int, ulong, ulong, ulong, ulong)
    libc.renameat2.argtypes = (ctypes.c_int, chars, ctypes.c_int, chars, ctypes.c_uint)
    libc.klogctl.argtypes = (ctypes.c_int, chars, ctypes.c_int)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, off64, off64)
    libc.syncfs.argtypes = (ctypes.c_int,)
    libc.sync_file_range.argtypes = (ctypes.c_int, off64, off64, ctypes.c_uint)
    libc.syscall.argtypes = (ctypes.c_long, ctypes.c_uint, chars, chars, ctypes.c_uint)
    libc.syscall.restype = ctypes.c_long
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, chars)
    return libc


_LIBC: Final = _libc() if os.uname().sysname == "Linux" else None


def _call(name: str, *args: object, path: str | None = None) -> None:
    if _LIBC is None:
        raise OSError(38, f"{name} is a Linux call and this is not Linux", path)
    if getattr(_LIBC, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}", path)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mounts a file system of `kind` at `target`."""
    encoded = options.encode() if options else None
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), flags, encoded, path=target)


def umount(target: str, flags: int = 0) -> None:
    """Unmounts what is mounted at `target`."""
    _call("umount2", os.fsencode(target), flags, path=target)


def enter_private_mount_namespace() -> int:
    """From here on, mounts of this process are seen by it and its children only.

    Returns a descriptor of the namespace before, for `enter_mount_namespace`.
    """
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", CLONE_NEWNS)
        _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None, path="/")
    except OSError:
        os.close(before)
        raise
    return before


def enter_mount_namespace(fd: int) -> None:
    """Moves this process into the mount namespace of `fd`; its directory becomes the root."""
    _call("setns", fd, CLONE_NEWNS)


def die_with_parent(parent_pid: int) -> None:
    """Arranges that the kernel kills this process when its parent dies, and exits if it has died.

    `parent_pid` is what the parent's getpid() said before the fork; comparing closes the race.
    """
    _call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def rename(src: str, dst: str, *flags: str) -> None:
    """Renames; `flags` are NOREPLACE and EXCHANGE, as renameat2 knows them."""
    value = sum(_RENAME_FLAGS[flag] for flag in flags)
    paths = os.fsencode(src), os.fsencode(dst)
    _call("renameat2", _AT_FDCWD, paths[0], _AT_FDCWD, paths[1], value, path=src)


def syncfs(fd: int) -> None:
    """Writes all that is dirty in the file system of `fd`, and waits."""
    _call("syncfs", fd)


def sync_file_range(fd: int, offset_bytes: int, length_bytes: int) -> None:
    """Writes a file's dirty pages in the range and waits, without a flush and without metadata."""
    every = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER
    _call("sync_file_range", fd, offset_bytes, length_bytes, every)


def cached_pages(fd: int, size_bytes: int) -> int:
    """The number of pages that the kernel holds of the first bytes of an open file or device."""
    if _LIBC is None:
        raise OSError(errno.ENOSYS, "cachestat is a Linux call and this is not Linux")
    span, found = _CACHESTAT_RANGE.pack(0, size_bytes), ctypes.create_string_buffer(_CACHESTAT.size)
    if _LIBC.syscall(_SYS_CACHESTAT, fd, span, found, 0) == 0:
        cached: int = _CACHESTAT.unpack(found.raw)[0]
        return cached
    if (code := ctypes.get_errno()) != errno.ENOSYS:
        raise OSError(code, f"cachestat: {os.strerror(code)}")
    return _mapped_pages_in_core(fd, size_bytes)


def _mapped_pages_in_core(fd: int, size_bytes: int) -> int:
    """The same on an older kernel: it looks at each page of the range, the absent ones too."""
    found = ctypes.create_string_buffer(-(-size_bytes // mmap.PAGESIZE))
    with mmap.mmap(fd, size_bytes) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        try:
            _call("mincore", ctypes.addressof(start), size_bytes, found)
        finally:
            del start  # the mapping cannot be closed while it is referred to
    return sum(1 for each in found.raw if each & 1) if any(found.raw) else 0


def commit_by_root(root: str) -> None:
    """Commit the running transaction of the file system mounted at `root`, as its timer would.

    A root whose times changed is in that transaction: syncing it commits it, and no other file's
    data with it.
    """
    os.utime(root)
    fsync_path(root)


def fsync_path(path: str) -> None:
    """Sync a file or a folder."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def punch_hole(fd: int, offset_bytes: int, length_bytes: int) -> None:
    """Gives a range of a file back to the file system; it reads as zeros from then on."""
    if length_bytes > 0:
        mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
        _call("fallocate", fd, mode, offset_bytes, length_bytes)


def kernel_words(lines: int, device: str) -> str:
    """The last lines of the kernel's log that name a device; empty where it may not be read."""
    if _LIBC is None:
        return ""
    buffer = ctypes.create_string_buffer(_KERNEL_LOG_BYTES)
    length = _LIBC.klogctl(_SYSLOG_READ_ALL, buffer, _KERNEL_LOG_BYTES)
    return lines_about(device, buffer.raw[: max(0, length)].decode(errors="replace"), lines)


def lines_about(device: str, log: str, lines: int) -> str:
    """The last lines of a log that name a device: "loop7" by its node, and not "loop70"."""
    named = re.compile(rf"(?<![\w-]){re.escape(Path(device).name)}(?![\w-])")
    return "\n".join([line for line in log.splitlines() if named.search(line)][-lines:])
