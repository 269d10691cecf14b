"""Groups that a newer version has written: their manifests are intact, and not ours to judge.

Nothing is moved, deleted or passed over for one. It may be the newest that was acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable

from lastgood.backends.interface import DiskReader
from lastgood.errors import StorageError
from lastgood.format.features import is_newer_format, require_judged
from lastgood.format.names import GroupName, newest_first
from lastgood.recovery.listing import list_entries
from lastgood.recovery.recovery import Group, Rejection, read_group


def is_unjudged(answer: Group | Rejection) -> bool:
    """Say whether a newer version has written what was looked at."""
    return isinstance(answer, Rejection) and is_newer_format(answer.reason)


def require_all_judged(answers: Iterable[Group | Rejection]) -> None:
    """NewerFormatError where one that is not judged comes before the first group.

    `answers` are newest first.
    """
    for answer in answers:
        if isinstance(answer, Group):
            return
        require_judged(answer.name, answer.reason)


def require_readable(reader: DiskReader, store: str) -> None:
    """NewerFormatError where the newest intact manifest of a store is a newer version's.

    No part is read, and no manifest below the first that is intact. What the disk refuses is
    passed over: whatever moves or deletes a group looks again, and would be told.
    """
    try:
        names = newest_first(list_entries(reader, store))
    except StorageError:
        return
    answers = (_read_if_it_can_be(reader, store, name) for name in names if not name.attempt)
    require_all_judged(answer for answer in answers if answer is not None)


def list_unjudged(reader: DiskReader, store: str) -> tuple[Rejection, ...]:
    """The groups of a store that a newer version has written, newest first. No part is read.

    What the disk refuses is left out. StorageError where that is the store itself.
    """
    found = []
    for name in newest_first(list_entries(reader, store)):
        answer = None if name.attempt else _read_if_it_can_be(reader, store, name)
        if isinstance(answer, Rejection) and is_newer_format(answer.reason):
            found.append(answer)
    return tuple(found)


def _read_if_it_can_be(reader: DiskReader, store: str, name: GroupName) -> Group | Rejection | None:
    try:
        return read_group(reader, store, name)
    except StorageError:
        return None
