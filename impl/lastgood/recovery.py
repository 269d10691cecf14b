"""Recovery: which group is the last good one, and why each newer one is not.

Reading only, and deterministic in its looks: newest generation first, each group's manifest, then
every part in the manifest's order, stopping at the first failure.  Whatever is read is treated as
hostile.  An error of the disk (EIO, EACCES, EMFILE, …) is never taken for damage.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from lastgood.disk import Reader, join
from lastgood.errors import IntegrityError, StorageError, UsageError
from lastgood.layout import MANIFEST, QUARANTINE, GroupName, newest_first
from lastgood.manifest import SIZE_LIMIT_BYTES, Manifest, ManifestError, Part, decode
from lastgood.plan import subdirs

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_NOT_REGULAR: Final = frozenset({errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO})


@frozen
class Group:
    """A group whose manifest was read: its name, its directory and its manifest."""

    name: GroupName
    path: str
    manifest: Manifest

    @property
    def part_paths(self) -> tuple[str, ...]:
        """The parts' paths inside the group, in the manifest's order."""
        return tuple(part.path for part in self.manifest.parts)

    @property
    def size_bytes(self) -> int:
        """The size of all parts."""
        return sum(part.size_bytes for part in self.manifest.parts)


@frozen
class Rejection:
    """A directory that is no valid group. `reason` is a word for machines, `detail` for people."""

    name: str
    generation: int
    reason: str
    detail: str


@frozen
class Scan:
    """The newest valid group, or None, and whatever was rejected, newest first."""

    group: Group | None
    rejected: tuple[Rejection, ...]


@frozen
class Listing:
    """The entry names of a store and of its quarantine."""

    in_store: tuple[str, ...]
    in_quarantine: tuple[str, ...]


class _RejectedError(Exception):
    """A check failed; `examine` turns it into a `Rejection`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def list_store(reader: Reader, store: str) -> Listing:
    """What is in the store and its quarantine, which may be missing. StorageError."""
    quarantine = join(store, QUARANTINE)
    try:
        names = tuple(reader.names(store))
        kind = reader.kind(quarantine) if QUARANTINE in names else "missing"
        aside = tuple(reader.names(quarantine)) if kind == "dir" else ()
    except OSError as error:
        raise storage_error(f"listing {store!r}", error) from error
    return Listing(names, aside)


def newest_valid(reader: Reader, store: str, names: Iterable[str]) -> Scan:
    """The newest valid group among `names`; nothing older is looked at. StorageError.

    Dead attempts are rejected whatever their age: nothing but a live save can own one.
    """
    found: Group | None = None
    rejected = []
    for name in newest_first(names):
        if found is not None and not name.attempt:
            continue
        answer = examine(reader, store, name)
        if isinstance(answer, Group):
            found = answer
        else:
            rejected.append(answer)
    return Scan(found, tuple(rejected))


def examine_all(reader: Reader, store: str) -> Iterator[Group | Rejection]:
    """Every group and dead attempt of a store, newest first, verified in full. StorageError."""
    for name in newest_first(list_store(reader, store).in_store):
        yield examine(reader, store, name)


def examine(reader: Reader, store: str, name: GroupName) -> Group | Rejection:
    """Verify one group in full. StorageError where the disk would not let us."""
    if name.attempt:
        return _rejection(name, "attempt", "a save that ended before its rename")
    try:
        group = read_group(reader, store, name)
        if isinstance(group, Rejection):
            return group
        for subdir in subdirs(group.part_paths):
            _require_dir(reader, join(group.path, subdir), subdir)
        for part in group.manifest.parts:
            _check_part(reader, group.path, part)
    except _RejectedError as rejected:
        return _rejection(name, rejected.reason, str(rejected))
    except OSError as error:
        raise storage_error(f"reading {join(store, str(name))!r}", error) from error
    return group


def read_group(reader: Reader, store: str, name: GroupName) -> Group | Rejection:
    """One group's manifest, checked against the directory's name; its parts are not looked at."""
    path = join(store, str(name))
    try:
        kind = reader.kind(path)
        if kind != "dir":
            raise _RejectedError(
                f"not_regular:{name}", f"found a {_said(kind)}, expected a directory"
            )
        manifest = _read_manifest(reader, join(path, MANIFEST))
        if (manifest.generation, manifest.step) != (name.generation, name.step):
            raise _RejectedError(
                "name_mismatch",
                f"{MANIFEST} is of generation {manifest.generation}, step {manifest.step}",
            )
    except _RejectedError as rejected:
        return _rejection(name, rejected.reason, str(rejected))
    except OSError as error:
        raise storage_error(f"reading {path!r}", error) from error
    return Group(name, path, manifest)


def read_part(reader: Reader, group: Group, part_path: str) -> bytes:
    """The bytes of one part, verified once more as they are handed out.

    UsageError where the group has no such part; IntegrityError where the bytes are not those of
    the manifest (any more); StorageError.
    """
    part = find_part(group, part_path)
    try:
        data = reader.read(join(group.path, part_path), part.size_bytes)
        _compare(part, len(data), hashlib.sha256(data).hexdigest())
    except _RejectedError as rejected:
        raise integrity_error(_rejection(group.name, rejected.reason, str(rejected))) from rejected
    except OSError as error:
        damage = _damage(error, part_path)
        if damage is None:
            raise storage_error(f"reading {part_path!r} of {group.path!r}", error) from error
        raise integrity_error(_rejection(group.name, damage.reason, str(damage))) from error
    return data


def find_part(group: Group, part_path: str) -> Part:
    """The part of that path. UsageError names what there is."""
    for part in group.manifest.parts:
        if part.path == part_path:
            return part
    known = ", ".join(group.part_paths[:8])
    raise UsageError(f"group {group.name} has no part {part_path!r}; it has: {known}.")


def integrity_error(rejection: Rejection) -> IntegrityError:
    """The error for a group that was asked for by name and is damaged."""
    return IntegrityError(
        f"group {rejection.name}: {rejection.detail} ({rejection.reason}). Nothing was changed. "
        "load_latest() falls back to the newest intact group; this one will keep failing.",
        rejection.reason,
        rejection.name,
    )


def storage_error(doing: str, error: OSError) -> StorageError:
    """The disk failed while `doing` something; that says nothing about a group's content."""
    name = errno.errorcode.get(error.errno or 0, "an unknown error")
    return StorageError(
        f"{doing} failed: {name} ({error.strerror or error}). That is no sign of damage, so no "
        "group was rejected or moved for it. Mend the disk or the permissions, then try again."
    )


def _read_manifest(reader: Reader, path: str) -> Manifest:
    try:
        data = reader.read(path, SIZE_LIMIT_BYTES)
    except OSError as error:
        if error.errno in _MISSING:
            raise _RejectedError(
                "no_commit", f"{MANIFEST} is missing: the save did not end"
            ) from error
        if error.errno in _NOT_REGULAR:
            detail = f"{MANIFEST} is a symlink or special file, expected a regular file"
            raise _RejectedError(f"not_regular:{MANIFEST}", detail) from error
        if error.errno == errno.EFBIG:
            detail = f"{MANIFEST} is too long, expected {SIZE_LIMIT_BYTES} bytes at most"
            raise _RejectedError("manifest_error:too_large", detail) from error
        raise
    try:
        return decode(data)
    except ManifestError as error:
        raise _RejectedError(error.reason, f"{MANIFEST}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise StorageError(
            f"reading {path!r}: this process has not enough stack or memory left to decode it "
            f"({type(error).__name__}). That is no sign of damage, so no group was rejected or "
            "moved for it. Load it from a shallower call, or in another process."
        ) from error


def _require_dir(reader: Reader, path: str, subdir: str) -> None:
    kind = reader.kind(path)
    if kind == "missing":
        raise _RejectedError(f"missing:{subdir}", f"the directory {subdir!r} is missing")
    if kind != "dir":
        # A symlink here would lead every path below it out of the group.
        detail = f"{subdir!r} is a {_said(kind)}, expected a directory"
        raise _RejectedError(f"not_regular:{subdir}", detail)


def look_at_shape(reader: Reader, group: Group) -> Rejection | None:
    """What in a group is a symlink or otherwise of the wrong kind; no part is read.

    What is missing is not told here. StorageError.
    """
    wanted = dict.fromkeys(subdirs(group.part_paths), "dir")
    wanted |= dict.fromkeys(group.part_paths, "file")
    try:
        for path, kind in wanted.items():
            found = reader.kind(join(group.path, path))
            if found not in (kind, "missing"):
                what = "regular file" if kind == "file" else "directory"
                detail = f"{path!r} is a {_said(found)}, expected a {what}"
                return _rejection(group.name, f"not_regular:{path}", detail)
    except OSError as error:
        raise storage_error(f"looking at {group.path!r}", error) from error
    return None


def _said(kind: str) -> str:
    """A kind of entry, for people."""
    words = {"dir": "directory", "file": "regular file", "other": "symlink or special file"}
    return words.get(kind, f"{kind} entry")


def _check_part(reader: Reader, group: str, part: Part) -> None:
    try:
        size_bytes, sha256 = reader.digest(join(group, part.path), part.size_bytes)
    except OSError as error:
        damage = _damage(error, part.path)
        if damage is None:
            raise
        raise damage from error
    _compare(part, size_bytes, sha256)


def _damage(error: OSError, part: str) -> _RejectedError | None:
    """What an errno says about the part itself; None where it speaks of the disk."""
    if error.errno in _MISSING:
        return _RejectedError(f"missing:{part}", f"{part!r} is missing")
    if error.errno in _NOT_REGULAR:
        detail = f"{part!r} is a symlink or special file, expected a regular file"
        return _RejectedError(f"not_regular:{part}", detail)
    if error.errno == errno.EFBIG:
        return _RejectedError(f"size_mismatch:{part}", f"{part!r} is longer than {MANIFEST} says")
    return None


def _compare(part: Part, size_bytes: int, sha256: str) -> None:
    if size_bytes != part.size_bytes:
        raise _RejectedError(
            f"size_mismatch:{part.path}",
            f"{part.path!r} has {size_bytes} bytes, {MANIFEST} says {part.size_bytes}",
        )
    if sha256 != part.sha256:
        raise _RejectedError(
            f"sha_mismatch:{part.path}",
            f"{part.path!r} has the SHA-256 {sha256}, {MANIFEST} says {part.sha256}",
        )


def _rejection(name: GroupName, reason: str, detail: str) -> Rejection:
    return Rejection(str(name), name.generation, reason, detail)
