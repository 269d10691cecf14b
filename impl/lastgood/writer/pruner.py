"""Pruning by the holder of the lease: groups are un-committed, durably, and then deleted."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from attrs import evolve

from lastgood.backends.interface import join
from lastgood.errors import StorageError, describe_error, errno_name
from lastgood.format.names import GroupName
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import at_full_strength, plan_delete
from lastgood.protocol.steps import describe_step
from lastgood.recovery.recovery import Rejection, list_store, new_rejection
from lastgood.retention.prune import (
    PruneRequest,
    Pruning,
    decide_prune,
    list_candidates,
    list_leftovers,
    list_tree,
    plan_uncommit,
    preview_prune,
    pruned_name,
    too_deep_rejection,
)
from lastgood.retention.verified_cache import VerifiedCache
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions
from lastgood.writer.recoverer import Recoverer


class StorePruner:
    """Prunes while the lease is held; the recoverer makes durable what justifies a deletion."""

    def __init__(self, lease: Lease, options: WriterOptions, recoverer: Recoverer) -> None:
        self._lease, self._disk, self._store = lease, lease.disk, lease.store
        self._options, self._recoverer = options, recoverer
        self._verified = VerifiedCache(lease.disk)

    def prune(self, request: PruneRequest, *, remembers: bool) -> Pruning | None:
        """See `Writer.prune`."""
        seen = list_candidates(
            self._disk, self._store, list_store(self._disk, self._store).in_store
        )
        if remembers:
            at_most = preview_prune(seen, request)
            if not at_most.given_up:
                return self._give_up(at_most) if seen.groups else None
        newest = next(iter(seen.groups.values()), None)
        stamps = None if newest is None else self._verified.stamps_of(newest)
        mode, durable = at_full_strength(self._options.mode), self._recoverer.durable
        anchor = self._recoverer.recover(mode, self._disk, durable).group
        if anchor is None:
            return None
        if newest is not None and newest.name == anchor.name:
            self._verified.remember(anchor.name, stamps)
        pruning = decide_prune(
            self._disk,
            self._store,
            seen,
            anchor,
            request,
            verified=self._verified if remembers else None,
            parallel_map=self._options.parallel_map,
        )
        return self._give_up(pruning)

    def finish(self, names: Iterable[str]) -> Pruning:
        """Delete what earlier prunes left among these entries of the store. Errors as `prune`."""
        leftovers, undeletable = list_leftovers(self._disk, self._store, names)
        return self._give_up(Pruning((), (), leftovers, (), undeletable))

    def _give_up(self, pruning: Pruning) -> Pruning:
        """Carry a prune out; what was done of it.

        Leftovers of earlier prunes go first: theirs are no names of groups, and may be needed. One
        that cannot be deleted holds nothing else up: StorageError at the end, where the disk
        refused.
        """
        refused: list[StorageError] = []
        undeletable = self._delete(pruning.leftovers, refused)
        pruning = pruning.without(undeletable)
        executor = StepExecutor(self._disk)
        try:
            for step in plan_uncommit(self._options.mode, self._store, pruning):
                executor.execute(step)
        except OSError as error:
            raise self._failure(executor, error) from error
        names = [group.name for group in reversed(pruning.given_up)]
        undeletable = self._delete(map(pruned_name, names), refused)
        for name in names:
            self._verified.forget(name)
        if refused:
            went = f" Given up all the same: {', '.join(map(str, names))}." if names else ""
            raise StorageError(f"{refused[0]}{went}") from refused[0]
        return evolve(pruning, stuck=(*pruning.stuck, *undeletable))

    def _delete(
        self, names: Iterable[GroupName], refused: list[StorageError]
    ) -> tuple[Rejection, ...]:
        """Delete what is no group any more; what is undeletable. `refused` is added to.

        StorageError at once where nobody knows what is on the medium.
        """
        undeletable = []
        for name in names:
            home, executor = join(self._store, str(name)), StepExecutor(self._disk)
            try:
                for step in plan_delete(home, *list_tree(self._disk, home)):
                    executor.execute(step)
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    undeletable.append(too_deep_rejection(name))
                    continue
                failure = self._failure(executor, error, f"looking into {home!r}")
                if self._lease.failed is not None:
                    raise failure from error
                refused.append(failure)
                undeletable.append(new_rejection(name, "refused", str(error)))
        return tuple(undeletable)

    def _failure(
        self, executor: StepExecutor, error: OSError, doing: str = "a look"
    ) -> StorageError:
        """The error to raise; the store is closed to writing where nobody knows what is on it."""
        step, error = executor.worst or (None, error)
        if executor.is_poisoned:
            self._lease.failed = f"a prune failed with {errno_name(error)}"
        return StorageError(
            f"prune of {self._store!r}: {doing if step is None else describe_step(step)} failed: "
            f"{describe_error(error)}. Every group that is kept is intact; "
            "the next prune deletes what is left."
            f"{' This store is closed to writing.' * bool(self._lease.failed)}"
        )
