"""Out of sight: what must not be found under a group's name moves to quarantine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from lastgood.disk import Disk, Reader, join, kind_said
from lastgood.errors import LastgoodError, UsageError
from lastgood.layout import MANIFEST, QUARANTINE, free_name
from lastgood.perform import Performer
from lastgood.recovery import list_store
from lastgood.steps import Rename


def has_quarantine(reader: Reader, store: str) -> bool:
    """Whether there is one. UsageError where something else has its name; OSError."""
    folder = join(store, QUARANTINE)
    kind = reader.kind(folder)
    if kind not in ("dir", "missing"):
        raise UsageError(
            f"{folder!r}: found {kind_said(kind)}, expected a directory. Nothing was moved. "
            "Move that entry away."
        )
    return kind == "dir"


def move_aside(disk: Disk, store: str, names: Iterable[str], taken: Iterable[str]) -> None:
    """Move entries of the store to quarantine, under names that are free. OSError, UsageError."""
    folder, used, moves = join(store, QUARANTINE), set(taken), list(names)
    if moves and not has_quarantine(disk, store):
        disk.mkdir(folder)
    for name in moves:
        free = free_name(name, used)
        used.add(free)
        Performer(disk).perform(Rename(join(store, name), join(folder, free)))


def withdraw(disk: Disk, store: str, name: str) -> bool:
    """Take an unacknowledged group out of every reader's sight; False if it is still there.

    It moves to quarantine. Where that fails its MANIFEST is removed, which needs no space and no
    other directory: without it there is no group. Nothing is raised: the caller has an error.
    """
    group = join(store, name)
    with contextlib.suppress(OSError):
        if disk.kind(group) == "missing":
            return True
    with contextlib.suppress(OSError, LastgoodError):
        move_aside(disk, store, [name], list_store(disk, store).in_quarantine)
        return True
    try:
        disk.unlink(join(group, MANIFEST))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
