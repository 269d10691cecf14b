"""Clearing by the holder of the lease: dead attempts deleted, damage set aside.

It comes after the newest valid group was found and made durable, and nothing in it ends a load, a
prune or a save: what can be neither moved nor deleted stays, and is told of.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator

from attrs import evolve

from lastgood.backends.interface import join
from lastgood.errors import UsageError
from lastgood.format.names import QUARANTINE
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import plan_discard, plan_remove
from lastgood.protocol.steps import Step
from lastgood.recovery.clearing import (
    NO_ROOM,
    Clearing,
    decide_clearing,
    not_deleted,
    not_moved,
)
from lastgood.recovery.quarantine import quarantine
from lastgood.recovery.quarantine_report import report_name
from lastgood.recovery.recovery import NO_COMMIT, Rejection
from lastgood.retention.prune import list_tree
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions


class Clearer:
    """Clears a store while the lease is held. `pending` is what nobody was told of yet."""

    def __init__(self, lease: Lease, options: WriterOptions) -> None:
        self.pending = Clearing()
        self._disk, self._store = lease.disk, lease.store
        self._options = options

    def take_pending(self) -> Clearing:
        """What was done since this was asked last."""
        taken, self.pending = self.pending, Clearing()
        return taken

    def clear(self, names: Collection[str], rejected: Iterable[Rejection]) -> Clearing:
        """Delete, or set aside, what was rejected in a store with these entries: what was done."""
        plan = decide_clearing(self._disk, self._store, names, rejected)
        # Deletions come first: they need no room and give some, and what a crash leaves of the rest
        # is still in the store, where the next recovery finds it.
        done = self.discard(plan.discarded) + self._move(plan)
        done = evolve(done, stuck=(*plan.stuck, *done.stuck))
        self.pending += done
        return done

    def _move(self, plan: Clearing) -> Clearing:
        now_s, reports = self._options.now_s(), self._options.reports
        try:
            left = quarantine(
                self._disk, self._store, plan.moved, plan.taken, now_s, reports=reports
            )
        except (OSError, UsageError) as error:  # it was there a moment ago
            failed = error if isinstance(error, OSError) else OSError(None, str(error))
            left = [(each, failed) for each in plan.moved]
        dropped = [r for r, error in left if r.reason == NO_COMMIT and error.errno in NO_ROOM]
        stuck = tuple(not_moved(r, error) for r, error in left if r not in dropped)
        names = {each.name for each, _ in left}
        moved = tuple(each for each in plan.moved if each.name not in names)
        return Clearing(moved, (), stuck) + self.discard(dropped)

    def discard(
        self, rejected: Iterable[Rejection], then: str = "The next recovery tries again"
    ) -> Clearing:
        """Delete what was never acknowledged, or is given up, by its path in the store.

        MANIFEST goes first, and last the report on what lies in quarantine. What somebody else
        has taken away meanwhile is deleted too. `then` as in `not_deleted`.
        """
        done = Clearing()
        for each in rejected:
            home = join(self._store, each.name)
            is_aside = each.name.startswith(f"{QUARANTINE}/")
            report = report_name(home) if is_aside else None
            try:
                if report is not None and self._disk.kind(report) == "missing":
                    report = None
                for step in self._plan(home, report):
                    StepExecutor(self._disk).execute(step)
            except OSError as error:
                if not (error.errno == errno.ENOENT and self._is_gone(home, report)):
                    done += Clearing(stuck=(not_deleted(each, error, then),))
                    continue
            done += Clearing(discarded=(each,))
        return done

    def _is_gone(self, *paths: str | None) -> bool:
        try:
            return all(path is None or self._disk.kind(path) == "missing" for path in paths)
        except OSError:
            return False

    def _plan(self, home: str, report: str | None) -> Iterator[Step]:
        """The plan of a deletion. What is no directory is no tree either. OSError."""
        kind = self._disk.kind(home)
        if kind == "dir":
            return plan_discard(home, *list_tree(self._disk, home), report)
        return plan_remove([*([] if kind == "missing" else [home]), *([report] if report else [])])
