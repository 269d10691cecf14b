"""The seam on a POSIX machine: one system call for each step, and nothing in between."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import pwd
import stat
import weakref
from collections.abc import Iterator
from typing import Final

from lastgood.backends.interface import UNKNOWN_FILE_SYSTEM, FileSystemTraits
from lastgood.backends.posix_files import (
    READ_FLAGS,
    OpenFd,
    clear_lock,
    lock_open_file,
    mode_of,
    open_descriptor,
    open_into,
    open_regular,
    opened_file,
    posix_error,
    reading,
    sign_lock,
)
from lastgood.buffers import fresh_memory
from lastgood.format.digests import new_hasher
from lastgood.format.lease_holder import LIMIT_BYTES, LeaseHolder, decode_holder

_MAKE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_BYTES: Final = 1 << 20
WRITE_BACK_BYTES: Final = 8 << 20
"""So much of a file is dirty when its write-back is begun: the sync at the end has less to do."""

_living: weakref.WeakSet[PosixDisk] = weakref.WeakSet()


class PosixDisk:
    """A `Disk` over real system calls; it also knows what file system is under a path.

    One object belongs to one process. In a forked child it refuses to change anything: the lease
    is the parent's, and a child that kept its descriptors would keep the lease alive.
    """

    signs_locks = False
    """True: a lock file names who holds it, for people. No promise rests on that."""

    def __init__(self, file_system: FileSystemTraits | None = None) -> None:
        """Look the file system up where it is asked for, or answer with the one given."""
        self._given = file_system
        self._files: dict[str, int] = {}
        self._unflushed: dict[str, int] = {}
        self._locks: dict[str, int] = {}
        self._is_forked = False
        _living.add(self)

    def canonical(self, path: str) -> str:
        """See `SystemInfo.canonical`."""
        return os.path.realpath(path)

    def file_system(self, path: str) -> FileSystemTraits:
        """See `SystemInfo.file_system`."""
        return self._given if self._given is not None else self._probe(path)

    def kind(self, path: str) -> str:
        """See `Disk.kind`."""
        mode = mode_of(path)
        if mode is None:
            return "missing"
        if stat.S_ISDIR(mode):
            return "dir"
        return "file" if stat.S_ISREG(mode) else "other"

    def link_count(self, path: str) -> int:
        """See `SystemInfo.link_count`."""
        return os.lstat(path).st_nlink

    def stamp(self, path: str) -> tuple[int, ...]:
        """See `SystemInfo.stamp`."""
        at = os.lstat(path)
        # Nobody can set the time of the last change of an inode, as they can that of its content.
        return at.st_mode, at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns

    def names(self, path: str) -> list[str]:
        """See `Disk.names`."""
        with open_descriptor(path, READ_FLAGS | os.O_DIRECTORY) as fd:
            return sorted(os.listdir(fd))

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `Disk.read`."""
        pieces: list[bytes] = []
        left = limit_bytes
        with opened_file(path, limit_bytes) as (fd, _):
            # One byte more than allowed is asked for: the file may be growing.
            while piece := reading(path, os.read, fd, min(_READ_BYTES, left + 1)):
                left -= len(piece)
                if left < 0:
                    raise posix_error(errno.EFBIG, path)
                pieces.append(piece)
        return b"".join(pieces)

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `Disk.digest`."""
        return self.digest_with(path, limit_bytes, "sha256")

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """See `FastReads.digest_with`."""
        size_bytes, digest = 0, new_hasher(algorithm)
        piece = memoryview(bytearray(_READ_BYTES))
        with opened_file(path, limit_bytes) as (fd, _):
            while count := reading(path, os.readv, fd, [piece]):
                size_bytes += count
                if size_bytes > limit_bytes:
                    raise posix_error(errno.EFBIG, path)
                digest.update(piece[:count])
        return size_bytes, digest.hexdigest()

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        """See `FastReads.read_and_digest`."""
        digest = new_hasher(algorithm)
        with opened_file(path, limit_bytes) as (fd, size_bytes):
            # Anonymous memory comes zeroed page by page as it is touched, not beforehand.
            whole = memoryview(fresh_memory(size_bytes) if size_bytes else b"")
            done = 0
            while done < size_bytes:
                count = reading(path, os.readv, fd, [whole[done : done + _READ_BYTES]])
                if not count:
                    break
                digest.update(whole[done : done + count])
                done += count
            if done == size_bytes and reading(path, os.read, fd, 1):
                raise posix_error(errno.EFBIG, path)
        return whole[:done].toreadonly(), digest.hexdigest()

    @contextlib.contextmanager
    def open_file(self, path: str, limit_bytes: int) -> Iterator[OpenFd]:
        """See `FastReads.open_file`."""
        with opened_file(path, limit_bytes) as (fd, size_bytes):
            yield OpenFd(fd, size_bytes, path)

    def map(self, path: str, limit_bytes: int) -> memoryview:
        """See `FastReads.map`."""
        with opened_file(path, limit_bytes) as (fd, size_bytes):
            if not size_bytes:
                return memoryview(b"")
            # What cannot be read is an error here. Found through a map, it would end the process.
            piece, left = memoryview(bytearray(_READ_BYTES)), size_bytes
            while left > 0 and (count := reading(path, os.readv, fd, [piece])):
                left -= count
            return self._mapped(fd, size_bytes)

    def mkdir(self, path: str) -> None:
        """See `Disk.mkdir`."""
        self._own(path)
        os.mkdir(path)

    def create(self, path: str) -> None:
        """See `Disk.create`."""
        self._own(path)
        held: list[int] = []
        try:
            open_into(held, path, _MAKE)
            self._files[path] = held[0]
        except BaseException:
            for fd in held:
                os.close(fd)
            raise

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Disk.write`."""
        self._own(path)
        fd = self._handle(path)
        left = memoryview(data).cast("B")
        while left:
            written = os.write(fd, left)
            left = left[written:]
            self._unflushed[path] = self._unflushed.get(path, 0) + written
        if self._unflushed.get(path, 0) >= WRITE_BACK_BYTES:
            self.write_early(path)

    def write_early(self, path: str) -> None:
        """See `WriteHints.write_early`."""
        self._own(path)
        self._write_back(self._handle(path))
        self._unflushed[path] = 0

    def preallocate(self, path: str, size_bytes: int) -> None:
        """See `WriteHints.preallocate`."""
        self._own(path)
        self._keep_space(self._handle(path), size_bytes)

    def free_bytes(self, path: str) -> int:
        """See `SystemInfo.free_bytes`."""
        status = os.statvfs(path)
        # A nearly full btrfs says that nothing is available, and takes files all the same.
        return (status.f_bavail or status.f_bfree) * status.f_frsize

    def used_bytes(self, path: str) -> int:
        """See `SystemInfo.used_bytes`."""
        at = os.lstat(path)
        # Space that is kept for a file counts. A file system may count no blocks at all.
        return at.st_blocks * 512 or at.st_size

    def may_write(self, path: str) -> bool:
        """See `SystemInfo.may_write`."""
        effective = os.access in os.supports_effective_ids
        return os.access(path, os.W_OK | os.X_OK, effective_ids=effective)

    def owner(self, path: str) -> str | None:
        """See `SystemInfo.owner`."""
        try:
            at = os.lstat(path)
        except OSError:
            return None
        try:
            name = pwd.getpwuid(at.st_uid).pw_name
        except KeyError:
            name = "a user without a name"
        return f"{name} (uid {at.st_uid}) and has the mode {stat.S_IMODE(at.st_mode):o}"

    def fsync(self, path: str) -> None:
        """See `Disk.fsync`."""
        self._own(path)
        if path in self._files:
            self._sync(self._files[path])
            return
        with opened_file(path, None) as (fd, _):
            self._sync(fd)

    def close(self, path: str) -> None:
        """See `Disk.close`."""
        fd = self._handle(path)
        self._unflushed.pop(path, None)
        # Gone from here even if close fails: the descriptor is then released all the same.
        del self._files[path]
        os.close(fd)

    def fsync_dir(self, path: str) -> None:
        """See `Disk.fsync_dir`."""
        self._own(path)
        with open_descriptor(path, READ_FLAGS | os.O_DIRECTORY) as fd:
            self._sync(fd)

    def rename(self, src: str, dst: str) -> None:
        """See `Disk.rename`."""
        self._own(src)
        os.rename(src, dst)

    def unlink(self, path: str) -> None:
        """See `Disk.unlink`."""
        self._own(path)
        os.unlink(path)

    def rmdir(self, path: str) -> None:
        """See `Disk.rmdir`."""
        self._own(path)
        os.rmdir(path)

    def lock(self, path: str) -> None:
        """See `Disk.lock`."""
        self._own(path)
        if path in self._locks:
            raise posix_error(errno.EWOULDBLOCK, path)
        held: list[int] = []
        try:
            open_regular(held, path, _LOCK)
            lock_open_file(path, held[0])
            if self.signs_locks:
                sign_lock(held[0])
            self._locks[path] = held[0]
        except BaseException:
            for fd in held:
                os.close(fd)
            raise

    def unlock(self, path: str) -> None:
        """See `Disk.unlock`."""
        fd = self._locks.get(path)
        if fd is not None:
            if self.signs_locks:
                clear_lock(fd)
            del self._locks[path]
            os.close(fd)

    def lease_holder(self, path: str) -> LeaseHolder:
        """See `capabilities.lease_holder`."""
        try:
            holder = decode_holder(self.read(path, LIMIT_BYTES))
            is_us = any(disk.holds(path) for disk in list(_living))
        except OSError:
            return LeaseHolder()
        return LeaseHolder(holder.pid, holder.host, holder.since_s, is_us)

    def holds(self, path: str) -> bool:
        """See `SystemInfo.holds`."""
        fd = self._locks.get(path)
        if fd is None:
            return False
        try:
            # Descriptor and path: the file behind the open one keeps its number while it is open.
            return os.path.samestat(os.fstat(fd), os.lstat(path))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def after_fork_in_child(self) -> None:
        """Let go of the parent's descriptors; closing them here does not free its lease."""
        self._is_forked = True
        for fd in (*self._files.values(), *self._locks.values()):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._files.clear()
        self._locks.clear()

    def _sync(self, fd: int) -> None:
        os.fsync(fd)

    def _mapped(self, fd: int, size_bytes: int) -> memoryview:
        """Map all of a file that is not empty, read-only; the map outlives the descriptor."""
        return memoryview(mmap.mmap(fd, size_bytes, access=mmap.ACCESS_READ))

    def _write_back(self, fd: int) -> None:
        """Let the kernel begin to write what is dirty, where it can be told to. No promise."""

    def _keep_space(self, fd: int, size_bytes: int) -> None:
        """Keep space for a file whose size stays 0, where that can be asked for."""

    def _probe(self, path: str) -> FileSystemTraits:
        """The file system of a path on a machine that nobody has described."""
        del path
        return UNKNOWN_FILE_SYSTEM

    def _handle(self, path: str) -> int:
        if path not in self._files:
            raise posix_error(errno.EBADF, path)
        return self._files[path]

    def _own(self, path: str) -> None:
        if self._is_forked:
            raise OSError(
                errno.ENOLCK, "a forked child does not hold its parent's lease; open anew", path
            )


def _forget_in_child() -> None:
    for disk in list(_living):
        disk.after_fork_in_child()


os.register_at_fork(after_in_child=_forget_in_child)
