"""The writer: the one live process that may save, re-sync and quarantine in a store.

It takes plans and carries them out through the disk seam. It knows no clock, no platform and no
framework: `store.Store` puts those around it, and a crash model drives it as it is.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping
from typing import Any, Final, SupportsIndex

from attrs import frozen

from lastgood.aside import move_aside, withdraw
from lastgood.disk import Disk, KnowsItsLocks, join, parents
from lastgood.errors import LeaseError, StorageError, UsageError
from lastgood.layout import LOCK, MAX_NUMBER, GroupName, next_generation
from lastgood.manifest import Manifest, Part, encode
from lastgood.perform import Content, Performer
from lastgood.plan import Form, Mode, plan_ancestors, plan_resync, plan_save
from lastgood.recovery import Listing, Scan, list_store, newest_valid, storage_error
from lastgood.request import checked
from lastgood.steps import CloseFile, Rename, Step, SyncDir, SyncFile

_NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM})

_STILL_SEEN: Final = (
    " The group could not be moved out of sight either: the next process may find {0} whole in "
    "memory, and a power cut may still take it. Move {0} out of the store before that."
)


@frozen
class Saved:
    """A group that a save has acknowledged."""

    name: GroupName
    path: str
    manifest: Manifest


class Writer:
    """The holder of a store's lease, from `open` to `close`.

    `notes` says in words what could not be promised. `observe` is called after each step of a
    save. `new_id` gives a fresh word for each attempt. `top` ends the sync of the ancestors.
    `failed` says why no more is saved, and `unsure` names a group that was never acknowledged and
    whose bytes may not be on the medium, whole as it may look.
    """

    def __init__(
        self,
        disk: Disk,
        store: str,
        mode: Mode,
        form: Form,
        new_id: Callable[[], str],
        *,
        top: str = "/",
        observe: Callable[[Step], None] = lambda _step: None,
    ) -> None:
        self.disk, self.store, self.mode, self.form = disk, store, mode, form
        self.notes: list[str] = []
        self.failed: str | None = None
        self.unsure: GroupName | None = None
        self._new_id, self._top, self._observe = new_id, top, observe
        self._next: int | None = None
        self._is_open = False

    def open(self) -> None:
        """Make the store where it is missing, take the lease, make the store's name durable.

        UsageError where something else has the path and LeaseError where a live process has the
        lease: nothing was changed. StorageError otherwise. No group is touched.
        """
        try:
            for path in reversed(self._missing_dirs()):
                with contextlib.suppress(FileExistsError):
                    self.disk.mkdir(path)
            self._take_lease()
        except OSError as error:
            raise storage_error(f"opening the store {self.store!r}", error) from error
        self._is_open = True
        try:
            self._sync_ancestors()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the lease back. Safe to call twice."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                self.disk.unlock(join(self.store, LOCK))

    @property
    def is_open(self) -> bool:
        """The lease was taken and not given back."""
        return self._is_open

    def save(
        self, step: SupportsIndex, content: Mapping[str, Content], metadata: Mapping[str, Any]
    ) -> Saved:
        """Save one group; returning acknowledges it.

        UsageError before anything was changed. StorageError where the disk failed: earlier groups
        are intact, and after a failed sync the writer refuses every later save.
        """
        self._require_usable()
        request = checked(step, list(content), metadata)
        name = GroupName(self._take_generation(), request.step)
        manifest: list[Manifest] = []

        def record(_name: str, parts: tuple[Part, ...]) -> bytes:
            manifest.append(
                Manifest(name.generation, name.step, self._new_id(), parts, 1, request.metadata)
            )
            return encode(manifest[0])

        performer = Performer(self.disk, content, record)
        plan = plan_save(
            self.form, self.mode, self.store, name.generation, name.step, list(content)
        )
        doing: Step | None = None
        try:
            for doing in plan:
                performer.perform(doing)
                self._observe(doing)
        except OSError as error:
            raise self._failed_save(name, doing, error, performer) from error
        except BaseException:
            # The caller's own data failed, or Ctrl-C: nothing is wrong with the disk. (After the
            # rename nothing is found under the attempt's names: the group is whole and stays.)
            performer.undo()
            raise
        return Saved(name, join(self.store, str(name)), manifest[0])

    def recover(self) -> Scan:
        """The newest valid group, made durable before it is handed out; the damaged set aside.

        A killed process may have left a group in memory only: its files, directories and the
        store are synced first, as the mode demands, so that no later crash takes it back. Then
        every newer directory that was rejected, and every dead attempt, moves to quarantine;
        nothing is deleted. StorageError: nothing was moved, or not all of it.
        """
        self._require_usable()
        listing = list_store(self.disk, self.store)
        self._note_generations(listing)
        scan = newest_valid(self.disk, self.store, listing.in_store)
        if scan.group is not None:
            group = scan.group
            for step in plan_resync(self.mode, self.store, group.path, group.part_paths):
                self._resync(step, str(group.name))
        try:
            moves = [rejected.name for rejected in scan.rejected]
            move_aside(self.disk, self.store, moves, listing.in_quarantine)
        except OSError as error:
            raise storage_error(f"moving damaged groups of {self.store!r} aside", error) from error
        return scan

    def _missing_dirs(self) -> list[str]:
        """The store and the directories above it that do not exist, the store first."""
        missing = []
        for path in (self.store, *parents(self.store)):
            kind = "dir" if path == "/" else self.disk.kind(path)
            if kind == "dir":
                break
            if kind != "missing":
                raise UsageError(
                    f"{path!r}: found a {kind} entry, expected a directory. Nothing was changed. "
                    "Choose another path for the store, or move that entry away."
                )
            missing.append(path)
        return missing

    def _take_lease(self) -> None:
        path = join(self.store, LOCK)
        try:
            self.disk.lock(path)
        except BlockingIOError as error:
            raise LeaseError(
                f"store {self.store!r}: another live process is its writer (it holds {LOCK!r}). "
                "Nothing was changed. Open the store read-only, or end that process."
            ) from error
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO):
                raise
            raise UsageError(
                f"{path!r} is no regular file, expected the lock file of a store. "
                "Nothing was changed."
            ) from error

    def _sync_ancestors(self) -> None:
        # Always, not only for those just made: a process that was killed may have made them.
        for step in plan_ancestors(self.mode, self.store, self._top):
            try:
                Performer(self.disk).perform(step)
            except OSError as error:
                path = step.path if isinstance(step, SyncDir) else self.store
                if error.errno not in _NOT_ALLOWED:
                    raise storage_error(f"fsync of the directory {path!r}", error) from error
                self.notes.append(
                    f"{path!r} may not be opened, so it was not synced, nor was anything above "
                    "it: a power cut may take a directory that is new there"
                )
                return

    def _require_usable(self) -> None:
        if self.failed is not None:
            raise StorageError(
                f"store {self.store!r} is closed to writing: {self.failed}. Nothing was changed. "
                "Close it and open it again, which recovers."
            )
        if not self._is_open:
            raise UsageError(f"store {self.store!r} is not open. Nothing was changed.")
        self._require_lease()

    def _require_lease(self) -> None:
        """Whoever replaces the lock file lets a second writer in: neither would see the other."""
        path = join(self.store, LOCK)
        try:
            is_held = self.disk.holds(path) if isinstance(self.disk, KnowsItsLocks) else True
        except OSError as error:
            raise storage_error(f"looking at {path!r}", error) from error
        if not is_held:
            raise LeaseError(
                f"store {self.store!r}: its lock file {LOCK!r} was removed or replaced since this "
                "store was opened, so another process may be its writer. Nothing was changed. "
                "Close this store and open it again."
            )

    def _note_generations(self, listing: Listing) -> None:
        seen = next_generation(listing.in_store, listing.in_quarantine)
        self._next = max(seen, self._next or 1)

    def _take_generation(self) -> int:
        if self._next is None:
            self._note_generations(list_store(self.disk, self.store))
        generation = self._next or 1
        if generation > MAX_NUMBER:
            raise UsageError(
                f"store {self.store!r} holds a name of generation {MAX_NUMBER}, the last one. "
                "Nothing was changed. Move that entry out of the store and its quarantine."
            )
        self._next = generation + 1
        return generation

    def _failed_save(
        self, name: GroupName, step: Step | None, error: OSError, performer: Performer
    ) -> StorageError:
        """Clean up after a step that failed; the error to raise."""
        where = step.src if isinstance(step, Rename) else getattr(step, "path", "")
        what = f"{type(step).__name__} {where!r}"
        code = errno.errorcode.get(error.errno or 0, "an unknown error")
        begin = f"save of {name} failed: {what}: {code} ({error.strerror or error}). "
        performer.release()
        if isinstance(step, SyncFile | CloseFile | SyncDir | Rename) or error.errno == errno.EIO:
            # The kernel may have marked the lost pages clean: the group could look whole to the
            # next process and not be on the medium. So it must not be found there.
            self.failed = f"a save failed with {code}, so what reached the disk is unknown"
            self.unsure = name
            hidden = withdraw(self.disk, self.store, str(name))
            return StorageError(
                f"{begin}It was not acknowledged; earlier groups are intact. What reached the "
                "disk is unknown, so this store is closed to writing: open it again, which "
                f"recovers.{'' if hidden else _STILL_SEEN.format(name)}"
            )
        clean = performer.undo()
        left = "What it wrote was removed." if clean else "The next recovery sets its rest aside."
        return StorageError(f"{begin}{left} Earlier groups are intact and the store is usable.")

    def _resync(self, step: Step, name: str) -> None:
        try:
            Performer(self.disk).perform(step)
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, "an unknown error")
            self.failed = f"syncing {name} again failed with {code}"
            raise StorageError(
                f"recovery of {name}: {type(step).__name__} {getattr(step, 'path', '')!r} failed: "
                f"{code} ({error.strerror or error}). Nothing was moved. The group is readable "
                "and may not survive a power cut; this store is closed to writing."
            ) from error
