"""The receipt of a save: what was promised, by whom, and what it cost. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from lastgood.backends.interface import CrashClass, FileSystemTraits
from lastgood.protocol.plan import Form, Mode, syncs_dirs
from lastgood.protocol.steps import (
    FullSyncDir,
    ReadPart,
    RenameEntry,
    SimpleStep,
    SyncDir,
    SyncFile,
)

_STRENGTH: Final[tuple[CrashClass, ...]] = ("none", "process", "kernel", "power")
_WHY_NOT: Final[Mapping[Mode, str]] = {
    "unsafe": "nothing is synced in this mode",
    "atomic_nodirsync": "directories are not synced in this mode, so the group's name may be lost",
}

_PHASES: Final[Mapping[type[SimpleStep], str]] = {
    SyncFile: "sync_files_s",
    ReadPart: "digest_files_s",
    SyncDir: "sync_dirs_s",
    FullSyncDir: "sync_dirs_s",
    RenameEntry: "rename_s",
}


@frozen
class Guarantee:
    """The crashes that an acknowledged group survives, in words for each crash class.

    `process`: the program dies. `kernel`: the page cache is lost. `power`: so is the drive's own
    cache. `survives` is the strongest of them that is promised.
    """

    survives: CrashClass
    process: str
    kernel: str
    power: str


@frozen
class Receipt:
    """An acknowledged save.

    `wall_s` are the seconds, by the store's clock, from the call (of an attempt: from the end of
    its block) to the acknowledgement; retention comes after it. `phases` are seconds of work that
    all threads together took: with several of them their sum is more than `wall_s`. `notes` say in
    words what limits the promise, what was asked of the drive where more is asked than is promised,
    and what retention notes. `pruned` are the names of the groups
    that retention gave up. `retention_error` says why it failed, where it did: the save stands all
    the same.
    """

    generation: int
    step: int
    path: str
    size_bytes: int
    mode: Mode
    form: Form
    file_system: str
    guarantee: Guarantee
    phases: Mapping[str, float]
    notes: tuple[str, ...]
    pruned: tuple[str, ...] = ()
    retention_error: str | None = None
    wall_s: float = 0.0


def guarantee(mode: Mode, file_system: FileSystemTraits) -> Guarantee:
    """The guarantee of a save in that mode on that file system."""
    serves, note = file_system.sync_serves, file_system.note
    if mode == "atomic_fullsync" and file_system.full_sync_serves is not None:
        serves, note = file_system.full_sync_serves, file_system.full_sync_note
    wanted: CrashClass = "power" if syncs_dirs(mode) else "process"
    survives = min(wanted, serves, key=_STRENGTH.index)

    def words(crash_class: CrashClass) -> str:
        if _STRENGTH.index(crash_class) > _STRENGTH.index(survives):
            return f"not promised: {_WHY_NOT.get(mode, note)}"
        if crash_class == "process":
            return "kept: the kernel has all of it"
        return f"kept, {note}" if crash_class == "power" else "kept"

    return Guarantee(survives, words("process"), words("kernel"), words("power"))


def notes_on_drive(mode: Mode, file_system: FileSystemTraits) -> tuple[str, ...]:
    """A note on what a save in that mode has asked of the drive; none where each fsync asks it."""
    call = file_system.full_sync_call
    if not call:
        return ()
    if mode == "atomic_fullsync":
        return (f"{call} has returned: the drive was asked to keep all that it had been given",)
    return (f"the drive was not asked to empty its cache: only atomic_fullsync calls {call}",)


def phase_of(step: SimpleStep) -> str:
    """The phase that a step's time is counted under."""
    return _PHASES.get(type(step), "write_s")
