"""Damage at rest, done to a tree. No event comes of it: nothing of it is ever pending."""

from __future__ import annotations

import errno

from attrs import evolve

from powercut.filesystem import ops
from powercut.filesystem.content import run_of
from powercut.filesystem.inodes import (
    Directory,
    File,
    Inode,
    SymlinkInode,
    Tree,
    fail,
    locate,
)


def damaged(tree: Tree, op: ops.Damage) -> Tree:
    """The tree after the damage.

    OSError: those of a path; EINVAL for damage that nobody could find, of an empty file or behind
    its end; EISDIR where the bytes of a directory are meant.
    """
    number = locate(tree, op.path, follow=False).inode
    if number is None:
        raise fail(errno.ENOENT, op.path)
    return {**tree, number: _gone_bad(tree[number], op)}


def _gone_bad(inode: Inode, op: ops.Damage) -> Inode:
    if op.how == "unreadable" and not isinstance(inode, SymlinkInode):
        return evolve(inode, unreadable=True)
    if not isinstance(inode, File):
        raise fail(errno.EISDIR if isinstance(inode, Directory) else errno.EINVAL, op.path)
    content = inode.content
    at = content.size // 2 if op.at is None else op.at
    if op.how not in ops.HARMS or not 0 <= at < content.size:
        raise fail(errno.EINVAL, op.path)
    if op.how == "truncated":
        return evolve(inode, content=content.truncate(at))
    flipped = bytes([content.read()[at] ^ 0xFF])
    return evolve(inode, content=content.overlay(run_of(at, flipped)))
