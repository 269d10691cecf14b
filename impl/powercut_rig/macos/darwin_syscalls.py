"""The Darwin calls that Python does not have: clonefile, the three syncs, renamex_np, a bare mmap.

Each raises OSError with the errno of the call that it stands for.  Elsewhere than on macOS every
one of them raises ENOSYS, but for the two that work on a map.  Those are here because Python's
`mmap.mmap` issues F_FULLFSYNC on macOS before it maps a file, also with `trackfd=False`
(Modules/mmapmodule.c; python/cpython issue 113861): a store into a map would be a full sync.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol

from powercut_rig.macos.tool_output import raw_device

F_FULLFSYNC: Final = 51
F_BARRIERFSYNC: Final = 85
_CLONE_NOFOLLOW: Final = 1
_SYNC_VOLUME_WAIT: Final = 2
_MS_SYNC: Final = 0x10 if sys.platform == "darwin" else 4
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_RENAME_FLAGS: Final = {"EXCHANGE": 2, "NOREPLACE": 4}  # RENAME_SWAP, RENAME_EXCL
_ARGUMENTS: Final[dict[str, list[Any]]] = {
    "clonefile": [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int],
    "fsync_volume_np": [ctypes.c_int, ctypes.c_int],
    "renamex_np": [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint],
    "mmap": [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
    ],
    "munmap": [ctypes.c_void_p, ctypes.c_size_t],
    "msync": [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int],
}  # fmt: skip
_ANSWERS: Final[dict[str, Any]] = {"mmap": ctypes.c_void_p}  # an int for the others


class MacCalls(Protocol):
    """The system calls of a workload that Python's os module does not have; OSError."""

    def fsync(self, fd: int) -> None:
        """Hand a file to the drive, whose cache may keep it."""

    def barrier(self, fd: int) -> None:
        """F_BARRIERFSYNC: fsync, and an order on the drive."""

    def full(self, fd: int) -> None:
        """F_FULLFSYNC: fsync, and the drive's cache is drained."""

    def volume(self, fd: int) -> None:
        """Write all that is dirty in the volume of `fd`, and wait."""

    def rename(self, src: str, dst: str, *flags: str) -> None:
        """Rename with NOREPLACE or EXCHANGE."""

    def write_mapped(self, fd: int, offset: int, data: bytes) -> None:
        """Store into a shared map of a file, and unmap it; the file is that long already."""

    def sync_mapped(self, fd: int, offset: int, size: int) -> None:
        """Call msync with MS_SYNC on the pages that hold those bytes."""

    def open_device(self, device: str) -> int:
        """A descriptor that writes to a whole device of ours, past the system's buffer cache."""


class DarwinCalls:
    """The calls of this machine."""

    def fsync(self, fd: int) -> None:
        """See `MacCalls.fsync`, here and below."""
        os.fsync(fd)

    def barrier(self, fd: int) -> None:
        """See `MacCalls.barrier`. ENOTSUP on a volume without it: never a plain fsync instead."""
        _control(fd, F_BARRIERFSYNC)

    def full(self, fd: int) -> None:
        """See `MacCalls.full`."""
        _control(fd, F_FULLFSYNC)

    def volume(self, fd: int) -> None:
        """See `MacCalls.volume`."""
        number = _function("fsync_volume_np", fd, _SYNC_VOLUME_WAIT)
        if number:  # it returns the errno itself
            raise OSError(number, f"fsync_volume_np: {os.strerror(number)}")

    def rename(self, src: str, dst: str, *flags: str) -> None:
        """See `MacCalls.rename`."""
        if not flags:
            os.rename(src, dst)  # noqa: PTH104 - beside its sibling with flags
            return
        value = sum(_RENAME_FLAGS[flag] for flag in flags)
        _call("renamex_np", os.fsencode(src), os.fsencode(dst), value)

    def write_mapped(self, fd: int, offset: int, data: bytes) -> None:
        """See `MacCalls.write_mapped`. EINVAL for bytes beyond the end of the file."""
        _mapped(fd, offset + len(data), lambda at: ctypes.memmove(at + offset, data, len(data)))

    def open_device(self, device: str) -> int:
        """See `MacCalls.open_device`."""
        return os.open(raw_device(device), os.O_WRONLY | os.O_CLOEXEC)

    def sync_mapped(self, fd: int, offset: int, size: int) -> None:
        """See `MacCalls.sync_mapped`. EINVAL for bytes beyond the end of the file."""
        start = offset - offset % mmap.PAGESIZE
        end = offset + size
        _mapped(fd, end, lambda at: _call("msync", at + start, end - start, _MS_SYNC))


def clonefile(src: str, dst: str) -> None:
    """Make `dst` a copy-on-write copy of `src`, as it is at one moment. OSError.

    ENOSYS where libc has no such function; EXDEV and ENOTSUP where the file system cannot.
    """
    _call("clonefile", os.fsencode(src), os.fsencode(dst), _CLONE_NOFOLLOW)


def _mapped(fd: int, size: int, act: Callable[[int], object]) -> None:
    """Map the first bytes of a file, call `act` with the address, and unmap."""
    if size > os.fstat(fd).st_size:  # a store there would be a SIGBUS
        raise OSError(errno.EINVAL, f"{size} bytes to map, and the file is shorter")
    address = _function(
        "mmap", None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0
    )
    if address is None or address == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"mmap: {os.strerror(number)}")
    try:
        act(address)
    finally:
        _call("munmap", address, size)


def _control(fd: int, command: int) -> None:
    if sys.platform != "darwin":
        raise OSError(errno.ENOSYS, f"fcntl command {command} is a Darwin call")
    fcntl.fcntl(fd, command)


def _call(name: str, *arguments: object) -> None:
    if _function(name, *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _function(name: str, *arguments: object) -> Any:
    """Call a function of libc; ENOSYS where there is none."""
    function = _looked_up(name)
    if function is None:
        raise OSError(errno.ENOSYS, f"{name} is not in this system's libc")
    return function(*arguments)


@cache
def _looked_up(name: str) -> Any:
    """A function of libc, with its arguments' types; None where there is none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = _ARGUMENTS[name]
        function.restype = _ANSWERS.get(name, ctypes.c_int)
    return function
