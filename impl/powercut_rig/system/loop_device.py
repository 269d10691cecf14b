"""A loop device over one file, that the kernel clears when its last user goes.

On the recorder's file direct I/O matters: without it the loop driver would keep a page cache
of its own between the file system and the recorder, and the order of writes would be lost.  A
file in memory is itself the page cache, so there it is left out.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from powercut_rig.errors import RigError
from powercut_rig.system import linux_syscalls

LOOP_MAJOR: Final = 7
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LOOP_GET_STATUS64: Final = 0x4C05
_LOOP_CLR_FD: Final = 0x4C01
_BLKFLSBUF: Final = 0x1261

_LO_FLAGS_AUTOCLEAR: Final = 4
_LO_FLAGS_DIRECT_IO: Final = 16

# struct loop_info64: device, inode, rdevice, offset, sizelimit; number, encrypt_type,
# encrypt_key_size, flags; file_name, crypt_name, encrypt_key; init.
_INFO: Final = struct.Struct("=QQQQQIIII64s64s32sQQ")
# struct loop_config: fd, block_size, info, reserved.
_CONFIG: Final = struct.Struct("=II232s64x")
_FLAGS_FIELD: Final = 8
_ATTEMPTS: Final = 64
_PAUSES_S: Final = (0.0, *(0.0002 * 2**attempt for attempt in range(6)))
"""A dozen milliseconds in all: another device costs less than more patience."""


class LoopDevice:
    """A configured loop device; `path` is its node, made in a folder of the rig's own.

    It holds the device open, so the device lives as long as this object or a mount of it:
    the kernel clears it after the last close, also when the process was killed.
    """

    def __init__(
        self, backing: str, node_folder: str, *, block_bytes: int, direct: bool = True
    ) -> None:
        """Attach the file `backing`; `block_bytes` is the logical block size, 512 or 4096.

        Raises `RigError` when no loop device is free or the driver refuses direct I/O.
        """
        self.path = ""
        self._fd = -1
        self._backing, self._node_folder = backing, node_folder
        self._block_bytes, self._direct = block_bytes, direct
        self._attach()

    def _attach(self) -> None:
        backing_fd = os.open(self._backing, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._attach_file(backing_fd)
        finally:
            os.close(backing_fd)

    def _attach_file(self, backing_fd: int) -> None:
        flags = _LO_FLAGS_AUTOCLEAR | (_LO_FLAGS_DIRECT_IO if self._direct else 0)
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"powercut-rig", b"", b"", 0, 0)
        config = _CONFIG.pack(backing_fd, self._block_bytes, info)
        for _ in range(_ATTEMPTS):
            fd, path = _open_free(self._node_folder)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(fd)
                if error.errno == errno.EBUSY:  # somebody else was quicker: take the next one
                    continue
                raise RigError(
                    f"The loop driver refused the recorder's file ({error.strerror}); "
                    "nothing is attached. A kernel of 5.8 or later is needed."
                ) from error
            self._fd, self.path = fd, path
            break
        else:
            raise RigError(f"No free loop device after {_ATTEMPTS} attempts; nothing is attached.")
        if self._direct and not self._flags() & _LO_FLAGS_DIRECT_IO:
            self.close()
            raise RigError(
                "The loop driver does not use direct I/O here, so the order of writes would "
                "be lost; nothing is attached."
            )

    def _flags(self) -> int:
        raw = fcntl.ioctl(self._fd, _LOOP_GET_STATUS64, bytes(_INFO.size))
        return int(_INFO.unpack(raw)[_FLAGS_FIELD])

    @property
    def fd(self) -> int:
        """The open file descriptor of the device."""
        return self._fd

    def write_back(self) -> None:
        """Write what the kernel's cache of the device still holds, and wait."""
        os.fsync(self._fd)

    def forget_cached_pages(self, pause: Callable[[float], None] = time.sleep) -> None:
        """Write back and drop the kernel's cached pages of the device.

        It leaves out a page that is just being read or moved, so it is asked until there is none,
        with growing pauses (seconds) between: a program that looks at every disk of the machine can
        have read this one in between, and its read ends only when the loop driver gets a turn.
        Where pages stay for good the file gets another device, and `path` is new: Linux 6.18 keeps
        some of what it reads to replay a fast commit of ext4 for as long as there is the device.
        """
        size_bytes = os.lseek(self._fd, 0, os.SEEK_END)
        for pause_s in _PAUSES_S:
            fcntl.ioctl(self._fd, _BLKFLSBUF, 0)
            if not linux_syscalls.cached_pages(self._fd, size_bytes):
                return
            pause(pause_s)
        self.close()
        self._attach()

    def close(self) -> None:
        """Detach the device; harmless when it is detached already."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(OSError):  # autoclear does it at the last close in any case
            fcntl.ioctl(fd, _LOOP_CLR_FD)
        os.close(fd)


def _open_free(node_folder: str) -> tuple[int, str]:
    """Open a device that is free just now, through a node of our own.

    A container's /dev often lacks the node of a device that was added later.
    """
    with Path("/dev/loop-control").open("rb", buffering=0) as control:
        number = fcntl.ioctl(control.fileno(), _LOOP_CTL_GET_FREE)
    path = str(Path(node_folder) / f"loop{number}")
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(LOOP_MAJOR, number))
    return os.open(path, os.O_RDWR | os.O_CLOEXEC), path
