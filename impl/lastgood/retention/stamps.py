"""The stamps of what a group is made of: they change with all that is done to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from lastgood.backends.capabilities import system_info
from lastgood.backends.interface import DiskReader, join

_DIGEST_BYTES: Final = 16


class Stamps:
    """Digests of stamps: a store may hold many groups, and a group many parts."""

    def __init__(self, reader: DiskReader) -> None:
        self._info = system_info(reader)

    def of(self, home: str, paths: Iterable[str]) -> bytes | None:
        """Take the stamps of some paths in a directory, "" being itself; None where one is none."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for path in paths:
            try:
                stamp = self._info.stamp(join(home, path) if path else home)
            except OSError:
                return None
            if stamp is None:
                return None
            digest.update(repr(stamp).encode())
        return digest.digest()
