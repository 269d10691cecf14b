"""What a directory's file system can promise a store: looked up, and tried out where asked."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from lastgood.disk import Disk, KnowsItsSpace, SyncsFully, join, parents
from lastgood.errors import code_of
from lastgood.layout import MANIFEST, given_up, newest_first, parse_name
from lastgood.opening import Strength, choose_strength
from lastgood.receipt import guarantee
from lastgood.recovery import list_store, storage_error

PROBE: Final = ".lastgood-doctor"


@frozen
class Probe:
    """Something that was tried: "works", "refused" with the errno, or "not tried"."""

    what: str
    answer: str

    @property
    def is_refused(self) -> bool:
        """The file system will not do it."""
        return self.answer.startswith("refused")


@frozen
class Diagnosis:
    """What `lastgood doctor` says of a directory."""

    path: str
    strength: Strength
    free_bytes: int | None
    probes: tuple[Probe, ...]
    counts: dict[str, int]

    @property
    def is_strong(self) -> bool:
        """An acknowledged group survives a power cut, and nothing that was tried was refused."""
        promised = guarantee(self.strength.mode, self.strength.file_system)
        return promised.survives == "power" and not any(p.is_refused for p in self.probes)

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as JSON can say it."""
        here = self.strength.file_system
        promised = guarantee(self.strength.mode, here)
        return {
            "path": self.path,
            "file_system": here.name,
            "mount_point": here.mount_point,
            "mode": self.strength.mode,
            "form": self.strength.form,
            "survives": promised.survives,
            "process": promised.process,
            "kernel": promised.kernel,
            "power": promised.power,
            "weaknesses": list(self.strength.weaknesses),
            "free_bytes": self.free_bytes,
            "probes": {probe.what: probe.answer for probe in self.probes},
            "store": self.counts,
        }


def diagnose(disk: Disk, path: str, *, probe: bool) -> Diagnosis:
    """Look at a store, or at the directory that one would be made in. StorageError.

    With `probe` a folder is made beside the groups, tried out and removed; else nothing changes.
    """
    try:
        home = next(p for p in (path, *parents(path)) if p == "/" or disk.kind(p) == "dir")
    except OSError as error:
        raise storage_error(f"looking at {path!r}", error) from error
    free = None
    if isinstance(disk, KnowsItsSpace):
        with contextlib.suppress(OSError):
            free = disk.free_bytes(home)
    counts = _count(disk, path) if home == path else {}
    strength = choose_strength(disk, path, "auto", "auto", "sha256", writable=False)
    probes = _probed(disk, join(home, PROBE)) if probe else _untried()
    return Diagnosis(path, strength, free, probes, counts)


def _count(disk: Disk, path: str) -> dict[str, int]:
    listing = list_store(disk, path)
    names = newest_first(listing.in_store)
    aside = [name for name in listing.in_quarantine if parse_name(name, in_quarantine=True)]
    return {
        "groups": sum(not name.attempt for name in names),
        "attempts": sum(name.attempt for name in names),
        "half_pruned": len(given_up(listing.in_store)),
        "quarantined": len(aside),
    }


_TRIALS: Final = ("make and rename a directory", "sync a file", "sync a directory", "full sync")


def _untried() -> tuple[Probe, ...]:
    return tuple(Probe(what, "not tried") for what in _TRIALS)


def _probed(disk: Disk, folder: str) -> tuple[Probe, ...]:
    """Try everything that a save asks for, in a folder of its own, which is removed."""
    file, renamed = join(folder, MANIFEST), f"{folder}-renamed"

    def make_and_rename() -> None:
        disk.mkdir(folder)
        disk.rename(folder, renamed)
        disk.rename(renamed, folder)

    def sync_file() -> None:
        disk.create(file)
        try:
            disk.write(file, b"lastgood")
            disk.fsync(file)
        finally:
            disk.close(file)

    def full_sync() -> None:
        if not isinstance(disk, SyncsFully):
            raise OSError(errno.ENOTSUP, "its fsync is the strongest sync that there is")
        disk.full_sync_dir(folder)

    trials = (make_and_rename, sync_file, lambda: disk.fsync_dir(folder), full_sync)
    try:
        return tuple(
            Probe(what, _tried(trial)) for what, trial in zip(_TRIALS, trials, strict=True)
        )
    finally:
        for remove, path in (
            (disk.unlink, file),
            (disk.rmdir, folder),
            (disk.rmdir, renamed),
        ):
            with contextlib.suppress(OSError):
                remove(path)


def _tried(trial: Callable[[], None]) -> str:
    try:
        trial()
    except OSError as error:
        if error.errno == errno.ENOTSUP and error.filename is None:
            return f"not needed: {error.strerror}"
        return f"refused: {code_of(error)} ({error.strerror or error})"
    return "works"
