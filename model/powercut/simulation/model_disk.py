"""A disk of the model, in the shape of the seam that a subject does its I/O through.

The shape is by structure: no subject imports this file.  Each call becomes ops on a `State`, which
the disk records; a call that the kernel would refuse raises the OSError that it would raise.
"""

from __future__ import annotations

import errno
import hashlib
from typing import Protocol

from powercut.filesystem import ops
from powercut.filesystem.inodes import (
    Directory,
    File,
    Inode,
    SymlinkInode,
    existing,
    fail,
    locate,
)
from powercut.filesystem.state import State


class PowerCut(BaseException):
    """The machine stopped at this op. Not an Exception: no program can catch its own death."""


class SubjectDisk(Protocol):
    """What a subject may ask of a file system; paths are strings, errors are OSError.

    No symlink as the last name of a path is followed.
    """

    def kind(self, path: str) -> str:
        """Say "file", "dir", "other" (a symlink too) or "missing"."""

    def names(self, path: str) -> list[str]:
        """The sorted entry names of a directory; ENOTDIR for all else."""

    def read(self, path: str, limit_bytes: int) -> bytes:
        """A whole regular file: EFBIG beyond the limit, ELOOP or EINVAL if not regular."""

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """The size of a regular file in bytes, and its SHA-256 in hex; EFBIG as `read`."""

    def mkdir(self, path: str) -> None:
        """A new directory."""

    def create(self, path: str) -> None:
        """A new, empty file, open for writing until `close`; EEXIST where the name is taken."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Append to the file that `create` opened."""

    def fsync(self, path: str) -> None:
        """Fsync of a regular file; ELOOP or EINVAL for all else."""

    def close(self, path: str) -> None:
        """End what `create` began."""

    def fsync_dir(self, path: str) -> None:
        """Fsync of a directory; ENOTDIR for all else."""

    def rename(self, src: str, dst: str) -> None:
        """POSIX rename."""

    def unlink(self, path: str) -> None:
        """Remove a name of a file."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""

    def lock(self, path: str) -> None:
        """Create the file if missing and lock it; EWOULDBLOCK where a live process holds it.

        ELOOP or EINVAL where something else than a regular file is there.
        """

    def unlock(self, path: str) -> None:
        """Give the lock back."""


class ModelDisk:
    """A `SubjectDisk` over a `State`; one object is one process: its locks and handles die with it.

    `program` lists what was performed, as (op id, op, state after); `files_read` are the inodes of
    the files whose bytes were asked for, until somebody clears them.
    """

    def __init__(self, state: State, first_number: int = 0) -> None:
        self.state = state
        self.program: list[tuple[str, ops.Op, State]] = []
        self.files_read: set[int] = set()
        self._first_number = first_number
        self._stop_at: int | None = None
        self._open: dict[str, str] = {}  # where each open file is now: a rename takes it along
        self._locks: set[str] = set()

    def perform(self, op: ops.Op) -> None:
        """Perform one op, named by its number in the history and its kind. OSError; PowerCut."""
        number = len(self.program)
        if self._stop_at is not None and number >= self._stop_at:
            raise PowerCut
        self._note(op, f"{self._first_number + number}-{ops.op_name(op)}")

    def damage(self, op: ops.Damage, op_id: str) -> None:
        """Let something on the disk go bad beneath the process, which does not ask for it."""
        self._note(op, op_id)

    def _note(self, op: ops.Op, op_id: str) -> None:
        self.state = self.state.perform(op, op_id)
        self.program.append((op_id, op, self.state))

    def stop_after(self, count: int | None) -> None:
        """Let the process die when it has performed `count` more ops; None lets it live."""
        self._stop_at = None if count is None else len(self.program) + count

    def kind(self, path: str) -> str:
        """See `SubjectDisk.kind`."""
        try:
            _, inode = self._entry(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return "missing"
            raise
        if isinstance(inode, SymlinkInode):
            return "other"
        return "dir" if isinstance(inode, Directory) else "file"

    def names(self, path: str) -> list[str]:
        """See `SubjectDisk.names`."""
        directory = self._directory(path)
        if directory.unreadable:
            raise fail(errno.EIO, path)
        return sorted(directory.entries)

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `SubjectDisk.read`."""
        file = self._file(path)
        self.files_read.add(self._entry(path)[0])
        if file.content.size > limit_bytes:
            raise fail(errno.EFBIG, path)
        if file.unreadable:
            raise fail(errno.EIO, path)
        return file.content.read()

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `SubjectDisk.digest`."""
        content = self.read(path, limit_bytes)
        return len(content), hashlib.sha256(content).hexdigest()

    def stamp(self, path: str) -> tuple[int, ...]:
        """Numbers that change with the inode at a path: its own, its size, the last op on it.

        Damage at rest is no op: it shows here only where it changes the size.  Not in the seam's
        own shape: a subject may look whether its disk has it.  OSError.
        """
        number, now = self._entry(path)
        before, changed = None, 0
        for count, (_, op, after) in enumerate(self.program, start=1):
            inode = after.view.get(number)
            if inode is not before and not isinstance(op, ops.Damage):
                changed = count
            before = inode
        return number, now.content.size if isinstance(now, File) else 0, changed

    def mkdir(self, path: str) -> None:
        """See `SubjectDisk.mkdir`."""
        self.perform(ops.Mkdir(path))

    def create(self, path: str) -> None:
        """See `SubjectDisk.create`."""
        self.perform(ops.Create(path))
        self._open[path] = path

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `SubjectDisk.write`."""
        if path not in self._open:
            raise fail(errno.EBADF, path)
        now = self._open[path]
        self.perform(ops.Write(now, self._file(now).content.size, bytes(data)))

    def fsync(self, path: str) -> None:
        """See `SubjectDisk.fsync`."""
        now = self._open.get(path, path)
        self._file(now)
        self.perform(ops.Fsync(now))

    def close(self, path: str) -> None:
        """See `SubjectDisk.close`."""
        if path not in self._open:
            raise fail(errno.EBADF, path)
        del self._open[path]

    def fsync_dir(self, path: str) -> None:
        """See `SubjectDisk.fsync_dir`."""
        self._directory(path)
        self.perform(ops.Fsync(path))

    def full_sync_dir(self, path: str) -> None:
        """Sync a directory, and make the drive keep all that it was given before.

        Not in the seam's own shape: a subject may look whether its disk has it.
        """
        self._directory(path)
        self.perform(ops.Fullsync(path))

    def rename(self, src: str, dst: str) -> None:
        """See `SubjectDisk.rename`."""
        self.perform(ops.Rename(src, dst))
        src, dst = src.rstrip("/"), dst.rstrip("/")
        for opened, now in self._open.items():
            if now == src or now.startswith(f"{src}/"):
                self._open[opened] = dst + now.removeprefix(src)

    def unlink(self, path: str) -> None:
        """See `SubjectDisk.unlink`."""
        self.perform(ops.Unlink(path))

    def rmdir(self, path: str) -> None:
        """See `SubjectDisk.rmdir`."""
        self.perform(ops.Rmdir(path))

    def lock(self, path: str) -> None:
        """See `SubjectDisk.lock`."""
        if path in self._locks:
            raise fail(errno.EWOULDBLOCK, path)
        if self.kind(path) == "missing":
            self.perform(ops.Create(path))
        self._file(path)
        self._locks.add(path)

    def unlock(self, path: str) -> None:
        """See `SubjectDisk.unlock`."""
        self._locks.discard(path)

    def _entry(self, path: str) -> tuple[int, Inode]:
        """The inode of that name, by its number and itself. OSError."""
        number = existing(locate(self.state.view, path, follow=False), path)
        return number, self.state.view[number]

    def _file(self, path: str) -> File:
        """The regular file of that name. OSError: ELOOP for a link, EINVAL for a directory."""
        _, inode = self._entry(path)
        if not isinstance(inode, File):
            raise fail(errno.ELOOP if isinstance(inode, SymlinkInode) else errno.EINVAL, path)
        return inode

    def _directory(self, path: str) -> Directory:
        """The directory of that name. OSError: ENOTDIR for all else."""
        _, inode = self._entry(path)
        if not isinstance(inode, Directory):
            raise fail(errno.ENOTDIR, path)
        return inode
