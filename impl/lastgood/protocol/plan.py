"""The protocol: which steps, in which order. No I/O here; docs/protocol.md gives the reasons.

Whatever makes a save crash-safe is an order of steps in this file. `executor.py` carries them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, get_args

from attrs import evolve

from lastgood.backends.interface import join, parents
from lastgood.format.names import MANIFEST, GroupName
from lastgood.protocol.steps import (
    CloseFile,
    CreateFile,
    FullSyncDir,
    MakeDir,
    ReadPart,
    Remove,
    RemoveDir,
    RenameEntry,
    SimpleStep,
    Step,
    SyncDir,
    SyncFile,
    Together,
    WritePart,
    WriteRecord,
)

Form = Literal["record", "rename"]
Mode = Literal["unsafe", "atomic_nodirsync", "atomic_dirsync", "atomic_fullsync"]

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
FORMS: Final[tuple[Form, ...]] = get_args(Form)


def syncs_files(mode: Mode) -> bool:
    """Every mode but the baseline syncs the files that it writes."""
    return mode != "unsafe"


def syncs_dirs(mode: Mode) -> bool:
    """The two strongest modes sync directories."""
    return mode in ("atomic_dirsync", "atomic_fullsync")


def at_full_strength(mode: Mode) -> Mode:
    """The mode that a prune works in: what justifies a deletion is durable, however it is saved."""
    return mode if syncs_dirs(mode) else "atomic_dirsync"


def plan_save(
    form: Form, mode: Mode, store: str, generation: int, step: int, parts: Sequence[str]
) -> Iterator[Step]:
    """One group: its parts, then the manifest that commits it. Acknowledged after the last step.

    In the record form the directory has its final name from the start, and the manifest makes it
    a group. In the rename form the rename does. `unsafe` always takes the record form.
    """
    home = _home(form, mode, store, generation, step)
    yield MakeDir(home)
    for subdir in subdirs(parts):
        yield MakeDir(join(home, subdir))
    yield Together(
        tuple(tuple(_new_file(WritePart(join(home, part), part), mode)) for part in parts)
    )
    yield from _commit(form, mode, store, GroupName(generation, step), parts)


def plan_attempt(
    form: Form, mode: Mode, store: str, generation: int, step: int
) -> tuple[str, MakeDir]:
    """A fresh directory that foreign code may fill: its path, and the step that makes it."""
    home = _home(form, mode, store, generation, step)
    return home, MakeDir(home)


def plan_seal(
    form: Form, mode: Mode, store: str, generation: int, step: int, parts: Sequence[str]
) -> Iterator[Step]:
    """The group of what foreign code has left in an attempt: synced, digested, then committed.

    It is read back after its sync: what the manifest vouches for is what the file system has.
    """
    home = _home(form, mode, store, generation, step)
    branches: list[tuple[SimpleStep, ...]] = []
    for part in parts:
        path = join(home, part)
        read = ReadPart(path, part)
        branches.append((SyncFile(path), read) if syncs_files(mode) else (read,))
    yield Together(tuple(branches))
    yield from _commit(form, mode, store, GroupName(generation, step), parts)


def plan_resync(mode: Mode, store: str, group: str, parts: Sequence[str]) -> Iterator[SimpleStep]:
    """All that a group needs, synced again: a killed process may have left it in memory only."""
    if syncs_files(mode):
        for part in parts:
            yield SyncFile(join(group, part))
        yield SyncFile(join(group, MANIFEST))
    if syncs_dirs(mode):
        yield from _sync_dirs(group, parts)
        yield _last_sync(mode, store)


def plan_give_up(mode: Mode, store: str, groups: Sequence[GroupName]) -> Iterator[Step]:
    """Un-commit groups, durably: after the last step no crash brings a name of a group back.

    Only for groups that are older than one that is on the medium at full strength. The sync serves
    both halves of each rename, so that it need not be atomic.
    """
    for name in groups:
        yield RenameEntry(join(store, str(name)), join(store, str(evolve(name, pruned=True))))
    if groups:
        yield _last_sync(at_full_strength(mode), store)


def plan_give_up_in_place(mode: Mode, store: str, group: GroupName) -> Iterator[Step]:
    """Un-commit one group, durably, where a full disk has no room for another name.

    To remove a name takes no room. As `plan_give_up`, only for what is older than a durable group.
    """
    home = join(store, str(group))
    yield Remove(join(home, MANIFEST))
    yield _last_sync(at_full_strength(mode), home)


def plan_delete(home: str, files: Sequence[str], dirs: Sequence[str]) -> Iterator[Step]:
    """Delete a directory that is no group any more. `dirs` with a parent before its children."""
    for file in sorted(files, key=lambda file: file != MANIFEST):
        yield Remove(join(home, file))
    for folder in reversed(dirs):
        yield RemoveDir(join(home, folder))
    yield RemoveDir(home)


def plan_set_aside(entry: str, aside: str, folder: str | None) -> Iterator[Step]:
    """Move what is no valid group out of sight: to `aside`, in a `folder` that may be to be made.

    Nothing is synced: where a crash takes the move back, the next recovery repeats it.
    """
    if folder is not None:
        yield MakeDir(folder)
    yield RenameEntry(entry, aside)


def plan_discard(
    home: str, files: Sequence[str], dirs: Sequence[str], report: str | None = None
) -> Iterator[Step]:
    """Delete what was never acknowledged, or is given up: `plan_delete`, then the report on it.

    It needs no room, and no sync: what a crash leaves is without MANIFEST first of all.
    """
    yield from plan_delete(home, files, dirs)
    yield from plan_remove([] if report is None else [report])


def plan_remove(files: Sequence[str]) -> Iterator[Step]:
    """Remove names of files, in that order."""
    for file in files:
        yield Remove(file)


def plan_ancestors(mode: Mode, store: str, top: str) -> Iterator[Step]:
    """The directories above the store, up to `top`: one of them may never have been synced."""
    if syncs_dirs(mode):
        for ancestor in parents(store, top):
            yield SyncDir(ancestor)


def subdirs(parts: Sequence[str]) -> list[str]:
    """Every directory that the parts' paths name, each once, a parent before its children."""
    found: dict[str, None] = {}
    for part in parts:
        if "/" not in part:
            continue
        names = part.split("/")[:-1]
        found.update(dict.fromkeys("/".join(names[: n + 1]) for n in range(len(names))))
    return list(found)


def _home(form: Form, mode: Mode, store: str, generation: int, step: int) -> str:
    """The directory that a group is written to: its final one, or an attempt to be renamed."""
    return join(store, str(GroupName(generation, step, attempt=_renames(form, mode))))


def _renames(form: Form, mode: Mode) -> bool:
    return form == "rename" and mode != "unsafe"


def _commit(
    form: Form, mode: Mode, store: str, name: GroupName, parts: Sequence[str]
) -> Iterator[Step]:
    """The manifest, and whatever makes it and its group durable."""
    home = _home(form, mode, store, name.generation, name.step)
    yield from _new_file(WriteRecord(join(home, MANIFEST), MANIFEST), mode)
    if syncs_dirs(mode):
        yield from _sync_dirs(home, parts)
    if _renames(form, mode):
        yield RenameEntry(home, join(store, str(name)))
    if syncs_dirs(mode):
        yield _last_sync(mode, store)


def _new_file(content: WritePart | WriteRecord, mode: Mode) -> Iterator[SimpleStep]:
    """A part or a manifest: made, written, synced, closed.

    It is synced before it is closed: only an open handle is told of a write-back that failed.
    """
    yield CreateFile(content.path)
    yield content
    if syncs_files(mode):
        yield SyncFile(content.path)
    yield CloseFile(content.path)


def _sync_dirs(group: str, parts: Sequence[str]) -> Iterator[SimpleStep]:
    for subdir in reversed(subdirs(parts)):
        yield SyncDir(join(group, subdir))
    yield SyncDir(group)


def _last_sync(mode: Mode, directory: str) -> SimpleStep:
    """The sync that everything before it stands on.

    Where a plain fsync only hands the bytes to the drive, one full sync at the end makes the
    drive keep them all. No order between them is needed before that: every byte is verified.
    """
    return FullSyncDir(directory) if mode == "atomic_fullsync" else SyncDir(directory)
