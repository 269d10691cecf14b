"""The writer: the one live process that may save, re-sync, prune and quarantine in a store.

It takes plans and carries them out through the disk seam. It knows no clock, no platform and no
framework: `store.Store` puts those around it, and a crash model drives it as it is.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import frozen

from lastgood.aside import move_aside
from lastgood.disk import Reader
from lastgood.errors import StorageError, code_of
from lastgood.layout import GroupName, given_up, newest_first
from lastgood.perform import Performer
from lastgood.plan import Mode, at_full_strength, plan_resync
from lastgood.pruning import Pruning, choose, plan_pruning
from lastgood.recovery import (
    GONE,
    Group,
    Rejection,
    Scan,
    examine,
    list_store,
    newest_valid,
    read_group,
    storage_error,
)
from lastgood.retention import Policy
from lastgood.saving import Attempt, Saved, Saver
from lastgood.steps import Step, said

__all__ = ("Attempt", "Repair", "Saved", "Writer")


@frozen
class Repair:
    """The newest valid group, or None; what went to quarantine, and why; deletions finished."""

    group: Group | None
    moved: tuple[Rejection, ...]
    finished: tuple[GroupName, ...]


class Writer(Saver):
    """The holder of a store's lease, from `open` to `close`: saves, recovers, prunes, repairs."""

    def prune(
        self,
        policy: Policy,
        *,
        now_s: float,
        protect: Collection[int] = (),
        dry_run: bool = False,
    ) -> Pruning | None:
        """Give up what the policy does not keep, and delete it; None where there is no group.

        First the newest valid group is made durable at full strength, unless this writer has done
        so. Then all that goes is un-committed, durably; only then anything is deleted. `protect`
        are generations that stay whatever the policy says. StorageError: every group that is kept
        is intact; what was not deleted is, by the next prune.
        """
        self._require_usable()
        anchor = self._anchor()
        if anchor is None:
            return None
        listing = list_store(self.disk, self.store)
        pruning = choose(
            self.disk,
            self.store,
            listing.in_store,
            anchor,
            policy,
            now_s=now_s,
            protect=protect,
            verified=self._verified,
            each=self._each,
        )
        self._verified |= {group.name for group in pruning.kept}
        if not dry_run:
            self._give_up(pruning)
        return pruning

    def recover(self, reader: Reader | None = None) -> Scan:
        """The newest valid group, made durable before it is handed out; the damaged set aside.

        A killed process may have left a group in memory only: its files, directories and the
        store are synced first, as the mode demands, so that no later crash takes it back. Then
        every newer directory that was rejected, and every dead attempt, moves to quarantine;
        nothing is deleted. StorageError: nothing was moved, or not all of it.
        """
        self._require_usable()
        return self._recover(self.mode, reader or self.disk)

    def repair(self) -> Repair:
        """Recover, set every older damaged group aside as well, and finish deletions.

        Nothing else is deleted; what was set aside is in quarantine. Errors as `recover`.
        """
        scan = self.recover()
        names = newest_first(list_store(self.disk, self.store).in_store)
        older = [examine(self.disk, self.store, name, each=self._each) for name in names]
        bad = tuple(each for each in older if isinstance(each, Rejection) and each.reason != GONE)
        listing = list_store(self.disk, self.store)
        try:
            move_aside(self.disk, self.store, [each.name for each in bad], listing.in_quarantine)
        except OSError as error:
            raise storage_error(f"moving damaged groups of {self.store!r} aside", error) from error
        leftovers = tuple(given_up(listing.in_store))
        self._give_up(Pruning((), (), leftovers, ()))
        return Repair(scan.group, (*scan.rejected, *bad), leftovers)

    def _recover(self, mode: Mode, reader: Reader) -> Scan:
        listing = list_store(self.disk, self.store)
        self._note_generations(listing)
        scan = newest_valid(reader, self.store, listing.in_store, each=self._each)
        if scan.group is not None:
            group = scan.group
            for step in plan_resync(mode, self.store, group.path, group.part_paths):
                self._resync(step, str(group.name))
            self._note_good(group.name, mode)
        try:
            moves = [rejected.name for rejected in scan.rejected]
            move_aside(self.disk, self.store, moves, listing.in_quarantine)
        except OSError as error:
            raise storage_error(f"moving damaged groups of {self.store!r} aside", error) from error
        return scan

    def _anchor(self) -> Group | None:
        """The newest valid group, which justifies that older ones go: durable, or made so."""
        names = newest_first(list_store(self.disk, self.store).in_store)
        if self._durable is not None and names and names[0] == self._durable:
            group = read_group(self.disk, self.store, names[0])
            if isinstance(group, Group):
                return group
        return self._recover(at_full_strength(self.mode), self.disk).group

    def _give_up(self, pruning: Pruning) -> None:
        performer = self._performer()
        try:
            for step in plan_pruning(self.disk, self.mode, self.store, pruning):
                performer.perform(step)
        except OSError as error:
            doing = performer.worst[0] if performer.worst else None
            if performer.is_poisoned:
                self.failed = f"a prune failed with {code_of(error)}"
            raise StorageError(
                f"prune of {self.store!r}: {said(doing)} failed: {code_of(error)} "
                f"({error.strerror or error}). Every group that is kept is intact; the next prune "
                f"deletes what is left.{' This store is closed to writing.' * bool(self.failed)}"
            ) from error

    def _resync(self, step: Step, name: str) -> None:
        try:
            Performer(self.disk).perform(step)
        except OSError as error:
            self.failed = f"syncing {name} again failed with {code_of(error)}"
            raise StorageError(
                f"recovery of {name}: {said(step)} failed: {code_of(error)} "
                f"({error.strerror or error}). Nothing was moved. The group is readable "
                "and may not survive a power cut; this store is closed to writing."
            ) from error
