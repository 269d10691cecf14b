"""Lowering: each op to the persistence events it causes, one function per op.

`lower` checks the op against the volatile view, as the kernel would, and returns the new view
with the events.  It is pure: an op that fails raises OSError and changes nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from powercut import ops
from powercut.content import run_of
from powercut.events import Entry, Event, Extent, Size
from powercut.tree import (
    Directory,
    File,
    Inode,
    Tree,
    contains,
    directory_at,
    fail,
    file_at,
    names_of,
    parent_of,
    resolve,
)


@frozen
class Lowered:
    """The volatile view after an op, its events in order, and the next free inode number."""

    view: Tree
    events: tuple[Event, ...]
    next_inode: int


class _Lowering:
    """One op being lowered: a copy-on-write view and the events so far."""

    def __init__(self, view: Tree, op_id: str, op: ops.Op, next_inode: int) -> None:
        self.view: dict[int, Inode] = dict(view)
        self.op_id = op_id
        self.op_kind = ops.op_name(op)
        self.events: list[Event] = []
        self.next_inode = next_inode

    def new_inode(self, inode: Inode) -> int:
        number = self.next_inode
        self.next_inode += 1
        self.view[number] = inode
        return number

    def set_entry(self, where: tuple[int, str], target: int | None, role: str = "entry") -> None:
        """Let a name mean `target`, or nothing."""
        number, name = where
        entries = dict(directory_at(self.view, number).entries)
        replaced = entries.pop(name, None)
        if target is not None:
            entries[name] = target
        self.view[number] = Directory(entries)
        self.events.append(Entry(self.op_id, self.op_kind, role, number, name, target, replaced))


def _free_name(low: _Lowering, path: str) -> tuple[int, str]:
    """Where a new name goes. EEXIST where it is taken, the root included."""
    if not names_of(path):
        raise fail(errno.EEXIST, path)
    where = parent_of(low.view, path)
    if where[1] in directory_at(low.view, where[0]).entries:
        raise fail(errno.EEXIST, path)
    return where


def _create(low: _Lowering, op: ops.Create) -> None:
    where = _free_name(low, op.path)
    low.set_entry(where, low.new_inode(File()))


def _mkdir(low: _Lowering, op: ops.Mkdir) -> None:
    where = _free_name(low, op.path)
    low.set_entry(where, low.new_inode(Directory({})))


def _write(low: _Lowering, op: ops.Write) -> None:
    number, file = file_at(low.view, op.path)
    if op.offset < 0:
        raise fail(errno.EINVAL, op.path)
    run = run_of(op.offset, op.data)
    if run.start == run.stop:
        return
    low.events.append(Extent(low.op_id, number, run))
    old = file.content.size
    if run.stop > old:
        low.events.append(Size(low.op_id, number, old, run.stop))
    low.view[number] = File(file.content.overlay(run).resize(max(old, run.stop)))


def _truncate(low: _Lowering, op: ops.Truncate) -> None:
    number, file = file_at(low.view, op.path)
    if op.size < 0:
        raise fail(errno.EINVAL, op.path)
    if op.size != file.content.size:
        low.events.append(Size(low.op_id, number, file.content.size, op.size))
    low.view[number] = File(file.content.truncate(op.size))


def _link(low: _Lowering, op: ops.Link) -> None:
    source = resolve(low.view, op.src)
    where = _free_name(low, op.dst)
    if isinstance(low.view[source], Directory):
        raise fail(errno.EPERM, op.src)
    low.set_entry(where, source)


def _unlink(low: _Lowering, op: ops.Unlink) -> None:
    if not names_of(op.path):
        raise fail(errno.EISDIR, op.path)
    where = parent_of(low.view, op.path)
    if isinstance(low.view[resolve(low.view, op.path)], Directory):
        raise fail(errno.EISDIR, op.path)
    low.set_entry(where, None)


def _rmdir(low: _Lowering, op: ops.Rmdir) -> None:
    where = parent_of(low.view, op.path)
    target = low.view[resolve(low.view, op.path)]
    if not isinstance(target, Directory):
        raise fail(errno.ENOTDIR, op.path)
    if target.entries:
        raise fail(errno.ENOTEMPTY, op.path)
    low.set_entry(where, None)


def _rename(low: _Lowering, op: ops.Rename) -> None:
    source, destination = parent_of(low.view, op.src), parent_of(low.view, op.dst)
    moved = resolve(low.view, op.src)
    moved_inode = low.view[moved]
    replaced = directory_at(low.view, destination[0]).entries.get(destination[1])
    if isinstance(moved_inode, Directory) and contains(low.view, moved, destination[0]):
        raise fail(errno.EINVAL, op.dst)
    if replaced is not None and contains(low.view, replaced, source[0]):
        raise fail(errno.ENOTEMPTY, op.dst)
    if replaced == moved:
        return  # two names of one file: POSIX says that nothing happens
    if replaced is not None:
        _check_replacement(moved_inode, low.view[replaced], op.dst)
    low.set_entry(destination, moved, "add")
    low.set_entry(source, None, "remove")


def _check_replacement(moved: Inode, replaced: Inode, path: str) -> None:
    """A rename may replace a file by a file and an empty directory by a directory."""
    if isinstance(replaced, Directory):
        if not isinstance(moved, Directory):
            raise fail(errno.EISDIR, path)
        if replaced.entries:
            raise fail(errno.ENOTEMPTY, path)
    elif isinstance(moved, Directory):
        raise fail(errno.ENOTDIR, path)


def _fsync(low: _Lowering, op: ops.Fsync | ops.Fdatasync) -> None:
    resolve(low.view, op.path)


def _nothing(low: _Lowering, op: ops.Op) -> None:
    """Neither a whole-system sync nor a mark changes the view."""


_LOWER: Final[dict[type, Callable[[_Lowering, Any], None]]] = {
    ops.Create: _create,
    ops.Mkdir: _mkdir,
    ops.Write: _write,
    ops.Truncate: _truncate,
    ops.Link: _link,
    ops.Unlink: _unlink,
    ops.Rmdir: _rmdir,
    ops.Rename: _rename,
    ops.Fsync: _fsync,
    ops.Fdatasync: _fsync,
    ops.Sync: _nothing,
    ops.Mark: _nothing,
}


def lower(view: Tree, op: ops.Op, op_id: str, next_inode: int) -> Lowered:
    """What `op` does to the view, and its events. OSError as the kernel; nothing changed then."""
    low = _Lowering(view, op_id, op, next_inode)
    _LOWER[type(op)](low, op)
    return Lowered(low.view, tuple(low.events), low.next_inode)
