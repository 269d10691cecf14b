"""Runs model ops on a mounted file system one by one, with a mark before and after each.

A real kernel keeps unsynced data in memory for half a minute, so a short program would reach
the disk only where it syncs.  A write-back plan says after which op the kernel is made to
write something early, as it might have on its own: that is what makes crash states in which
some of the unsynced data is there and some is not.
"""

from __future__ import annotations

import errno
import functools
import mmap
import operator
import os
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Final, Protocol, assert_never

from powercut.filesystem import ops
from powercut.filesystem.content import Data
from powercut_rig.blocks.block_log import MarkPhase
from powercut_rig.errors import RigError
from powercut_rig.mounted.writeback import WriteBack
from powercut_rig.system import linux_syscalls

_PIECE_BYTES: Final = 1 << 20
_EXISTING: Final = os.O_NOFOLLOW | os.O_CLOEXEC

MarkWriter = Callable[[str, int, MarkPhase], None]
"""Puts a mark into the log: label, op index, phase."""


class OpRunner(Protocol):
    """Something that performs ops on a mounted file system; errors are OSError."""

    def perform(self, op: ops.Op) -> None:
        """Perform one op."""

    def write_back(self, item: WriteBack) -> None:
        """Make the kernel write something early."""

    def sync(self) -> None:
        """Make everything of this file system durable, and nothing of another."""

    def close(self) -> None:
        """Close what the ops left open, as the end of a process does."""


class ProgramRunner:
    """Performs ops by a `runner`; `mark` writes to the log."""

    def __init__(self, runner: OpRunner, mark: MarkWriter) -> None:
        self._runner = runner
        self._mark = mark

    def run(self, program: Sequence[ops.Op], plan: Sequence[WriteBack] = ()) -> None:
        """Run all ops with their marks, and what the plan asks between them.

        Raises ValueError for a plan or a path that cannot be meant, before the first op; and
        `RigError` when the file system refuses an op, naming the op.
        """
        after = _planned(program, plan)
        for op in program:
            check_paths(op)
        self._write_back(after.get(-1, ()))
        for index, op in enumerate(program):
            label = op.label if isinstance(op, ops.Mark) else ops.op_name(op)
            self._mark(label, index, "begin")
            self._perform_or_explain(op, index)
            self._mark(label, index, "end")
            self._write_back(after.get(index, ()))

    def close(self) -> None:
        """See `OpRunner.close`."""
        self._runner.close()

    def perform(self, program: Sequence[ops.Op]) -> None:
        """Run ops without marks, for set-up."""
        for index, op in enumerate(program):
            check_paths(op)
            self._perform_or_explain(op, index)

    def sync(self) -> None:
        """See `OpRunner.sync`."""
        self._runner.sync()

    def _perform_or_explain(self, op: ops.Op, index: int) -> None:
        try:
            self._runner.perform(op)
        except OSError as error:
            raise RigError(
                f"Op {index}, {op}, failed on the real file system: {error.strerror}. The ops "
                "before it were run; a workload may hold only ops that succeed."
            ) from error

    def _write_back(self, items: Sequence[WriteBack]) -> None:
        for item in items:
            try:
                self._runner.write_back(item)
            except OSError as error:
                raise RigError(
                    f"The planned {item} failed: {error.strerror}. Name a file that is there at "
                    "that moment."
                ) from error
            self._mark(f"writeback {item.kind} {item.path}".rstrip(), item.after_op, "note")


def _planned(program: Sequence[ops.Op], plan: Sequence[WriteBack]) -> dict[int, list[WriteBack]]:
    after: dict[int, list[WriteBack]] = {}
    for item in plan:
        if not -1 <= item.after_op < len(program):
            raise ValueError(
                f"A write-back after op {item.after_op} was found; there are {len(program)} ops."
            )
        if item.path and not item.path.startswith("@"):
            path_below("/", item.path)
        after.setdefault(item.after_op, []).append(item)
    return after


def check_paths(op: ops.Op) -> None:
    """Raise ValueError for a path or a link that would lead out of the disk."""
    for name in ("path", "src", "dst"):
        path = getattr(op, name, None)
        if path is not None and not path.startswith("@"):
            path_below("/", path)
    if isinstance(op, ops.Symlink):
        target = PurePosixPath(op.target)
        if target.is_absolute() or ".." in target.parts:  # it would lead out of the disk
            raise ValueError(
                f"A symbolic link to {op.target!r} was found; on a disk it has to be relative "
                "and without '..'."
            )


def path_below(root: str, path: str) -> str:
    """The real path of a path of an op, spelt as it is: the kernel looks at "/" and "." in the end.

    ValueError for one that cannot be meant.
    """
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"The path {path!r} was found; expected an absolute one without '..'.")
    return root.rstrip("/") + path


class LocalOpRunner:
    """Performs ops below `root`, where a file system is mounted, in this process.

    `commit` makes the file system mounted at a path commit its running transaction.
    """

    def __init__(self, root: str, commit: Callable[[str], None]) -> None:
        self._root = root
        self._commit = commit
        self._handles: dict[str, int] = {}

    def close(self) -> None:
        """See `OpRunner.close`, here and below."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def sync(self) -> None:
        """See `OpRunner.sync`."""
        self._with_file("/", os.O_RDONLY, linux_syscalls.syncfs)

    def _real(self, path: str) -> str:
        return path_below(self._root, path)

    def perform(self, op: ops.Op) -> None:
        """See `OpRunner.perform`."""
        real = self._real
        match op:
            case ops.Create(path=path):
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _EXISTING
                os.close(os.open(real(path), flags, 0o644))
            case ops.Open(path=path, handle=handle, flags=words):
                access = os.O_RDONLY if "O_RDONLY" in words else os.O_RDWR
                flags = access | os.O_CLOEXEC | open_flags(words)
                self._handles[handle] = os.open(real(path), flags, 0o644)
            case ops.Tmpfile(path=path, handle=handle):
                flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
                self._handles[handle] = os.open(real(path), flags, 0o644)
            case ops.Close(handle=handle):
                os.close(self._handles.pop(handle))
            case ops.Write(path=path, offset=offset, data=data, flags=words):
                self._with_file(path, os.O_WRONLY, lambda fd: _write_all(fd, offset, data), words)
            case ops.Append(path=path, data=data, flags=words):
                self._with_file(
                    path, os.O_WRONLY, lambda fd: _write_all(fd, os.fstat(fd).st_size, data), words
                )
            case ops.Mapwrite(path=path, offset=offset, data=data):
                self._with_file(path, os.O_RDWR, lambda fd: _write_mapped(fd, offset, data))
            case ops.Msync(path=path, offset=offset, size=size):
                self._with_file(path, os.O_RDWR, lambda fd: _sync_mapped(fd, offset, size))
            case ops.Truncate(path=path, size=size):
                self._with_file(path, os.O_WRONLY, lambda fd: os.ftruncate(fd, size))
            case ops.Mkdir(path=path):
                os.mkdir(real(path), 0o755)
            case ops.Rmdir(path=path):
                os.rmdir(real(path))
            case ops.Symlink(target=target, path=path):
                os.symlink(target, real(path))
            case ops.Rename(src=src, dst=dst, flags=words):
                linux_syscalls.rename(real(src), real(dst), *words)
            case ops.Link(src=src, dst=dst):
                self._link(src, real(dst))
            case ops.Unlink(path=path):
                os.unlink(real(path))
            case ops.Fsync(fails=True) | ops.Fdatasync(fails=True):
                raise OSError(errno.ENOTSUP, "a sync cannot be made to fail here")
            case ops.Fsync(path=path) | ops.Barrier(path=path) | ops.Fullsync(path=path):
                self._with_file(path, os.O_RDONLY, os.fsync)
            case ops.Fdatasync(path=path):
                self._with_file(path, os.O_RDONLY, os.fdatasync)
            case ops.Sync():  # sync(2) would write every disk of this machine
                self.sync()
            case ops.Mark():
                pass
            case ops.Damage():
                raise OSError(errno.ENOTSUP, "no disk goes bad on request")
            case _:
                assert_never(op)

    def _link(self, src: str, dst: str) -> None:
        if src.startswith("@"):
            fd = self._handles[src[1:]]
            # With a directory's descriptor given Python calls linkat, which can follow /proc.
            os.link(f"/proc/self/fd/{fd}", dst, src_dir_fd=fd, follow_symlinks=True)
        else:
            os.link(self._real(src), dst, follow_symlinks=False)

    def _with_file(
        self, path: str, flags: int, action: Callable[[int], None], words: Sequence[str] = ()
    ) -> None:
        """Act on an open file: the one that a handle names, or one opened for the purpose."""
        if path.startswith("@"):
            action(self._handles[path[1:]])
            return
        fd = os.open(self._real(path), flags | os.O_CLOEXEC | open_flags(words))
        try:
            action(fd)
        finally:
            os.close(fd)

    def write_back(self, item: WriteBack) -> None:
        """See `OpRunner.write_back`."""
        if item.kind == "data":
            start, length = item.offset_bytes, item.length_bytes
            self._with_file(
                item.path, os.O_RDWR, lambda fd: linux_syscalls.sync_file_range(fd, start, length)
            )
        elif item.kind == "commit":
            self._commit(self._root)
        else:
            self.sync()


def open_flags(words: Sequence[str]) -> int:
    """The flags of open(2) with those names."""
    return functools.reduce(operator.or_, (getattr(os, word) for word in words), 0)


def _write_mapped(fd: int, offset: int, data: Data) -> None:
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size) as mapped:
        mapped[offset : offset + len(data)] = bytes_of(data)


def _sync_mapped(fd: int, offset: int, size: int) -> None:
    start = offset - offset % mmap.PAGESIZE
    with mmap.mmap(fd, os.fstat(fd).st_size) as mapped:
        mapped.flush(start, offset + size - start)


def bytes_of(data: Data) -> bytes:
    """The bytes that a write of `data` puts into a file."""
    return data if isinstance(data, bytes) else bytes([data.byte]) * len(data)


def _write_all(fd: int, offset: int, data: Data) -> None:
    size, done = len(data), 0
    # Anonymous memory begins at a page, as a direct write asks of its buffer.
    with mmap.mmap(-1, max(1, min(_PIECE_BYTES, size))) as buffer, memoryview(buffer) as view:
        while done < size:
            count = min(_PIECE_BYTES, size - done)
            piece = data[done : done + count] if isinstance(data, bytes) else bytes([data.byte])
            view[:count] = piece if len(piece) == count else piece * count
            done += os.pwrite(fd, view[:count], offset + done)
