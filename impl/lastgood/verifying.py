"""Is this file the part that the manifest speaks of? And what does an errno say about it?

An error of the disk (EIO, EACCES, EMFILE, …) is never taken for damage.
"""

from __future__ import annotations

import errno
from typing import Final

from attrs import frozen

from lastgood.disk import DigestsOtherwise, Reader, join
from lastgood.hashing import digest_of
from lastgood.layout import MANIFEST
from lastgood.manifest import Part

MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
NOT_REGULAR: Final = frozenset({errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO})
_WORDS: Final = {"sha256": "SHA-256", "blake3": "BLAKE3", "xxh3": "XXH3 (128 bits)"}


@frozen
class Found:
    """A part that failed its check, and what was found of it; None for what could not be."""

    path: str
    size_bytes: int | None = None
    digest: str | None = None


class RejectedError(Exception):
    """A check failed: `reason` is a word for machines, the message is for people.

    `found` is there where the check was that of a part.
    """

    def __init__(self, reason: str, detail: str, found: Found | None = None) -> None:
        super().__init__(detail)
        self.reason, self.found = reason, found


def digest_file(
    reader: Reader, path: str, limit_bytes: int, algorithm: str = "sha256"
) -> tuple[int, str]:
    """A regular file's size and digest. OSError as `Reader.read`; DigestUnavailableError."""
    if algorithm == "sha256":
        return reader.digest(path, limit_bytes)
    if isinstance(reader, DigestsOtherwise):
        return reader.digest_with(path, limit_bytes, algorithm)
    data = reader.read(path, limit_bytes)
    return len(data), digest_of(data, algorithm)


def check_part(reader: Reader, group: str, part: Part, algorithm: str) -> RejectedError | None:
    """What is wrong with a part of the group in that directory; None for nothing. OSError."""
    path = join(group, part.path)
    try:
        size_bytes, digest = digest_file(reader, path, part.size_bytes, algorithm)
    except OSError as error:
        damage = damage_of(error, part.path)
        if damage is None:
            raise
        return damage
    return compared(part, size_bytes, digest, algorithm)


def compared(part: Part, size_bytes: int, digest: str, algorithm: str) -> RejectedError | None:
    """How what was found differs from what the manifest says; None for not at all."""
    found = Found(part.path, size_bytes, digest)
    if size_bytes != part.size_bytes:
        return RejectedError(
            f"size_mismatch:{part.path}",
            f"{part.path!r} has {size_bytes} bytes, {MANIFEST} says {part.size_bytes}",
            found,
        )
    if digest != part.digest:
        word = "sha_mismatch" if algorithm == "sha256" else "digest_mismatch"
        return RejectedError(
            f"{word}:{part.path}",
            f"{part.path!r} has the {_WORDS[algorithm]} {digest}, {MANIFEST} says {part.digest}",
            found,
        )
    return None


def damage_of(error: OSError, part: str) -> RejectedError | None:
    """What an errno says about the part itself; None where it speaks of the disk."""
    found = Found(part)
    if error.errno in MISSING:
        return RejectedError(f"missing:{part}", f"{part!r} is missing", found)
    if error.errno in NOT_REGULAR:
        detail = f"{part!r} is a symlink or special file, expected a regular file"
        return RejectedError(f"not_regular:{part}", detail, found)
    if error.errno == errno.EFBIG:
        detail = f"{part!r} is longer than {MANIFEST} says"
        return RejectedError(f"size_mismatch:{part}", detail, found)
    return None
