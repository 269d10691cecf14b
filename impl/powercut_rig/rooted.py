"""A disk below a mount point: a subject's paths, such as /ckpt/run, mean paths inside the image."""

from __future__ import annotations

from powercut.disk import Disk


class RootedDisk:
    """The disk seam with every path put below `root`; the root itself is the subject's "/"."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk, self._root = disk, root

    def _at(self, path: str) -> str:
        return self._root + path if path != "/" else self._root

    def kind(self, path: str) -> str:
        """See `powercut.disk.Disk`, here and below."""
        return self._disk.kind(self._at(path))

    def names(self, path: str) -> list[str]:
        """See `Disk.names`."""
        return self._disk.names(self._at(path))

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `Disk.read`."""
        return self._disk.read(self._at(path), limit_bytes)

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `Disk.digest`."""
        return self._disk.digest(self._at(path), limit_bytes)

    def mkdir(self, path: str) -> None:
        """See `Disk.mkdir`."""
        self._disk.mkdir(self._at(path))

    def create(self, path: str) -> None:
        """See `Disk.create`."""
        self._disk.create(self._at(path))

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Disk.write`."""
        self._disk.write(self._at(path), data)

    def fsync(self, path: str) -> None:
        """See `Disk.fsync`."""
        self._disk.fsync(self._at(path))

    def close(self, path: str) -> None:
        """See `Disk.close`."""
        self._disk.close(self._at(path))

    def fsync_dir(self, path: str) -> None:
        """See `Disk.fsync_dir`."""
        self._disk.fsync_dir(self._at(path))

    def rename(self, src: str, dst: str) -> None:
        """See `Disk.rename`."""
        self._disk.rename(self._at(src), self._at(dst))

    def unlink(self, path: str) -> None:
        """See `Disk.unlink`."""
        self._disk.unlink(self._at(path))

    def rmdir(self, path: str) -> None:
        """See `Disk.rmdir`."""
        self._disk.rmdir(self._at(path))

    def lock(self, path: str) -> None:
        """See `Disk.lock`."""
        self._disk.lock(self._at(path))

    def unlock(self, path: str) -> None:
        """See `Disk.unlock`."""
        self._disk.unlock(self._at(path))
