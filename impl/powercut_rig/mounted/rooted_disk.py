"""A disk below a mount point: a subject's paths, such as /ckpt/run, mean paths inside the image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from powercut.simulation.model_disk import Disk
from powercut_rig.blocks.block_log import MarkPhase


class RootedDisk:
    """The disk seam with every path put below `root`; the root itself is the subject's "/"."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk, self._root = disk, root

    def _at(self, path: str) -> str:
        return (self._root + path if path != "/" else self._root) or "/"

    def kind(self, path: str) -> str:
        """See `powercut.simulation.model_disk.Disk`, here and below."""
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

    def __getattr__(self, name: str) -> Any:
        """A full sync, where the disk below offers one: a subject looks whether it is there."""
        if name == "full_sync_dir" and hasattr(self._disk, name):
            return self._full_sync_dir
        raise AttributeError(name)

    def _full_sync_dir(self, path: str) -> None:
        self._disk.full_sync_dir(self._at(path))  # type: ignore[attr-defined]  # not in every disk


Watcher = Callable[[str, int, MarkPhase], None]
"""Told of each call that changes the disk: its name, its number, and begin or end."""


class WatchedDisk(RootedDisk):
    """The same, with each call that may change the disk counted and told to a watcher."""

    def __init__(self, disk: Disk, root: str, watcher: Watcher) -> None:
        super().__init__(disk, root)
        self._watcher = watcher
        self.calls = 0

    @contextlib.contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        self._watcher(name, self.calls, "begin")
        yield
        self.calls += 1
        self._watcher(name, self.calls - 1, "end")

    def mkdir(self, path: str) -> None:
        """See `Disk.mkdir`; here and below, with the watcher told before and after."""
        with self._watched("mkdir"):
            super().mkdir(path)

    def create(self, path: str) -> None:
        """See `Disk.create`."""
        with self._watched("create"):
            super().create(path)

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Disk.write`."""
        with self._watched("write"):
            super().write(path, data)

    def fsync(self, path: str) -> None:
        """See `Disk.fsync`."""
        with self._watched("fsync"):
            super().fsync(path)

    def fsync_dir(self, path: str) -> None:
        """See `Disk.fsync_dir`."""
        with self._watched("fsync of a directory"):
            super().fsync_dir(path)

    def rename(self, src: str, dst: str) -> None:
        """See `Disk.rename`."""
        with self._watched("rename"):
            super().rename(src, dst)

    def unlink(self, path: str) -> None:
        """See `Disk.unlink`."""
        with self._watched("unlink"):
            super().unlink(path)

    def rmdir(self, path: str) -> None:
        """See `Disk.rmdir`."""
        with self._watched("rmdir"):
            super().rmdir(path)

    def lock(self, path: str) -> None:
        """See `Disk.lock`; it may create the file."""
        with self._watched("lock"):
            super().lock(path)

    def _full_sync_dir(self, path: str) -> None:
        with self._watched("full sync of a directory"):
            super()._full_sync_dir(path)
