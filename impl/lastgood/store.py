"""The store: groups of files, saved whole, verified on load, rolled back by themselves."""

from __future__ import annotations

import logging
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from threading import Lock
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, cast

from attrs import frozen

from lastgood.disk import UNKNOWN, Disk, KnowsItself, Reader, join
from lastgood.errors import LastgoodWarning, UsageError
from lastgood.layout import newest_first
from lastgood.perform import Content
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
)
from lastgood.steps import Step
from lastgood.writer import Writer

PartData: TypeAlias = bytes | bytearray | memoryview | Path | Iterable[bytes]
"""A part to save: bytes, their chunks, or a file to copy."""

_READ_BYTES: Final = 4 << 20
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
        self._lock = Lock()
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
        self, step: int, parts: Mapping[str, PartData], metadata: Mapping[str, Any] | None = None
    ) -> Receipt:
        """Save one group; returning acknowledges it.

        `parts` maps a path inside the group to its bytes, chunks of them, or a file to copy;
        `metadata` is anything that JSON can say. UsageError before anything was changed, or where
        a part's own source fails (the attempt is removed). StorageError where the disk failed:
        earlier groups are intact, and after a failed sync this store takes no more saves.
        """
        with self._lock:
            writer = self._require_writer()
            content = {name: _content(name, data) for name, data in parts.items()}
            self._phases = {}
            self._last_s = self._clock()
            saved = writer.save(step, content, metadata or {})
            return Receipt(
                generation=saved.name.generation,
                step=step,
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
        moves what it rejected to quarantine. Read-only, or closed to writing, it changes nothing.
        StorageError.
        """
        with self._lock:
            if self._writer is not None and self._writer.failed is None:
                scan = self._writer.recover()
            else:
                names = list_store(self._disk, self._path).in_store
                scan = newest_valid(self._disk, self._path, names)
        return self._loaded(scan)

    def load(self, *, step: int | None = None, generation: int | None = None) -> Loaded:
        """Exactly the group asked for, verified in full; never another one in its place.

        Of several groups of one step it is the newest. UsageError where there is none;
        IntegrityError where it is damaged; StorageError. Nothing is changed on disk.
        """
        if (step is None) == (generation is None):
            raise UsageError("load() takes either step= or generation=.")
        what = f"step {step}" if generation is None else f"generation {generation}"
        names = newest_first(list_store(self._disk, self._path).in_store)
        for name in names:
            if name.attempt or (name.step != step and name.generation != generation):
                continue
            answer = examine(self._disk, self._path, name)
            if isinstance(answer, Rejection):
                raise integrity_error(answer)
            return Loaded(answer, (), self._disk)
        raise UsageError(f"store {self._path!r} has no group of {what}. Nothing was changed.")

    def groups(self) -> tuple[Group, ...]:
        """Every group with an intact manifest, newest first; the parts are not looked at."""
        names = newest_first(list_store(self._disk, self._path).in_store)
        read = (read_group(self._disk, self._path, name) for name in names if not name.attempt)
        return tuple(group for group in read if isinstance(group, Group))

    def verify(self) -> tuple[Group | Rejection, ...]:
        """Every group and dead attempt, newest first, each verified in full. Changes nothing."""
        return tuple(examine_all(self._disk, self._path))

    def close(self) -> None:
        """Give the lease back. Safe to call twice; loading still works afterwards."""
        with self._lock:
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

    def _require_writer(self) -> Writer:
        if self._writer is None:
            raise UsageError(
                f"store {self._path!r} was opened read-only. Nothing was changed. "
                "Open it with writable=True to save."
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
    kind = disk.kind(path)
    if kind != "dir":
        found = "nothing" if kind == "missing" else f"a {kind} entry"
        raise UsageError(f"{path!r}: found {found}, expected a store (a directory).")


def _content(name: str, data: PartData) -> Content:
    """One part as chunks. UsageError where it is nothing that can be saved."""
    if isinstance(data, Path):
        if not data.is_file():
            raise UsageError(
                f"part {name!r}: {str(data)!r} is no regular file. Nothing was changed."
            )
        return Content(_file_chunks(data), digest_from="file")
    try:
        return Content([memoryview(data).cast("B")])  # type: ignore[arg-type]
    except TypeError:
        if isinstance(data, str | Mapping) or not isinstance(data, Iterable) or _is_buffer(data):
            raise UsageError(
                f"part {name!r} is {type(data).__name__}, expected bytes in one piece, chunks of "
                "bytes, or a pathlib.Path. Nothing was changed."
            ) from None
    return Content(cast("Iterable[bytes]", data))


def _is_buffer(data: object) -> bool:
    try:
        memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk
