"""Recovery: which group is the last good one, and why each newer one is not.

Reading only, and deterministic in its looks: newest generation first, each group's manifest, then
every part in the manifest's order, stopping at the first failure.  Whatever is read is treated as
hostile.  An error of the disk (EIO, EACCES, EMFILE, …) is never taken for damage.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Protocol

from attrs import evolve, field, frozen

from lastgood.backends.interface import DiskReader, describe_kind, join, kind_at
from lastgood.damage import Damaged
from lastgood.errors import IntegrityError, StorageError, UsageError, storage_error
from lastgood.format.manifest import SIZE_LIMIT_BYTES, Manifest, ManifestError, Part, decode
from lastgood.format.names import MANIFEST, QUARANTINE, GroupName, newest_first, parse_name
from lastgood.parts.damage_survey import survey
from lastgood.parts.holding_reader import HoldingReader
from lastgood.parts.thread_pool import ParallelMap
from lastgood.parts.verify import (
    MISSING_ERRNOS,
    NOT_REGULAR_ERRNOS,
    FailedPart,
    RejectedError,
    check_unit,
    units_of_group,
)
from lastgood.protocol.plan import subdirs

NO_COMMIT: Final = "no_commit"
"""The reason of a group without a manifest."""
GONE: Final = "gone"
"""The reason of what is not in the store any more. It is no damage."""

_GOING_ON: Final = "a save that is still going on, or that ended before {}"
"""A reader cannot tell which: a live process may be writing there."""

_ENDED: Final = {
    "attempt": "a save that ended before its rename",
    NO_COMMIT: f"{MANIFEST} is missing: a save that ended before its commit, or a group that has "
    "lost it",
}

_ATTEMPTS: Final = 16
"""The number of times that a reader lists a store which changes under its eyes."""


@frozen
class Group:
    """A group whose manifest was read: its name, its directory and its manifest."""

    name: GroupName
    path: str
    manifest: Manifest = field(repr=False)

    @property
    def part_paths(self) -> tuple[str, ...]:
        """The parts' paths inside the group, in the manifest's order."""
        return tuple(part.path for part in self.manifest.parts)

    @property
    def size_bytes(self) -> int:
        """The size of all parts."""
        return sum(part.size_bytes for part in self.manifest.parts)


class Examine(Protocol):
    """Looks at one group, and says what is wrong with it: `examine`, or something weaker."""

    def __call__(
        self, reader: DiskReader, store: str, name: GroupName, *, parallel_map: ParallelMap = map
    ) -> Group | Rejection:
        """The group, or why it is none. StorageError."""


@frozen
class Rejection:
    """A directory that is no valid group. `reason` is a word for machines, `detail` for people.

    `damaged` are ranges of bytes that are known to be damaged: of a verification all that there
    are, of a load the one that it stopped at, if that was a chunk. `found` is the first part that
    failed its check, where it was one.
    """

    name: str
    generation: int
    reason: str
    detail: str
    damaged: tuple[Damaged, ...] = ()
    found: FailedPart | None = field(default=None, eq=False, repr=False)


@frozen
class Scan:
    """The newest valid group, or None, and whatever was rejected, newest first.

    `is_stale`: a group that was listed is not in the store any more. Somebody who holds the lease
    has pruned it or moved it aside, so something newer may be there: list again.
    """

    group: Group | None
    rejected: tuple[Rejection, ...]
    is_stale: bool = False


@frozen
class StoreListing:
    """The entry names of a store and of its quarantine."""

    in_store: tuple[str, ...]
    in_quarantine: tuple[str, ...]


def list_store(reader: DiskReader, store: str) -> StoreListing:
    """The entries of the store and of its quarantine, which may be missing. StorageError."""
    quarantine = join(store, QUARANTINE)
    try:
        names = tuple(reader.names(store))
        kind = reader.kind(quarantine) if QUARANTINE in names else "missing"
        aside = tuple(reader.names(quarantine)) if kind == "dir" else ()
    except OSError as error:
        raise storage_error(f"listing {store!r}", error) from error
    return StoreListing(names, aside)


def newest_valid(
    reader: DiskReader,
    store: str,
    names: Iterable[str],
    *,
    parallel_map: ParallelMap = map,
    examination: Examine | None = None,
) -> Scan:
    """The newest valid group among `names`; nothing older is looked at. StorageError.

    `examination` says what is valid, in place of `examine`.

    Attempts are passed over whatever their age, and are in `rejected`. To the holder of the lease,
    who is not saving now, they are dead; to anyone else one may be a save that is going on.
    """
    found: Group | None = None
    rejected = []
    is_stale = False
    for name in newest_first(names):
        if found is not None and not name.attempt:
            continue
        answer = (examination or examine)(reader, store, name, parallel_map=parallel_map)
        if isinstance(answer, Group):
            found = answer
        elif answer.reason == GONE:
            is_stale = True
        else:
            rejected.append(answer)
    return Scan(found, tuple(rejected), is_stale)


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
    group up only when a newer one is there. `hidden` is passed over, and so is what is not of a
    generation `older_than` that.
    """
    for _ in range(_ATTEMPTS):
        names = [name for name in list_store(reader, store).in_store if name != str(hidden)]
        if older_than is not None:
            names = [str(n) for n in newest_first(names) if n.generation < older_than]
        scan = newest_valid(
            reader, store, names, parallel_map=parallel_map, examination=examination
        )
        if not scan.is_stale:
            return scan
    raise StorageError(
        f"store {store!r}: in each of {_ATTEMPTS} looks a group was taken away while it was read. "
        "That is no sign of damage, and nothing was changed. Its writer prunes faster than this "
        "process reads: keep more groups."
    )


def examine_quarantine(
    reader: DiskReader, store: str, *, parallel_map: ParallelMap = map
) -> Iterator[tuple[str, GroupName, Group | Rejection]]:
    """Every entry of the quarantine that has a group's name, verified in full. StorageError."""
    folder = join(store, QUARANTINE)
    for entry, name in list_quarantine(reader, store):
        yield entry, name, examine(reader, folder, name, parallel_map=parallel_map, entry=entry)


def list_quarantine(reader: DiskReader, store: str) -> list[tuple[str, GroupName]]:
    """The entries of the quarantine that have a group's name, and that name. StorageError."""
    entries = list_store(reader, store).in_quarantine
    named = ((entry, parse_name(entry, in_quarantine=True)) for entry in entries)
    return [(entry, name) for entry, name in named if name is not None]


def examine_all(
    reader: DiskReader, store: str, *, parallel_map: ParallelMap = map
) -> Iterator[Group | Rejection]:
    """Every group and attempt of a store, newest first, verified in full. StorageError.

    Of what is rejected, all that is damaged is told.
    """
    for name in newest_first(list_store(reader, store).in_store):
        yield examine(reader, store, name, parallel_map=parallel_map, surveys=True)


def examine(
    reader: DiskReader,
    store: str,
    name: GroupName,
    *,
    parallel_map: ParallelMap = map,
    entry: str = "",
    surveys: bool = False,
) -> Group | Rejection:
    """Verify one group in full. StorageError where the disk would not let us.

    `entry` is its directory's name, where that is not the one that the group was given. The first
    damage ends the look, unless it `surveys`: then the damaged group is read again to its end.
    """
    if name.attempt:
        return new_rejection(name, "attempt", _GOING_ON.format("its rename"))
    group = read_group(reader, store, name, entry)
    if isinstance(group, Rejection):
        return group
    try:
        check_dirs(reader, group)
        check_parts(reader, group, parallel_map)
    except RejectedError as rejected:
        rejection = to_rejection(reader, group, rejected)
        return _surveyed(reader, group, rejection, parallel_map) if surveys else rejection
    except OSError as error:
        raise storage_error(f"reading {group.path!r}", error) from error
    return group


def to_rejection(reader: DiskReader, group: Group, rejected: RejectedError) -> Rejection:
    """The rejection of a group; whatever the reader kept of it is forgotten. StorageError."""
    if isinstance(reader, HoldingReader):
        reader.forget(group.path)
    return _rejected_if_there(reader, group.path, group.name, rejected)


def _surveyed(
    reader: DiskReader, group: Group, rejection: Rejection, parallel_map: ParallelMap
) -> Rejection:
    """The same, with all that is damaged; with the first only, where the disk refuses the rest."""
    if rejection.reason == GONE:
        return rejection
    try:
        damaged = survey(reader, group.path, group.manifest, parallel_map)
    except OSError:
        return rejection
    return evolve(rejection, damaged=damaged)


def check_dirs(reader: DiskReader, group: Group) -> None:
    """RejectedError where a directory of the parts is none. OSError."""
    for subdir in subdirs(group.part_paths):
        _require_dir(reader, join(group.path, subdir), subdir)


def check_parts(
    reader: DiskReader, group: Group, parallel_map: ParallelMap, only: Collection[str] | None = None
) -> None:
    """RejectedError for the first part, or of those named, that is damaged. OSError."""
    wanted = units_of_group(group.manifest, None if only is None else frozenset(only))
    for damage in parallel_map(lambda unit: check_unit(reader, group.path, unit), wanted):
        if damage is not None:
            raise damage


def read_group(
    reader: DiskReader, store: str, name: GroupName, entry: str = ""
) -> Group | Rejection:
    """One group's manifest, checked against the directory's name; its parts are not looked at."""
    path = join(store, entry or str(name))
    try:
        kind = reader.kind(path)
        if kind == "missing":
            raise RejectedError(GONE, "it is not in the store any more")
        if kind != "dir":
            raise RejectedError(
                f"not_regular:{entry or name}", f"found {describe_kind(kind)}, expected a directory"
            )
        manifest = _read_manifest(reader, join(path, MANIFEST))
        if (manifest.generation, manifest.step) != (name.generation, name.step):
            raise RejectedError(
                "name_mismatch",
                f"{MANIFEST} is of generation {manifest.generation}, step {manifest.step}",
            )
    except RejectedError as rejected:
        return _rejected_if_there(reader, path, name, rejected)
    except OSError as error:
        raise storage_error(f"reading {path!r}", error) from error
    return Group(name, path, manifest)


def find_part(group: Group, part_path: str) -> Part:
    """The part of that path. UsageError names what there is."""
    for part in group.manifest.parts:
        if part.path == part_path:
            return part
    known = ", ".join(group.part_paths[:8])
    raise UsageError(f"group {group.name} has no part {part_path!r}; it has: {known}.")


def integrity_error(rejection: Rejection) -> IntegrityError:
    """The error for a group that was asked for by name and is damaged."""
    what = f"group {rejection.name}: {rejection.detail} ({rejection.reason}). Nothing was changed. "
    if rejection.reason == NO_COMMIT:
        message = (
            f"{what}Load again when its writer is done; load_latest() takes the newest intact "
            "group now."
        )
    elif rejection.reason == GONE:
        message = (
            f"group {rejection.name} is not in the store any more: its writer has pruned it or "
            "moved it aside since it was looked at. Nothing was changed. Load again."
        )
    else:
        message = (
            f"{what}load_latest() falls back to the newest intact group; this one will keep "
            "failing."
        )
    return IntegrityError(message, rejection.reason, rejection.name, rejection.damaged)


def as_lease_holder(rejection: Rejection) -> Rejection:
    """The rejection, as the holder of the lease knows it: no save is going on there."""
    return evolve(rejection, detail=_ENDED.get(rejection.reason, rejection.detail))


def _read_manifest(reader: DiskReader, path: str) -> Manifest:
    try:
        data = reader.read(path, SIZE_LIMIT_BYTES)
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            raise RejectedError(
                NO_COMMIT, f"{MANIFEST} is missing: {_GOING_ON.format('its commit')}"
            ) from error
        if error.errno in NOT_REGULAR_ERRNOS:
            detail = f"{MANIFEST} is a symlink or special file, expected a regular file"
            raise RejectedError(f"not_regular:{MANIFEST}", detail) from error
        if error.errno == errno.EFBIG:
            detail = f"{MANIFEST} is too long, expected {SIZE_LIMIT_BYTES} bytes at most"
            raise RejectedError("manifest_error:too_large", detail) from error
        raise
    try:
        return decode(data)
    except ManifestError as error:
        raise RejectedError(error.reason, f"{MANIFEST}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise StorageError(
            f"reading {path!r}: this process has not enough stack or memory left to decode it "
            f"({type(error).__name__}). That is no sign of damage, so no group was rejected or "
            "moved for it. Load it from a shallower call, or in another process."
        ) from error


def _rejected_if_there(
    reader: DiskReader, path: str, name: GroupName, rejected: RejectedError
) -> Rejection:
    """The rejection of a group. One that was taken away while it was read is not damaged."""
    if kind_at(reader, path) == "missing":
        return new_rejection(name, GONE, "it is not in the store any more")
    rejection = new_rejection(name, rejected.reason, str(rejected))
    return evolve(rejection, damaged=rejected.damaged, found=rejected.found)


def _require_dir(reader: DiskReader, path: str, subdir: str) -> None:
    kind = reader.kind(path)
    if kind == "missing":
        raise RejectedError(f"missing:{subdir}", f"the directory {subdir!r} is missing")
    if kind != "dir":
        # A symlink here would lead every path below it out of the group.
        detail = f"{subdir!r} is {describe_kind(kind)}, expected a directory"
        raise RejectedError(f"not_regular:{subdir}", detail)


def new_rejection(name: GroupName, reason: str, detail: str) -> Rejection:
    """A group that was rejected, and why."""
    return Rejection(str(name), name.generation, reason, detail)
