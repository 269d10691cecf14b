"""An attempt: a directory that foreign code fills with the parts of a group."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from attrs import frozen

from lastgood.backends.capabilities import fast_reads, system_info
from lastgood.backends.interface import Disk, join
from lastgood.errors import Ending, StorageError, UsageError, describe_error
from lastgood.format.manifest import MAX_SIZE_BYTES, PATH_LIMIT_BYTES
from lastgood.format.names import GroupName
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import plan_delete
from lastgood.protocol.receipt import Receipt
from lastgood.retention.prune import list_tree
from lastgood.writer.save_request import SaveRequest

_NOT_OURS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY})
"""Errnos that say nothing of what a directory holds, which foreign code may have made so."""


@frozen
class Attempt:
    """A directory that foreign code fills, until it is sealed or abandoned."""

    name: GroupName
    path: str
    request: SaveRequest


class OpenAttempt:
    """A directory for foreign code to fill: see `Store.attempt`. `receipt` is there at the end."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.receipt: Receipt | None = None

    def __fspath__(self) -> str:
        return str(self.path)


def describe_leftover(attempt: Attempt) -> str:
    """A sentence about an attempt that could not be removed."""
    return f"{attempt.path!r} could not be removed: no group; the next recovery deletes it."


def remove_attempt(disk: Disk, path: str) -> bool:
    """Delete an attempt's directory; False if some of it is left for the next recovery.

    It was never a group, so nothing needs a sync.
    """
    try:
        if disk.kind(path) == "missing":
            return True
        for step in plan_delete(path, *list_tree(disk, path)):
            StepExecutor(disk).execute(step)
    except OSError:
        return False
    return True


def attempt_parts(disk: Disk, path: str, ending: Ending) -> list[str]:
    """All regular files of an attempt, sorted. UsageError for whatever else is in there.

    Directories that hold nothing are removed.
    """
    info = system_info(disk)
    try:
        files, dirs = list_tree(disk, path)
        _remove_empty(disk, path, files, dirs)
        for file in files:
            if disk.kind(join(path, file)) != "file":
                raise UsageError(
                    f"{join(path, file)!r} is a symlink or special file, expected regular "
                    f"files only. {ending()}"
                )
            # A copy would cost the space and the time of a whole save, and nobody asked for it.
            if (info.link_count(join(path, file)) or 1) > 1:
                raise UsageError(
                    f"{join(path, file)!r} is a hard link, expected files that have no other name: "
                    "whoever writes to its other name would damage the group. Other names are "
                    f"intact. Copy the file into the attempt, or save it as a Path. {ending()}"
                )
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"something below {path!r} lies deeper than a path can name, expected parts "
                f"whose paths have {PATH_LIMIT_BYTES} bytes at most. {ending()}"
            ) from error
        raise _unreadable(path, error, ending) from error
    return sorted(files)


def attempt_sizes(disk: Disk, path: str, parts: list[str], ending: Ending) -> list[int]:
    """The sizes of an attempt's files, in the order of the parts. StorageError."""
    sizes: list[int] = []
    try:
        for part in parts:
            with fast_reads(disk).open_file(join(path, part), MAX_SIZE_BYTES) as file:
                sizes.append(file.size_bytes)
    except OSError as error:
        raise _unreadable(path, error, ending) from error
    return sizes


def _remove_empty(disk: Disk, path: str, files: list[str], dirs: list[str]) -> None:
    """Remove the directories of an attempt that hold nothing. OSError where one holds something.

    The C library takes ENOENT of a listing for its end: so a group might lack what is in there.
    """
    parents = {each.rpartition("/")[0] for each in (*files, *dirs)}
    for empty in (each for each in dirs if each not in parents):
        try:
            disk.rmdir(join(path, empty))
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise


def _unreadable(attempt: str, error: OSError, ending: Ending) -> StorageError:
    """The error where an attempt's directory cannot be read."""
    return StorageError(
        f"reading the attempt {attempt!r} failed: {describe_error(error)}. {ending()}"
    )
