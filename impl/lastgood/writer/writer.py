"""The writer: the one live process that may save, re-sync, prune and quarantine in a store.

It takes plans and carries them out through the disk seam. It knows no clock, no platform and no
framework: `store.Store` puts those around it, and a crash model drives it as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, SupportsIndex

from attrs import frozen

from lastgood.backends.interface import Disk, DiskReader
from lastgood.format.names import GroupName
from lastgood.parts.part_writer import PartSource
from lastgood.recovery.newer_format import is_unjudged, require_readable
from lastgood.recovery.quarantine_usage import Purge
from lastgood.recovery.recovery import Group, Rejection, Scan
from lastgood.retention.prune import PruneRequest, Pruning
from lastgood.writer.attempt import Attempt
from lastgood.writer.clearer import Clearer
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions
from lastgood.writer.pruner import StorePruner
from lastgood.writer.purger import Purger
from lastgood.writer.recoverer import Recoverer
from lastgood.writer.saver import SavedGroup, Saver


@frozen
class Repair:
    """The newest valid group, or None; what went to quarantine, and why; deletions finished.

    `stuck` and `unjudged` as in `Pruning`. `unreadable` are groups that cannot be read, newest
    first: they stay. `discarded` are dead attempts that were deleted, and groups without MANIFEST
    older than the newest such one.
    """

    group: Group | None
    moved: tuple[Rejection, ...]
    finished: tuple[GroupName, ...]
    stuck: tuple[Rejection, ...] = ()
    unreadable: tuple[Rejection, ...] = ()
    unjudged: tuple[Rejection, ...] = ()
    discarded: tuple[Rejection, ...] = ()


class Writer:
    """Saves, recovers, prunes and repairs, from `open` to `lease.close`.

    It is made of a lease, a clearer, a recoverer, a saver and a pruner, which share its options.
    """

    def __init__(self, disk: Disk, store: str, options: WriterOptions) -> None:
        self.disk, self.options = disk, options
        self.lease = Lease(disk, store, options)
        self.clearer = Clearer(self.lease, options)
        self._recoverer = Recoverer(self.lease, options, self.clearer)
        self.saver = Saver(self.lease, options, self._recoverer.clear_unacknowledged)
        self._pruner = StorePruner(self.lease, options, self._recoverer)
        self._purger = Purger(self.lease, options, self.clearer)

    def open(self) -> None:
        """Take the lease: see `Lease.open`.

        NewerFormatError where a newer version has written the newest group: the lease is given
        back and no group was touched.
        """
        self.lease.open()
        try:
            require_readable(self.disk, self.lease.store)
        except BaseException:
            self.lease.close()
            raise

    def save(
        self, step: SupportsIndex, content: Mapping[str, PartSource], metadata: Mapping[str, Any]
    ) -> SavedGroup:
        """Save one group; returning acknowledges it.

        UsageError before anything was changed. StorageError where the disk failed: earlier groups
        are intact, and after a failed sync the writer refuses every later save.
        """
        return self._acknowledged(self.saver.save(step, content, metadata))

    def begin(self, step: SupportsIndex, metadata: Mapping[str, Any]) -> Attempt:
        """Make a fresh directory for foreign code to fill. Errors as `save`."""
        return self.saver.begin(step, metadata)

    def seal(self, attempt: Attempt) -> SavedGroup:
        """Make a group of what foreign code has left in an attempt; returning acknowledges it.

        Errors as `save`, and UsageError where something in there is no part: see `Saver.seal`.
        """
        return self._acknowledged(self.saver.seal(attempt))

    def prune(self, request: PruneRequest, *, remembers: bool = False) -> Pruning | None:
        """Give up what the policy does not keep, and delete it; None where there is no group.

        First the newest valid group is verified in full and made durable at full strength, unless
        this writer has made it so. Then all that goes is un-committed, durably; only then anything
        is deleted. What else is kept is verified too; with `remembers`, only what was touched since
        this writer did so, and nothing at all where nothing would go.

        UsageError where the policy fails: nothing was given up. StorageError: every group that is
        kept is intact, and nothing was deleted of what should have gone. What was given up and
        cannot be deleted is in `Pruning.stuck`, and the next prune, or a repair, tries again.
        """
        self.lease.require_usable()
        return self._pruner.prune(request, remembers=remembers)

    def recover(self, reader: DiskReader | None = None) -> Scan:
        """The newest valid group, made durable before it is handed out; the rest cleared.

        A killed process may have left a group in memory only: its files, directories and the
        store are synced first, as the mode demands, so that no later crash takes it back. Then
        dead attempts are deleted, and every newer directory that is damaged moves to quarantine:
        see `decide_clearing`. What cannot be read stays, and so does what can be neither moved nor
        deleted: that ends nothing. StorageError: nothing was moved or deleted. NewerFormatError
        where a newer version has written what would be passed over: nothing was changed.
        """
        self.lease.require_usable()
        return self._recoverer.recover(self.options.mode, reader or self.disk)[0]

    def repair(self) -> Repair:
        """Recover, clear every older damaged group away as well, and finish deletions.

        Errors as `recover`.
        """
        self.lease.require_usable()
        scan, first = self._recoverer.recover(self.options.mode, self.disk)
        newest = None if scan.group is None else scan.group.name
        # What is newer and could not be read is looked at again: it is still there.
        others, second = self._recoverer.clear_others(newest, {each.name for each in first.stuck})
        done, cleared = self._pruner.finish(), first + second
        unread = tuple(each for each in others if each.is_unread)
        unjudged = tuple(each for each in others if is_unjudged(each))
        stuck = (*done.stuck, *cleared.stuck)
        return Repair(
            scan.group, cleared.moved, done.leftovers, stuck, unread, unjudged, cleared.discarded
        )

    def purge(
        self, entries: Collection[str] | None = None, older_than_s: float | None = None
    ) -> Purge:
        """Delete entries of the quarantine: see `decide_purge`, and errors as there.

        Nothing is synced: what was given up may come back with a crash, as what it was.
        """
        self.lease.require_usable()
        return self._purger.purge(entries, older_than_s)

    def _acknowledged(self, saved: SavedGroup) -> SavedGroup:
        self._recoverer.note_durable(saved.name, self.saver.options.mode)
        return saved
