"""Recovery: which group is the last good one, and why each newer one is not.

Reading only, and deterministic in its looks: newest generation first, each group's manifest, then
every part in the manifest's order, stopping at the first failure.  Whatever is read is treated as
hostile.  What cannot be read is passed over like damage and left where it is; what may not be read
ends the choice; an error of the machine (EMFILE, ENOMEM, …) says nothing about a group.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Protocol

from attrs import evolve, field, frozen

from lastgood.backends.interface import DiskReader, describe_kind, join
from lastgood.damage import Damaged
from lastgood.errors import IntegrityError, StorageError, UsageError, storage_error
from lastgood.format.features import UnknownFeatureError, require_judged
from lastgood.format.manifest import SIZE_LIMIT_BYTES, Manifest, ManifestError, Part, decode
from lastgood.format.names import MANIFEST, GroupName, newest_first
from lastgood.parts.damage_survey import survey
from lastgood.parts.holding_reader import HoldingReader
from lastgood.parts.thread_pool import ParallelMap
from lastgood.parts.verify import (
    MISSING_ERRNOS,
    NOT_REGULAR_ERRNOS,
    UNREADABLE,
    FailedPart,
    RejectedError,
    check_unit,
    damage_from_errno,
    is_unreadable,
    units_of_group,
    unreadable,
)
from lastgood.protocol.plan import subdirs
from lastgood.recovery.listing import list_entries
from lastgood.recovery.unread import (
    NOT_ALLOWED_ERRNOS,
    describe_refusal,
    is_unread_error,
    not_permitted_error,
)

# Reasons: in the making (rename form); without MANIFEST; not there any more, which is no damage.
ATTEMPT: Final = "attempt"
NO_COMMIT: Final = "no_commit"
GONE: Final = "gone"

_NOT_PERMITTED: Final = "not_permitted:"
"""The beginning of the reason of what this user may not read."""

_GOING_ON: Final = "a save that is still going on, or that ended before {}"
"""A reader cannot tell which: a live process may be writing there."""

_ENDED: Final = {
    ATTEMPT: "a save that ended before its rename",
    NO_COMMIT: f"{MANIFEST} is missing: a save that ended before its commit, or a group that has "
    "lost it",
}


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

    @property
    def is_unread(self) -> bool:
        """It cannot, or may not, be read: nobody knows whether it is intact, so it stays."""
        return self.reason.startswith((UNREADABLE, _NOT_PERMITTED))

    @property
    def is_forbidden(self) -> bool:
        """This user may not read it, as `detail` says, with its owner."""
        return self.reason.startswith(_NOT_PERMITTED)


@frozen
class Scan:
    """The newest valid group, or None, and whatever was rejected, newest first.

    `is_stale`: a group that was listed is not in the store any more. Somebody who holds the lease
    has pruned it or moved it aside, so something newer may be there: list again.
    """

    group: Group | None
    rejected: tuple[Rejection, ...]
    is_stale: bool = False


def newest_valid(
    reader: DiskReader,
    store: str,
    names: Iterable[str],
    *,
    parallel_map: ParallelMap = map,
    examination: Examine | None = None,
) -> Scan:
    """The newest valid group among `names`; nothing older is looked at. StorageError.

    NewerFormatError where a newer version has written one that would be passed over. StorageError
    where this user may not read one: nothing older may stand in for it.
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
        elif answer.is_forbidden:
            raise not_permitted_error(answer.name, answer.detail)
        else:
            require_judged(answer.name, answer.reason)
            rejected.append(answer)
    return Scan(found, tuple(rejected), is_stale)


def examine_all(
    reader: DiskReader, store: str, *, parallel_map: ParallelMap = map
) -> Iterator[Group | Rejection]:
    """Every group and attempt of a store, newest first, verified in full. StorageError.

    Of what is rejected, all that is damaged is told.
    """
    for name in newest_first(list_entries(reader, store)):
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
        return new_rejection(name, ATTEMPT, _GOING_ON.format("its rename"))
    group = read_group(reader, store, name, entry)
    if isinstance(group, Rejection):
        return group
    answer = examine_parts(reader, group, parallel_map)
    return _surveyed(reader, group, answer, parallel_map) if surveys else answer


def examine_parts(
    reader: DiskReader, group: Group, parallel_map: ParallelMap = map
) -> Group | Rejection:
    """Verify all but the manifest of a group, which was read. StorageError as `examine`."""
    try:
        check_dirs(reader, group)
        check_parts(reader, group, parallel_map)
    except RejectedError as rejected:
        return to_rejection(reader, group, rejected)
    except OSError as error:
        return refused_rejection(reader, group.path, group.name, error)
    return group


def to_rejection(reader: DiskReader, group: Group, rejected: RejectedError) -> Rejection:
    """The rejection of a group; whatever the reader kept of it is forgotten. StorageError."""
    if isinstance(reader, HoldingReader):
        reader.forget(group.path)
    return _rejected_if_there(reader, group.path, group.name, rejected)


def _surveyed(
    reader: DiskReader, group: Group, answer: Group | Rejection, parallel_map: ParallelMap
) -> Group | Rejection:
    """The same, with all that is damaged; with the first only, where the disk refuses the rest."""
    if isinstance(answer, Group) or answer.is_forbidden or answer.reason == GONE:
        return answer
    try:
        damaged = survey(reader, group.path, group.manifest, parallel_map)
    except OSError:
        return answer
    return evolve(answer, damaged=damaged)


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
            try:
                raise damage
            finally:
                # Its traceback has this frame: both would keep all that the reader holds.
                del damage


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
        if (unread := unreadable(error, entry or str(name))) is not None:
            return _rejected_if_there(reader, path, name, unread)
        return refused_rejection(reader, path, name, error)
    return Group(name, path, manifest)


def refused_rejection(reader: DiskReader, path: str, name: GroupName, error: OSError) -> Rejection:
    """A group that this user may not read. StorageError where the disk refused it otherwise."""
    if error.errno not in NOT_ALLOWED_ERRNOS:
        raise storage_error(f"reading {path!r}", error) from error
    if isinstance(reader, HoldingReader):
        reader.forget(path)
    at = error.filename if isinstance(error.filename, str) else path
    inside = at.removeprefix(f"{path}/") if at.startswith(f"{path}/") else str(name)
    return new_rejection(name, f"{_NOT_PERMITTED}{inside}", describe_refusal(reader, at, error))


def find_part(group: Group, part_path: str) -> Part:
    """The part of that path. UsageError names what there is."""
    if (part := group.manifest.part_by_path.get(part_path)) is not None:
        return part
    known = ", ".join(each.path for each in group.manifest.parts[:8])
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
    elif rejection.is_unread:
        message = (
            f"{what}It may be intact once the disk can be read. load_latest() falls back to the "
            "newest intact group now."
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
        if is_unreadable(error):
            raise damage_from_errno(error, MANIFEST) from error
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
    except (ManifestError, UnknownFeatureError) as error:
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
    if _is_gone(reader, path):
        return new_rejection(name, GONE, "it is not in the store any more")
    found = str(rejected), rejected.damaged, rejected.found
    return Rejection(str(name), name.generation, rejected.reason, *found)


def _is_gone(reader: DiskReader, path: str) -> bool:
    try:
        return reader.kind(path) == "missing"
    except OSError as error:
        if not is_unread_error(error):
            raise storage_error(f"looking at {path!r}", error) from error
        return False


def _require_dir(reader: DiskReader, path: str, subdir: str) -> None:
    try:
        kind = reader.kind(path)
    except OSError as error:
        if is_unreadable(error):
            raise damage_from_errno(error, subdir) from error
        raise
    if kind == "missing":
        raise RejectedError(f"missing:{subdir}", f"the directory {subdir!r} is missing")
    if kind != "dir":
        # A symlink here would lead every path below it out of the group.
        detail = f"{subdir!r} is {describe_kind(kind)}, expected a directory"
        raise RejectedError(f"not_regular:{subdir}", detail)


def new_rejection(name: GroupName, reason: str, detail: str) -> Rejection:
    """A group that was rejected, and why."""
    return Rejection(str(name), name.generation, reason, detail)
