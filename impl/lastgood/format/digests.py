"""Digests by name: SHA-256 always, BLAKE3 and XXH3 where their packages are installed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal, Protocol, cast

from lastgood.errors import LastgoodError, UsageError

Algorithm = Literal["sha256", "blake3", "xxh3"]

HEX_DIGITS: Final[Mapping[str, int]] = {"sha256": 64, "blake3": 64, "xxh3": 32}
"""Every algorithm that a manifest may name, and how many hex digits its digests have."""
_PACKAGES: Final[Mapping[str, str]] = {"blake3": "blake3", "xxh3": "xxhash"}
_HEX: Final = frozenset("0123456789abcdef")


class Hasher(Protocol):
    """A digest in the making."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far, in lower-case hex."""


class DigestUnavailableError(LastgoodError):
    """A digest is asked for whose package is not installed. That says nothing about any group."""


def new_hasher(algorithm: str) -> Hasher:
    """A fresh digest. UsageError where no such one is known; DigestUnavailableError."""
    if algorithm == "sha256":
        return hashlib.sha256()
    if algorithm not in HEX_DIGITS:
        known = ", ".join(HEX_DIGITS)
        raise UsageError(f"digest is {algorithm!r}, expected one of {known}. Nothing was changed.")
    try:
        if algorithm == "blake3":
            from blake3 import blake3

            return cast("Hasher", blake3())
        from xxhash import xxh3_128

        return cast("Hasher", xxh3_128())
    except ImportError as error:
        raise DigestUnavailableError(
            f"the digest {algorithm} needs the package {_PACKAGES[algorithm]}, which is not "
            "installed: pip install 'lastgood[digests]'. Nothing was changed or rejected."
        ) from error


def digest_of(data: bytes | memoryview, algorithm: str = "sha256") -> str:
    """The digest of bytes, in lower-case hex. Errors as `new_hasher`."""
    hasher = new_hasher(algorithm)
    hasher.update(data)
    return hasher.hexdigest()


def is_digest(text: str, algorithm: str, count: int = 1) -> bool:
    """The text can be so many digests of that kind, one after the other, in lower-case hex."""
    return len(text) == count * HEX_DIGITS[algorithm] and _HEX.issuperset(text)
