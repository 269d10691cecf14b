"""Descriptors of a POSIX machine: nothing special is opened, and none outlives its block."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Final, ParamSpec, TypeVar

from lastgood.backends.interface import ReadFailedError
from lastgood.format.lease_holder import LIMIT_BYTES, NOTE_BEGINS, LeaseHolder, encode_holder

READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_OF_THE_FILE: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.EISDIR,
        errno.ENXIO,
        errno.EFBIG,
    }
)
"""Errnos of an open that say something of the file, and not of the disk."""

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


class OpenFd:
    """An open file by its descriptor. It keeps no position: any thread may read anywhere."""

    def __init__(self, fd: int, size_bytes: int, path: str = "") -> None:
        self.size_bytes = size_bytes
        self._fd, self._path = fd, path

    def read_into(self, offset_bytes: int, room: memoryview) -> int:
        """See `OpenFile.read_into`."""
        done = 0
        while done < len(room):
            at = offset_bytes + done
            count = reading(self._path, os.preadv, self._fd, [room[done:]], at)
            if not count:
                break
            done += count
        return done


@contextlib.contextmanager
def open_descriptor(path: str, flags: int) -> Iterator[int]:
    """A descriptor for the length of a block."""
    held: list[int] = []
    try:
        open_into(held, path, flags)
        yield held[0]
    finally:
        for fd in held:
            os.close(fd)


@contextlib.contextmanager
def opened_file(path: str, limit_bytes: int | None) -> Iterator[tuple[int, int]]:
    """A regular file and its size; EFBIG before anything is read where it is too long."""
    held: list[int] = []
    try:
        open_regular(held, path, READ_FLAGS)
        size_bytes = reading(path, os.fstat, held[0]).st_size
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise posix_error(errno.EFBIG, path)
        yield held[0], size_bytes
    finally:
        try:
            for fd in held:  # closed here and not by a function, at whose beginning Ctrl-C may come
                os.close(fd)
        except OSError as error:
            raise ReadFailedError(error.errno, error.strerror, path) from error


def open_into(held: list[int], path: str, flags: int) -> None:
    """Open a file; whoever has `held` closes it.

    Ctrl-C comes between two steps of Python. This is one step: there is no moment at which the
    descriptor is open and nobody knows of it.
    """
    held.extend(map(os.open, (path,), (flags,), (0o666,)))


def open_regular(held: list[int], path: str, flags: int) -> None:
    """The same of a regular file: ELOOP for a symlink, EINVAL for all else that is none.

    What is none is not even opened: that alone wakes whoever waits at the other end of a fifo, and
    starts some devices. It is looked at again once it is open, as it may have been replaced.

    An errno that says something of the file is believed only where a look says the same. It may
    have been made, or have been put in place of something else, since it was opened: it is opened
    once more. A disk that says ENOENT, or ELOOP, of a regular file again cannot be read.
    ReadFailedError.
    """
    mode = mode_of(path)
    if mode is not None and not stat.S_ISREG(mode):  # O_CREAT is for the open itself to see
        raise posix_error(errno.ELOOP if stat.S_ISLNK(mode) else errno.EINVAL, path)
    for is_last in (False, True):
        try:
            open_into(held, path, flags)
            break
        except OSError as error:
            again = mode_of(path) if error.errno in _OF_THE_FILE else None
            if again is None or not stat.S_ISREG(again):
                raise
            if is_last:
                raise ReadFailedError(error.errno, error.strerror, path) from error
    if not stat.S_ISREG(reading(path, os.fstat, held[0]).st_mode):
        raise posix_error(errno.EINVAL, path)


def mode_of(path: str) -> int | None:
    """The kind and the permissions of an entry; None where there is none.

    ReadFailedError where the disk contradicts itself: the directory has the name, and there is
    nothing under it. OSError.
    """
    for is_last in (False, True):
        try:
            return os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            if not _is_listed(path):
                return None
            if is_last:  # it did not just appear
                raise ReadFailedError(error.errno, error.strerror, path) from error
        except OSError as error:
            raise ReadFailedError(error.errno, error.strerror, path) from error
    return None


def _is_listed(path: str) -> bool:
    """Say whether its directory has that name; a directory that cannot be listed has none."""
    folder, name = os.path.split(path)
    try:
        return name in os.listdir(folder)
    except OSError:
        return False


def reading(
    path: str, call: Callable[_P, _Answer], /, *args: _P.args, **kwargs: _P.kwargs
) -> _Answer:
    """A call on a file that is open; its errno is told from one of an open. ReadFailedError."""
    try:
        return call(*args, **kwargs)
    except OSError as error:
        raise ReadFailedError(error.errno, error.strerror, path) from error


def lock_open_file(path: str, fd: int) -> None:
    """Lock a file that is open. BlockingIOError where somebody has it; ReadFailedError otherwise.

    The lock belongs to this open file: a second store in the same process is kept out too.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:  # EINVAL of it does not mean that the file is none
        raise ReadFailedError(error.errno, error.strerror, path) from error


def sign_lock(fd: int) -> None:
    """Note in a lock file who holds it. Where that cannot be, it is held all the same."""
    note = encode_holder(LeaseHolder(os.getpid(), os.uname().nodename, int(time.time())))
    with contextlib.suppress(OSError):
        if _is_for_notes(fd):
            os.ftruncate(fd, 0)
            os.pwrite(fd, note, 0)


def clear_lock(fd: int) -> None:
    """Remove the note, which says nothing once the lock is given back."""
    with contextlib.suppress(OSError):
        if _is_for_notes(fd):
            os.ftruncate(fd, 0)


def _is_for_notes(fd: int) -> bool:
    """Say whether nothing is lost by a note: a stranger's file may have the name as well."""
    if os.fstat(fd).st_nlink != 1:
        return False
    found = os.pread(fd, LIMIT_BYTES + 1, 0)
    return not found or (found.startswith(NOTE_BEGINS) and len(found) <= LIMIT_BYTES)


def posix_error(number: int, path: str) -> OSError:
    """The error that the system would give for a path."""
    return OSError(number, os.strerror(number), path)
