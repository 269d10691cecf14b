"""A subject's disk, reached through another one: below a mount point, watched, or in a guest."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any, Final

from powercut.simulation.model_disk import SubjectDisk
from powercut_rig.blocks.block_log import MarkPhase


class ForwardingDisk(abc.ABC):
    """The calls of `powercut.simulation.model_disk.Disk`, all made by one method."""

    @abc.abstractmethod
    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the disk behind this one; its paths come first among the arguments."""

    def kind(self, path: str) -> str:
        """See `Disk.kind`."""
        kind: str = self._call("kind", path)
        return kind

    def names(self, path: str) -> list[str]:
        """See `Disk.names`."""
        names: list[str] = self._call("names", path)
        return names

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `Disk.read`."""
        data: bytes = self._call("read", path, limit_bytes)
        return data

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `Disk.digest`."""
        found: tuple[int, str] = self._call("digest", path, limit_bytes)
        return found

    def mkdir(self, path: str) -> None:
        """See `Disk.mkdir`."""
        self._call("mkdir", path)

    def create(self, path: str) -> None:
        """See `Disk.create`."""
        self._call("create", path)

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Disk.write`."""
        self._call("write", path, data)

    def fsync(self, path: str) -> None:
        """See `Disk.fsync`."""
        self._call("fsync", path)

    def close(self, path: str) -> None:
        """See `Disk.close`."""
        self._call("close", path)

    def fsync_dir(self, path: str) -> None:
        """See `Disk.fsync_dir`."""
        self._call("fsync_dir", path)

    def rename(self, src: str, dst: str) -> None:
        """See `Disk.rename`."""
        self._call("rename", src, dst)

    def unlink(self, path: str) -> None:
        """See `Disk.unlink`."""
        self._call("unlink", path)

    def rmdir(self, path: str) -> None:
        """See `Disk.rmdir`."""
        self._call("rmdir", path)

    def lock(self, path: str) -> None:
        """See `Disk.lock`."""
        self._call("lock", path)

    def unlock(self, path: str) -> None:
        """See `Disk.unlock`."""
        self._call("unlock", path)


class RootedDisk(ForwardingDisk):
    """A disk with every path put below `root`: a subject's path, such as /ckpt/run, lies there."""

    def __init__(self, disk: SubjectDisk, root: str) -> None:
        self._disk, self._root = disk, root

    def _call(self, method: str, *arguments: Any) -> Any:
        paths = 2 if method == "rename" else 1
        below = map(self._at, arguments[:paths])
        return getattr(self._disk, method)(*below, *arguments[paths:])

    def _at(self, path: str) -> str:
        return (self._root + path if path != "/" else self._root) or "/"

    def __getattr__(self, name: str) -> Any:
        """A full sync, where the disk below offers one: a subject looks whether it is there."""
        if name == "full_sync_dir" and hasattr(self._disk, name):
            return functools.partial(self._call, name)
        raise AttributeError(name)


Watcher = Callable[[str, int, MarkPhase], None]
"""Told of each call that changes the disk: its name, its number, and begin or end."""

_WATCHED: Final = {
    **{name: name for name in ("mkdir", "create", "write", "fsync", "rename", "unlink", "rmdir")},
    "lock": "lock",  # it may create the file
    "fsync_dir": "fsync of a directory",
    "full_sync_dir": "full sync of a directory",
}
"""The calls that may change the disk, and what a watcher hears of them."""


class WatchedDisk(RootedDisk):
    """The same, with each call that may change the disk counted and told to a watcher."""

    def __init__(self, disk: SubjectDisk, root: str, watcher: Watcher) -> None:
        super().__init__(disk, root)
        self._watcher = watcher
        self.calls = 0

    def _call(self, method: str, *arguments: Any) -> Any:
        name = _WATCHED.get(method)
        if name is None:
            return super()._call(method, *arguments)
        self._watcher(name, self.calls, "begin")
        answer = super()._call(method, *arguments)
        self.calls += 1
        self._watcher(name, self.calls - 1, "end")
        return answer
