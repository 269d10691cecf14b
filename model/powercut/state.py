"""A file system as an immutable value: what is durable for sure, and what was issued since.

`base` is what the medium holds whatever happens; `issued` are the events since, in program
order; `syncs` the syncs that have returned.  The state knows no profile: which events a sync
made durable, and for which crash class, is asked of the rules when a crash is considered.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

from powercut import ops
from powercut.content import Data, Fill
from powercut.events import Event, Sync, touches
from powercut.lowering import lower
from powercut.tree import EMPTY_TREE, ROOT, Directory, Tree, resolve

SYNCS = (ops.Fsync, ops.Fdatasync, ops.Sync)


@frozen
class State:
    """One moment in the life of a file system. Performing an op returns a new value."""

    base: Tree = EMPTY_TREE
    view: Tree = EMPTY_TREE
    issued: tuple[Event, ...] = ()
    syncs: tuple[Sync, ...] = ()
    next_inode: int = ROOT + 1

    def perform(self, op: ops.Op, op_id: str) -> State:
        """The state after `op`, named `op_id`. OSError as the kernel's; this state is unchanged."""
        lowered = lower(self.view, op, op_id, self.next_inode)
        issued = (*self.issued, *lowered.events)
        after = State(self.base, lowered.view, issued, self.syncs, lowered.next_inode)
        return evolve(after, syncs=(*self.syncs, after._sync_record(op, op_id)))

    def _sync_record(self, op: ops.Op, op_id: str) -> Sync:
        """What the return of `op` means to the rules: a sync, or the return of another op."""
        position = len(self.issued)
        if not isinstance(op, ops.Fsync | ops.Fdatasync):
            kind = "sync" if isinstance(op, ops.Sync) else "return"
            return Sync(op_id, kind, None, False, position, 0)
        inode = resolve(self.view, op.path)
        touched = max(
            (i + 1 for i, event in enumerate(self.issued) if touches(event, inode)), default=0
        )
        is_directory = isinstance(self.view[inode], Directory)
        return Sync(op_id, ops.op_name(op), inode, is_directory, position, touched)

    def begin(self, op: ops.Op, op_id: str) -> State:
        """The state in which `op` has begun and not returned: a sync may have landed in part."""
        after = self.perform(op, op_id)
        return evolve(after, syncs=(*self.syncs, evolve(after.syncs[-1], done=False)))

    @classmethod
    def settled(cls, tree: Tree, next_inode: int) -> State:
        """A state in which `tree` is durable and nothing is pending."""
        return cls(tree, tree, (), (), next_inode)


def first_bytes(data: Data, count: int) -> Data:
    """The first `count` bytes of what a write was to write."""
    return Fill(data.byte, count) if isinstance(data, Fill) else data[:count]


def run_program(program: Iterable[tuple[str, ops.Op]], state: State | None = None) -> State:
    """The state after every op of `program`, each given with its name."""
    state = State() if state is None else state
    for op_id, op in program:
        state = state.perform(op, op_id)
    return state
