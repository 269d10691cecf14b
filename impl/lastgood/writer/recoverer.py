"""Recovery by the holder of the lease: the newest valid group made durable, damage set aside."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import evolve

from lastgood.backends.interface import DiskReader
from lastgood.errors import StorageError, describe_error, errno_name, storage_error
from lastgood.format.names import GroupName, newest_first
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import Mode, plan_resync, syncs_dirs
from lastgood.protocol.steps import Step, describe_step
from lastgood.recovery.listing import list_entries, list_store
from lastgood.recovery.quarantine import quarantine, stays
from lastgood.recovery.recovery import (
    GONE,
    Rejection,
    Scan,
    as_lease_holder,
    examine,
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

    def recover(
        self,
        mode: Mode,
        reader: DiskReader,
        durable: GroupName | None = None,
        names: Collection[str] | None = None,
    ) -> Scan:
        """See `Writer.recover`; where the answer is the group named `durable`, change nothing.

        `names` are the entries of the store, where it was listed just now.
        """
        names = list_entries(self._disk, self._store) if names is None else names
        # The names in quarantine are noted before the first save: a load needs none of them.
        self._lease.note_generations(names)
        scan = newest_valid(reader, self._store, names, parallel_map=self._options.parallel_map)
        scan = evolve(scan, rejected=tuple(map(as_lease_holder, scan.rejected)))
        group = scan.group
        if group is not None and group.name == durable:
            return scan
        if group is not None:
            for step in plan_resync(mode, self._store, group.path, group.part_paths):
                self._resync(step, str(group.name))
            self.note_durable(group.name, mode)
        self._quarantine(scan.rejected)
        return scan

    def quarantine_others(self, newest: GroupName | None) -> tuple[Rejection, ...]:
        """Set every damaged group but the newest aside; all that was rejected, moved or not."""
        names = newest_first(list_entries(self._disk, self._store))
        parallel_map = self._options.parallel_map
        looks = [
            examine(self._disk, self._store, n, parallel_map=parallel_map)
            for n in names
            if n != newest
        ]
        found = (look for look in looks if isinstance(look, Rejection) and look.reason != GONE)
        bad = tuple(map(as_lease_holder, found))
        self._quarantine(bad)
        return bad

    def note_durable(self, name: GroupName, mode: Mode) -> None:
        """Note that a group was saved or synced in a mode."""
        if syncs_dirs(mode):
            self.durable = name

    def _quarantine(self, rejected: Iterable[Rejection]) -> None:
        """Move what is damaged aside; what nobody here can judge stays."""
        moves = [each for each in rejected if not stays(each)]
        if not moves:
            return
        now_s, reports = self._options.now_s(), self._options.reports
        taken = list_store(self._disk, self._store).in_quarantine
        try:
            quarantine(self._disk, self._store, moves, taken, now_s, reports=reports)
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
