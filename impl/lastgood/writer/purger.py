"""Purging the quarantine by the holder of the lease: what was set aside is given up."""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve

from lastgood.recovery.quarantine_usage import Purge, as_rejection, decide_purge
from lastgood.writer.clearer import Clearer
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions


class Purger:
    """Purges while the lease is held. Nothing outside the quarantine is touched."""

    def __init__(self, lease: Lease, options: WriterOptions, clearer: Clearer) -> None:
        self._lease, self._disk, self._store = lease, lease.disk, lease.store
        self._options, self._clearer = options, clearer

    def purge(self, entries: Collection[str] | None, older_than_s: float | None) -> Purge:
        """See `Writer.purge`."""
        listing = self._lease.list_store()
        # Else the names that go would be given again by this very process.
        self._lease.note_generations(listing.in_store, listing.in_quarantine)
        now_s = self._options.now_s()
        purge = decide_purge(
            self._disk, self._store, entries, older_than_s, now_s, listing.in_store
        )
        done = self._clearer.discard(map(as_rejection, purge.deleted), "Try the purge again")
        stuck = {each.name for each in done.stuck}
        gone = [each for each in purge.deleted if as_rejection(each).name not in stuck]
        return evolve(
            purge,
            deleted=tuple(gone),
            stuck=(*purge.stuck, *done.stuck),
        )
