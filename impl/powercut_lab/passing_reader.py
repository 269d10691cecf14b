"""The looking half of a disk that hands every look on to another disk."""

from __future__ import annotations

from lastgood.backends.interface import Disk


class PassingReader:
    """Looks at `disk`; a subclass adds the changes."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def kind(self, path: str) -> str:
        """See `DiskReader.kind`."""
        return self._disk.kind(path)

    def names(self, path: str) -> list[str]:
        """See `DiskReader.names`."""
        return self._disk.names(path)

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `DiskReader.read`."""
        return self._disk.read(path, limit_bytes)

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `DiskReader.digest`."""
        return self._disk.digest(path, limit_bytes)
