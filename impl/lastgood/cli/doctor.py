"""The diagnosis of a directory's file system: looked up, and tried out where asked."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from attrs import asdict, frozen

from lastgood.backends.capabilities import full_sync, system_info
from lastgood.backends.interface import Disk, describe_kind, join, kind_at, parents
from lastgood.errors import (
    NewerFormatError,
    StorageError,
    UsageError,
    describe_error,
    storage_error,
)
from lastgood.format.names import LOCK, QUARANTINE, newest_first, pruned_names
from lastgood.protocol.receipt import guarantee
from lastgood.protocol.strength import Strength, choose_strength
from lastgood.recovery.listing import list_entries, list_quarantine
from lastgood.recovery.newer_format import list_unjudged, require_readable
from lastgood.recovery.quarantine_usage import measure_quarantine
from lastgood.writer.lease import missing_dirs

PROBE: Final = ".lastgood-doctor-"
"""The beginning of the name of a folder for trials; the rest of it is drawn anew each time."""


@frozen
class TrialResult:
    """Something that was tried: "works", "refused" with the errno, or "not tried"."""

    what: str
    answer: str

    @property
    def is_refused(self) -> bool:
        """The file system will not do it."""
        return self.answer.startswith("refused")


@frozen
class StoreDiagnosis:
    """The answer of `lastgood doctor`; `weaknesses` are those that a store would tell.

    And what keeps this user from writing a store there at all.
    """

    path: str
    strength: Strength
    weaknesses: tuple[str, ...]
    free_bytes: int | None
    probes: tuple[TrialResult, ...]
    counts: dict[str, int]

    @property
    def is_strong(self) -> bool:
        """An acknowledged group survives a power cut, and nothing was found that is amiss."""
        promised = guarantee(self.strength.mode, self.strength.file_system)
        refused = any(probe.is_refused for probe in self.probes)
        return promised.survives == "power" and not self.weaknesses and not refused

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as JSON can say it."""
        here = self.strength.file_system
        return {
            "path": self.path,
            "file_system": here.name,
            "mount_point": here.mount_point,
            "mode": self.strength.mode,
            "form": self.strength.form,
            **asdict(guarantee(self.strength.mode, here)),
            "weaknesses": list(self.weaknesses),
            "free_bytes": self.free_bytes,
            "probes": {probe.what: probe.answer for probe in self.probes},
            "store": self.counts,
        }


def diagnose(
    disk: Disk, path: str, *, probe: bool, new_id: Callable[[], str] = lambda: secrets.token_hex(8)
) -> StoreDiagnosis:
    """Look at a store, or at the directory that one would be made in.

    The strength is the one that a writable store would choose there. With `probe` a fresh folder,
    named by `new_id`, is made beside the groups, tried out and removed; else nothing changes.
    UsageError where no store can be made; StorageError.
    """
    try:
        missing = missing_dirs(disk, path)
    except OSError as error:
        raise storage_error(f"looking at {path!r}", error) from error
    home = next(parents(missing[-1])) if missing else path
    free = None
    with contextlib.suppress(OSError):
        free = system_info(disk).free_bytes(home)
    counts = {} if missing else _count(disk, path)
    obstacles = () if missing else _obstacles(disk, path)
    # Before the strength is chosen: some weakness shows once something is synced.
    probes = _probed(disk, join(home, PROBE + new_id())) if probe else _untried()
    strength = choose_strength(disk, path, "auto", "auto", "sha256", writable=True)
    weaknesses = [*strength.weaknesses, *obstacles]
    if not system_info(disk).may_write(home):
        weaknesses.append(
            f"this user may not write to {home!r} (its permissions, or a mount that is read-only): "
            "a store there can be read and not saved to"
        )
    return StoreDiagnosis(path, strength, tuple(weaknesses), free, probes, counts)


def _obstacles(disk: Disk, path: str) -> Iterator[str]:
    """The entries that stand where a writer needs something else. StorageError."""
    for name, wanted, costs in (
        (LOCK, "file", "no writer can open a store there"),
        (QUARANTINE, "dir", "damage cannot be set aside"),
    ):
        kind = kind_at(disk, join(path, name))
        if kind not in (wanted, "missing"):
            expected = describe_kind(wanted)
            yield f"{name!r} is {describe_kind(kind)} and not {expected}: {costs}. Move it away"
    try:
        list_quarantine(disk, path)
    except StorageError as error:
        yield f"this user cannot save there, nor set damage aside: {error}".removesuffix(".")
    try:
        require_readable(disk, path)
    except NewerFormatError as error:
        yield (
            f"the newest group, {error.group}, was written by a newer version of lastgood: reading "
            f"it needs {error.needs}, so this version opens no writer there. Install a newer one"
        )


def _count(disk: Disk, path: str) -> dict[str, int]:
    entries = list_entries(disk, path)
    names = newest_first(entries)
    counts = {
        "groups": sum(not name.attempt for name in names),
        "attempts": sum(name.attempt for name in names),
        "half_pruned": len(pruned_names(entries)),
        "written_by_a_newer_version": len(list_unjudged(disk, path)),
    }
    # What cannot be listed is an obstacle, and told of as one.
    with contextlib.suppress(StorageError, UsageError):
        usage = measure_quarantine(disk, path)
        counts["quarantined"] = len(list_quarantine(disk, path))
        counts["quarantined_bytes"] = usage.size_bytes
        counts["strangers_bytes"] = usage.strangers_bytes
    return counts


_TRIALS: Final = (
    "make and rename a directory",
    "sync a file",
    "sync a directory",
    "full sync",
    "remove it all again",
)


def _untried() -> tuple[TrialResult, ...]:
    return tuple(TrialResult(what, "not tried") for what in _TRIALS)


def _probed(disk: Disk, folder: str) -> tuple[TrialResult, ...]:
    """Try everything that a save asks for, in a folder that nobody had before, and remove that.

    What is removed is what was made here, and nothing else, also where a trial fails.
    """
    made: list[tuple[Callable[[str], None], str]] = []
    before, after, file = (join(folder, name) for name in ("attempt", "group", "file"))

    def rename() -> None:
        disk.mkdir(before)
        made.append((disk.rmdir, before))
        disk.rename(before, after)
        made[-1] = (disk.rmdir, after)

    def sync_file() -> None:
        disk.create(file)
        made.append((disk.unlink, file))
        try:
            disk.write(file, b"lastgood")
            disk.fsync(file)
        finally:
            disk.close(file)

    def sync_fully() -> None:
        sync = full_sync(disk)
        if sync is None:
            raise OSError(errno.ENOTSUP, "its fsync is the strongest sync that there is")
        sync(folder)

    def remove() -> None:
        while made:
            undo, path = made[-1]
            undo(path)
            made.pop()

    try:
        disk.mkdir(folder)
    except OSError as error:
        # In a folder of that name there may be something of somebody else's.
        return (TrialResult(_TRIALS[0], _refused(error)), *_untried()[1:])
    made.append((disk.rmdir, folder))
    try:
        trials = rename, sync_file, partial(disk.fsync_dir, folder), sync_fully
        answers = [_tried(trial) for trial in trials]
    finally:
        removed = _tried(remove)
    return tuple(map(TrialResult, _TRIALS, [*answers, removed]))


def _tried(trial: Callable[[], None]) -> str:
    try:
        trial()
    except OSError as error:
        if error.errno == errno.ENOTSUP and error.filename is None:
            return f"not needed: {error.strerror}"
        return _refused(error)
    return "works"


def _refused(error: OSError) -> str:
    return f"refused: {describe_error(error)}"
