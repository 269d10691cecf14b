"""Chooses the disk of the machine that this process runs on."""

from __future__ import annotations

import sys

from lastgood.backends.posix import PosixDisk


def disk_here() -> PosixDisk:
    """Give a new disk for this platform; a plain POSIX one where it is not known."""
    if sys.platform == "linux":
        from lastgood.backends.linux import LinuxDisk

        return LinuxDisk()
    if sys.platform == "darwin":
        from lastgood.backends.darwin import DarwinDisk

        return DarwinDisk()
    return PosixDisk()
