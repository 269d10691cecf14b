"""The choice of a group in a store that its writer may be changing meanwhile."""

from __future__ import annotations

from typing import Final

from lastgood.backends.interface import DiskReader
from lastgood.errors import NewerFormatError, StorageError
from lastgood.format.names import GroupName, newest_first
from lastgood.parts.thread_pool import ParallelMap
from lastgood.recovery.listing import list_entries
from lastgood.recovery.recovery import Examine, Scan, newest_valid

_ATTEMPTS: Final = 16
"""The number of times that a reader lists a store which changes under its eyes."""


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
    for _ in range(_ATTEMPTS):
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
            continue
        if not scan.is_stale:
            return scan
    raise StorageError(
        f"store {store!r}: in each of {_ATTEMPTS} looks a group was taken away while it was read. "
        "That is no sign of damage, and nothing was changed. Its writer prunes faster than this "
        "process reads: keep more groups."
    )
