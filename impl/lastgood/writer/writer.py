"""The writer: the one live process that may save, re-sync, prune and quarantine in a store.

It takes plans and carries them out through the disk seam. It knows no clock, no platform and no
framework: `store.Store` puts those around it, and a crash model drives it as it is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from attrs import evolve, frozen

from lastgood.backends.interface import Reader, join
from lastgood.errors import StorageError, code_of, storage_error
from lastgood.format.names import GroupName, newest_first
from lastgood.protocol.executor import Performer
from lastgood.protocol.plan import Mode, at_full_strength, plan_delete, plan_resync
from lastgood.protocol.steps import Step, said
from lastgood.recovery.quarantine import move_aside
from lastgood.recovery.recovery import (
    GONE,
    Group,
    Rejection,
    Scan,
    ended,
    examine,
    list_store,
    newest_valid,
)
from lastgood.retention.prune import (
    Pruning,
    Question,
    choose,
    gone,
    look,
    look_at_leftovers,
    plan_uncommit,
    sketch,
    too_deep,
    tree_of,
)
from lastgood.writer.saver import Attempt, Saved, Saver

__all__ = ("Attempt", "Repair", "Saved", "Writer")


@frozen
class Repair:
    """The newest valid group, or None; what went to quarantine, and why; deletions finished.

    `stuck` as in `Pruning`.
    """

    group: Group | None
    moved: tuple[Rejection, ...]
    finished: tuple[GroupName, ...]
    stuck: tuple[Rejection, ...] = ()


class Writer(Saver):
    """The holder of a store's lease, from `open` to `close`: saves, recovers, prunes, repairs."""

    def prune(self, question: Question, *, remembers: bool = False) -> Pruning | None:
        """Give up what the policy does not keep, and delete it; None where there is no group.

        First the newest valid group is verified in full and made durable at full strength, unless
        this writer has made it so. Then all that goes is un-committed, durably; only then anything
        is deleted. What else is kept is verified too; with `remembers`, only what was touched since
        this writer did so, and nothing at all where nothing would go.

        UsageError where the policy fails: nothing was given up. StorageError: every group that is
        kept is intact; what was not deleted is, by the next prune.
        """
        self._require_usable()
        listing = list_store(self.disk, self.store)
        seen = look(self.disk, self.store, listing.in_store)
        if remembers:
            at_most = sketch(seen, question)
            if not at_most.given_up:
                return self._give_up(at_most) if seen.groups else None
        newest = next(iter(seen.groups.values()), None)
        stamps = None if newest is None else self._memory.stamps_of(newest)
        anchor = self._recover(at_full_strength(self.mode), self.disk, self._durable).group
        if anchor is None:
            return None
        if newest is not None and newest.name == anchor.name:
            self._memory.remember(anchor.name, stamps)
        pruning = choose(
            self.disk,
            self.store,
            seen,
            anchor,
            question,
            memory=self._memory if remembers else None,
            each=self._each,
        )
        return self._give_up(pruning)

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
        others = (name for name in names if scan.group is None or name != scan.group.name)
        older = [examine(self.disk, self.store, name, each=self._each) for name in others]
        found = (each for each in older if isinstance(each, Rejection) and each.reason != GONE)
        bad = tuple(map(ended, found))
        listing = list_store(self.disk, self.store)
        self._set_aside(bad, listing.in_quarantine)
        leftovers, stuck = look_at_leftovers(self.disk, self.store, listing.in_store)
        done = self._give_up(Pruning((), (), leftovers, (), stuck))
        return Repair(scan.group, (*scan.rejected, *bad), done.leftovers, done.stuck)

    def _recover(self, mode: Mode, reader: Reader, durable: GroupName | None = None) -> Scan:
        """See `recover`; where the answer is the group named `durable`, nothing is changed."""
        listing = list_store(self.disk, self.store)
        self._note_generations(listing)
        scan = newest_valid(reader, self.store, listing.in_store, each=self._each)
        scan = evolve(scan, rejected=tuple(map(ended, scan.rejected)))
        if scan.group is not None and scan.group.name == durable:
            return scan
        if scan.group is not None:
            group = scan.group
            for step in plan_resync(mode, self.store, group.path, group.part_paths):
                self._resync(step, str(group.name))
            self._note_durable(group.name, mode)
        self._set_aside(scan.rejected, listing.in_quarantine)
        return scan

    def _set_aside(self, rejected: Iterable[Rejection], taken: Iterable[str]) -> None:
        try:
            now_s, told = self._now_s(), self.reports
            move_aside(self.disk, self.store, rejected, taken, now_s, reports=told)
        except OSError as error:
            raise storage_error(f"moving damaged groups of {self.store!r} aside", error) from error

    def _give_up(self, pruning: Pruning) -> Pruning:
        """Carry a prune out; what was done of it.

        Leftovers of earlier prunes go first: theirs are no names of groups, and may be needed. One
        that cannot be deleted holds nothing else up: StorageError at the end, where the disk
        refused.
        """
        refused: list[StorageError] = []
        stuck = self._delete(pruning.leftovers, refused)
        pruning = pruning.without(stuck)
        performer = self._performer()
        try:
            for step in plan_uncommit(self.mode, self.store, pruning):
                performer.perform(step)
        except OSError as error:
            raise self._failed_prune(performer, error) from error
        names = [group.name for group in reversed(pruning.given_up)]
        stuck = self._delete(map(gone, names), refused)
        for name in names:
            self._memory.forget(name)
        if refused:
            went = f" Given up all the same: {', '.join(map(str, names))}." if names else ""
            raise StorageError(f"{refused[0]}{went}") from refused[0]
        return evolve(pruning, stuck=(*pruning.stuck, *stuck))

    def _delete(
        self, names: Iterable[GroupName], refused: list[StorageError]
    ) -> tuple[Rejection, ...]:
        """Delete what is no group any more; what is stuck. `refused` is added to.

        StorageError at once where nobody knows what is on the medium.
        """
        stuck = []
        for name in names:
            home, performer = join(self.store, str(name)), self._performer()
            try:
                for step in plan_delete(home, *tree_of(self.disk, home)):
                    performer.perform(step)
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    stuck.append(too_deep(name))
                    continue
                failure = self._failed_prune(performer, error, f"looking into {home!r}")
                if self.failed is not None:
                    raise failure from error
                refused.append(failure)
                stuck.append(Rejection(str(name), name.generation, "refused", str(error)))
        return tuple(stuck)

    def _failed_prune(
        self, performer: Performer, error: OSError, doing: str = "a look"
    ) -> StorageError:
        """The error to raise; the store is closed to writing where nobody knows what is on it."""
        step, error = performer.worst or (None, error)
        if performer.is_poisoned:
            self.failed = f"a prune failed with {code_of(error)}"
        return StorageError(
            f"prune of {self.store!r}: {doing if step is None else said(step)} failed: "
            f"{code_of(error)} ({error.strerror or error}). Every group that is kept is intact; "
            "the next prune deletes what is left."
            f"{' This store is closed to writing.' * bool(self.failed)}"
        )

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
