"""A disk that knows nothing of its system but the stamps of its entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from lastgood.backends.capabilities import SystemInfo
from lastgood.backends.interface import UNKNOWN_FILE_SYSTEM, Disk, FileSystemTraits


def with_stamps(disk: Disk) -> Disk:
    """The disk, which offers SystemInfo if it did, or if it has a `stamp` of its own."""
    stamp = getattr(disk, "stamp", None)
    if stamp is None or isinstance(disk, SystemInfo):
        return disk
    return cast("Disk", StampedDisk(disk, stamp))


class StampedDisk:
    """Whatever another disk does, and SystemInfo: its stamps, and beside them nothing is known."""

    def __init__(self, disk: Disk, stamp: Callable[[str], tuple[int, ...]]) -> None:
        self._disk, self._stamp = disk, stamp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def stamp(self, path: str) -> tuple[int, ...]:
        """See `SystemInfo.stamp`."""
        return self._stamp(path)

    def canonical(self, path: str) -> str:
        """See `SystemInfo.canonical`."""
        return path

    def file_system(self, path: str) -> FileSystemTraits:  # noqa: ARG002
        """See `SystemInfo.file_system`."""
        return UNKNOWN_FILE_SYSTEM

    def holds(self, path: str) -> bool:  # noqa: ARG002
        """See `SystemInfo.holds`."""
        return True

    def free_bytes(self, path: str) -> None:
        """See `SystemInfo.free_bytes`."""

    def used_bytes(self, path: str) -> None:
        """See `SystemInfo.used_bytes`."""

    def may_write(self, path: str) -> bool:  # noqa: ARG002
        """See `SystemInfo.may_write`."""
        return True

    def link_count(self, path: str) -> None:
        """See `SystemInfo.link_count`."""

    def owner(self, path: str) -> None:
        """See `SystemInfo.owner`."""
