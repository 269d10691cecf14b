"""The choice of a group in a store that its writer may be changing meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from lastgood.backends.interface import DiskReader
from lastgood.errors import NewerFormatError, StorageError
from lastgood.format.features import require_judged
from lastgood.format.names import GroupName, newest_first
from lastgood.parts.thread_pool import ParallelMap
from lastgood.recovery.listing import list_entries
from lastgood.recovery.recovery import (
    GONE,
    Examine,
    Group,
    Rejection,
    Scan,
    newest_valid,
    read_group,
)
from lastgood.recovery.unread import not_permitted_error

_ATTEMPTS: Final = 16
"""The number of times that a reader lists a store which changes under its eyes."""

_Found = TypeVar("_Found")


def look_until_settled(store: str, look: Callable[[], _Found | None]) -> _Found:
    """The answer of a look; None says that the store changed meanwhile: look again. StorageError.

    A writer gives a group up only when a newer one is there, so a new listing has more to say.
    """
    for _ in range(_ATTEMPTS):
        if (found := look()) is not None:
            return found
    raise StorageError(
        f"store {store!r}: in each of {_ATTEMPTS} looks a group was taken away while it was read. "
        "That is no sign of damage, and nothing was changed. Its writer prunes faster than this "
        "process reads: keep more groups."
    )


def newest_valid_now(
    reader: DiskReader,
    store: str,
    hidden: GroupName | None = None,
    *,
    parallel_map: ParallelMap = map,
    examination: Examine | None = None,
    older_than: int | None = None,
) -> Scan:
    """The newest valid group of a store that its writer may be changing meanwhile. StorageError.

    Where a group was taken away while it was looked at, all is listed again: its writer gives a
    group up only when a newer one is there. So it is before a NewerFormatError. `hidden` is passed
    over, and so is what is not of a generation `older_than` that.
    """

    def look() -> Scan | None:
        listed = list_entries(reader, store)
        names = [name for name in listed if name != str(hidden)]
        if older_than is not None:
            names = [str(n) for n in newest_first(names) if n.generation < older_than]
        try:
            scan = newest_valid(
                reader, store, names, parallel_map=parallel_map, examination=examination
            )
        except NewerFormatError:
            if set(listed) == set(list_entries(reader, store)):
                raise
            return None
        return None if scan.is_stale else scan

    return look_until_settled(store, look)


def groups_now(reader: DiskReader, store: str, hidden: GroupName | None) -> tuple[Group, ...]:
    """Every group with an intact manifest, newest first, in one listing. Errors as above."""

    def look() -> tuple[Group, ...] | None:
        read = list(_at_a_glance(reader, store, hidden))
        if any(isinstance(each, Rejection) and each.reason == GONE for each in read):
            return None
        return tuple(each for each in read if isinstance(each, Group))

    return look_until_settled(store, look)


def newest_at_a_glance_now(
    reader: DiskReader, store: str, hidden: GroupName | None
) -> tuple[Group | None, list[Rejection]]:
    """The newest group with an intact manifest, and what is newer. Errors as above.

    NewerFormatError where a newer version has written one that would be passed over.
    """

    def look() -> tuple[Group | None, list[Rejection]] | None:
        rejected: list[Rejection] = []
        for answer in _at_a_glance(reader, store, hidden):
            if isinstance(answer, Group):
                return answer, rejected
            if answer.reason == GONE:
                return None
            if answer.is_forbidden:
                raise not_permitted_error(answer.name, answer.detail)
            require_judged(answer.name, answer.reason)
            rejected.append(answer)
        return None, rejected

    return look_until_settled(store, look)


def _at_a_glance(
    reader: DiskReader, store: str, hidden: GroupName | None
) -> Iterator[Group | Rejection]:
    """Every group that is listed now but the hidden one, newest first, by its manifest."""
    for name in newest_first(list_entries(reader, store)):
        if name != hidden and not name.attempt:
            yield read_group(reader, store, name)
