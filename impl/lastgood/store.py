"""The store: groups of files, saved whole, verified on load, rolled back by themselves."""

from __future__ import annotations

import logging
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Final, Literal, Self, SupportsIndex

from attrs import frozen

from lastgood.backends.process import Turns
from lastgood.disk import UNKNOWN, Disk, KnowsItself, Reader, join
from lastgood.errors import LastgoodWarning, LeaseError, UsageError
from lastgood.layout import GroupName, newest_first
from lastgood.plan import FORMS, MODES, Form, Mode
from lastgood.receipt import Receipt, guarantee, phase_of
from lastgood.recovery import (
    Group,
    Rejection,
    Scan,
    examine,
    examine_all,
    find_part,
    integrity_error,
    list_store,
    newest_valid,
    read_group,
    read_part,
    storage_error,
)
from lastgood.request import PartData, contents
from lastgood.steps import Step
from lastgood.writer import Writer

_LOG: Final = logging.getLogger("lastgood")


@frozen
class Loaded:
    """A group that was verified in full, and every newer one that was rejected on the way."""

    group: Group
    rejected: tuple[Rejection, ...]
    _reader: Reader

    @property
    def generation(self) -> int:
        """The number that only grows from save to save."""
        return self.group.name.generation

    @property
    def step(self) -> int:
        """The training step that the group was saved at."""
        return self.group.name.step

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller of `save` wrote beside the parts."""
        return self.group.manifest.metadata

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts' paths, in the order in which they were saved."""
        return self.group.part_paths

    def read(self, part: str) -> bytes:
        """The bytes of one part, verified as they are handed out.

        UsageError where there is no such part; IntegrityError where it has changed since the
        load; StorageError.
        """
        return read_part(self._reader, self.group, part)

    def path(self, part: str) -> Path:
        """Where a part lies, for a loader that wants a file: it was verified by the load."""
        return Path(join(self.group.path, find_part(self.group, part).path))


class Store:
    """A directory of groups. A writable store holds the lease: one live process at a time.

    `mode` and `form` are those of docs/protocol.md; "auto" takes the rename form where rename is
    atomic. `clock` gives seconds and times the phases of a save; `new_id` names attempts. The
    store is open at once; close it, or use it as a context manager.

    Raises UsageError (also LeaseError) before anything was changed, and StorageError.
    """

    def __init__(
        self,
        path: str | PurePath,
        *,
        mode: Mode = "atomic_dirsync",
        form: Form | Literal["auto"] = "auto",
        writable: bool = True,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        _require_choice("mode", mode, MODES)
        _require_choice("form", form, ("auto", *FORMS))
        self._disk: Disk = _disk_here() if disk is None else disk
        self._path = _store_path(self._disk, path)
        self._file_system = (
            self._disk.file_system(self._path) if isinstance(self._disk, KnowsItself) else UNKNOWN
        )
        self._clock = clock
        self._turns = Turns(f"store {self._path!r}")
        self._phases: dict[str, float] = {}
        self._last_s = 0.0
        self._writer: Writer | None = None
        if not writable:
            _require_store(self._disk, self._path)
            return
        if form == "auto":
            form = "rename" if self._file_system.rename_is_atomic else "record"
        # The baseline has one form only: plain writes under the final names.
        chosen: Form = "record" if mode == "unsafe" else form
        self._writer = Writer(
            self._disk,
            self._path,
            mode,
            chosen,
            new_id,
            top=self._file_system.mount_point,
            observe=_weak(self),
        )
        self._writer.open()
        # A store that is dropped without `close` gives its lease back as well.
        weakref.finalize(self, self._writer.close)
        if mode == "atomic_dirsync" and self._file_system.sync_serves in ("none", "process"):
            warnings.warn(
                f"store {self._path!r} is on {self._file_system.name}: "
                f"{self._file_system.note}. Its groups survive a crash of the program only.",
                LastgoodWarning,
                stacklevel=2,
            )

    @property
    def path(self) -> Path:
        """The store's directory, absolute and without symlinks."""
        return Path(self._path)

    def save(
        self,
        step: SupportsIndex,
        parts: Mapping[str, PartData],
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Save one group; returning acknowledges it.

        `parts` maps a path inside the group to its bytes, chunks of them, or a file to copy;
        `metadata` is anything that JSON can say, nested 64 deep at most and with integers of 64
        bits. A buffer that changes while it is saved is kept as some mixture of its states, which
        verifies: each piece of it is copied once. UsageError before anything was changed (also
        inside another call of this thread), or where a part's own source fails (the attempt is
        removed). StorageError where the disk failed: earlier groups are intact, and after a
        failed sync this store takes no more saves.
        """
        with self._turns.take("save"):
            writer = self._require_writer()
            content = contents(parts)
            self._phases = {}
            self._last_s = self._clock()
            saved = writer.save(step, content, {} if metadata is None else metadata)
            return Receipt(
                generation=saved.name.generation,
                step=saved.name.step,
                path=saved.path,
                size_bytes=sum(part.size_bytes for part in saved.manifest.parts),
                mode=writer.mode,
                form=writer.form,
                file_system=self._file_system.name,
                guarantee=guarantee(writer.mode, self._file_system),
                phases=dict(self._phases),
                notes=tuple(writer.notes),
            )

    def load_latest(self) -> Loaded | None:
        """The newest valid group, verified in full now; None where there is none.

        Falls back past whatever is damaged, in this call, and says why in `Loaded.rejected` and
        in the log "lastgood". As the lease holder it first makes the group durable again, then
        moves what it rejected to quarantine. Read-only, closed, in a forked child or after a
        failed sync it changes nothing. StorageError.
        """
        with self._turns.take("load_latest"):
            writer = None if self._turns.is_forked else self._writer
            if writer is not None and writer.is_open and writer.failed is None:
                scan = writer.recover()
            else:
                scan = newest_valid(self._disk, self._path, map(str, self._names()))
        return self._loaded(scan)

    def load(self, *, step: int | None = None, generation: int | None = None) -> Loaded:
        """Exactly the group asked for, verified in full; never another one in its place.

        Of several groups of one step it is the newest that was saved to its end. UsageError where
        there is none; IntegrityError where it is damaged; StorageError. Nothing is changed on
        disk.
        """
        if (step is None) == (generation is None):
            raise UsageError("load() takes either step= or generation=.")
        what = f"step {step}" if generation is None else f"generation {generation}"
        unfinished: Rejection | None = None
        for name in self._names():
            if name.attempt or (name.step != step and name.generation != generation):
                continue
            answer = examine(self._disk, self._path, name)
            if isinstance(answer, Group):
                return Loaded(answer, (), self._disk)
            if answer.reason != "no_commit":
                raise integrity_error(answer)
            # A save that did not end was never acknowledged: it stands for no group.
            unfinished = unfinished or answer
        if unfinished is not None:
            raise integrity_error(unfinished)
        raise UsageError(f"store {self._path!r} has no group of {what}. Nothing was changed.")

    def groups(self) -> tuple[Group, ...]:
        """Every group with an intact manifest, newest first; the parts are not looked at."""
        names = [name for name in self._names() if not name.attempt]
        read = (read_group(self._disk, self._path, name) for name in names)
        return tuple(group for group in read if isinstance(group, Group))

    def verify(self) -> tuple[Group | Rejection, ...]:
        """Every group and dead attempt, newest first, each verified in full. Changes nothing."""
        return tuple(examine_all(self._disk, self._path))

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

    def _observe(self, step: Step) -> None:
        now_s = self._clock()
        phase = phase_of(step)
        self._phases[phase] = self._phases.get(phase, 0.0) + now_s - self._last_s
        self._last_s = now_s

    def _names(self) -> list[GroupName]:
        """What is in the store, newest first, without a group that a failed sync has left."""
        names = newest_first(list_store(self._disk, self._path).in_store)
        unsure = None if self._writer is None else self._writer.unsure
        return [name for name in names if name != unsure]

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

    def _loaded(self, scan: Scan) -> Loaded | None:
        for each in scan.rejected:
            _LOG.warning("%s was rejected (%s): %s", each.name, each.reason, each.detail)
        return None if scan.group is None else Loaded(scan.group, scan.rejected, self._disk)


def open_read_only(path: str | PurePath, *, disk: Disk | None = None) -> Store:
    """Open a store to look at it: no lease, and nothing is ever changed. UsageError."""
    return Store(path, writable=False, disk=disk)


def _disk_here() -> Disk:
    # Only here is a real disk needed: a model drives everything else without one.
    from lastgood.backends.here import disk_here

    return disk_here()


def _weak(store: Store) -> Callable[[Step], None]:
    """The store's clock for its writer, without a cycle that would keep the lease alive."""
    reference = weakref.ref(store)

    def observe(step: Step) -> None:
        alive = reference()
        if alive is not None:
            alive._observe(step)  # noqa: SLF001

    return observe


def _store_path(disk: Disk, path: str | PurePath) -> str:
    text = str(path)
    if not isinstance(path, str | PurePath) or not text or "\0" in text:
        raise UsageError(f"store path is {path!r}, expected the path of a directory.")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"store path is {path!a}, which no file system can have.") from error
    if isinstance(disk, KnowsItself):
        return disk.canonical(text)
    if not text.startswith("/"):
        raise UsageError(f"store path is {text!r}, expected an absolute path on this disk.")
    return text.rstrip("/") or "/"


def _require_choice(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(
            f"{what} is {value!r}, expected one of {', '.join(known)}. Nothing was changed."
        )


def _require_store(disk: Reader, path: str) -> None:
    try:
        kind = disk.kind(path)
    except OSError as error:
        raise storage_error(f"looking at {path!r}", error) from error
    if kind != "dir":
        found = "nothing" if kind == "missing" else f"a {kind} entry"
        raise UsageError(f"{path!r}: found {found}, expected a store (a directory).")
