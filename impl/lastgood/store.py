"""The store: groups of files, saved whole, verified on load, rolled back by themselves."""

from __future__ import annotations

import contextlib
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Literal, Self, SupportsIndex

from lastgood.cadence import Cadence, LastSave
from lastgood.disk import Disk
from lastgood.errors import LastgoodError, LeaseError, UsageError
from lastgood.events import Announcer, Hook
from lastgood.hashing import Algorithm
from lastgood.layout import GroupName
from lastgood.loaded import Holding
from lastgood.opening import Strength, choose_strength, require_choice, require_store, store_path
from lastgood.plan import FORMS, MODES, Form, Mode
from lastgood.pruning import Pruning, choose
from lastgood.reading import StoreReader
from lastgood.receipt import Receipt, guarantee, phase_of
from lastgood.recovery import Scan, list_store, newest_valid_now
from lastgood.request import PartData, contents
from lastgood.retention import Policy
from lastgood.steps import SimpleStep
from lastgood.threads import default_workers, each_in_threads
from lastgood.writer import Attempt, Repair, Saved, Writer


class OpenAttempt:
    """A directory for foreign code to fill: see `Store.attempt`. `receipt` is there at the end."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.receipt: Receipt | None = None

    def __fspath__(self) -> str:
        return str(self.path)


class Store(StoreReader):
    """A directory of groups. A writable store holds the lease: one live process at a time.

    `mode`, `form` and `digest` are those of docs/protocol.md; "auto" takes the strongest mode that
    the platform honours, and the rename form where rename is atomic. `keep` is applied after each
    save (see `lastgood.retention`); `when` answers `is_due` (see `lastgood.cadence`). `workers`
    threads share the work on big parts. `on_event` is told of saves, fallbacks and the like.

    `clock` gives seconds and times the phases of a save, `now` gives Unix time, and `new_id` names
    attempts. The store is open at once; close it, or use it as a context manager.

    Raises UsageError (also LeaseError) before anything was changed, and StorageError.
    """

    def __init__(
        self,
        path: str | PurePath,
        *,
        mode: Mode | Literal["auto"] = "auto",
        form: Form | Literal["auto"] = "auto",
        digest: Algorithm = "sha256",
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
        workers = default_workers() if workers is None else workers
        if workers < 1:
            raise UsageError(f"workers is {workers}, expected 1 at least. Nothing was changed.")
        disk = _disk_here() if disk is None else disk
        where = store_path(disk, path)
        super().__init__(disk, where, each_in_threads(workers), Announcer(where, on_event))
        self._now = now
        self._keep, self._when = keep, when
        self._last = LastSave(None, now())
        self._phases: dict[str, float] = {}
        self._writer: Writer | None = None
        self._strength = choose_strength(self._disk, self._path, mode, form, digest, writable)
        if not writable:
            require_store(self._disk, self._path)
            return
        self._writer = Writer(
            self._disk,
            self._path,
            self._strength.mode,
            self._strength.form,
            new_id,
            top=self._strength.file_system.mount_point,
            algorithm=digest,
            workers=workers,
            each=self._each,
            now_s=now,
            clock=clock,
            observe=_weak(self),
        )
        self._writer.open()
        # A store that is dropped without `close` gives its lease back as well.
        weakref.finalize(self, self._writer.close)
        self._strength.warn(self._path, self._events)

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
        """Save one group; returning acknowledges it.

        `parts` maps a path inside the group to its content: bytes, an array or a CPU tensor
        (through its memory), chunks of bytes, or a file to copy. `metadata` is anything that JSON
        can say, nested 64 deep at most and with integers of 64 bits. A buffer that changes while
        it is saved is kept as some mixture of its states, which verifies: each piece of it is
        copied once. With `stable` the caller promises that none changes, and nothing is copied.

        UsageError before anything was changed (also inside another call of this thread), or where
        a part's own source fails (the attempt is removed). StorageError where the disk failed:
        earlier groups are intact, and after a failed sync this store takes no more saves.
        """
        with self._turns.take("save"):
            writer = self._require_writer()
            content = contents(parts, stable=stable)
            self._phases = {}
            with self._telling_failures(step):
                saved = writer.save(step, content, {} if metadata is None else metadata)
            return self._acknowledged(writer, saved)

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
        with self._turns.take("attempt"):
            writer = self._require_writer()
            self._phases = {}
            attempt: Attempt = writer.begin(step, {} if metadata is None else metadata)
            handed_out = OpenAttempt(attempt.path)
            try:
                yield handed_out
            except BaseException:
                writer.abandon(attempt)
                raise
            with self._telling_failures(step):
                saved = writer.seal(attempt)
            handed_out.receipt = self._acknowledged(writer, saved)

    def is_due(self, step: int) -> bool:
        """Whether the store's `when` asks for a save at this step; True where there is none."""
        return self._when is None or self._when.is_due(step, self._now(), self._last)

    def prune(self, keep: Policy | None = None, *, dry_run: bool = False) -> Pruning | None:
        """Give up the groups that `keep` (or the store's own policy) does not keep.

        The newest valid group and the one that was loaded stay, whatever the policy says. With
        `dry_run` nothing is changed, and a read-only store will do. None where there is no group.
        UsageError, StorageError.
        """
        policy = self._keep if keep is None else keep
        if policy is None:
            raise UsageError("prune() needs a policy, such as LatestN(3). Nothing was changed.")
        with self._turns.take("prune"):
            if dry_run:
                return self._would_prune(policy)
            return self._prune(self._require_writer(), policy)

    def repair(self) -> Repair:
        """Recover, verify every group, and move each damaged one to quarantine.

        Deletions that a prune began are finished; nothing else is deleted. UsageError;
        StorageError.
        """
        with self._turns.take("repair"):
            repaired = self._require_writer().repair()
        for each in repaired.moved:
            message = f"{each.name} was rejected ({each.reason}): {each.detail}"
            self._events.tell("rejected", message, name=each.name, reason=each.reason)
        return repaired

    def close(self) -> None:
        """Give the lease back. Safe to call twice; loading still works afterwards."""
        with self._turns.take("close"):
            if self._writer is not None:
                self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _acknowledged(self, writer: Writer, saved: Saved) -> Receipt:
        """Prune, if that was asked for, and say what was promised."""
        phases = dict(self._phases)
        notes = list(writer.notes)
        pruned: tuple[str, ...] = ()
        if self._keep is not None:
            try:
                pruning = self._prune(writer, self._keep)
                pruned = tuple(str(group.name) for group in pruning.given_up) if pruning else ()
            except LastgoodError as error:
                # The save stands. What it did not delete is deleted by a later prune.
                notes.append(f"not pruned: {error}")
                self._events.tell("prune_failed", str(error))
        self._last = LastSave(saved.name.step, self._now())
        receipt = Receipt(
            generation=saved.name.generation,
            step=saved.name.step,
            path=saved.path,
            size_bytes=sum(part.size_bytes for part in saved.manifest.parts),
            mode=writer.mode,
            form=writer.form,
            file_system=self._strength.file_system.name,
            guarantee=guarantee(writer.mode, self._strength.file_system),
            phases=phases,
            notes=tuple(notes),
            pruned=pruned,
        )
        self._events.tell(
            "saved",
            f"{saved.name} was saved, {receipt.size_bytes} bytes",
            name=str(saved.name),
            size_bytes=receipt.size_bytes,
            survives=receipt.guarantee.survives,
            **phases,
        )
        return receipt

    def _prune(self, writer: Writer, policy: Policy) -> Pruning | None:
        protect = () if self._restored is None else (self._restored,)
        pruning = writer.prune(policy, now_s=self._now(), protect=protect)
        if pruning is not None and (pruning.given_up or pruning.leftovers):
            names = [str(group.name) for group in pruning.given_up]
            message = f"{len(names)} groups were given up: {', '.join(names)}"
            self._events.tell("pruned", message, names=names, freed_bytes=pruning.freed_bytes)
        return pruning

    def _would_prune(self, policy: Policy) -> Pruning | None:
        scan = newest_valid_now(self._disk, self._path, self._hidden(), each=self._each)
        if scan.group is None:
            return None
        return choose(
            self._disk,
            self._path,
            list_store(self._disk, self._path).in_store,
            scan.group,
            policy,
            now_s=self._now(),
            protect=() if self._restored is None else (self._restored,),
            each=self._each,
        )

    def _scan(self, holding: Holding | None) -> tuple[Scan, list[str]]:
        """As the lease holder: the group made durable, and what was rejected moved aside."""
        writer = None if self._turns.is_forked else self._writer
        if writer is None or not writer.is_open or writer.failed is not None:
            return super()._scan(holding)
        scan = writer.recover(holding)
        return scan, [each.name for each in scan.rejected]

    def _hidden(self) -> GroupName | None:
        return None if self._writer is None else self._writer.unsure

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
        if self._turns.is_forked:
            raise LeaseError(
                f"store {self._path!r}: this process is a forked child, and the lease is its "
                "parent's. Nothing was changed. Save in the parent; loading works here as well."
            )
        return self._writer


def open_read_only(path: str | PurePath, *, disk: Disk | None = None) -> Store:
    """Open a store to look at it: no lease, and nothing is ever changed. UsageError."""
    return Store(path, writable=False, disk=disk)


def _disk_here() -> Disk:
    # Only here is a real disk needed: a model drives everything else without one.
    from lastgood.backends.here import disk_here

    return disk_here()


def _weak(store: Store) -> Callable[[SimpleStep, float], None]:
    """The store's phases for its writer, without a cycle that would keep the lease alive."""
    reference = weakref.ref(store)

    def observe(step: SimpleStep, seconds: float) -> None:
        alive = reference()
        if alive is not None:
            alive._observe(step, seconds)  # noqa: SLF001

    return observe
