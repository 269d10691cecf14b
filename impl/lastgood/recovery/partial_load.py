"""Some of a group, verified: a range of one part, and a group of which only names and sizes count.

What is handed out was verified, always. What is not asked for is not read, and nothing is known
of it.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Collection, Iterator
from typing import Final, SupportsIndex

from lastgood.backends.capabilities import fast_reads
from lastgood.backends.interface import DiskReader, OpenFile, describe_kind, join
from lastgood.buffers import fresh_memory
from lastgood.errors import IntegrityError, UsageError, storage_error
from lastgood.format.digests import digest_of
from lastgood.format.manifest import Part
from lastgood.format.names import GroupName
from lastgood.parts.part_reader import chunk_digests, room_around
from lastgood.parts.thread_pool import ParallelMap
from lastgood.parts.verify import (
    RejectedError,
    Unit,
    check_digests,
    damage_from_errno,
    size_mismatch,
    units_of_part,
    unreadable,
)
from lastgood.protocol.plan import subdirs
from lastgood.recovery.recovery import (
    GONE,
    Group,
    Rejection,
    check_dirs,
    check_parts,
    examine,
    find_part,
    integrity_error,
    new_rejection,
    read_group,
    refused_rejection,
    to_rejection,
)

_PAGED_BYTES: Final = 1 << 20
"""From here on memory that comes page by page is cheaper than memory that is zeroed first."""


def examine_manifest(
    reader: DiskReader,
    store: str,
    name: GroupName,
    *,
    parallel_map: ParallelMap = map,
    only: Collection[str] = (),
) -> Group | Rejection:
    """One group whose manifest is intact and whose parts are there, each a file of its size.

    Of the parts named in `only` every byte is verified, of the others none is read. UsageError
    where one of those is no part; StorageError.
    """
    if name.attempt:
        return examine(reader, store, name)
    group = read_group(reader, store, name)
    if isinstance(group, Rejection):
        return group
    for path in only:
        find_part(group, path)
    try:
        check_dirs(reader, group)
        for part in group.manifest.parts:
            if part.path not in only:
                with _opened_part(reader, group, part):
                    pass
        check_parts(reader, group, parallel_map, only)
    except RejectedError as rejected:
        return to_rejection(reader, group, rejected)
    except OSError as error:
        return refused_rejection(reader, group.path, name, error)
    return group


def check_entry_kinds(reader: DiskReader, group: Group) -> Rejection | None:
    """The first entry that is a symlink, of the wrong kind, or unreadable. No part is read.

    What is missing is not told here. StorageError.
    """
    wanted = dict.fromkeys(subdirs(group.part_paths), "dir")
    wanted |= dict.fromkeys(group.part_paths, "file")
    for path, kind in wanted.items():
        try:
            found = reader.kind(join(group.path, path))
        except OSError as error:
            unread = unreadable(error, path)
            if unread is None:
                return refused_rejection(reader, group.path, group.name, error)
            return to_rejection(reader, group, unread)
        if found not in (kind, "missing"):
            what = "regular file" if kind == "file" else "directory"
            detail = f"{path!r} is {describe_kind(found)}, expected a {what}"
            return new_rejection(group.name, f"not_regular:{path}", detail)
    return None


def read_part(
    reader: DiskReader, group: Group, part_path: str, *, parallel_map: ParallelMap = map
) -> bytes:
    """The bytes of one part, verified once more as they are handed out.

    UsageError where the group has no such part; IntegrityError where the bytes are not those of
    the manifest (any more); StorageError.
    """
    part = find_part(group, part_path)
    try:
        data = reader.read(join(group.path, part_path), part.size_bytes)
    except OSError as error:
        try:
            why = damage_from_errno(error, part.path)
        except OSError:
            raise storage_error(f"reading {part.path!r} of {group.path!r}", error) from error
        raise integrity_error(to_rejection(reader, group, why)) from error
    view = memoryview(data)

    def check(unit: Unit) -> RejectedError | None:
        if len(view) != part.size_bytes:
            return size_mismatch(part, len(view))
        found = [digest_of(view[start:stop], unit.algorithm) for start, stop in unit.span]
        return check_digests(unit, found)

    for damage in parallel_map(check, units_of_part(group.manifest, part)):
        if damage is not None:
            raise integrity_error(to_rejection(reader, group, damage))
    return data


def check_range(
    group: Group, part_path: str, offset_bytes: SupportsIndex, size_bytes: SupportsIndex | None
) -> tuple[Part, int, int]:
    """A part, and the offset and size of a range inside it. UsageError where it has none such."""
    part = find_part(group, part_path)
    try:
        offset = operator.index(offset_bytes)
        size = part.size_bytes - offset if size_bytes is None else operator.index(size_bytes)
    except TypeError as error:
        raise UsageError(
            f"the range is {offset_bytes!r}, {size_bytes!r}, expected an offset and a size in bytes"
        ) from error
    if offset < 0 or size < 0 or offset + size > part.size_bytes:
        raise UsageError(
            f"part {part_path!r} of {group.name} has {part.size_bytes} bytes: {size} from offset "
            f"{offset} on are not all in it."
        )
    return part, offset, size


def read_range(
    reader: DiskReader,
    group: Group,
    part: Part,
    offset: int,
    size: int,
    *,
    parallel_map: ParallelMap = map,
) -> memoryview:
    """The bytes of a range inside a part, each verified by its chunk on the way. Errors as a read.

    Memory is taken for the range alone, whatever the size of a chunk or of the part.
    """
    if not size:
        return memoryview(b"")
    result = memoryview(bytearray(size) if size < _PAGED_BYTES else fresh_memory(size))

    def read(unit: Unit) -> RejectedError | None:
        span = unit.span
        room = room_around(result, offset, span.start, span.stop)
        try:
            with _opened_part(reader, group, part) as file:
                return check_digests(unit, chunk_digests(file, span, unit.algorithm, room))
        except RejectedError as damage:
            return damage

    try:
        for damage in parallel_map(
            read, units_of_part(group.manifest, part, offset, offset + size)
        ):
            if damage is not None:
                raise _partial_error(group, to_rejection(reader, group, damage))
    except OSError as error:
        raise storage_error(f"reading {part.path!r} of {group.path!r}", error) from error
    return result.toreadonly()


@contextlib.contextmanager
def _opened_part(reader: DiskReader, group: Group, part: Part) -> Iterator[OpenFile]:
    """A part of its size, open. RejectedError where it is damaged, short of reading it. OSError."""
    try:
        with fast_reads(reader).open_file(join(group.path, part.path), part.size_bytes) as file:
            if file.size_bytes != part.size_bytes:
                raise size_mismatch(part, file.size_bytes)
            yield file
    except OSError as error:
        raise damage_from_errno(error, part.path) from error


def _partial_error(group: Group, rejection: Rejection) -> IntegrityError:
    """The error for a range that is damaged, in a group that may be intact otherwise."""
    if rejection.reason == GONE:
        return integrity_error(rejection)
    return IntegrityError(
        f"group {rejection.name}: {rejection.detail} ({rejection.reason}). No byte of the range "
        "was handed out and nothing was changed. Other ranges may be intact: `lastgood verify` "
        "says which are. load_latest() verifies everything and falls back to the newest intact "
        f"group; open_group(older_than={group.name.generation}) opens the one before.",
        rejection.reason,
        rejection.name,
        rejection.damaged,
    )
