"""The Darwin calls that Python does not have: clonefile, the three syncs, renamex_np.

Each raises OSError with the errno of the call that it stands for.  Elsewhere than on macOS every
one of them raises ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from functools import cache
from typing import Any, Final, Protocol

F_FULLFSYNC: Final = 51
F_BARRIERFSYNC: Final = 85
_CLONE_NOFOLLOW: Final = 1
_SYNC_VOLUME_WAIT: Final = 2
_RENAME_FLAGS: Final = {"EXCHANGE": 2, "NOREPLACE": 4}  # RENAME_SWAP, RENAME_EXCL
_ARGUMENTS: Final[dict[str, list[Any]]] = {
    "clonefile": [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int],
    "fsync_volume_np": [ctypes.c_int, ctypes.c_int],
    "renamex_np": [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint],
}


class Calls(Protocol):
    """What a workload asks of the system beyond Python's os module; OSError."""

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


class DarwinCalls:
    """The calls of this machine."""

    def fsync(self, fd: int) -> None:
        """See `Calls.fsync`, here and below."""
        os.fsync(fd)

    def barrier(self, fd: int) -> None:
        """See `Calls.barrier`. ENOTSUP on a volume that has none: never a plain fsync instead."""
        _control(fd, F_BARRIERFSYNC)

    def full(self, fd: int) -> None:
        """See `Calls.full`."""
        _control(fd, F_FULLFSYNC)

    def volume(self, fd: int) -> None:
        """See `Calls.volume`."""
        number = _function("fsync_volume_np", fd, _SYNC_VOLUME_WAIT)
        if number:  # it returns the errno itself
            raise OSError(number, f"fsync_volume_np: {os.strerror(number)}")

    def rename(self, src: str, dst: str, *flags: str) -> None:
        """See `Calls.rename`."""
        if not flags:
            os.rename(src, dst)  # noqa: PTH104 - beside its sibling with flags
            return
        value = sum(_RENAME_FLAGS[flag] for flag in flags)
        _call("renamex_np", os.fsencode(src), os.fsencode(dst), value)


def clonefile(src: str, dst: str) -> None:
    """Make `dst` a copy-on-write copy of `src`, as it is at one moment. OSError.

    ENOSYS where libc has no such function; EXDEV and ENOTSUP where the file system cannot.
    """
    _call("clonefile", os.fsencode(src), os.fsencode(dst), _CLONE_NOFOLLOW)


def _control(fd: int, command: int) -> None:
    if sys.platform != "darwin":
        raise OSError(errno.ENOSYS, f"fcntl command {command} is a Darwin call")
    fcntl.fcntl(fd, command)


def _call(name: str, *arguments: object) -> None:
    if _function(name, *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _function(name: str, *arguments: object) -> int:
    """Call a function of libc; ENOSYS where there is none."""
    function = _looked_up(name)
    if function is None:
        raise OSError(errno.ENOSYS, f"{name} is not in this system's libc")
    answer: int = function(*arguments)
    return answer


@cache
def _looked_up(name: str) -> Any:
    """A function of libc, with its arguments' types; None where there is none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = _ARGUMENTS[name]
    return function
