"""The store: groups of files, saved whole, verified on load, rolled back by themselves."""

from __future__ import annotations

import contextlib
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, Self, SupportsIndex

from lastgood.arguments import as_integer, require_a, require_callable, unix_time
from lastgood.backends.interface import Disk
from lastgood.errors import LastgoodError, LeaseError, UsageError
from lastgood.events import Announcer, Hook
from lastgood.format.chunks import chunking_from_options
from lastgood.format.digests import Algorithm
from lastgood.format.names import GroupName
from lastgood.parts.holding_reader import HoldingReader
from lastgood.parts.thread_pool import default_workers, new_parallel_map
from lastgood.protocol.plan import FORMS, MODES, Form, Mode
from lastgood.protocol.receipt import Receipt, phase_of
from lastgood.protocol.steps import SimpleStep
from lastgood.protocol.strength import (
    Strength,
    choose_strength,
    require_choice,
    require_store,
    store_path,
)
from lastgood.recovery.quarantine_usage import Purge, decide_purge
from lastgood.recovery.recovery import Rejection, Scan
from lastgood.retention.policies import Policy
from lastgood.retention.preview import would_prune
from lastgood.retention.prune import PruneRequest, Pruning
from lastgood.store_reader import StoreReader
from lastgood.training.cadence import Cadence, LastSave
from lastgood.writer.attempt import Attempt, OpenAttempt, describe_leftover, remove_attempt
from lastgood.writer.options import WriterOptions, weakly
from lastgood.writer.outcomes import (
    check_purge,
    new_receipt,
    tell_cleared,
    tell_pruned,
    tell_purged,
    tell_saved,
    tell_undeletable,
)
from lastgood.writer.save_request import PartData, part_sources
from lastgood.writer.saver import SavedGroup
from lastgood.writer.writer import Repair, Writer


class Store(StoreReader):
    """A directory of groups. A writable store holds the lease: one live process at a time.

    `mode`, `form` and `digest` are those of docs/protocol.md; "auto" takes the strongest mode that
    the platform honours, and the rename form where rename is atomic. `keep` is applied after each
    save (see `lastgood.retention.policies`); `when` answers `is_due` (see
    `lastgood.training.cadence`). `workers` threads share the work on big parts. `on_event` is told
    of saves, fallbacks and the like.

    With `chunk_bytes`, a power of two from 4096 on, saves also keep a digest of each chunk of a
    part, so that ranges of it can be read verified and one part is verified by several threads.
    The size is doubled until MANIFEST can hold them. `chunk_digest` is `digest` if not given.

    `clock` gives seconds that only grow, for the phases of a save and for `when`; `now` gives Unix
    time, for manifests and `keep`; `new_id` names attempts. The store is open at once; close it,
    or use it as a context manager.

    Raises UsageError (also LeaseError) before anything was changed, NewerFormatError where a newer
    version has written the newest group (open it read-only to load an older one), and StorageError.
    """

    def __init__(
        self,
        path: str | PurePath,
        *,
        mode: Mode | Literal["auto"] = "auto",
        form: Form | Literal["auto"] = "auto",
        digest: Algorithm = "sha256",
        chunk_bytes: int | None = None,
        chunk_digest: Algorithm | None = None,
        keep: Policy | None = None,
        when: Cadence | None = None,
        writable: bool = True,
        workers: int | None = None,
        on_event: Hook | None = None,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        require_choice("mode", mode, ("auto", *MODES))
        require_choice("form", form, ("auto", *FORMS))
        require_a("keep", keep, Policy, "LatestN(3)")
        require_a("when", when, Cadence, "EverySteps(500)")
        workers = default_workers() if workers is None else workers
        workers = as_integer("workers", workers, 1)
        for what, given in (("on_event", on_event), ("clock", clock), ("new_id", new_id)):
            require_callable(what, given)
        require_callable("now", now)
        chunking = chunking_from_options(chunk_bytes, chunk_digest, digest)
        if disk is None:
            # Only here is a real disk needed: a model drives everything else without one.
            from lastgood.backends.detect import disk_here

            disk = disk_here()
        where = store_path(disk, path)
        super().__init__(disk, where, new_parallel_map(workers), Announcer(where, on_event))
        self._now, self._clock = unix_time(now), clock
        self._keep, self._when = keep, when
        self._last = LastSave(None, clock())
        self._phases: dict[str, float] = {}
        self._writer: Writer | None = None
        self._strength = choose_strength(self._disk, self._path, mode, form, digest, writable)
        if not writable:
            require_store(self._disk, self._path)
            return
        options = WriterOptions(
            self._strength.mode,
            self._strength.form,
            new_id,
            top=self._strength.file_system.mount_point,
            algorithm=digest,
            chunking=chunking,
            workers=workers,
            parallel_map=self._parallel_map,
            now_s=self._now,
            clock=clock,
            observe=weakly(self._observe),
        )
        self._writer = Writer(self._disk, self._path, options)
        # A store that is dropped without `close` gives its lease back as well.
        weakref.finalize(self, self._writer.lease.close)
        try:
            self._writer.open()
            self._strength.warn(self._path, self._events)
        except BaseException:
            # Ctrl-C, a newer version's group, or a warning that was turned into an error.
            self._writer.lease.close()
            raise

    @property
    def strength(self) -> Strength:
        """The mode and the form of this store's saves, and what they stand on."""
        return self._strength

    def save(
        self,
        step: SupportsIndex,
        parts: Mapping[str, PartData],
        metadata: Mapping[str, Any] | None = None,
        *,
        stable: bool = False,
    ) -> Receipt:
        """Save one group; returning acknowledges it. Then `keep` is applied: see `Receipt`.

        `parts` maps a path inside the group to its content: bytes, an array or a CPU tensor
        (through its memory), chunks of bytes, or a file to copy. `metadata` is anything that JSON
        can say, nested 64 deep at most and with integers of 64 bits. A buffer that changes while
        it is saved is kept as some mixture of its states, which verifies: each piece of it is
        copied once. With `stable` the caller promises that none changes, and nothing is copied.

        UsageError before anything was changed (also inside another call of this thread), or where
        a part's own source fails (the attempt is removed). StorageError where the disk failed:
        earlier groups are intact, and after a failed sync this store takes no more saves.
        """
        with self._guard.enter("save"):
            begun_s = self._clock()
            writer = self._require_writer()
            content = part_sources(parts, stable=stable)
            self._phases = {}
            with self._telling_failures(step), self._telling_cleared() as left:
                saved = writer.save(step, content, {} if metadata is None else metadata)
            return self._acknowledged(writer, saved, self._clock() - begun_s, left)

    @contextlib.contextmanager
    def attempt(
        self, step: SupportsIndex, metadata: Mapping[str, Any] | None = None
    ) -> Iterator[OpenAttempt]:
        """A fresh directory that other code fills; at the end of the block it becomes a group.

        Every regular file below it is a part. Each is synced and digested from its file. If the
        block raises, the directory is removed and no group appears. Other calls wait, or, from
        inside the block, are refused. Errors as `save`, and UsageError for a symlink or special
        file in there.
        """
        with self._guard.enter("attempt"):
            writer = self._require_writer()
            self._phases = {}
            with self._telling_cleared() as left:
                attempt: Attempt = writer.begin(step, {} if metadata is None else metadata)
            handed_out = OpenAttempt(attempt.path)
            try:
                yield handed_out
            except BaseException as error:
                if not remove_attempt(self._disk, attempt.path):
                    error.add_note(f"lastgood: {describe_leftover(attempt)}")
                raise
            begun_s = self._clock()
            with self._telling_failures(step):
                saved = writer.seal(attempt)
            wall_s = self._clock() - begun_s
            handed_out.receipt = self._acknowledged(writer, saved, wall_s, left)

    def is_due(self, step: int) -> bool:
        """Say whether the store's `when` asks for a save at this step; True where there is none."""
        return self._when is None or self._when.is_due(step, self._clock(), self._last)

    def prune(self, keep: Policy | None = None, *, dry_run: bool = False) -> Pruning | None:
        """Give up the groups that `keep` (or the store's own policy) does not keep.

        Every group that would stay is verified in full first, with `dry_run` too, which gives the
        same answer, changes nothing, and does with a read-only store. Whatever the policy says,
        the newest valid group stays, and so do the group that was loaded last and those whose
        `Loaded` is still referred to. What cannot be read, and what a newer version has written, is
        neither counted nor given up: it is in `Pruning.unreadable`, or in `Pruning.unjudged`. What
        cannot be deleted is in `Pruning.stuck` and holds nothing else up. None where there is no
        valid group.

        UsageError, also where the policy itself fails: nothing was given up. StorageError: every
        group that is kept is intact, and of the others nothing was deleted.
        """
        require_a("keep", keep, Policy, "LatestN(3)")
        policy = self._keep if keep is None else keep
        if policy is None:
            raise UsageError("prune() needs a policy, such as LatestN(3). Nothing was changed.")
        with self._guard.enter("prune"):
            if dry_run:
                scan, _ = super()._scan(None)
                request = self._prune_request(policy)
                return would_prune(self._disk, self._path, scan, request, self._parallel_map)
            self._require_writer()
            return self._prune(self._prune_request(policy))

    def repair(self) -> Repair:
        """Recover, verify every group, move each damaged one to quarantine, delete dead attempts.

        What cannot be read, and what a newer version has written, stays: it is in
        `Repair.unreadable`, or in `Repair.unjudged`. Of groups without a MANIFEST the newest goes
        to quarantine and older ones are deleted: with dead attempts they are `Repair.discarded`.
        What can be neither moved nor deleted is in `Repair.stuck`. Deletions that a prune began are
        finished. UsageError; NewerFormatError as a load; StorageError.
        """
        with self._guard.enter("repair"), self._telling_cleared() as left:
            repaired = self._require_writer().repair()
        self._tell_rejected((*repaired.moved, *repaired.unreadable))
        tell_undeletable(self._events, [each for each in repaired.stuck if each not in left])
        return repaired

    def purge(
        self,
        entries: Collection[str] | Literal["all"] | None = None,
        *,
        older_than_s: float | None = None,
        dry_run: bool = False,
    ) -> Purge:
        """Delete what lies in quarantine: these entries, "all", or what is older than that.

        The age is that of an entry's report, by the store's `now`; without one it is not known, and
        the entry stays. What cannot be deleted is in `Purge.stuck`. With `dry_run`, which does with
        a read-only store, nothing is changed. UsageError, also where an entry is not there;
        StorageError.
        """
        names, older_than_s = check_purge(entries, older_than_s)
        with self._guard.enter("purge"):
            if dry_run:
                return decide_purge(self._disk, self._path, names, older_than_s, self._now())
            purge = self._require_writer().purge(names, older_than_s)
        tell_purged(self._events, purge)
        return purge

    def close(self) -> None:
        """Give the lease back. Safe to call twice; loading still works afterwards."""
        with self._guard.enter("close"):
            if self._writer is not None:
                self._writer.lease.close()

    def __repr__(self) -> str:
        may = "read-only" if self._writer is None else self._strength.mode
        return f"<Store {self._path!r}, {may}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _acknowledged(
        self, writer: Writer, saved: SavedGroup, wall_s: float, left: Sequence[Rejection]
    ) -> Receipt:
        """Prune, if that was asked for, and say what was promised."""
        phases, known = dict(self._phases), self._strength.weaknesses
        if self._last.step is None:
            self._strength = self._strength.after_a_sync(self._disk, self._path)
        pruning, failure = self._retain()
        stuck = dict.fromkeys([*left, *(() if pruning is None else pruning.stuck)])
        self._last = LastSave(saved.name.step, self._clock())
        notes = *writer.lease.notes, *saved.notes
        receipt = new_receipt(saved, self._strength, notes, stuck, pruning, failure, wall_s, phases)
        tell_saved(self._events, saved, receipt)
        if self._strength.weaknesses != known:
            self._strength.warn(self._path, self._events)
        return receipt

    def _retain(self) -> tuple[Pruning | None, str | None]:
        """Prune after a save: what was done, and why it failed.

        The save stands, whatever becomes of this: what was not deleted is, by a later prune.
        """
        if self._keep is None:
            return None, None
        try:
            return self._prune(self._prune_request(self._keep), remembers=True), None
        except Exception as error:  # a policy is the caller's code: it may raise anything
            failure = str(error) or type(error).__name__
            self._events.tell("prune_failed", failure)
            return None, failure

    def _prune(self, request: PruneRequest, *, remembers: bool = False) -> Pruning | None:
        with self._telling_cleared() as left:
            pruning = self._require_writer().prune(request, remembers=remembers)
        if pruning is not None:
            tell_pruned(self._events, pruning)
            tell_undeletable(self._events, [each for each in pruning.stuck if each not in left])
            # Retention comes after every save: what stays unreadable is told of once.
            new = [each for each in pruning.unreadable if each.generation not in self._unread]
            self._tell_rejected(new)
            if pruning.given_up or not remembers:  # then all that is kept was verified
                self._unread &= {each.generation for each in pruning.unreadable}
            for note in pruning.notes:
                self._events.tell("prune_noted", note)
        return pruning

    def _prune_request(self, policy: Policy) -> PruneRequest:
        # What could not be read is looked at again: where that fails again, it stays uncounted.
        return PruneRequest(policy, self._now(), self._protected(), self._unread)

    @contextlib.contextmanager
    def _telling_cleared(self) -> Iterator[list[Rejection]]:
        """Tell of what was cleared in the block; what stays all the same is there at its end."""
        left: list[Rejection] = []
        try:
            yield left
        finally:
            if self._writer is not None:
                cleared = self._writer.clearer.take_pending()
                tell_cleared(self._events, cleared)
                left += cleared.stuck

    def _tell_cleared(self) -> None:
        with self._telling_cleared():
            pass

    def _scan(self, holding: HoldingReader | None) -> tuple[Scan, list[str]]:
        """As the lease holder: the group made durable, and what was rejected moved aside."""
        writer = None if self._guard.is_forked else self._writer
        if writer is None or not writer.lease.is_open or writer.lease.failed is not None:
            return super()._scan(holding)
        scan = writer.recover(holding)
        return scan, [each.name for each in writer.clearer.pending.moved]

    def _hidden(self) -> GroupName | None:
        return None if self._writer is None else self._writer.saver.unsure

    @contextlib.contextmanager
    def _telling_failures(self, step: object) -> Iterator[None]:
        try:
            yield
        except LastgoodError as error:
            self._events.tell("save_failed", str(error), step=repr(step))
            raise

    def _observe(self, step: SimpleStep, seconds: float) -> None:
        phase = phase_of(step)
        self._phases[phase] = self._phases.get(phase, 0.0) + seconds

    def _require_writer(self) -> Writer:
        if self._writer is None:
            raise UsageError(
                f"store {self._path!r} was opened read-only. Nothing was changed. "
                "Open it with writable=True to save."
            )
        if self._guard.is_forked:
            raise LeaseError(
                f"store {self._path!r}: this process is a forked child, and the lease is its "
                "parent's. Nothing was changed. Save in the parent; loading works here as well."
            )
        return self._writer


def open_read_only(path: str | PurePath, *, disk: Disk | None = None) -> Store:
    """Open a store to look at it: no lease, and nothing is ever changed. UsageError."""
    return Store(path, writable=False, disk=disk)
