"""The outcome of one op: the new view, the events, and whatever the rules ask of it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from powercut.filesystem.events import Event
from powercut.filesystem.inodes import Tree


@frozen
class Handle:
    """An open file: its inode, and the flags that it was opened with."""

    inode: int
    flags: frozenset[str]


@frozen
class Lowered:
    """The outcome of an op: the new view and handles, its events in order, the next inode number.

    `synced` is the inode that the op waited for, `span` the bytes of it where it is not all, and
    `waits` the kind of sync that a write did on the way.  For those who ask whether two ops can
    meet, `used` are the files whose size or bytes counted, `looked` the names that were looked up
    with their directories (HANDLES for a handle), `rebound` the handles that mean another file.
    """

    view: Tree
    handles: Mapping[str, Handle]
    events: tuple[Event, ...]
    next_inode: int
    synced: int | None
    span: tuple[int, int] | None
    waits: str
    used: frozenset[int]
    looked: frozenset[tuple[int, str]]
    rebound: frozenset[str]
