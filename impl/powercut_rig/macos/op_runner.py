"""Runs model ops on a mounted APFS volume, with the syncs of macOS told apart."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from powercut.filesystem import ops
from powercut_rig.macos.darwin_syscalls import MacCalls
from powercut_rig.mounted.op_runner import LocalOpRunner, bytes_of
from powercut_rig.mounted.writeback import WriteBack


class MacOpRunner(LocalOpRunner):
    """Performs ops below `root`; F_BARRIERFSYNC and F_FULLFSYNC are themselves here.

    Early writes are what macOS lets a program ask for: `data` is an fsync of that one file, which
    the model is not told of; `commit` and `syncfs` are a sync of the whole volume.
    """

    def __init__(self, root: str, calls: MacCalls) -> None:
        super().__init__(root, lambda _root: self.sync())
        self._calls = calls

    def sync(self) -> None:
        """Hand everything of this volume to its drive."""
        self._with_file("/", os.O_RDONLY, self._calls.volume)

    def perform(self, op: ops.Op) -> None:
        """See `OpRunner.perform`. ENOTSUP for what macOS does not have."""
        match op:
            case ops.Fsync(fails=False, path=path) | ops.Fdatasync(fails=False, path=path):
                # fdatasync has no call of its own on macOS.
                self._with_file(path, os.O_RDONLY, self._calls.fsync)
            case ops.Barrier(path=path):
                self._with_file(path, os.O_RDONLY, self._calls.barrier)
            case ops.Fullsync(path=path):
                self._with_file(path, os.O_RDONLY, self._calls.full)
            case ops.Mapwrite(path=path, offset=offset, data=data):
                store = bytes_of(data)
                self._with_file(
                    path, os.O_RDWR, lambda fd: self._calls.write_mapped(fd, offset, store)
                )
            case ops.Msync(path=path, offset=offset, size=size):
                self._with_file(
                    path, os.O_RDWR, lambda fd: self._calls.sync_mapped(fd, offset, size)
                )
            case ops.Rename(src=src, dst=dst, flags=words):
                self._calls.rename(self._real(src), self._real(dst), *words)
            case ops.Tmpfile():
                raise OSError(errno.ENOTSUP, "macOS has no O_TMPFILE")
            case ops.Link(src=src) if src.startswith("@"):
                raise OSError(errno.ENOTSUP, "macOS gives no name to an open file")
            case _ if "O_DIRECT" in _words(op):
                raise OSError(errno.ENOTSUP, "macOS has no O_DIRECT")
            case _:
                super().perform(op)

    def write_back(self, item: WriteBack) -> None:
        """See `OpRunner.write_back`."""
        if item.kind == "data":
            self._with_file(item.path, os.O_RDWR, self._calls.fsync)
        else:
            self.sync()


def _words(op: ops.Op) -> Sequence[str]:
    """The words of open(2) that an op has, none for most."""
    words: Sequence[str] = getattr(op, "flags", ())
    return words
