"""Runs model ops on a mounted file system one by one, with a mark before and after each.

A real kernel keeps unsynced data in memory for half a minute, so a short program would reach
the disk only where it syncs.  A write-back plan says after which op the kernel is made to
write something early, as it might have on its own: that is what makes crash states in which
some of the unsynced data is there and some is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Literal, assert_never

from attrs import field, frozen

from powercut.content import Data
from powercut.ops import (
    Create,
    Fdatasync,
    Fsync,
    Link,
    Mark,
    Mkdir,
    Op,
    Rename,
    Rmdir,
    Sync,
    Truncate,
    Unlink,
    Write,
    op_name,
)
from powercut_rig import linux
from powercut_rig.blocklog import Phase
from powercut_rig.errors import RigError

_PIECE_BYTES: Final = 1 << 20
_EXISTING: Final = os.O_NOFOLLOW | os.O_CLOEXEC

MarkWriter = Callable[[str, int, Phase], None]
"""Puts a mark into the log: label, op index, phase."""


@frozen
class WriteBack:
    """After op `after_op` (-1: before the first) the kernel writes something early.

    `data`: the dirty pages of `path` from `offset_bytes` on, for `length_bytes` (0: to the
    end), without its metadata and without a flush.  `commit`: the journal commits, as its
    timer does every few seconds; data that has no block yet stays in memory.  `syncfs`:
    everything, with a flush.
    """

    after_op: int
    kind: Literal["data", "commit", "syncfs"]
    path: str = ""
    offset_bytes: int = field(default=0)
    length_bytes: int = field(default=0)

    @offset_bytes.validator
    @length_bytes.validator
    def _not_negative(self, _attribute: object, value: int) -> None:
        if value < 0:
            raise ValueError(f"A write-back range of {value} B was found; expected 0 or more.")

    def __attrs_post_init__(self) -> None:
        if (self.kind == "data") != bool(self.path):
            raise ValueError(
                f"A write-back of kind {self.kind!r} with path {self.path!r} was found; "
                "`data` needs a path and the other kinds take none."
            )


def default_plan(ops: Sequence[Op]) -> tuple[WriteBack, ...]:
    """A plan that writes back about every second op, in turn: half a file, a commit, a file.

    Only files that this program wrote and did not sync since are chosen, the oldest first, so
    that younger data lands before older names and the other way round.
    """
    plan: list[WriteBack] = []
    dirty: dict[str, int] = {}
    turn = 0
    for index, op in enumerate(ops):
        _follow(op, dirty)
        if index % 2 == 0 or isinstance(op, Mark):
            continue
        if turn % 3 == 1:
            plan.append(WriteBack(index, "commit"))
        elif dirty:
            path, size = next(iter(dirty.items()))
            if turn % 3 == 0 and size > 1:
                plan.append(WriteBack(index, "data", path, 0, size // 2))
            else:
                plan.append(WriteBack(index, "data", path))
                del dirty[path]
        turn += 1
    return tuple(plan)


def _follow(op: Op, dirty: dict[str, int]) -> None:
    """Keep `dirty`, unsynced files with their sizes in bytes, true across `op`."""
    match op:
        case Write(path=path, offset=offset, data=data):
            dirty[path] = max(dirty.get(path, 0), offset + len(data))
        case Fsync(path=path) | Fdatasync(path=path) | Unlink(path=path):
            dirty.pop(path, None)
        case Rename(src=src, dst=dst):
            dirty.pop(dst, None)
            moved = [path for path in dirty if path == src or path.startswith(src + "/")]
            for path in moved:
                dirty[dst + path[len(src) :]] = dirty.pop(path)
        case Sync():
            dirty.clear()
        case _:
            pass


class Workload:
    """Performs ops below `root`, where the file system is mounted; `mark` writes to the log."""

    def __init__(self, root: str, mark: MarkWriter) -> None:
        self._root = root
        self._mark = mark

    def run(self, ops: Sequence[Op], plan: Sequence[WriteBack] = ()) -> None:
        """Run all ops with their marks, and what the plan asks between them.

        Raises ValueError for a plan or a path that cannot be meant, before the first op; and
        `RigError` when the file system refuses an op, naming the op.
        """
        after = self._planned(ops, plan)
        for op in ops:
            self._check_paths(op)
        self._write_back(after.get(-1, ()))
        for index, op in enumerate(ops):
            label = op.label if isinstance(op, Mark) else op_name(op)
            self._mark(label, index, "begin")
            self._perform_or_explain(op, index)
            self._mark(label, index, "end")
            self._write_back(after.get(index, ()))

    def perform(self, ops: Sequence[Op]) -> None:
        """Run ops without marks, for set-up."""
        for index, op in enumerate(ops):
            self._check_paths(op)
            self._perform_or_explain(op, index)

    def sync(self) -> None:
        """Make everything of this file system durable, and nothing of another."""
        self._with_file("/", os.O_RDONLY, linux.syncfs)

    def _planned(self, ops: Sequence[Op], plan: Sequence[WriteBack]) -> dict[int, list[WriteBack]]:
        after: dict[int, list[WriteBack]] = {}
        for item in plan:
            if not -1 <= item.after_op < len(ops):
                raise ValueError(
                    f"A write-back after op {item.after_op} was found; there are {len(ops)} ops."
                )
            if item.path:
                self._real(item.path)
            after.setdefault(item.after_op, []).append(item)
        return after

    def _check_paths(self, op: Op) -> None:
        for name in ("path", "src", "dst"):
            if (path := getattr(op, name, None)) is not None:
                self._real(path)

    def _real(self, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or parts[0] != "/" or ".." in parts or "\0" in path:
            raise ValueError(f"The path {path!r} was found; expected an absolute one without '..'.")
        return str(Path(self._root, *parts[1:]))

    def _perform_or_explain(self, op: Op, index: int) -> None:
        try:
            self._perform(op)
        except OSError as error:
            raise RigError(
                f"Op {index}, {op}, failed on the real file system: {error.strerror}. The ops "
                "before it were run; a workload may hold only ops that succeed."
            ) from error

    def _perform(self, op: Op) -> None:
        real = self._real
        match op:
            case Create(path=path):
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _EXISTING
                os.close(os.open(real(path), flags, 0o644))
            case Write(path=path, offset=offset, data=data):
                self._with_file(path, os.O_WRONLY, lambda fd: _write_all(fd, offset, data))
            case Truncate(path=path, size=size):
                self._with_file(path, os.O_WRONLY, lambda fd: os.ftruncate(fd, size))
            case Mkdir(path=path):
                Path(real(path)).mkdir(mode=0o755)
            case Rmdir(path=path):
                Path(real(path)).rmdir()
            case Rename(src=src, dst=dst):
                Path(real(src)).rename(real(dst))
            case Link(src=src, dst=dst):
                Path(real(dst)).hardlink_to(real(src))
            case Unlink(path=path):
                Path(real(path)).unlink()
            case Fsync(path=path):
                self._with_file(path, os.O_RDONLY, os.fsync)
            case Fdatasync(path=path):
                self._with_file(path, os.O_RDONLY, os.fdatasync)
            case Sync():  # sync(2) would write every disk of this machine
                self.sync()
            case Mark():
                pass
            case _:
                assert_never(op)

    def _with_file(self, path: str, flags: int, action: Callable[[int], None]) -> None:
        fd = os.open(self._real(path), flags | _EXISTING)
        try:
            action(fd)
        finally:
            os.close(fd)

    def _write_back(self, items: Sequence[WriteBack]) -> None:
        for item in items:
            try:
                self._write_back_one(item)
            except OSError as error:
                raise RigError(
                    f"The planned {item} failed: {error.strerror}. Name a file that is there at "
                    "that moment."
                ) from error
            self._mark(f"writeback {item.kind} {item.path}".rstrip(), item.after_op, "note")

    def _write_back_one(self, item: WriteBack) -> None:
        if item.kind == "data":
            start, length = item.offset_bytes, item.length_bytes
            self._with_file(
                item.path, os.O_RDWR, lambda fd: linux.sync_file_range(fd, start, length)
            )
        elif item.kind == "commit":
            # A root whose times changed is in the running transaction: syncing it commits that
            # transaction and no other file's data.
            os.utime(self._root)
            self._with_file("/", os.O_RDONLY, os.fsync)
        else:
            self.sync()


def _write_all(fd: int, offset: int, data: Data) -> None:
    size, done = len(data), 0
    while done < size:
        count = min(_PIECE_BYTES, size - done)
        piece = data[done : done + count] if isinstance(data, bytes) else bytes([data.byte]) * count
        done += os.pwrite(fd, piece, offset + done)
