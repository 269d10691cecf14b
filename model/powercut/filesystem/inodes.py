"""Inodes and paths: the volatile view that a running program reads, errors included.

A tree maps inode numbers to files, directories and symbolic links; inode 1 is the root.  Every
function is pure.  Errors are OSError with the errno that Linux gives.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from powercut.filesystem.content import EMPTY, Content

ROOT = 1
HANDLES: Final = 0
"""In place of a directory's number, where what is looked up is a handle."""


@frozen
class File:
    """A regular file. Where it is `unreadable`, the medium does not give its bytes back."""

    content: Content = EMPTY
    unreadable: bool = False


@frozen
class Directory:
    """A directory: entry names to inode numbers. Treat `entries` as immutable.

    Where it is `unreadable`, the medium does not give its entries back.
    """

    entries: Mapping[str, int]
    unreadable: bool = False


@frozen
class SymlinkInode:
    """A symbolic link: the path that it says, absolute or relative to its directory."""

    target: str


Inode = File | Directory | SymlinkInode
Tree = Mapping[int, Inode]

EMPTY_TREE: Tree = {ROOT: Directory({})}

LINKS_MAX: Final = 40
"""How many symbolic links one path may lead through; ELOOP beyond."""


def fail(code: int, path: str) -> OSError:
    """The error that the kernel gives for `path`."""
    return OSError(code, errno.errorcode[code], path)


@frozen
class Place:
    """Where a path ends: the directory that holds its last name, and the inode, None for none.

    The root has no name: its place has the name "" in the root itself.  A path that ends in "." or
    ".." has that as its name; no op can give such a name, take it away or move it.  `slash` says
    that slashes stand behind a name.  `passed` are the names that were looked up on the way, each
    with its directory.
    """

    directory: int
    name: str
    inode: int | None
    passed: tuple[tuple[int, str], ...] = ()
    slash: bool = False

    @property
    def is_fixed(self) -> bool:
        """The name is none that an op can give, take away or move."""
        return self.name in ("", ".", "..")


def locate(tree: Tree, path: str, *, follow: bool) -> Place:
    """Where `path` ends; a symbolic link as the last name is followed if asked for.

    Slashes behind the last name ask for a directory, and follow a link to it in any case.

    OSError: ENOENT and ENOTDIR for what stands before the last name, ENOTDIR for slashes behind
    the name of something else than a directory, EIO where a directory cannot be read, ELOOP, ENOENT
    for an empty path and EINVAL for another one that is not absolute.
    """
    return _locate(tree, path, follow=follow, as_name=False)


def locate_name(tree: Tree, path: str, *, follow: bool = False) -> Place:
    """The place of the name that an op gives, takes away or moves.

    Slashes behind it ask for nothing here, and no link is followed through them: what they mean
    depends on the op.  OSError: as `locate`, but for what the slashes ask for.
    """
    return _locate(tree, path, follow=follow, as_name=True)


def _locate(tree: Tree, path: str, *, follow: bool, as_name: bool) -> Place:
    if not path.startswith("/"):
        raise fail(errno.EINVAL if path else errno.ENOENT, path)
    todo = _names(path)
    trail = [ROOT]
    directory, last, number = ROOT, "", ROOT
    passed: list[tuple[int, str]] = []
    links, slash = 0, False
    while todo:
        name = todo.pop()
        held = tree[trail[-1]]
        if not isinstance(held, Directory):
            raise fail(errno.ENOTDIR, path)
        if not name:
            continue
        if name in (".", ".."):
            trail = trail if name == "." else trail[:-1] or [ROOT]
            directory, last, number = trail[-1], name, trail[-1]
            continue
        if held.unreadable:
            raise fail(errno.EIO, path)
        directory, last, slash = trail[-1], name, todo == [""]
        passed.append((directory, name))
        found = held.entries.get(name)
        if found is None and any(todo):
            raise fail(errno.ENOENT, path)
        if found is None or (slash and as_name):
            return Place(directory, last, found, tuple(passed), slash)
        number, inode = found, tree[found]
        if isinstance(inode, SymlinkInode) and (todo or follow):
            links += 1
            if links > LINKS_MAX:
                raise fail(errno.ELOOP, path)
            todo += _names(inode.target)
            trail = [ROOT] if inode.target.startswith("/") else trail
            directory, last, number = trail[-1], "", trail[-1]
            continue
        trail.append(number)
    return Place(directory, last, number, tuple(passed), slash)


def _names(path: str) -> list[str]:
    """The names of a path, the first one last; before all a "" where slashes stand behind them."""
    names = [name for name in reversed(path.split("/")) if name]
    return ["", *names] if names and path.endswith("/") else names


def resolve(tree: Tree, path: str) -> int:
    """The inode that `path` names, links followed. OSError: ENOENT, ENOTDIR, ELOOP."""
    return existing(locate(tree, path, follow=True), path)


def existing(place: Place, path: str) -> int:
    """The inode at a place. ENOENT where there is none."""
    if place.inode is None:
        raise fail(errno.ENOENT, path)
    return place.inode


def directory_at(tree: Tree, number: int) -> Directory:
    """The directory with that number; the caller knows that it is one."""
    inode = tree[number]
    if not isinstance(inode, Directory):
        raise fail(errno.ENOTDIR, str(number))
    return inode


def file_at(tree: Tree, path: str) -> tuple[int, File]:
    """The regular file that `path` names. OSError: ENOENT, ENOTDIR, ELOOP, EISDIR."""
    number = resolve(tree, path)
    inode = tree[number]
    if not isinstance(inode, File):
        raise fail(errno.EISDIR, path)
    return number, inode


def walk(
    tree: Tree, number: int = ROOT, prefix: str = "", above: tuple[int, ...] = ()
) -> Iterator[tuple[str, int]]:
    """Every path below `number` with its inode, parents first and names sorted.

    Half-done renames of directories can leave a cycle on the medium; it is entered once.
    """
    for name, child in sorted(directory_at(tree, number).entries.items()):
        path = f"{prefix}/{name}"
        yield path, child
        if isinstance(tree.get(child), Directory) and child not in above and child != number:
            yield from walk(tree, child, path, (*above, number))


def contains(tree: Tree, ancestor: int, number: int) -> bool:
    """`number` is `ancestor` or lies below it."""
    return number == ancestor or any(child == number for _, child in walk(tree, ancestor))


def is_named(tree: Tree, number: int) -> bool:
    """Some directory has a name for it."""
    held = (inode for inode in tree.values() if isinstance(inode, Directory))
    return any(number in directory.entries.values() for directory in held)


def check_no_loop(
    tree: Tree, source: Place, destination: Place, path: str, *, exchange: bool
) -> None:
    """No directory may move below itself, nor make room for what lies below it.

    OSError: EINVAL, or ENOTEMPTY for a `destination` that would be replaced.
    """
    if _is_above(tree, source.inode, destination.directory):
        raise fail(errno.EINVAL, path)
    if _is_above(tree, destination.inode, source.directory):
        raise fail(errno.EINVAL if exchange else errno.ENOTEMPTY, path)


def check_slashes(
    tree: Tree, source: Place, destination: Place, path: str, *, exchange: bool
) -> None:
    """Slashes behind a name of a rename ask that a directory has that name, or gets it. ENOTDIR."""
    wanted = [source] if source.slash else []
    if destination.slash:
        wanted.append(destination if exchange else source)
    if not all(isinstance(tree[existing(place, path)], Directory) for place in wanted):
        raise fail(errno.ENOTDIR, path)


def _is_above(tree: Tree, number: int | None, directory: int) -> bool:
    if number is None or not isinstance(tree[number], Directory):
        return False
    return contains(tree, number, directory)


def check_replacement(moved: Inode, replaced: Inode, path: str) -> None:
    """A rename may replace a file by a file and an empty directory by a directory.

    OSError: EISDIR, ENOTDIR, ENOTEMPTY.
    """
    if isinstance(replaced, Directory):
        if not isinstance(moved, Directory):
            raise fail(errno.EISDIR, path)
        if replaced.entries:
            raise fail(errno.ENOTEMPTY, path)
    elif isinstance(moved, Directory):
        raise fail(errno.ENOTDIR, path)


VisibleTree = tuple[tuple[object, ...], ...]


def visible_tree(tree: Tree) -> VisibleTree:
    """What the tree looks like, hashable: equal for trees that no program could tell apart.

    A second name of one file is shown as a link to its first name.
    """
    first_name: dict[int, str] = {}
    shown: list[tuple[object, ...]] = []
    for path, number in walk(tree):
        inode = tree[number]
        if number in first_name:
            shown.append((path, "link", first_name[number]))
            continue
        first_name[number] = path
        match inode:
            case Directory(unreadable=bad):
                shown.append((path, "dir", bad))
            case SymlinkInode(target=target):
                shown.append((path, "symlink", target))
            case File(content=content, unreadable=bad):
                shown.append((path, "file", content.look(), bad))
    return tuple(shown)


def hidden_tree(tree: Tree) -> VisibleTree:
    """The part of a tree that no program sees: the bytes behind the ends of its files, by path.

    Two trees that look alike and differ in it can differ after the next crash.
    """
    files = ((path, tree[number]) for path, number in walk(tree))
    return tuple(
        (path, file.content.resize(file.content.hidden).look())
        for path, file in files
        if isinstance(file, File) and file.content.hidden > file.content.size
    )


def plain(tree: Tree) -> dict[str, bytes | None]:
    """Relative paths to contents, None for a directory: the form in which the rig reads a disk."""
    out: dict[str, bytes | None] = {}
    for path, number in walk(tree):
        inode = tree[number]
        out[path[1:]] = inode.content.read() if isinstance(inode, File) else None
    return out


def reachable(tree: dict[int, Inode]) -> dict[int, Inode]:
    """The tree without the inodes that no path leads to."""
    kept = {ROOT: tree[ROOT]}
    todo = [ROOT]
    while todo:
        inode = tree[todo.pop()]
        if isinstance(inode, Directory):
            for child in inode.entries.values():
                if child not in kept:
                    kept[child] = tree[child]
                    todo.append(child)
    return kept
