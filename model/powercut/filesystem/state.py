"""A file system as an immutable value: what is durable for sure, and what was issued since.

`base` is what the medium holds whatever happens; `issued` are the events since, in program
order; `syncs` the ops that have returned.  The state knows no profile: which events a sync
made durable, and for which crash class, is asked of the rules when a crash is considered.

Ops of one thread are ordered.  An op may name a thread; ops of different threads that stand
between the same two ops of no thread are concurrent, and nothing orders their events.  Two
concurrent ops that touch the same inode or the same directory are refused: the model does not
try the orders in which they could have met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import evolve, field, frozen

from powercut.errors import ConcurrencyError
from powercut.filesystem import ops
from powercut.filesystem.content import Data, Fill
from powercut.filesystem.damage import damaged
from powercut.filesystem.events import Entry, Event
from powercut.filesystem.inodes import EMPTY_TREE, HANDLES, ROOT, Directory, Tree
from powercut.filesystem.lower import lower
from powercut.filesystem.lowered import Handle, Lowered
from powercut.filesystem.syncs import SyncCall, ThreadSlot, concurrent

_SYNC_KINDS = ("fsync", "fdatasync", "barrier", "fullsync", "msync", "sync")
_NO_SYNC = ("return", "failed")


@frozen
class Footprint:
    """What one op of a thread touched: inodes that it changed, used or synced, and names.

    `looked` are the names and handles that it looked up, `named` those that it changed.
    """

    op: str
    inodes: frozenset[int]
    looked: frozenset[tuple[int, str]]
    named: frozenset[tuple[int, str]]

    def meets(self, other: Footprint) -> bool:
        """The two cannot be taken for independent."""
        return bool(
            self.inodes & other.inodes or self.looked & other.named or self.named & other.looked
        )


@frozen
class State:
    """One moment in the life of a file system. Performing an op returns a new value.

    `thread_slots` gives the slot of each op that named a thread.  `section` holds the footprints of
    those since the last op that named none.  `after_kernel_crash`: a crash of the
    kernel left what is durable here, and some of it may be in the drive's cache only.
    """

    base: Tree = EMPTY_TREE
    view: Tree = EMPTY_TREE
    issued: tuple[Event, ...] = ()
    syncs: tuple[SyncCall, ...] = ()
    next_inode: int = ROOT + 1
    handles: Mapping[str, Handle] = field(factory=dict)
    thread_slots: Mapping[str, ThreadSlot] = field(factory=dict)
    section: tuple[tuple[str, Footprint], ...] = ()
    sections: int = 0
    after_kernel_crash: bool = False

    def perform(self, op: ops.Op, op_id: str, thread: str = "") -> State:
        """The state after `op`, named `op_id`, of that thread.

        OSError as the kernel's, ConcurrencyError where a concurrent op is in the way; this state
        is unchanged then.
        """
        if isinstance(op, ops.Damage):
            if thread:
                raise ConcurrencyError(f"{op_id}: damage at rest is of no thread")
            return State.settled(
                damaged(self.view, op), self.next_inode, self.handles, self.after_kernel_crash
            )
        lowered = lower(self.view, self.handles, op, op_id, self.next_inode)
        state = self._in_lane(lowered, op_id, thread)
        issued = (*self.issued, *lowered.events)
        sync = state.sync_record(op, op_id, lowered, issued)
        # Spelt out, not evolved: every op of every history comes through here.
        return State(
            self.base,
            lowered.view,
            issued,
            (*self.syncs, sync),
            lowered.next_inode,
            lowered.handles,
            state.thread_slots,
            state.section,
            state.sections,
            state.after_kernel_crash,
        )

    def _in_lane(self, lowered: Lowered, op_id: str, thread: str) -> State:
        if not thread:
            return evolve(self, section=()) if self.section else self
        mine = footprint(lowered, op_id)
        for other, theirs in self.section:
            if other != thread and mine.meets(theirs):
                raise ConcurrencyError(
                    f"{op_id} of thread {thread!r} and {theirs.op} of thread {other!r} run at the "
                    "same time and touch the same inode or name; put an op of no thread between "
                    "them to say which came first"
                )
        sections = self.sections if self.section else self.sections + 1
        return evolve(
            self,
            thread_slots={**self.thread_slots, op_id: (sections, thread)},
            section=(*self.section, (thread, mine)),
            sections=sections,
        )

    def sync_record(
        self, op: ops.Op, op_id: str, lowered: Lowered, issued: tuple[Event, ...]
    ) -> SyncCall:
        """What the return of `op` means to the rules: a sync, or the return of another op."""
        kind = ops.op_name(op)
        kind = lowered.waits or (kind if kind in _SYNC_KINDS else "return")
        if isinstance(op, ops.Fsync | ops.Fdatasync) and op.fails:
            kind = "failed"
        inode = lowered.synced
        return SyncCall(
            op_id,
            kind,
            inode,
            inode is not None and isinstance(lowered.view[inode], Directory),
            len(issued),
            len(self.syncs),
            next((s.position for s in reversed(self.syncs) if s.kind not in _NO_SYNC), 0),
            lowered.span,
            inode is not None and getattr(op, "path", "").startswith("@"),
            issued=self.not_beside(op_id, issued),
            view=lowered.view,
            thread_slots=self.thread_slots,
            earlier=self.syncs,
        )

    def not_beside(self, op_id: str, issued: tuple[Event, ...]) -> tuple[Event | None, ...]:
        """The events, None in place of those that run at the same time as this op."""
        if op_id not in self.thread_slots:
            return issued
        return tuple(None if concurrent(self.thread_slots, e.op, op_id) else e for e in issued)

    def begin(self, op: ops.Op, op_id: str, thread: str = "") -> State:
        """The state in which `op` has issued its events, and what it waits for has not landed.

        A crash inside the op leaves what this state leaves, or what the one after the op does: a
        sync makes its log or its commit valid by one write, so that either is there or is not.
        """
        after = self.perform(op, op_id, thread)
        if isinstance(op, ops.Damage):  # it comes at once
            return after
        return evolve(after, syncs=self.syncs)

    def killed(self) -> State:
        """The state after every process has died: all that was issued stays, handles go."""
        return evolve(self, handles={}, section=())

    @classmethod
    def settled(
        cls,
        tree: Tree,
        next_inode: int,
        handles: Mapping[str, Handle] | None = None,
        after_kernel_crash: bool = False,
    ) -> State:
        """A state in which `tree` is durable and nothing is pending; no file is open but these."""
        return cls(
            tree, tree, (), (), next_inode, handles or {}, after_kernel_crash=after_kernel_crash
        )


def footprint(lowered: Lowered, op_id: str) -> Footprint:
    """What an op touched."""
    inodes = {*lowered.used, lowered.synced}
    named = {(HANDLES, name) for name in lowered.rebound}
    for event in lowered.events:
        if isinstance(event, Entry):
            named.add((event.directory, event.entry))
            inodes |= {event.directory, event.target, event.replaced}
        else:
            inodes.add(event.inode)
    # What an op has named it has looked at: two that give one name a meaning meet as well.
    looked = lowered.looked | named
    return Footprint(op_id, frozenset(i for i in inodes if i is not None), looked, frozenset(named))


def first_bytes(data: Data, count: int) -> Data:
    """The first `count` bytes of what a write was to write."""
    return Fill(data.byte, count) if isinstance(data, Fill) else data[:count]


def run_program(program: Iterable[tuple[str, ops.Op]], state: State | None = None) -> State:
    """The state after every op of `program`, each given with its name."""
    state = State() if state is None else state
    for op_id, op in program:
        state = state.perform(op, op_id)
    return state
