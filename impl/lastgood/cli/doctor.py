"""What a directory's file system can promise a store: looked up, and tried out where asked."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import frozen

from lastgood.backends.capabilities import full_sync, system_info
from lastgood.backends.interface import Disk, describe_kind, join, parents
from lastgood.errors import errno_name, storage_error
from lastgood.format.names import LOCK, QUARANTINE, newest_first, parse_name, pruned_names
from lastgood.protocol.receipt import guarantee
from lastgood.protocol.strength import Strength, choose_strength
from lastgood.recovery.recovery import list_store
from lastgood.writer.lease import missing_dirs

PROBE: Final = ".lastgood-doctor-"
"""How the name of a folder for trials begins; the rest of it is drawn anew each time."""


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
    """What `lastgood doctor` says of a directory; `weaknesses` are those that a store would tell.

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
    strength = choose_strength(disk, path, "auto", "auto", "sha256", writable=True)
    weaknesses = [*strength.weaknesses, *obstacles]
    if not system_info(disk).may_write(home):
        weaknesses.append(
            f"this user may not write to {home!r} (its permissions, or a mount that is read-only): "
            "a store there can be read and not saved to"
        )
    probes = _probed(disk, join(home, PROBE + new_id())) if probe else _untried()
    return StoreDiagnosis(path, strength, tuple(weaknesses), free, probes, counts)


def _obstacles(disk: Disk, path: str) -> Iterator[str]:
    """What stands where a writer needs something else. StorageError."""
    for name, wanted, costs in (
        (LOCK, "file", "no writer can open a store there"),
        (QUARANTINE, "dir", "damage cannot be set aside"),
    ):
        try:
            kind = disk.kind(join(path, name))
        except OSError as error:
            raise storage_error(f"looking at {join(path, name)!r}", error) from error
        if kind not in (wanted, "missing"):
            expected = describe_kind(wanted)
            yield f"{name!r} is {describe_kind(kind)} and not {expected}: {costs}. Move it away"


def _count(disk: Disk, path: str) -> dict[str, int]:
    listing = list_store(disk, path)
    names = newest_first(listing.in_store)
    aside = [name for name in listing.in_quarantine if parse_name(name, in_quarantine=True)]
    return {
        "groups": sum(not name.attempt for name in names),
        "attempts": sum(name.attempt for name in names),
        "half_pruned": len(pruned_names(listing.in_store)),
        "quarantined": len(aside),
    }


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
    trials = _Trials(disk, folder)
    try:
        disk.mkdir(folder)
    except OSError as error:
        # In a folder of that name there may be something of somebody else's.
        return (TrialResult(_TRIALS[0], _refused(error)), *_untried()[1:])
    trials.made.append((disk.rmdir, folder))
    try:
        answers = [_tried(trial) for trial in trials.each()]
    finally:
        removed = _tried(trials.remove)
    return tuple(
        TrialResult(what, said) for what, said in zip(_TRIALS, [*answers, removed], strict=True)
    )


class _Trials:
    """What is tried in a folder, and `made`: how to remove each thing that was, the last last."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk, self._folder = disk, folder
        self.made: list[tuple[Callable[[str], None], str]] = []

    def each(self) -> tuple[Callable[[], None], ...]:
        return self._rename, self._sync_file, self._sync_dir, self._full_sync

    def remove(self) -> None:
        """Remove all that was made. OSError: something of it is left."""
        while self.made:
            remove, path = self.made[-1]
            remove(path)
            self.made.pop()

    def _rename(self) -> None:
        before, after = join(self._folder, "attempt"), join(self._folder, "group")
        self._disk.mkdir(before)
        self.made.append((self._disk.rmdir, before))
        self._disk.rename(before, after)
        self.made[-1] = (self._disk.rmdir, after)

    def _sync_file(self) -> None:
        file = join(self._folder, "file")
        self._disk.create(file)
        self.made.append((self._disk.unlink, file))
        try:
            self._disk.write(file, b"lastgood")
            self._disk.fsync(file)
        finally:
            self._disk.close(file)

    def _sync_dir(self) -> None:
        self._disk.fsync_dir(self._folder)

    def _full_sync(self) -> None:
        sync = full_sync(self._disk)
        if sync is None:
            raise OSError(errno.ENOTSUP, "its fsync is the strongest sync that there is")
        sync(self._folder)


def _tried(trial: Callable[[], None]) -> str:
    try:
        trial()
    except OSError as error:
        if error.errno == errno.ENOTSUP and error.filename is None:
            return f"not needed: {error.strerror}"
        return _refused(error)
    return "works"


def _refused(error: OSError) -> str:
    return f"refused: {errno_name(error)} ({error.strerror or error})"
