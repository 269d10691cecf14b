"""Chooses the disk of the machine that this process runs on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lastgood.errors import UsageError

if TYPE_CHECKING:
    from lastgood.backends.posix import PosixDisk


def disk_here(*, signs_locks: bool = True) -> PosixDisk:
    """Give a new disk for this platform; a plain POSIX one where it is not known. UsageError."""
    disk = _disk_here()
    disk.signs_locks = signs_locks
    return disk


def _disk_here() -> PosixDisk:
    if sys.platform == "win32":
        raise UsageError(
            "lastgood does not run on Windows: directories cannot be synced there, so no group "
            "could be promised to survive a power cut. Nothing was changed. Use WSL 2."
        )
    if sys.platform == "linux":
        from lastgood.backends.linux import LinuxDisk

        return LinuxDisk()
    if sys.platform == "darwin":
        from lastgood.backends.darwin import DarwinDisk

        return DarwinDisk()
    from lastgood.backends.posix import PosixDisk

    return PosixDisk()
