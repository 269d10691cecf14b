"""Two Linux system calls that Python's os module lacks, both no more than hints.

A missing libc function, or a file system that will not do it, is no error.
"""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from typing import Any, Final

_SYNC_FILE_RANGE_WRITE: Final = 2
_FALLOC_FL_KEEP_SIZE: Final = 1
_ARGUMENTS: Final[dict[str, list[Any]]] = {
    "sync_file_range": [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint],
    "fallocate": [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64],
}
_CANNOT: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM})


def begin_write_back(fd: int) -> None:
    """Start writing the dirty pages of a file, and wait for nothing. Its sync still has to come."""
    call = _function("sync_file_range")
    if call is not None:
        # 0 bytes from 0 on means: to the end. Whatever goes wrong is the fsync's to tell.
        call(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)


def keep_space(fd: int, size_bytes: int) -> None:
    """Keep blocks for a file without changing its size. OSError where there is no room."""
    call = _function("fallocate")
    if call is None or call(fd, _FALLOC_FL_KEEP_SIZE, 0, size_bytes) == 0:
        return
    number = ctypes.get_errno()
    if number not in _CANNOT:
        raise OSError(number, os.strerror(number))


@cache
def _function(name: str) -> Any:
    """A function of libc, with its arguments' types; None where there is none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = _ARGUMENTS[name]
    return function
