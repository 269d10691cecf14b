"""The second form of the scope rules: the set of pieces that a sync covers, at once.

As in fast_order_rules.py, rules.py is the one to read, and a property test holds the two forms
equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from powercut.crash.catalog import Catalog, under_any
from powercut.crash.downsets import bits
from powercut.filesystem.events import Entry, Piece, Size
from powercut.filesystem.syncs import SyncCall
from powercut.rule import Rule
from powercut.rules import (
    gives_first_name_by_link,
    is_checkpoint,
    last_committed,
    metadata_changed,
    relinked,
)


def covered(rule: Rule, sync: SyncCall, catalog: Catalog) -> int:
    """The pieces issued before the sync that the scope rule speaks of; 0 for another kind of sync.

    What was issued at the same time by another thread counts as issued later, for a promise; for a
    permission as issued before.
    """
    if sync.kind not in rule.on:
        return 0
    before, beside = catalog.before(sync.position), catalog.beside(sync.op)
    in_time = before | beside if rule.permits else before & ~beside
    return _COVERS[rule.id](sync, catalog) & in_time


def _inode(sync: SyncCall) -> int:
    return -1 if sync.inode is None else sync.inode


def _ranged(sync: SyncCall, catalog: Catalog) -> int:
    """In whole blocks that the span meets: data, cuts, and the sizes that it takes along."""
    named = _in_span(sync, catalog)
    own = catalog.of_op.get(sync.op, 0)
    return named & ~(catalog.extensions & ~catalog.fresh & ~own)


def _in_span(sync: SyncCall, catalog: Catalog) -> int:
    """Whole blocks that the span meets; a truncation counts where the old end lies behind."""
    mask = 0
    if sync.is_direct:
        return catalog.of_op.get(sync.op, 0) & ~catalog.entries
    for position in bits(catalog.of_file.get(_inode(sync), 0) if sync.span else 0):
        piece = catalog.pieces[position]
        event, unit = piece.event, piece.block_bytes
        if isinstance(event, Entry) or sync.span is None:
            continue
        cut = isinstance(event, Size) and event.truncates
        low, high = (event.old, event.old) if cut else event.span  # type: ignore[union-attr]
        first, last = sync.span[0] // unit, (sync.span[1] - 1) // unit
        mask |= (low // unit <= last and high > first * unit) << position
    return mask


def _of_ops(ops: Iterable[str], catalog: Catalog) -> int:
    mask = 0
    for op in ops:
        mask |= catalog.of_op.get(op, 0)
    return mask


def _journal(sync: SyncCall, catalog: Catalog) -> int:
    return (catalog.entries | catalog.truncations) & catalog.issued_by(last_committed(sync))


def _replaced(sync: SyncCall, catalog: Catalog) -> int:
    return catalog.given & _before_unknown(sync, catalog) | _taken(sync, catalog, safely=False)


def _taken(sync: SyncCall, catalog: Catalog, *, safely: bool) -> int:
    """The names that another inode has been given since, one that was synced alone or was not."""
    mask = 0
    for index, taker, taken in catalog.names.takers:
        if index < sync.position and taken & ~mask and sync.synced_alone(taker, index) is safely:
            mask |= taken
    return mask


def _moved(sync: SyncCall, catalog: Catalog) -> int:
    mask = catalog.entries & _of_ops(sync.about.moves, catalog)
    if sync.is_first or not mask:
        return mask
    last = sum(1 << position for position in catalog.last_before(sync.position, _place))
    return mask & last & ~_before_unknown(sync, catalog)


def _place(piece: Piece) -> tuple[int, str] | None:
    event = piece.event
    return (event.directory, event.entry) if isinstance(event, Entry) else None


def _brought(sync: SyncCall, catalog: Catalog) -> int:
    halves = catalog.names.halves
    by_other_name = 0
    for writer in sync.log_writers[1]:
        in_time = catalog.before(writer.position) | catalog.beside(writer.op)
        by_other_name |= under_any(writer.named, halves) & in_time
    lone = under_any(frozenset(halves), halves) & ~by_other_name
    return catalog.entries & _of_ops(sync.may_log, catalog) & ~lone


def _own_names(sync: SyncCall, catalog: Catalog) -> int:
    names = sync.about.names
    if not names or sync.by_other_name:
        return 0
    given = 0
    for position in bits(catalog.names.giving.get(_inode(sync), 0)):
        event = catalog.pieces[position].event
        if isinstance(event, Entry) and (event.directory, event.entry) in names:
            given |= 1 << position
    if not sync.is_first or _first_unknown(sync, catalog) is not None:
        return given
    lost = catalog.names.losing.get(_inode(sync), 0) & ~catalog.names.older
    lost &= ~catalog.names.halves.get(_inode(sync), 0)
    return given | lost & ~under_any(sync.about.contested, catalog.in_directory)


def _removed(sync: SyncCall, catalog: Catalog) -> int:
    nameless = (frozenset(catalog.names.giving) | frozenset(catalog.names.losing)) - sync.named
    safe = _taken(sync, catalog, safely=True) & ~_taken(sync, catalog, safely=False)
    safe &= ~_before_unknown(sync, catalog)
    mask = under_any(nameless, catalog.names.giving) & ~safe
    mask |= under_any(nameless, catalog.names.losing)
    mask |= catalog.entries & _before_unknown(sync, catalog)
    unknown = _first_unknown(sync, catalog)
    for index, older, earlier in catalog.names.removals:
        if index < sync.position and (older or (unknown is not None and unknown < index)):
            mask |= earlier
    for directory, position in sync.last_whole.items():
        mask &= ~(catalog.in_directory.get(directory, 0) & catalog.before(position))
    return mask


def _first_unknown(sync: SyncCall, catalog: Catalog) -> int | None:
    """The number of the first event of another thread that ran at the same time."""
    return sync.issued.index(None) if catalog.thread_slots and None in sync.issued else None


def _before_unknown(sync: SyncCall, catalog: Catalog) -> int:
    """The pieces before the last event of another thread that ran at the same time."""
    if not catalog.thread_slots:
        return 0
    unknown = max((n for n, event in enumerate(sync.issued, 1) if event is None), default=0)
    return catalog.before(unknown - 1) if unknown else 0


def _sent(sync: SyncCall, catalog: Catalog) -> int:
    mask = 0
    for position, piece in enumerate(catalog.pieces):
        if sync.had_sent(piece):
            mask |= 1 << position
    return mask


def _checkpoint(sync: SyncCall, catalog: Catalog) -> int:
    last = last_committed(sync) if is_checkpoint(sync) else sync.about.above
    return catalog.entries & catalog.issued_by(last)


def _behind_linked(sync: SyncCall, catalog: Catalog) -> int:
    """The names after the first one that a link gave to a file without one, or may have."""
    found = (n for n, e in enumerate(sync.issued) if e is None or gives_first_name_by_link(e))
    return catalog.entries & ~catalog.before(next(found, len(sync.issued)) + 1)


def _all_if(catalog: Catalog, condition: bool) -> int:
    return catalog.entries if condition else 0


def _quiet_checkpoint(sync: SyncCall, catalog: Catalog) -> int:
    whole = is_checkpoint(sync) or sync.about.above > sync.since
    return _all_if(catalog, whole and last_committed(sync) > sync.since)


def _logged(sync: SyncCall, catalog: Catalog) -> int:
    """All but overwrites, and steps of a size inside blocks that exist which it has passed."""
    mask = catalog.everything & ~catalog.overwrites
    unknown = _before_unknown(sync, catalog)
    passed = catalog.extensions & ~catalog.fresh
    for position in catalog.last_before(sync.position, _sized):
        passed &= ~(1 << position)
    return mask & ~(passed | (catalog.extensions & ~catalog.fresh & unknown))


def _sized(piece: Piece) -> int | None:
    return piece.event.inode if isinstance(piece.event, Size) else None


def _below(sync: SyncCall, catalog: Catalog) -> int:
    if not sync.is_directory:
        return 0
    known = sync.about
    below = under_any(known.below, catalog.in_directory)
    return below | under_any(known.children, catalog.names.giving)


_COVERS: Final[dict[str, Callable[[SyncCall, Catalog], int]]] = {
    "fsync-data": lambda s, c: c.of_file.get(_inode(s), 0),
    "ranged-sync-data": _ranged,
    "ranged-sync-size": lambda s, c: _in_span(s, c) & (c.extensions | c.truncations),
    "ranged-sync-takes-file": lambda s, c: c.of_file.get(_inode(s), 0),
    "fsync-logs-names": _own_names,
    "fsync-logs-ancestors": lambda s, c: (
        0
        if s.by_other_name
        else c.firsts & under_any(s.about.ancestors, c.names.giving) & c.issued_by(s.about.named)
    ),
    "log-may-bring": _brought,
    "log-drops-replaced": _replaced,
    "log-forgets-removed": _removed,
    "fsync-commits-journal": _journal,
    "fdatasync-commits-names": lambda s, c: (
        0 if s.is_directory else (c.entries | c.truncations) & c.issued_by(s.about.logged)
    ),
    "fsync-logs-queue": lambda s, c: (
        _journal(s, c) & ~(c.entries & under_any(s.linked_first, c.names.about))
    ),
    "log-skips-linked": _behind_linked,
    "directory-sync-commits": lambda s, c: c.entries | c.truncations if s.is_directory else 0,
    "fsync-commits-all": lambda s, c: c.issued_by(last_committed(s)),
    "fsync-keeps-moves": _moved,
    "fsync-checkpoints": _checkpoint,
    "fsync-checkpoints-moves": lambda s, c: (
        c.entries & c.issued_by(min(s.about.beside, s.about.born))
    ),
    "fsync-directory": lambda s, c: c.in_directory.get(_inode(s), 0),
    "sync-all": lambda s, c: c.everything,
    "sync-keeps-logged": _logged,
    "return-is-durable": lambda s, c: c.everything,
    "direct-write-reaches-drive": lambda s, c: c.direct & c.of_op.get(s.op, 0),
    "fullsync-drains-drive": _sent,
    "barrier-orders": _sent,
    "fsync-is-a-barrier": lambda s, c: c.everything,
    "quiet-fsync-commits-running": lambda s, c: _all_if(c, last_committed(s) > s.since),
    "quiet-sync-flushes": lambda s, c: c.everything if metadata_changed(s) else 0,
    "quiet-fsync-logs-parents": lambda s, c: (
        under_any(s.about.former, c.in_directory) if relinked(s) else 0
    ),
    "quiet-fsync-commits-shifts": lambda s, c: _all_if(
        c, relinked(s) and s.about.shifted > s.since
    ),
    "quiet-fsync-logs-kin": lambda s, c: under_any(s.about.kin, c.names.about),
    "quiet-fsync-logs-below": _below,
    "quiet-fsync-checkpoints": _quiet_checkpoint,
    "quiet-fsync-checkpoints-moves": lambda s, c: _all_if(
        c, min(s.about.beside, s.about.born) > s.since
    ),
}
