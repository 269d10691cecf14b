"""Sync calls, and which ops ran at the same time as one.

A scope rule is a sentence about one `SyncCall` and one piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from attrs import field, frozen

from powercut.filesystem.events import Entry, Event, Extent, Piece, touches
from powercut.filesystem.inode_history import InodeHistory, parents_in
from powercut.filesystem.inodes import Tree
from powercut.filesystem.tree_log import Logged, brought

ThreadSlot = tuple[int, str]
"""The place of an op of a thread: the number of its concurrent section, and the thread."""

_NO_LOG = ("return", "sync")
_WHOLE = ("fsync", "fdatasync", "fullsync")


@frozen
class SyncCall:
    """A sync that has returned.

    `kind` is the op's name; "o_sync" or "o_dsync" for a write that waits; "failed" for a sync that
    abandoned its file's dirty pages; "return" for the return of any other op.  `inode` is what was
    synced, `span` the bytes that a ranged sync names, and `by_handle` true where no path named it.
    `issued` are the events before it, of which `position` counts them, `since` those before the
    last sync before it; an event that is None was issued by another thread at the same time, and
    nothing is known of it.  `number` counts the ops that returned before it.
    """

    op: str
    kind: str
    inode: int | None
    is_directory: bool
    position: int
    number: int
    since: int = 0
    span: tuple[int, int] | None = None
    by_handle: bool = False
    issued: Sequence[Event | None] = field(default=(), eq=False, repr=False)
    _view: Tree = field(factory=dict, eq=False, repr=False)
    _thread_slots: Mapping[str, ThreadSlot] = field(factory=dict, eq=False, repr=False)
    _earlier: Sequence[SyncCall] = field(default=(), eq=False, repr=False)

    @cached_property
    def about(self) -> InodeHistory:
        """The facts of the synced inode at this moment."""
        whole = [
            sync.position
            for sync in self._earlier
            if sync.op not in self._thread_slots
            and (sync.kind == "sync" or (sync.inode == self.inode and sync.kind in _WHOLE))
        ]
        return InodeHistory(
            self.issued, self._view, self.inode or 0, self.since, self.span, self.op, tuple(whole)
        )

    @cached_property
    def linked_first(self) -> frozenset[int]:
        """The inodes whose first name came by a link: they were made with O_TMPFILE."""
        return frozenset(
            event.target
            for event in self.issued
            if isinstance(event, Entry) and event.first and event.op_kind == "link" and event.target
        )

    def had_issued(self, piece: Piece, count: int) -> bool:
        """The piece was issued, for sure, when the first `count` events had been."""
        if piece.index >= count:
            return False
        last = self.issued[count - 1]
        return last is None or not concurrent(self._thread_slots, last.op, piece.event.op)

    def had_sent(self, piece: Piece) -> bool:
        """The piece had been handed to the drive, for sure, when this sync returned."""
        if piece.sent is None or piece.sent > self.number:
            return False
        return not concurrent(self._thread_slots, self.op, piece.sender)

    @cached_property
    def is_direct(self) -> bool:
        """It is a write that goes past the page cache."""
        return any(isinstance(e, Extent) and e.op == self.op and e.direct for e in self.issued)

    @property
    def by_other_name(self) -> bool:
        """It goes through a handle, and the file may have been opened under another name."""
        return self.by_handle and self.about.linked > 0

    @cached_property
    def is_first(self) -> bool:
        """Nothing was synced by itself before, since everything was."""
        for sync in reversed(self._earlier):
            if sync.kind == "sync" and sync.op not in self._thread_slots:
                return True
            if sync.kind not in _NO_LOG:
                return False
        return True

    @cached_property
    def last_whole(self) -> dict[int, int]:
        """The number of events before the last earlier sync of each inode, all of it."""
        return {
            sync.inode: sync.position
            for sync in self._earlier
            if sync.inode is not None and sync.kind in _WHOLE and sync.op not in self._thread_slots
        }

    def synced_alone(self, inode: int, index: int) -> bool:
        """Before event number `index` the inode was changed, then synced, and nothing else was.

        Nothing was renamed or linked either since that change.  With threads, nobody can say.
        """
        if self._thread_slots:
            return False
        for place in range(index - 1, -1, -1):
            event = self.issued[place]
            if event is None or (isinstance(event, Entry) and event.op_kind in ("rename", "link")):
                return False
            if touches(event, inode):
                after = [s for s in self._earlier if s.position > place and s.kind != "return"]
                between = [s for s in after if s.position <= index]
                return bool(between) and all(s.inode == inode and s.kind in _WHOLE for s in between)
        return False

    @cached_property
    def named(self) -> frozenset[int]:
        """The inodes that have a name."""
        return frozenset(parents_in(self._view))

    @cached_property
    def may_log(self) -> frozenset[str]:
        """The ops of which a log, by this sync or an earlier one, may bring a change of a name.

        A sync of everything that has returned leaves the log empty.
        """
        start, writers = self.log_writers
        logs = [Logged(sync.position - start, sync.about.full, sync.about.held) for sync in writers]
        return brought(self.issued[start:], self._view, logs)

    @cached_property
    def log_writers(self) -> tuple[int, tuple[SyncCall, ...]]:
        """The syncs that wrote the log since it was empty, and the number of events before those.

        This one is the last of them, but for a sync of everything, which writes none.
        """
        start, writers = 0, list[SyncCall]()
        for sync in (*self._earlier, self):
            if sync.kind == "sync" and sync.op not in self._thread_slots:
                start, writers = sync.position, []
            elif sync.kind not in _NO_LOG:
                writers.append(sync)
        return start, tuple(writers)

    def logged_by_other_name(self, inode: int, piece: Piece) -> bool:
        """The inode had a name when this sync, or one that wrote the log before, came after it."""
        return any(
            inode in sync.named
            and (
                piece.index < sync.position
                or concurrent(self._thread_slots, sync.op, piece.event.op)
            )
            for sync in self.log_writers[1]
        )


def concurrent(thread_slots: Mapping[str, ThreadSlot], one: str, other: str) -> bool:
    """Nothing orders the two ops: they are of different threads, in one concurrent section."""
    if one not in thread_slots or other not in thread_slots:
        return False
    (section, thread), (other_section, other_thread) = thread_slots[one], thread_slots[other]
    return section == other_section and thread != other_thread
