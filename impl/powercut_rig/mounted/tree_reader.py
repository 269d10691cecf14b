"""Reads a directory tree that may be hostile: bounded, never following a symbolic link.

A crash image is a file system that nobody vouches for.  Its tree is read through directory
descriptors, so a name cannot lead out of it, and what is not a file or a directory is told
by a tag.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import cached_property
from hashlib import blake2b
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigError

_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_LOST_FOUND: Final = "lost+found"
_KINDS: Final = {
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


_OURS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)  # not the image's fault


@frozen
class Tag:
    """Something that is neither a readable file nor a readable directory.

    `kind` is symlink, fifo, socket, a device, or unreadable; then `detail` names the error.
    """

    kind: str
    detail: str = ""

    @property
    def said(self) -> bytes:
        """A description, in place of a content."""
        return f"<{self.kind} {self.detail}>".encode(errors="surrogateescape")


Tree = dict[str, bytes | Tag | None]
"""Relative path to content; None for a directory."""


@frozen
class TreeSnapshot:
    """A tree as it was read, and which of its paths are one file: hard links, in groups."""

    tree: Tree
    links: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def plain(self) -> dict[str, bytes | None]:
        """The tree with contents only; what is no file and no directory by a description."""
        return {
            path: value.said if isinstance(value, Tag) else value
            for path, value in self.tree.items()
        }

    @property
    def in_one_line(self) -> str:
        """The tree in one line, long contents cut."""
        shown = (f"{p}: {'dir' if c is None else c[:40]!r}" for p, c in sorted(self.plain.items()))
        return "; ".join(shown)

    @cached_property
    def digest(self) -> int:
        """A number for what it looks like; equal for equal snapshots, in every process."""
        digest = blake2b(repr(self.links).encode(), digest_size=8)
        for path, content in sorted(self.plain.items()):
            kind = b"d" if content is None else b"f%d:" % len(content)
            digest.update(path.encode(errors="surrogateescape") + b"\0" + kind + (content or b""))
        return int.from_bytes(digest.digest(), "little")


@frozen
class TreeLimits:
    """Limits beyond which a tree is refused."""

    entries: int = 10_000
    depth: int = 64
    total_bytes: int = 256 << 20


def read_tree(root: str, limits: TreeLimits | None = None) -> Tree:
    """All below `root`: file contents, None for directories, tags for the rest; sorted by path.

    The root's own lost+found is left out.  An entry that the file system cannot read is told
    by an `unreadable` tag.  Raises `RigError` when the tree is beyond `limits`, and OSError
    when `root` itself cannot be opened.
    """
    return read_snapshot(root, limits).tree


def read_snapshot(root: str, limits: TreeLimits | None = None) -> TreeSnapshot:
    """The same, with the groups of paths that are one file."""
    reader = _Reader(limits or TreeLimits())
    fd = os.open(root, _FOLDER_FLAGS)
    try:
        reader.read_folder(fd, "", 0)
    finally:
        os.close(fd)
    groups = sorted(tuple(sorted(paths)) for paths in reader.names.values() if len(paths) > 1)
    return TreeSnapshot(dict(sorted(reader.tree.items())), tuple(groups))


class _Reader:
    """One reading of a tree: what was read, and how much more may be."""

    def __init__(self, limits: TreeLimits) -> None:
        self.tree: Tree = {}
        self.names: dict[int, list[str]] = {}  # of files with more than one name, by inode
        self._limits = limits
        self._left_bytes = limits.total_bytes

    def read_folder(self, fd: int, prefix: str, depth: int) -> None:
        """Read the open directory; at most one descriptor for each level is open at a time."""
        if depth > self._limits.depth:
            raise RigError(f"{prefix} lies deeper than {self._limits.depth} directories.")
        for name in _names(fd, self._limits.entries - len(self.tree)):
            if prefix or name != _LOST_FOUND:
                self._read_entry(fd, name, prefix + name, depth)

    def _read_entry(self, fd: int, name: str, path: str, depth: int) -> None:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            mode = status.st_mode
            if status.st_nlink > 1 and not stat.S_ISDIR(mode):
                self.names.setdefault(status.st_ino, []).append(path)
            if stat.S_ISDIR(mode):
                self.tree[path] = None
                child = os.open(name, _FOLDER_FLAGS, dir_fd=fd)
                try:
                    self.read_folder(child, path + "/", depth + 1)
                finally:
                    os.close(child)
            elif stat.S_ISREG(mode):
                content = _read_file(fd, name, path, self._left_bytes)
                self._left_bytes -= len(content)
                self.tree[path] = content
            else:
                self.tree[path] = _tag(fd, name, mode)
        except OSError as error:
            if error.errno in _OURS:
                raise
            self.tree[path] = Tag("unreadable", errno.errorcode.get(error.errno or 0, str(error)))


def _names(fd: int, most: int) -> list[str]:
    names: list[str] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if len(names) >= most:
                raise RigError(f"The tree has too many entries: more than the last {most} allowed.")
            names.append(entry.name)
    return sorted(names)


def _read_file(folder_fd: int, name: str, path: str, left_bytes: int) -> bytes:
    fd = os.open(name, _FILE_FLAGS, dir_fd=folder_fd)
    try:
        size = os.fstat(fd).st_size
        if size > left_bytes:
            raise RigError(f"{path} has {size} B; only {left_bytes} B more may be read.")
        pieces = []
        while size > 0 and (piece := os.read(fd, size)):
            pieces.append(piece)
            size -= len(piece)
    finally:
        os.close(fd)
    return b"".join(pieces)


def _tag(folder_fd: int, name: str, mode: int) -> Tag:
    kind = _KINDS.get(stat.S_IFMT(mode), "unknown")
    return Tag(kind, os.readlink(name, dir_fd=folder_fd) if kind == "symlink" else "")
