"""Lowering: each op to the persistence events it causes, one function per op.

`lower` checks the op against the volatile view, as the kernel would, and returns the new view
with the events.  It is pure: an op that fails raises OSError and changes nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve

from powercut.filesystem import ops
from powercut.filesystem.content import ByteRun, Content, Data, page_end, run_of
from powercut.filesystem.events import Entry, Event, Extent, Size
from powercut.filesystem.inodes import (
    HANDLES,
    Directory,
    File,
    Inode,
    Place,
    SymlinkInode,
    Tree,
    check_no_loop,
    check_replacement,
    check_slashes,
    directory_at,
    existing,
    fail,
    is_named,
)
from powercut.filesystem.lookups import Lookups
from powercut.filesystem.lowered import Handle, Lowered

SECTOR_BYTES: Final = 512
"""What an O_DIRECT write is aligned to."""


class _Lowering(Lookups):
    """One op being lowered: a copy-on-write view and the events so far."""

    def __init__(
        self, view: Tree, handles: Mapping[str, Handle], op_id: str, op: ops.Op, next_inode: int
    ) -> None:
        super().__init__(view)
        self.handles = dict(handles)
        self.op_id = op_id
        self.op_kind = ops.op_name(op)
        self.events: list[Event] = []
        self.next_inode = next_inode
        self.synced: int | None = None
        self.span: tuple[int, int] | None = None
        self.waits = ""
        self.used: set[int] = set()
        self.rebound: set[str] = set()

    def new_inode(self, inode: Inode) -> int:
        number = self.next_inode
        self.next_inode += 1
        self.view[number] = inode
        return number

    def handle(self, path: str) -> Handle:
        """What "@h" stands for. EBADF."""
        name = path.removeprefix("@")
        self.looked.add((HANDLES, name))
        if name not in self.handles:
            raise fail(errno.EBADF, path)
        return self.handles[name]

    def bind(self, name: str, handle: Handle) -> None:
        """Let a handle mean this open file."""
        self.handles[name] = handle
        self.rebound.add(name)

    def opened(
        self, path: str, flags: tuple[str, ...] = (), read_only: int = errno.EBADF
    ) -> tuple[int, frozenset[str]]:
        """The inode behind a path or a handle, and its flags; `read_only` is what is raised for a
        handle that was not opened for writing.
        """
        if path.startswith("@"):
            handle = self.handle(path)
            if "O_RDONLY" in handle.flags:
                raise fail(read_only, path)
            return handle.inode, handle.flags
        number = self.inode(path)
        if isinstance(self.view[number], Directory):
            raise fail(errno.EISDIR, path)
        return number, frozenset(flags)

    def file(self, number: int) -> File:
        """The regular file with that number; the caller has opened it. EIO if it is unreadable."""
        inode = self.view[number]
        if not isinstance(inode, File):
            raise fail(errno.EISDIR, str(number))
        if inode.unreadable:
            raise fail(errno.EIO, str(number))
        self.used.add(number)
        return inode

    def set_entry(
        self, place: Place, target: int | None, role: str = "entry", *, first: bool = False
    ) -> None:
        """Let a name mean `target`, or nothing; `first` where the target had no name before."""
        entries = dict(directory_at(self.view, place.directory).entries)
        replaced = entries.pop(place.name, None)
        if target is not None:
            entries[place.name] = target
        self.view[place.directory] = Directory(entries)
        where = (place.directory, place.name)
        self.events.append(Entry(self.op_id, self.op_kind, role, *where, target, replaced, first))


def _known(flags: tuple[str, ...], known: frozenset[str], path: str) -> None:
    if not known.issuperset(flags):
        raise fail(errno.EINVAL, path)


def _create(low: _Lowering, op: ops.Create) -> None:
    place = low.file_name(op.path)
    if place.inode is not None:
        raise fail(errno.EEXIST, op.path)
    low.set_entry(place, low.new_inode(File()), first=True)


def _open(low: _Lowering, op: ops.Open) -> None:
    _known(op.flags, ops.OPEN_FLAGS, op.path)
    flags = frozenset(op.flags)
    exclusive = flags >= {"O_CREAT", "O_EXCL"}
    if "O_CREAT" not in flags:
        number = low.inode(op.path)
    else:
        place = low.file_name(op.path, follow=not exclusive)
        if exclusive and place.inode is not None:
            raise fail(errno.EEXIST, op.path)
        number = low.new_inode(File()) if place.inode is None else place.inode
        if place.inode is None:
            low.set_entry(place, number, first=True)
    if isinstance(low.view[number], Directory):
        if "O_CREAT" in flags or "O_TRUNC" in flags or "O_RDONLY" not in flags:
            raise fail(errno.EISDIR, op.path)
        if "O_DIRECT" in flags:
            raise fail(errno.EINVAL, op.path)
    elif "O_TRUNC" in flags:
        _resize(low, number, 0)
    low.bind(op.handle, Handle(number, flags))


def _tmpfile(low: _Lowering, op: ops.Tmpfile) -> None:
    if not isinstance(low.view[low.inode(op.path)], Directory):
        raise fail(errno.ENOTDIR, op.path)
    low.bind(op.handle, Handle(low.new_inode(File()), frozenset({"O_TMPFILE"})))


def _close(low: _Lowering, op: ops.Close) -> None:
    low.handle(f"@{op.handle}")
    del low.handles[op.handle]
    low.rebound.add(op.handle)


def _mkdir(low: _Lowering, op: ops.Mkdir) -> None:
    place = low.free_name(op.path, directory=True)
    low.set_entry(place, low.new_inode(Directory({})), first=True)


def _symlink(low: _Lowering, op: ops.Symlink) -> None:
    if not op.target:
        raise fail(errno.ENOENT, op.path)
    place = low.free_name(op.path)
    low.set_entry(place, low.new_inode(SymlinkInode(op.target)), first=True)


def _write(low: _Lowering, op: ops.Write) -> None:
    _known(op.flags, ops.WRITE_FLAGS, op.path)
    if op.offset < 0:  # pwrite looks at the offset first; what is not open yet is opened before
        if not op.path.startswith("@"):
            low.opened(op.path, op.flags)
        raise fail(errno.EINVAL, op.path)
    number, flags = low.opened(op.path, op.flags)
    # On Linux, a handle with O_APPEND appends whatever offset pwrite is given.
    end = low.file(number).content.size
    _put(low, number, end if "O_APPEND" in flags else op.offset, op.data, flags)


def _append(low: _Lowering, op: ops.Append) -> None:
    _known(op.flags, ops.WRITE_FLAGS, op.path)
    number, flags = low.opened(op.path, op.flags)
    _put(low, number, low.file(number).content.size, op.data, flags)


def _mapwrite(low: _Lowering, op: ops.Mapwrite) -> None:
    number, flags = low.opened(op.path, read_only=errno.EACCES)
    if op.offset < 0 or op.offset + len(op.data) > low.file(number).content.size:
        raise fail(errno.EFAULT, op.path)  # a store behind the end of the file: SIGBUS, or lost
    _put(low, number, op.offset, op.data, flags - ops.WRITE_FLAGS, mapped=True)


def _put(
    low: _Lowering,
    number: int,
    offset: int,
    data: Data,
    flags: frozenset[str],
    *,
    mapped: bool = False,
) -> None:
    """The bytes of a write, the size that they need, and the sync that its flags ask for."""
    run = run_of(offset, data)
    if run.start == run.stop:
        return
    direct = "O_DIRECT" in flags
    if direct and (run.start % SECTOR_BYTES or run.stop % SECTOR_BYTES):
        raise fail(errno.EINVAL, str(number))
    content = low.file(number).content
    if run.start > content.size:
        content = _zero_hidden(low, number, content, run.start, direct=direct)
    low.events.append(Extent(low.op_id, number, run, direct, mapped))
    if run.stop > content.size:
        low.events.append(Size(low.op_id, number, content.size, run.stop))
    after = content.overlay(run).resize(max(content.size, run.stop))
    low.view[number] = evolve(low.file(number), content=after)
    if not flags.isdisjoint(("O_SYNC", "O_DSYNC")):
        low.waits = "o_sync" if "O_SYNC" in flags else "o_dsync"
        low.synced, low.span = number, (run.start, run.stop)


def _truncate(low: _Lowering, op: ops.Truncate) -> None:
    if op.size < 0:
        raise fail(errno.EINVAL, op.path)  # before anything is looked up
    number, _ = low.opened(op.path, read_only=errno.EINVAL)
    _resize(low, number, op.size)


def _resize(low: _Lowering, number: int, size: int) -> None:
    """Another size. The rest of the page in which a file is cut is written over with zeros."""
    content = low.file(number).content
    tail = min(content.size, page_end(size))
    if size < tail:
        low.events.append(Extent(low.op_id, number, ByteRun(size, tail, 0), zeroes=True))
    content = _zero_hidden(low, number, content, size)
    if size != content.size:
        low.events.append(Size(low.op_id, number, content.size, size))
    low.view[number] = evolve(low.file(number), content=content.truncate(size))


def _zero_hidden(
    low: _Lowering, number: int, content: Content, size: int, *, direct: bool = False
) -> Content:
    """Write zeros over what an earlier cut has left on the medium, where the file grows over it."""
    tail = min(content.hidden, size)
    if content.size < tail:
        run = ByteRun(content.size, tail, 0)
        low.events.append(Extent(low.op_id, number, run, direct, zeroes=True))
        content = content.overlay(run)
    return content


def _link(low: _Lowering, op: ops.Link) -> None:
    by_handle = low.handle(op.src) if op.src.startswith("@") else None
    source = low.inode(op.src, follow=False) if by_handle is None else by_handle.inode
    place = low.free_name(op.dst)
    if isinstance(low.view[source], Directory):
        raise fail(errno.EPERM, op.src)
    first = by_handle is not None and not is_named(low.view, source)
    if by_handle is not None and first:
        if "O_TMPFILE" not in by_handle.flags:
            raise fail(errno.ENOENT, op.src)
        # A file that was opened without a name may be given its first one, once.
        low.bind(op.src[1:], Handle(source, by_handle.flags - {"O_TMPFILE"}))
    low.set_entry(place, source, first=first)


def _unlink(low: _Lowering, op: ops.Unlink) -> None:
    place = low.name(op.path)
    if isinstance(low.view[existing(place, op.path)], Directory):
        raise fail(errno.EISDIR, op.path)
    if place.slash:
        raise fail(errno.ENOTDIR, op.path)
    low.set_entry(place, None)


_NOT_REMOVED: Final = {"": errno.EBUSY, ".": errno.EINVAL, "..": errno.ENOTEMPTY}


def _rmdir(low: _Lowering, op: ops.Rmdir) -> None:
    place = low.name(op.path)
    if place.is_fixed:
        raise fail(_NOT_REMOVED[place.name], op.path)
    target = low.view[existing(place, op.path)]
    if not isinstance(target, Directory):
        raise fail(errno.ENOTDIR, op.path)
    if target.unreadable:
        raise fail(errno.EIO, op.path)
    if target.entries:
        raise fail(errno.ENOTEMPTY, op.path)
    low.set_entry(place, None)


def _rename(low: _Lowering, op: ops.Rename) -> None:
    _known(op.flags, ops.RENAME_FLAGS, op.dst)
    if len(op.flags) > 1:
        raise fail(errno.EINVAL, op.dst)
    source, destination = low.name(op.src), low.name(op.dst)
    if source.is_fixed:
        raise fail(errno.EBUSY, op.src)
    if destination.is_fixed:
        raise fail(errno.EEXIST if "NOREPLACE" in op.flags else errno.EBUSY, op.dst)
    moved, replaced = existing(source, op.src), destination.inode
    if "NOREPLACE" in op.flags and replaced is not None:
        raise fail(errno.EEXIST, op.dst)
    if "EXCHANGE" in op.flags and replaced is None:
        raise fail(errno.ENOENT, op.dst)
    exchange = "EXCHANGE" in op.flags
    check_slashes(low.view, source, destination, op.dst, exchange=exchange)
    check_no_loop(low.view, source, destination, op.dst, exchange=exchange)
    if replaced == moved:
        return  # two names of one file: POSIX says that nothing happens
    if "EXCHANGE" in op.flags:
        low.set_entry(destination, moved, "add")
        low.set_entry(source, replaced, "swap")
        return
    if replaced is not None:
        check_replacement(low.view[moved], low.view[replaced], op.dst)
    low.set_entry(destination, moved, "add")
    low.set_entry(source, None, "remove")


def _sync_of(low: _Lowering, op: ops.Fsync | ops.Fdatasync | ops.Barrier | ops.Fullsync) -> None:
    if op.path.startswith("@"):
        low.synced = low.handle(op.path).inode
    else:
        low.synced = low.inode(op.path)


def _msync(low: _Lowering, op: ops.Msync) -> None:
    low.synced, _ = low.opened(op.path, read_only=errno.EACCES)
    if op.offset < 0 or op.size <= 0:
        raise fail(errno.EINVAL, op.path)
    low.span = (op.offset, op.offset + op.size)


def _nothing(low: _Lowering, op: ops.Op) -> None:
    """Neither a whole-system sync nor a mark changes the view."""


_LOWER: Final[dict[type, Callable[[_Lowering, Any], None]]] = {
    ops.Create: _create,
    ops.Open: _open,
    ops.Tmpfile: _tmpfile,
    ops.Close: _close,
    ops.Write: _write,
    ops.Append: _append,
    ops.Mapwrite: _mapwrite,
    ops.Msync: _msync,
    ops.Truncate: _truncate,
    ops.Mkdir: _mkdir,
    ops.Rmdir: _rmdir,
    ops.Symlink: _symlink,
    ops.Rename: _rename,
    ops.Link: _link,
    ops.Unlink: _unlink,
    ops.Fsync: _sync_of,
    ops.Fdatasync: _sync_of,
    ops.Barrier: _sync_of,
    ops.Fullsync: _sync_of,
    ops.Sync: _nothing,
    ops.Mark: _nothing,
}


def lower(
    view: Tree, handles: Mapping[str, Handle], op: ops.Op, op_id: str, next_inode: int
) -> Lowered:
    """What `op`, but no damage, does to the view, and its events. OSError; nothing changed then."""
    low = _Lowering(view, handles, op_id, op, next_inode)
    _LOWER[type(op)](low, op)
    made = (low.view, low.handles, tuple(low.events), low.next_inode)
    asked = (low.synced, low.span, low.waits)
    met = (frozenset(low.used), frozenset(low.looked), frozenset(low.rebound))
    return Lowered(*made, *asked, *met)
