"""A map of a file that syncs nothing: Python's own asks macOS for F_FULLFSYNC first.

`mmap.mmap` issues F_FULLFSYNC on every descriptor that it is given on macOS, whatever the access
and also with `trackfd=False` (Modules/mmapmodule.c; python/cpython issue 113861).  A load would
drain the drive, and a recovery would make durable what it only reads.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from typing import Final

_FAILED: Final = ctypes.c_void_p(-1).value


def map_file(fd: int, size_bytes: int) -> memoryview:
    """Map the first bytes of an open file, shared and read-only. OSError.

    `size_bytes` is 1 at least.  The map outlives the descriptor, and ends with the last view of it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, size_bytes, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if address is None or address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"mmap: {os.strerror(number)}")
    memory = (ctypes.c_ubyte * size_bytes).from_address(address)
    # At the end of the process the system unmaps, when no thread can look any more.
    weakref.finalize(memory, libc.munmap, address, size_bytes).atexit = False
    return memoryview(memory).cast("B").toreadonly()
