"""THE MODEL: every rule that makes a crash state legal or illegal is in this file.

Read it with a man page beside it and agree or object, rule by rule.

A crash leaves a set of persistence events that *landed*; all other pending ones are lost.  With
no rule at all, any set may land.  Each rule removes sets, and there are five kinds:

order     `rule(earlier, later)`: if the later one landed by commit, the earlier one did.
atomic    `rule(one, other)`: both land or neither does.
scope     `rule(sync, piece)`: once the sync has returned, the event has landed.
exposure  `rule(piece)`: where this data was lost, its range does not read as stale bytes.
ceiling   `rule(piece)`: the event never lands, whatever was synced.

Rules see pieces, because data and sizes may land in part: `piece.event` is the part of the event.
A scope rule is asked only about events issued before the sync.

An event lands by one of two *carriers*: the ordinary commit (a journal or a transaction), or a
log that a sync wrote for it alone.  Order rules bind the commit only, atomic rules bind both, and a
scope rule names its carrier.  A sync that has not returned may have put part of its log there.

A profile (profiles/*.toml) is a list of rules by id.  Nothing here knows a file system by name
except in prose.  `Source:` labels are explained in docs/sources.md, with our reading; `Litmus:`
names the tests under traces/litmus that change their answer without the rule.

Each order and atomic rule has a second form, beside it in `_IMMEDIATE`, that lists immediate
constraints without looking at every pair.  A property test holds the two forms equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, Literal

from attrs import frozen

from powercut.events import Entry, Extent, Piece, Size, Sync

Kind = Literal["order", "atomic", "scope", "exposure", "ceiling"]
Carrier = Literal["commit", "log"]
Pairs = Iterator[tuple[int, int]]


@frozen
class Rule:
    """One rule: its id, its kind, its readable form, and where the claim comes from.

    `on` and `carrier` speak of scope rules: the kinds of sync that it applies to, and how the
    events land.  `litmus` names the tests that need the rule.
    """

    id: str
    kind: Kind
    holds: Callable[..., bool]
    source: tuple[str, ...]
    litmus: tuple[str, ...]
    on: tuple[str, ...] = ()
    carrier: Carrier = "commit"

    @property
    def claim(self) -> str:
        """The first line of the rule's docstring."""
        return (self.holds.__doc__ or "").strip().splitlines()[0]

    def immediate(self, pieces: Sequence[Piece]) -> Pairs:
        """Pairs of positions (earlier, later) with the closure of this order or atomic rule."""
        return _IMMEDIATE[self.id](pieces)


RULES: Final[dict[str, Rule]] = {}
"""Every rule there is, by id."""


def _rule(
    rule_id: str, kind: Kind, **details: Any
) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    """Register a rule; `Source:` and `Litmus:` are read from its docstring."""

    def register(holds: Callable[..., bool]) -> Callable[..., bool]:
        doc = holds.__doc__ or ""
        RULES[rule_id] = Rule(
            rule_id, kind, holds, _labels(doc, "Source:"), _labels(doc, "Litmus:"), **details
        )
        return holds

    return register


def _labels(doc: str, heading: str) -> tuple[str, ...]:
    """The comma-separated labels behind a heading of a rule's docstring."""
    for line in doc.splitlines():
        if line.strip().startswith(heading):
            return tuple(
                label.strip() for label in line.split(heading)[1].split(",") if label.strip()
            )
    return ()


# --- order ------------------------------------------------------------------------------------


@_rule("sizes-in-order", "order")
def sizes_in_order(earlier: Piece, later: Piece) -> bool:
    """The sizes that one file takes reach the medium in the order in which it took them.

    Holds wherever a file's size is one field of one inode.  Without it, a file cut to nothing
    and written again could show its new size over its old bytes.
    Source: posix.ftruncate, inode.one-size
    Litmus: truncate-then-write
    """
    one, other = earlier.event, later.event
    return isinstance(one, Size) and isinstance(other, Size) and one.inode == other.inode


@_rule("new-blocks-before-size", "order")
def new_blocks_before_size(earlier: Piece, later: Piece) -> bool:
    """Data in newly allocated blocks is there before the size that lets a reader see it.

    Where it holds, a file that a crash cut short ends at a block boundary of what was written.
    It says nothing of a block that held older data of the file: an append inside that block can
    leave the new size with zeros behind the old end.  In doubt on ext4: documented, seen broken.
    Source: ext4.data=ordered, ext4.disksize-at-submission, ferrite.prefix-append
    Litmus: append-to-new-file
    """
    data, size = earlier.event, later.event
    return (
        isinstance(data, Extent)
        and isinstance(size, Size)
        and data.inode == size.inode
        and earlier.fresh
        and not size.truncates
        and data.span[1] <= size.new
    )


@_rule("same-block-in-order", "order")
def same_block_in_order(earlier: Piece, later: Piece) -> bool:
    """Two writes to one block land in program order: the page that holds the later has both.

    Holds for buffered writes, which share a page.  It says nothing of writes to two blocks.
    Source: linux.page-cache, ferrite.same-block
    Litmus: two-writes-one-block
    """
    one, other = earlier.event, later.event
    return (
        isinstance(one, Extent)
        and isinstance(other, Extent)
        and one.inode == other.inode
        and earlier.blocks[0] <= later.blocks[1]
        and later.blocks[0] <= earlier.blocks[1]
    )


@_rule("directory-in-order", "order")
def directory_in_order(earlier: Piece, later: Piece) -> bool:
    """Names of one directory appear and vanish on the medium in program order.

    Where it holds, a name that is there vouches for every earlier change of its directory.
    Source: jbd2.one-transaction, alice.directory-order
    Litmus: two-names-one-directory
    """
    one, other = earlier.event, later.event
    return isinstance(one, Entry) and isinstance(other, Entry) and one.directory == other.directory


@_rule("namespace-in-order", "order")
def namespace_in_order(earlier: Piece, later: Piece) -> bool:
    """Names of all directories appear and vanish on the medium in one program order.

    The stronger sister of directory-in-order.  One linear journal gives it by design; nobody
    promises it, and published models differ.
    Source: jbd2.one-transaction, ferrite.cross-directory
    Litmus: two-names-two-directories
    """
    return isinstance(earlier.event, Entry) and isinstance(later.event, Entry)


# --- atomic -----------------------------------------------------------------------------------


@_rule("rename-atomic", "atomic")
def rename_atomic(one: Piece, other: Piece) -> bool:
    """A rename is seen whole or not at all: never under neither name, never under both.

    POSIX says so of running programs; of crashes it says nothing.
    Source: ext4.journal, posix.rename
    Litmus: rename-whole, rename-both
    """
    half = one.event
    return isinstance(half, Entry) and half.op_kind == "rename" and half.op == other.event.op


@_rule("op-atomic", "atomic")
def op_atomic(one: Piece, other: Piece) -> bool:
    """Each op lands whole or not at all, a write of any size included.

    No real file system does this; with return-is-durable it makes the ideal one.
    Source: ideal.sequential
    Litmus: rename-both
    """
    return one.event.op == other.event.op


# --- scope ------------------------------------------------------------------------------------


@_rule("fsync-data", "scope", on=("fsync", "fdatasync"))
def fsync_data(sync: Sync, piece: Piece) -> bool:
    """Fsync of a file makes its data and its size durable.

    The one promise that POSIX puts into words.  It says nothing of the file's names.
    Source: posix.fsync
    Litmus: fsync-then-crash
    """
    return isinstance(piece.event, Extent | Size) and piece.event.inode == sync.inode


@_rule("fsync-directory", "scope", on=("fsync", "fdatasync"))
def fsync_directory(sync: Sync, piece: Piece) -> bool:
    """Fsync of a directory makes the changes of its own names durable.

    Not the name of the directory itself, nor anything below those names.
    Source: posix.directory-sync
    Litmus: fsync-directory, fdatasync-directory
    """
    return isinstance(piece.event, Entry) and piece.event.directory == sync.inode


@_rule("fsync-commits-journal", "scope", on=("fsync",))
def fsync_commits_journal(sync: Sync, piece: Piece) -> bool:
    """Fsync commits the one journal: every change of a name up to the file's own last change.

    So the name of a new file is durable with it.  Where the file itself had no change since the
    last commit, there is nothing to commit and nothing follows.  fast_commit gives less.
    Source: ext4.fsync, jbd2.one-transaction
    Litmus: fsync-file-keeps-name, fsync-new-directory
    """
    return isinstance(piece.event, Entry) and piece.index < sync.touched


@_rule("sync-all", "scope", on=("sync",))
def sync_all(sync: Sync, piece: Piece) -> bool:
    """sync(2) returns when everything issued before it is durable.

    Linux waits; POSIX lets sync return before the writing is done.
    Source: linux.sync
    Litmus: whole-system-sync
    """
    return True


@_rule("return-is-durable", "scope", on=("return", "fsync", "fdatasync", "sync"))
def return_is_durable(sync: Sync, piece: Piece) -> bool:
    """An op that has returned is durable.

    True of no ordinary file system; with op-atomic it makes the ideal one.
    Source: ideal.sequential
    Litmus: sequential-create
    """
    return True


# --- exposure ---------------------------------------------------------------------------------


@_rule("unwritten-reads-zeros", "exposure")
def unwritten_reads_zeros(piece: Piece) -> bool:
    """A range whose data was lost reads as zeros, never as what the blocks held before.

    Without it, a file can show somebody's deleted data.
    Source: ext4.data=ordered
    Litmus: stale-tail, stale-append
    """
    return isinstance(piece.event, Extent)


# --- ceiling ----------------------------------------------------------------------------------


@_rule("memory-only", "ceiling")
def memory_only(piece: Piece) -> bool:
    """Nothing lands: the file system is memory, and it is empty after every crash of the machine.

    Source: linux.tmpfs
    Litmus: memory-forgets
    """
    return True


# --- the second form of the order and atomic rules -----------------------------------------------


def _chain(pieces: Sequence[Piece], key: Callable[[Piece], Hashable | None]) -> Pairs:
    """Consecutive pieces with the same key; a key of None leaves a piece out."""
    last: dict[Hashable, int] = {}
    for position, piece in enumerate(pieces):
        group = key(piece)
        if group is None:
            continue
        if group in last:
            yield last[group], position
        last[group] = position


def _cycle(pieces: Sequence[Piece], key: Callable[[Piece], Hashable | None]) -> Pairs:
    """Chains with the same key, in both directions: each becomes one atomic group."""
    for earlier, later in _chain(pieces, key):
        yield earlier, later
        yield later, earlier


def _fresh_data_to_sizes(pieces: Sequence[Piece]) -> Pairs:
    fresh: dict[int, list[int]] = {}
    for position, piece in enumerate(pieces):
        event = piece.event
        if isinstance(event, Extent) and piece.fresh:
            fresh.setdefault(event.inode, []).append(position)
        elif isinstance(event, Size) and not event.truncates:
            for data in fresh.get(event.inode, ()):
                extent = pieces[data].event
                if isinstance(extent, Extent) and extent.span[1] <= event.new:
                    yield data, position


def _block_neighbours(pieces: Sequence[Piece]) -> Pairs:
    extents: dict[int, list[int]] = {}
    for position, piece in enumerate(pieces):
        if isinstance(piece.event, Extent):
            before = extents.setdefault(piece.event.inode, [])
            for earlier in before:
                if same_block_in_order(pieces[earlier], piece):
                    yield earlier, position
            before.append(position)


def _inode_of_size(piece: Piece) -> int | None:
    return piece.event.inode if isinstance(piece.event, Size) else None


def _directory(piece: Piece) -> int | None:
    return piece.event.directory if isinstance(piece.event, Entry) else None


def _any_entry(piece: Piece) -> bool | None:
    return True if isinstance(piece.event, Entry) else None


def _rename(piece: Piece) -> str | None:
    event = piece.event
    return event.op if isinstance(event, Entry) and event.op_kind == "rename" else None


_IMMEDIATE: Final[dict[str, Callable[[Sequence[Piece]], Pairs]]] = {
    "sizes-in-order": lambda pieces: _chain(pieces, _inode_of_size),
    "new-blocks-before-size": _fresh_data_to_sizes,
    "same-block-in-order": _block_neighbours,
    "directory-in-order": lambda pieces: _chain(pieces, _directory),
    "namespace-in-order": lambda pieces: _chain(pieces, _any_entry),
    "rename-atomic": lambda pieces: _cycle(pieces, _rename),
    "op-atomic": lambda pieces: _cycle(pieces, lambda piece: piece.event.op),
}
