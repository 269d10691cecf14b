"""Inodes and paths: the volatile view that a running program reads, errors included.

A tree maps inode numbers to files and directories; inode 1 is the root.  Every function is
pure.  Errors are OSError with the errno that Linux gives.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping

from attrs import frozen

from powercut.content import EMPTY, Content

ROOT = 1


@frozen
class File:
    """A regular file."""

    content: Content = EMPTY


@frozen
class Directory:
    """A directory: entry names to inode numbers. Treat `entries` as immutable."""

    entries: Mapping[str, int]


Inode = File | Directory
Tree = Mapping[int, Inode]

EMPTY_TREE: Tree = {ROOT: Directory({})}


def fail(code: int, path: str) -> OSError:
    """The error that the kernel gives for `path`."""
    return OSError(code, errno.errorcode[code], path)


def names_of(path: str) -> list[str]:
    """The entry names of an absolute path, from the root down."""
    if not path.startswith("/"):
        raise fail(errno.EINVAL, path)
    return [name for name in path.split("/") if name not in ("", ".")]


def resolve(tree: Tree, path: str) -> int:
    """The inode that `path` names. OSError: ENOENT, ENOTDIR."""
    number = ROOT
    for name in names_of(path):
        here = tree[number]
        if not isinstance(here, Directory):
            raise fail(errno.ENOTDIR, path)
        if name not in here.entries:
            raise fail(errno.ENOENT, path)
        number = here.entries[name]
    return number


def parent_of(tree: Tree, path: str) -> tuple[int, str]:
    """The directory that holds the last name of `path`, and that name. The root has none: EBUSY."""
    names = names_of(path)
    if not names:
        raise fail(errno.EBUSY, path)
    number = resolve(tree, "/" + "/".join(names[:-1]))
    if not isinstance(tree[number], Directory):
        raise fail(errno.ENOTDIR, path)
    return number, names[-1]


def directory_at(tree: Tree, number: int) -> Directory:
    """The directory with that number; the caller knows that it is one."""
    inode = tree[number]
    if not isinstance(inode, Directory):
        raise fail(errno.ENOTDIR, str(number))
    return inode


def file_at(tree: Tree, path: str) -> tuple[int, File]:
    """The regular file that `path` names. OSError: ENOENT, ENOTDIR, EISDIR."""
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


Look = tuple[tuple[object, ...], ...]


def look(tree: Tree) -> Look:
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
        if isinstance(inode, Directory):
            shown.append((path, "dir"))
        else:
            shown.append((path, "file", inode.content.look()))
    return tuple(shown)


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
