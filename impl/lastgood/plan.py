"""The protocol: which steps, in which order. No I/O here; docs/protocol.md gives the reasons.

Whatever makes a save crash-safe is an order of steps in this file. `perform.py` carries them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from lastgood.disk import join, parents
from lastgood.layout import MANIFEST, GroupName
from lastgood.steps import (
    CloseFile,
    CreateFile,
    MakeDir,
    Rename,
    Step,
    SyncDir,
    SyncFile,
    WritePart,
    WriteRecord,
)

Form = Literal["record", "rename"]
Mode = Literal["unsafe", "atomic_nodirsync", "atomic_dirsync"]

MODES: Final[tuple[Mode, ...]] = ("unsafe", "atomic_nodirsync", "atomic_dirsync")
FORMS: Final[tuple[Form, ...]] = ("record", "rename")


def syncs_files(mode: Mode) -> bool:
    """Every mode but the baseline syncs the files that it writes."""
    return mode != "unsafe"


def syncs_dirs(mode: Mode) -> bool:
    """Only the strongest mode syncs directories."""
    return mode == "atomic_dirsync"


def plan_save(
    form: Form, mode: Mode, store: str, generation: int, step: int, parts: Sequence[str]
) -> Iterator[Step]:
    """One group: its parts, then the manifest that commits it. Acknowledged after the last step.

    In the record form the directory has its final name from the start, and the manifest makes it
    a group. In the rename form the rename does. `unsafe` always takes the record form.
    """
    group = join(store, str(GroupName(generation, step)))
    renames = form == "rename" and mode != "unsafe"
    home = join(store, str(GroupName(generation, step, attempt=renames)))

    yield MakeDir(home)
    made: set[str] = set()
    for part in parts:
        for subdir in subdirs([part]):
            if subdir not in made:
                made.add(subdir)
                yield MakeDir(join(home, subdir))
        yield from _new_file(WritePart(join(home, part), part), mode)
    yield from _new_file(WriteRecord(join(home, MANIFEST), MANIFEST), mode)

    if syncs_dirs(mode):
        yield from _sync_dirs(home, parts)
    if renames:
        yield Rename(home, group)
    if syncs_dirs(mode):
        yield SyncDir(store)


def plan_resync(mode: Mode, store: str, group: str, parts: Sequence[str]) -> Iterator[Step]:
    """All that a group needs, synced again: a killed process may have left it in memory only."""
    if syncs_files(mode):
        for part in parts:
            yield SyncFile(join(group, part))
        yield SyncFile(join(group, MANIFEST))
    if syncs_dirs(mode):
        yield from _sync_dirs(group, parts)
        yield SyncDir(store)


def plan_ancestors(mode: Mode, store: str, top: str) -> Iterator[Step]:
    """The directories above the store, up to `top`: one of them may never have been synced."""
    if syncs_dirs(mode):
        for ancestor in parents(store, top):
            yield SyncDir(ancestor)


def subdirs(parts: Sequence[str]) -> list[str]:
    """Every directory that the parts' paths name, each once, a parent before its children."""
    found: dict[str, None] = {}
    for part in parts:
        names = part.split("/")[:-1]
        found.update(dict.fromkeys("/".join(names[: n + 1]) for n in range(len(names))))
    return list(found)


def _new_file(content: WritePart | WriteRecord, mode: Mode) -> Iterator[Step]:
    yield CreateFile(content.path)
    yield content
    if syncs_files(mode):
        yield SyncFile(content.path)
    yield CloseFile(content.path)


def _sync_dirs(group: str, parts: Sequence[str]) -> Iterator[Step]:
    for subdir in reversed(subdirs(parts)):
        yield SyncDir(join(group, subdir))
    yield SyncDir(group)
