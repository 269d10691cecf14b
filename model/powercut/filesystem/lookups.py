"""The look-ups that an op makes on its way to the names and inodes that it is about."""

from __future__ import annotations

import errno

from powercut.filesystem.inodes import (
    Inode,
    Place,
    Tree,
    existing,
    fail,
    locate,
    locate_name,
)


class Lookups:
    """Paths looked up in a copy-on-write view; `looked` are the names that were met on the way."""

    def __init__(self, view: Tree) -> None:
        self.view: dict[int, Inode] = dict(view)
        self.looked: set[tuple[int, str]] = set()

    def inode(self, path: str, *, follow: bool = True) -> int:
        """The inode that a path leads to. ENOENT where there is none."""
        return existing(self._met(locate(self.view, path, follow=follow)), path)

    def name(self, path: str, *, follow: bool = False) -> Place:
        """The name that a path ends in, to be given, taken away or moved."""
        return self._met(locate_name(self.view, path, follow=follow))

    def file_name(self, path: str, *, follow: bool = False) -> Place:
        """The name under which a file may be made. EISDIR where slashes ask for a directory."""
        place = self.name(path, follow=follow)
        if place.slash:
            raise fail(errno.EISDIR, path)
        return place

    def free_name(self, path: str, *, directory: bool = False) -> Place:
        """The place of a new name. EEXIST where it is taken, the root included.

        ENOENT where slashes ask for a directory, and none is made.
        """
        place = self.name(path)
        if place.inode is not None:
            raise fail(errno.EEXIST, path)
        if place.slash and not directory:
            raise fail(errno.ENOENT, path)
        return place

    def _met(self, place: Place) -> Place:
        self.looked.update(place.passed)
        return place
