"""Recovery by the holder of the lease: the newest valid group made durable, the rest cleared."""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve

from lastgood.backends.interface import DiskReader
from lastgood.errors import StorageError, describe_error, errno_name
from lastgood.format.names import GroupName, newest_first
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import Mode, plan_resync, syncs_dirs
from lastgood.protocol.steps import SimpleStep, describe_step
from lastgood.recovery.clearing import Clearing, list_unacknowledged
from lastgood.recovery.recovery import (
    GONE,
    Rejection,
    Scan,
    as_lease_holder,
    examine,
    newest_valid,
)
from lastgood.writer.clearer import Clearer
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions


class Recoverer:
    """Recovers while the lease is held.

    `durable` names the newest group that this writer has made durable at full strength.
    """

    def __init__(self, lease: Lease, options: WriterOptions, clearer: Clearer) -> None:
        self.durable: GroupName | None = None
        self._clearer, self._is_cleared = clearer, False
        self._lease, self._disk, self._store = lease, lease.disk, lease.store
        self._options = options

    def recover(
        self,
        mode: Mode,
        reader: DiskReader,
        durable: GroupName | None = None,
        names: Collection[str] | None = None,
    ) -> tuple[Scan, Clearing]:
        """See `Writer.recover`; the group named `durable` needs no sync.

        `names` are the entries of the store, where it was listed just now.
        """
        names = self._lease.list_entries() if names is None else names
        # The names in quarantine are noted before the first save: a load needs none of them.
        self._lease.note_generations(names)
        scan = newest_valid(reader, self._store, names, parallel_map=self._options.parallel_map)
        scan = evolve(scan, rejected=tuple(map(as_lease_holder, scan.rejected)))
        group = scan.group
        if group is not None and group.name != durable:
            for step in plan_resync(mode, self._store, group.path, group.part_paths):
                self._resync(step, str(group.name))
            self.note_durable(group.name, mode)
        self._is_cleared = True
        return scan, self._clearer.clear(names, scan.rejected)

    def clear_unacknowledged(self, names: Collection[str] | None = None) -> None:
        """Rid the store of what dead saves have left, once: before the first save of a process.

        One that never loads would fill the disk with them. `names` as for `recover`. StorageError.
        """
        if not self._is_cleared:
            names = self._lease.list_entries() if names is None else names
            self._lease.note_generations(names)
            self._clearer.clear(names, list_unacknowledged(self._disk, self._store, names))
            self._is_cleared = True

    def clear_others(
        self, newest: GroupName | None, seen: Collection[str]
    ) -> tuple[tuple[Rejection, ...], Clearing]:
        """Set every damaged group but the newest aside; all that was rejected, and what was done.

        What was `seen` before, and stays, is not looked at again.
        """
        entries = self._lease.list_entries()
        parallel_map = self._options.parallel_map
        looks = [
            examine(self._disk, self._store, n, parallel_map=parallel_map)
            for n in newest_first(entries)
            if n != newest and not n.attempt and str(n) not in seen
        ]
        found = (look for look in looks if isinstance(look, Rejection) and look.reason != GONE)
        bad = tuple(map(as_lease_holder, found))
        return bad, self._clearer.clear(entries, bad)

    def note_durable(self, name: GroupName, mode: Mode) -> None:
        """Note that a group was saved or synced in a mode."""
        if syncs_dirs(mode):
            self.durable = name

    def _resync(self, step: SimpleStep, name: str) -> None:
        try:
            StepExecutor(self._disk).execute(step)
        except OSError as error:
            self._lease.failed = f"syncing {name} again failed with {errno_name(error)}"
            raise StorageError(
                f"recovery of {name}: {describe_step(step)} failed: {describe_error(error)}. "
                "Nothing was moved. The group is readable and may not survive a power cut; this "
                "store is closed to writing."
            ) from error
