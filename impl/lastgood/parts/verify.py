"""The check of a part against its manifest, and what an errno says about a part.

An open or a look that fails may mean that there is no such file, or none that is regular. A file
system that cannot read what it keeps says EIO, EUCLEAN or EBADMSG, and a read of an open file that
fails in one of all these ways got no bytes: the part is *unreadable*. An error of the machine or of
its permissions (EMFILE, ENOMEM, EACCES, …) says nothing about a part.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from lastgood.backends.capabilities import fast_reads
from lastgood.backends.interface import DiskReader, join
from lastgood.damage import Damaged
from lastgood.errors import describe_error
from lastgood.format.chunks import Chunking, Span
from lastgood.format.digests import digest_of
from lastgood.format.manifest import Manifest, Part
from lastgood.format.names import MANIFEST
from lastgood.parts.holding_reader import HoldingReader
from lastgood.parts.part_reader import chunk_digests

MISSING_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
NOT_REGULAR_ERRNOS: Final = frozenset({errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO})
UNREADABLE: Final = "unreadable:"
"""The beginning of the reason of what cannot be read. Nobody knows whether it is intact."""
_LOST_ERRNOS: Final = frozenset({errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)})
_READ_ERRNOS: Final = _LOST_ERRNOS | MISSING_ERRNOS | NOT_REGULAR_ERRNOS | {errno.EFBIG}
UNIT_BYTES: Final = 32 << 20
"""Small enough that a part is shared well between threads, large enough to be worth a turn."""
_WORDS: Final = {"sha256": "SHA-256", "blake3": "BLAKE3", "xxh3": "XXH3 (128 bits)"}


@frozen
class FailedPart:
    """A part that failed its check, and what was found of it; None for what could not be."""

    path: str
    size_bytes: int | None = None
    digest: str | None = None


class RejectedError(Exception):
    """A check failed: `reason` is a word for machines, the message is for people.

    `found` is there where the check was that of a part, and `damaged` where it was of a chunk.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        found: FailedPart | None = None,
        damaged: tuple[Damaged, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.reason, self.found, self.damaged = reason, found, damaged


@frozen
class Unit:
    """A whole part, or successive chunks of one, that one thread verifies in one go.

    `algorithm` is that of the digests that decide. `chunking` is None for a whole part.
    """

    part: Part
    algorithm: str
    chunking: Chunking | None = None
    first: int = 0
    count: int = 0

    @property
    def span(self) -> Span:
        """The bytes of it."""
        whole = self.part.size_bytes
        if self.chunking is None:
            return Span(whole, 0, whole, max(1, whole))
        start, stop = self.first, self.first + self.count
        size = self.chunking.chunk_bytes
        return Span(whole, start * size, min(whole, stop * size), size)

    @property
    def size_bytes(self) -> int:
        """The number of bytes that are read for it."""
        return self.span.stop - self.span.start

    def expected(self, chunk: int) -> str:
        """The digest of a chunk, by its number in the part; of the part, where it has none."""
        if self.chunking is None:
            return self.part.digest
        digits = self.chunking.digits
        return self.part.chunks[chunk * digits : (chunk + 1) * digits]


def units_of_group(manifest: Manifest, parts: frozenset[str] | None = None) -> Iterator[Unit]:
    """All that is verified of a group, in the manifest's order; of some parts only, if named."""
    for part in manifest.parts:
        if parts is None or part.path in parts:
            yield from units_of_part(manifest, part)


def units_of_part(
    manifest: Manifest, part: Part, start: int = 0, stop: int | None = None
) -> list[Unit]:
    """The units that cover the bytes from `start` up to `stop` of a part; at least one."""
    chunking = manifest.chunking
    if chunking is None or not part.chunks:
        return [Unit(part, manifest.algorithm)]
    stop = part.size_bytes if stop is None else stop
    size, each = chunking.chunk_bytes, max(1, UNIT_BYTES // chunking.chunk_bytes)
    first, last = start // size, max(start // size + 1, -(-stop // size))
    return [
        Unit(part, chunking.algorithm, chunking, number, min(each, last - number))
        for number in range(first, last, each)
    ]


def digest_file(
    reader: DiskReader, path: str, limit_bytes: int, algorithm: str = "sha256"
) -> tuple[int, str]:
    """A regular file's size and digest. OSError as `DiskReader.read`; DigestUnavailableError."""
    if algorithm == "sha256":
        return reader.digest(path, limit_bytes)
    return fast_reads(reader).digest_with(path, limit_bytes, algorithm)


def digest_chunks(
    reader: DiskReader, path: str, span: Span, algorithm: str, limit_bytes: int
) -> tuple[int, tuple[str, ...]]:
    """A regular file's size, and the digests of some chunks of it. Errors as `digest_file`."""
    if isinstance(reader, HoldingReader):
        return reader.digest_chunks(path, span, algorithm)
    with fast_reads(reader).open_file(path, limit_bytes) as file:
        return file.size_bytes, chunk_digests(file, span, algorithm)


def check_unit(reader: DiskReader, group: str, unit: Unit) -> RejectedError | None:
    """The damage of a unit of the group in that directory; None where it is intact. OSError.

    Of several chunks the first that is damaged is told.
    """
    part, path = unit.part, join(group, unit.part.path)
    try:
        if unit.chunking is None:
            size_bytes, digest = digest_file(reader, path, part.size_bytes, unit.algorithm)
            return compare_part(part, size_bytes, digest, unit.algorithm)
        size_bytes, found = digest_chunks(reader, path, unit.span, unit.algorithm, part.size_bytes)
    except OSError as error:
        return damage_from_errno(error, part.path)
    if size_bytes != part.size_bytes:
        return size_mismatch(part, size_bytes)
    return check_digests(unit, found)


def check_digests(unit: Unit, found: Sequence[str]) -> RejectedError | None:
    """The damage of a unit by the digests of its chunks, or of its whole part; None for none."""
    if unit.chunking is None:
        # An empty part has no bytes to go through, and a digest all the same.
        whole = found[0] if found else digest_of(b"", unit.algorithm)
        return compare_part(unit.part, unit.part.size_bytes, whole, unit.algorithm)
    for number, digest in enumerate(found, unit.first):
        if digest != unit.expected(number):
            return chunk_damage(unit, number, digest)
    return None


def compare_part(part: Part, size_bytes: int, digest: str, algorithm: str) -> RejectedError | None:
    """The damage of a part by its size and digest; None for none."""
    found = FailedPart(part.path, size_bytes, digest)
    if size_bytes != part.size_bytes:
        return size_mismatch(part, size_bytes, digest)
    if digest != part.digest:
        return RejectedError(
            f"{_mismatch(algorithm)}:{part.path}",
            f"{part.path!r} has the {_WORDS[algorithm]} {digest}, {MANIFEST} says {part.digest}",
            found,
        )
    return None


def size_mismatch(part: Part, size_bytes: int, digest: str | None = None) -> RejectedError:
    """The damage of a part that has another size than it was saved with."""
    return RejectedError(
        f"size_mismatch:{part.path}",
        f"{part.path!r} has {size_bytes} bytes, {MANIFEST} says {part.size_bytes}",
        FailedPart(part.path, size_bytes, digest),
    )


def damaged_chunk(unit: Unit, number: int) -> Damaged:
    """A chunk of a unit, by its number in the part, as a range of bytes."""
    ((start, stop),) = Unit(unit.part, unit.algorithm, unit.chunking, number, 1).span
    reason = f"{_mismatch(unit.algorithm)}:{unit.part.path}"
    return Damaged(unit.part.path, reason, start, stop - start, number, 1)


def chunk_damage(unit: Unit, number: int, digest: str) -> RejectedError:
    """The damage of one chunk, whose digest was found to be that."""
    damaged = damaged_chunk(unit, number)
    count = len(unit.part.chunks) // len(unit.expected(number))
    start, size_bytes = damaged.offset_bytes, damaged.size_bytes
    return RejectedError(
        damaged.reason,
        f"{unit.part.path!r}: chunk {number} of {count}, bytes {start} to "
        f"{start + size_bytes - 1}, has the {_WORDS[unit.algorithm]} {digest}, {MANIFEST} says "
        f"{unit.expected(number)}",
        FailedPart(unit.part.path, unit.part.size_bytes),
        (damaged,),
    )


def damage_from_errno(error: OSError, part: str) -> RejectedError:
    """The damage that an errno tells of; the error itself is raised where it speaks of the disk."""
    found = FailedPart(part)
    if (unread := unreadable(error, part)) is not None:
        return unread
    if error.errno in MISSING_ERRNOS:
        return RejectedError(f"missing:{part}", f"{part!r} is missing", found)
    if error.errno in NOT_REGULAR_ERRNOS:
        detail = f"{part!r} is a symlink or special file, expected a regular file"
        return RejectedError(f"not_regular:{part}", detail, found)
    if error.errno == errno.EFBIG:
        detail = f"{part!r} is longer than {MANIFEST} says"
        return RejectedError(f"size_mismatch:{part}", detail, found)
    raise error


def is_unreadable(error: OSError) -> bool:
    """Say whether an error means that the file system cannot read what it keeps."""
    known = _READ_ERRNOS if getattr(error, "of_a_read", False) else _LOST_ERRNOS
    return error.errno in known


def unreadable(error: OSError, entry: str) -> RejectedError | None:
    """The rejection of an entry of a group that cannot be read; None for any other error."""
    if not is_unreadable(error):
        return None
    detail = f"{entry!r} cannot be read: {describe_error(error)}"
    return RejectedError(f"{UNREADABLE}{entry}", detail)


def _mismatch(algorithm: str) -> str:
    return "sha_mismatch" if algorithm == "sha256" else "digest_mismatch"
