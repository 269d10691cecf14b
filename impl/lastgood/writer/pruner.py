"""Pruning by the holder of the lease: groups are un-committed, durably, and then deleted."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Final, TypeGuard

from attrs import evolve

from lastgood.backends.interface import join
from lastgood.errors import StorageError, describe_error, errno_name
from lastgood.format.names import GroupName, parse_name
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import at_full_strength, plan_delete, plan_give_up_in_place
from lastgood.protocol.steps import RenameEntry, Step, describe_step
from lastgood.recovery.clearing import lacks_manifest
from lastgood.recovery.recovery import Rejection
from lastgood.retention.manifest_cache import ManifestCache
from lastgood.retention.policies import Candidate, needs_manifests
from lastgood.retention.prune import (
    Look,
    PruneRequest,
    Pruning,
    decide_prune,
    held_rejection,
    list_candidates,
    list_leftovers,
    list_tree,
    plan_uncommit,
    prune_of_nothing,
    pruned_name,
    to_name,
    undeletable_rejection,
)
from lastgood.retention.verified_cache import Stamped, VerifiedCache
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions
from lastgood.writer.recoverer import Recoverer

_HELD_ERRNOS: Final = frozenset({errno.EACCES, errno.EBUSY, errno.EPERM})
"""A rename that fails so was refused before anything changed."""
_NO_ROOM_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorePruner:
    """Prunes while the lease is held; the recoverer makes durable what justifies a deletion."""

    def __init__(self, lease: Lease, options: WriterOptions, recoverer: Recoverer) -> None:
        self._lease, self._disk, self._store = lease, lease.disk, lease.store
        self._options, self._recoverer = options, recoverer
        self._verified = VerifiedCache(lease.disk, lease.store)
        self._manifests = ManifestCache(lease.disk, lease.store)
        self._in_place: list[GroupName] = []

    def prune(self, request: PruneRequest, *, remembers: bool) -> Pruning | None:
        """See `Writer.prune`."""
        names = self._lease.list_entries()
        look = self._look(request) if remembers else None
        seen = list_candidates(self._disk, self._store, names, look)
        if remembers:
            of_nothing = prune_of_nothing(seen, request)
            if of_nothing is not None:
                return self._give_up(of_nothing) if seen.groups else None
        newest = next(map(to_name, seen.groups.values()), None)
        stamped = None if newest is None else self._verified.read(newest)
        mode, durable = at_full_strength(self._options.mode), self._recoverer.durable
        scan, clearing = self._recoverer.recover(mode, self._disk, durable, names)
        anchor = scan.group
        if anchor is None:
            return None
        if isinstance(stamped, Stamped) and stamped.group.name == anchor.name:
            self._verified.remember(stamped)
        pruning = decide_prune(
            self._disk,
            self._store,
            seen,
            anchor,
            request,
            unread=[each for each in scan.rejected if each.is_unread],
            verified=self._verified if remembers else None,
            parallel_map=self._options.parallel_map,
        )
        return self._give_up(evolve(pruning, stuck=(*pruning.stuck, *clearing.stuck)))

    def _look(self, request: PruneRequest) -> Look:
        """A look at a group that tells the policy what it needs: its name alone may do."""
        if needs_manifests(request.policy):
            return self._manifests.look
        return lambda name: Candidate(name.generation, name.step)

    def finish(self) -> Pruning:
        """Delete what earlier prunes left in the store. Errors as `prune`."""
        names = self._lease.list_entries()
        leftovers, undeletable = list_leftovers(self._disk, self._store, names)
        return self._give_up(Pruning((), (), leftovers, (), undeletable))

    def _give_up(self, pruning: Pruning) -> Pruning:
        """Carry a prune out; what was done of it. StorageError before anything is deleted.

        Leftovers of earlier prunes go first: theirs are no names of groups, and may be needed. What
        cannot be deleted holds nothing else up: it is no group any more, and nobody waits for it.
        """
        pruning = self._with_unfinished(pruning)
        pruning = pruning.without(self._delete(pruning.leftovers))
        pruning = pruning.without(self._uncommit(pruning))
        names = [group.name for group in reversed(pruning.given_up)]
        undeletable = self._delete(n if n in self._in_place else pruned_name(n) for n in names)
        for name in names:
            self._verified.forget(name)
            self._manifests.forget(name)
        return evolve(pruning, stuck=(*pruning.stuck, *undeletable))

    def _with_unfinished(self, pruning: Pruning) -> Pruning:
        """The prune, and what this process has un-committed in its place and not deleted."""
        folders = [(name, join(self._store, str(name))) for name in self._in_place]
        self._in_place = [name for name, path in folders if lacks_manifest(self._disk, path)]
        names = {str(name) for name in self._in_place}
        return evolve(
            pruning,
            leftovers=(*pruning.leftovers, *self._in_place),
            damaged=tuple(each for each in pruning.damaged if each.name not in names),
        )

    def _uncommit(self, pruning: Pruning) -> tuple[Rejection, ...]:
        """Un-commit the groups that go, durably. Those that the disk holds on to stay groups."""
        held = []
        for step in plan_uncommit(self._options.mode, self._store, pruning):
            executor = StepExecutor(self._disk)
            try:
                executor.execute(step)
            except OSError as error:
                name = parse_name(step.src.rpartition("/")[2]) if _is_rename(step) else None
                if name is not None and error.errno in _HELD_ERRNOS:
                    held.append(held_rejection(name, error))
                elif name is not None and error.errno in _NO_ROOM_ERRNOS:
                    self._uncommit_in_place(name)
                    self._in_place.append(name)
                else:
                    raise self._failure(executor, error) from error
        return tuple(held)

    def _uncommit_in_place(self, name: GroupName) -> None:
        """Un-commit a group for whose other name a full disk has no room: to unlink takes none."""
        executor = StepExecutor(self._disk)
        try:
            for step in plan_give_up_in_place(self._options.mode, self._store, name):
                executor.execute(step)
        except OSError as error:
            raise self._failure(executor, error) from error

    def _delete(self, names: Iterable[GroupName]) -> tuple[Rejection, ...]:
        """Delete what is no group any more; what is undeletable.

        Whatever the disk says of it, EIO as well, is said of something that was given up: what was
        saved, and what will be, has syncs of its own.
        """
        undeletable = []
        for name in names:
            home, executor = join(self._store, str(name)), StepExecutor(self._disk)
            try:
                for step in plan_delete(home, *list_tree(self._disk, home)):
                    executor.execute(step)
            except OSError as error:
                undeletable.append(undeletable_rejection(name, error))
        return tuple(undeletable)

    def _failure(self, executor: StepExecutor, error: OSError) -> StorageError:
        """The error to raise; the store is closed to writing where nobody knows what is on it."""
        step, error = executor.worst or (None, error)
        if executor.is_poisoned:
            self._lease.failed = f"a prune failed with {errno_name(error)}"
        doing = "a look" if step is None else describe_step(step)
        return StorageError(
            f"prune of {self._store!r}: {doing} failed: {describe_error(error)}. Every group that "
            "is kept is intact, and of the others nothing was deleted yet; the next prune goes on."
            f"{' This store is closed to writing.' * bool(self._lease.failed)}"
        )


def _is_rename(step: Step) -> TypeGuard[RenameEntry]:
    return isinstance(step, RenameEntry)
