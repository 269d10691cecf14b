"""The lease: who may write to a store, from `open` to `close`, and with which generation next."""

from __future__ import annotations

import contextlib
import datetime
import errno
from collections.abc import Iterable
from typing import Final

from lastgood.backends.capabilities import lease_holder, system_info
from lastgood.backends.interface import Disk, DiskReader, describe_kind, join, parents
from lastgood.errors import (
    Ending,
    LeaseError,
    StorageError,
    UsageError,
    describe_error,
    nothing_changed,
    storage_error,
)
from lastgood.format.lease_holder import LeaseHolder
from lastgood.format.names import LOCK, MAX_GENERATION, next_generation
from lastgood.parts.verify import NOT_REGULAR_ERRNOS
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import plan_ancestors
from lastgood.protocol.steps import SyncDir
from lastgood.recovery.listing import StoreListing, list_aside, list_entries
from lastgood.writer.options import WriterOptions

_NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM})


def missing_dirs(reader: DiskReader, store: str) -> list[str]:
    """The store and the directories above it that do not exist, the store first.

    UsageError where something else is in their place; OSError.
    """
    missing = []
    for path in (store, *parents(store)):
        kind = "dir" if path == "/" else reader.kind(path)
        if kind == "dir":
            break
        if kind != "missing":
            raise UsageError(
                f"{path!r}: found {describe_kind(kind)}, expected a directory. Nothing was "
                "changed. Choose another path for the store, or move that entry away."
            )
        missing.append(path)
    return missing


def _held_error(store: str, holder: LeaseHolder) -> LeaseError:
    """The error where somebody has the lease already: who, and since when, by the lock file."""
    since = "" if holder.since_s is None else f", since {_utc(holder.since_s)}"
    if holder.is_us:
        return LeaseError(
            f"store {store!r}: this process already has it open for writing{since}. Nothing was "
            "changed. Use the Store that is open, or close() it first: a notebook's cell that "
            "runs twice opens it twice."
        )
    who = f": pid {holder.pid} on {holder.host}{since}" if holder.pid is not None else ""
    return LeaseError(
        f"store {store!r}: another live process is its writer (it holds {LOCK!r}){who}. "
        "Nothing was changed. Open the store read-only, or end that process."
    )


def _utc(when_s: int) -> str:
    """A Unix time for people."""
    try:
        at = datetime.datetime.fromtimestamp(when_s, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{when_s} s"
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


class Lease:
    """The right of one live process to change a store.

    `notes` says in words what could not be promised; `failed` says why nothing is changed any
    more: whoever holds the lease sets it where nobody knows what is on the medium. `is_open`: the
    lease was taken and not given back.
    """

    def __init__(self, disk: Disk, store: str, options: WriterOptions) -> None:
        self.disk, self.store = disk, store
        self.notes: list[str] = []
        self.failed: str | None = None
        self._mode, self._top = options.mode, options.top
        self._next = 1
        self._has_listed_all = False
        self.is_open = False
        self._info = system_info(disk)

    def open(self) -> None:
        """Make the store where it is missing, take the lease, make the store's name durable.

        UsageError where something else has the path and LeaseError where a live process has the
        lease: nothing was changed. StorageError otherwise. No group is touched.
        """
        try:
            for path in reversed(missing_dirs(self.disk, self.store)):
                with contextlib.suppress(FileExistsError):
                    self.disk.mkdir(path)
            self._require_leave()
            self._take_lease()
        except OSError as error:
            raise storage_error(f"opening the store {self.store!r}", error) from error
        try:
            self._sync_ancestors()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the lease back. Safe to call twice."""
        if self.is_open:
            with contextlib.suppress(OSError):
                self.disk.unlock(join(self.store, LOCK))
            # Last: after Ctrl-C in between, the next `close` ends it.
            self.is_open = False

    def _take_lease(self) -> None:
        path = join(self.store, LOCK)
        # Beforehand: Ctrl-C may come right after the lock was taken, and `close` gives it back.
        self.is_open = True
        try:
            self.disk.lock(path)
        except BlockingIOError as error:
            self.is_open = False
            raise _held_error(self.store, lease_holder(self.disk, path)) from error
        except OSError as error:
            self.is_open = False
            if getattr(error, "of_a_read", False):
                raise StorageError(
                    f"{path!r}: found {describe_error(error)}, expected a lock of it: without one "
                    "a second writer is not kept out. No group was touched. Mend the disk, or put "
                    "the store on a file system that has locks. To load from it, use "
                    "open_read_only(), which takes none."
                ) from error
            if error.errno not in NOT_REGULAR_ERRNOS:
                raise
            raise UsageError(
                f"{path!r} is no regular file, expected the lock file of a store. "
                "Nothing was changed."
            ) from error

    def _sync_ancestors(self) -> None:
        # Always, not only for those just made: a process that was killed may have made them.
        for step in plan_ancestors(self._mode, self.store, self._top):
            try:
                StepExecutor(self.disk).execute(step)
            except OSError as error:
                path = step.path if isinstance(step, SyncDir) else self.store
                if error.errno not in _NOT_ALLOWED:
                    raise storage_error(f"fsync of the directory {path!r}", error) from error
                self.notes.append(
                    f"{path!r} may not be opened, so it was not synced, nor was anything above "
                    "it: a power cut may take a directory that is new there"
                )
                return

    def require_usable(self, ending: Ending = nothing_changed) -> None:
        """StorageError, UsageError or LeaseError where the store may not be changed (any more)."""
        if self.failed is not None:
            raise StorageError(
                f"store {self.store!r} is closed to writing: {self.failed}. {ending()} "
                "Close it, open it again and call load_latest(), which recovers."
            )
        if not self.is_open:
            raise UsageError(f"store {self.store!r} is not open. {ending()}")
        self._require_lease(ending)

    def _require_lease(self, ending: Ending) -> None:
        """Whoever replaces the lock file lets a second writer in: neither would see the other."""
        path = join(self.store, LOCK)
        try:
            is_held = self._info.holds(path)
        except OSError as error:
            raise storage_error(f"looking at {path!r}", error) from error
        if not is_held:
            raise LeaseError(
                f"store {self.store!r}: its lock file {LOCK!r} was removed or replaced since this "
                f"store was opened, so another process may be its writer. {ending()} "
                "Close this store and open it again."
            )

    def _require_leave(self) -> None:
        """Somebody who may only read the store takes no lock that would keep its writer out."""
        if not self._info.may_write(self.store):
            raise StorageError(
                f"store {self.store!r}: this user may not write to it (its permissions, or a "
                "mount that is read-only). Nothing was changed and no lock was taken. To load "
                "from it, use open_read_only(), which needs leave to read only."
            )

    def list_entries(self) -> tuple[str, ...]:
        """The entries of the store. StorageError; LeaseError where the lock file was taken away.

        The C library takes ENOENT of a listing for its end, so a disk that fails may show a store
        as empty. The lock file is there for as long as the lease is: a listing without it lies.
        """
        names = list_entries(self.disk, self.store)
        if LOCK not in names:
            self._require_lease(nothing_changed)
            raise StorageError(
                f"listing {self.store!r} failed: found {len(names)} entries without {LOCK!r}, "
                "expected the lock file that this process holds: some disks that fail show a "
                "directory as empty. Nothing was moved, deleted or saved for it. Mend the disk, "
                "then try again."
            )
        return names

    def list_store(self) -> StoreListing:
        """The entries of the store and of its quarantine. Errors as `list_entries`."""
        names = self.list_entries()
        return StoreListing(names, list_aside(self.disk, self.store, names))

    def note_generations(self, in_store: Iterable[str], in_quarantine: Iterable[str] = ()) -> None:
        """Give no generation that one of these names carries."""
        self._next = max(self._next, next_generation(in_store, in_quarantine))

    def take_generation(self) -> int:
        """Give the next generation, which no other save gets. Errors as `require_generation`."""
        self.require_generation()
        self._next += 1
        return self._next - 1

    def require_generation(self) -> tuple[str, ...] | None:
        """The entries of the store, where it was listed for this: once.

        UsageError where there is none to give; StorageError where nobody knows what is taken.
        """
        listing = None
        if not self._has_listed_all:
            listing = self.list_store()
            self.note_generations(listing.in_store, listing.in_quarantine)
            self._has_listed_all = True
        if self._next > MAX_GENERATION:
            raise UsageError(
                f"store {self.store!r} holds a name of generation {MAX_GENERATION}, the last one. "
                "Nothing was changed. Move that entry out of the store and its quarantine."
            )
        return None if listing is None else listing.in_store
