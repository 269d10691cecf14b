"""Recovery by the holder of the lease: the newest valid group made durable, damage set aside."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from lastgood.backends.interface import DiskReader
from lastgood.errors import StorageError, describe_error, errno_name, storage_error
from lastgood.format.names import GroupName, newest_first
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import Mode, plan_resync, syncs_dirs
from lastgood.protocol.steps import Step, describe_step
from lastgood.recovery.newer_format import is_unjudged
from lastgood.recovery.quarantine import quarantine
from lastgood.recovery.recovery import (
    GONE,
    Rejection,
    Scan,
    StoreListing,
    as_lease_holder,
    examine,
    list_store,
    newest_valid,
)
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions


class Recoverer:
    """Recovers while the lease is held.

    `durable` names the newest group that this writer has made durable at full strength.
    """

    def __init__(self, lease: Lease, options: WriterOptions) -> None:
        self.durable: GroupName | None = None
        self._lease, self._disk, self._store = lease, lease.disk, lease.store
        self._options = options

    def recover(self, mode: Mode, reader: DiskReader, durable: GroupName | None = None) -> Scan:
        """See `Writer.recover`; where the answer is the group named `durable`, change nothing."""
        listing = list_store(self._disk, self._store)
        self._lease.note_generations(listing)
        scan = newest_valid(
            reader, self._store, listing.in_store, parallel_map=self._options.parallel_map
        )
        scan = evolve(scan, rejected=tuple(map(as_lease_holder, scan.rejected)))
        group = scan.group
        if group is not None and group.name == durable:
            return scan
        if group is not None:
            for step in plan_resync(mode, self._store, group.path, group.part_paths):
                self._resync(step, str(group.name))
            self.note_durable(group.name, mode)
        self._quarantine(scan.rejected, listing.in_quarantine)
        return scan

    def quarantine_others(
        self, newest: GroupName | None
    ) -> tuple[tuple[Rejection, ...], tuple[Rejection, ...], StoreListing]:
        """Set every damaged group but the newest aside; which they are, and what was there.

        Between the two: what a newer version has written, which stays.
        """
        names = newest_first(list_store(self._disk, self._store).in_store)
        parallel_map = self._options.parallel_map
        looks = [
            examine(self._disk, self._store, n, parallel_map=parallel_map)
            for n in names
            if n != newest
        ]
        found = (look for look in looks if isinstance(look, Rejection) and look.reason != GONE)
        rejected = tuple(map(as_lease_holder, found))
        bad = tuple(one for one in rejected if not is_unjudged(one))
        listing = list_store(self._disk, self._store)
        self._quarantine(bad, listing.in_quarantine)
        return bad, tuple(filter(is_unjudged, rejected)), listing

    def note_durable(self, name: GroupName, mode: Mode) -> None:
        """Note that a group was saved or synced in a mode."""
        if syncs_dirs(mode):
            self.durable = name

    def _quarantine(self, rejected: Iterable[Rejection], taken: Iterable[str]) -> None:
        now_s, reports = self._options.now_s(), self._options.reports
        try:
            quarantine(self._disk, self._store, rejected, taken, now_s, reports=reports)
        except OSError as error:
            doing = f"moving damaged groups of {self._store!r} aside"
            raise storage_error(doing, error) from error

    def _resync(self, step: Step, name: str) -> None:
        try:
            StepExecutor(self._disk).execute(step)
        except OSError as error:
            self._lease.failed = f"syncing {name} again failed with {errno_name(error)}"
            raise StorageError(
                f"recovery of {name}: {describe_step(step)} failed: {describe_error(error)}. "
                "Nothing was moved. The group is readable and may not survive a power cut; this "
                "store is closed to writing."
            ) from error
