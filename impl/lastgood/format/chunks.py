"""Chunks: ranges of a part, all of one size but the last, each with a digest. Pure; no I/O.

With them a range of a part is verified without reading the rest, and one part by several threads.
A part that is no longer than one chunk has none: its own digest is that chunk's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from attrs import evolve, frozen

from lastgood.errors import UsageError
from lastgood.format.digests import HEX_DIGITS, new_hasher
from lastgood.threads import Helper

DIGESTS_LIMIT_BYTES: Final = 4 << 20
"""So many hex digits of chunks may be in a manifest: it is read whole, by whoever looks at it."""
SMALLEST_ASKED_BYTES: Final = 4096
_LARGEST_BYTES: Final = 1 << 62


@frozen
class Chunking:
    """The size of a chunk, a power of two, and the algorithm of its digest."""

    chunk_bytes: int
    algorithm: str

    @property
    def digits(self) -> int:
        """The number of hex digits that each chunk has in a manifest."""
        return HEX_DIGITS[self.algorithm]

    def count(self, size_bytes: int) -> int:
        """The number of chunks of a part of that size that have digests: none, or two at least."""
        return 0 if size_bytes <= self.chunk_bytes else -(-size_bytes // self.chunk_bytes)

    def digests(self, chunks: str) -> list[str]:
        """The digests of a part's chunks, one by one."""
        return [chunks[at : at + self.digits] for at in range(0, len(chunks), self.digits)]


@frozen
class Span:
    """Some successive chunks of a file of `file_bytes`: its bytes from `start` up to `stop`."""

    file_bytes: int
    start: int
    stop: int
    chunk_bytes: int

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The first byte and the end of each chunk."""
        for start in range(self.start, self.stop, self.chunk_bytes):
            yield start, min(self.stop, start + self.chunk_bytes)


def is_chunk_size(value: object) -> bool:
    """The value is a power of two that a size can have."""
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return 0 < value <= _LARGEST_BYTES and value.bit_count() == 1


def chunking_from_options(
    chunk_bytes: int | None, algorithm: str | None, digest: str
) -> Chunking | None:
    """The chunking of a caller's options, if any. UsageError; DigestUnavailableError."""
    if chunk_bytes is None:
        if algorithm is not None:
            raise UsageError(
                f"chunk_digest is {algorithm!r} and chunk_bytes is not given, expected both, or "
                "neither for no chunks. Nothing was changed."
            )
        return None
    if not is_chunk_size(chunk_bytes) or chunk_bytes < SMALLEST_ASKED_BYTES:
        raise UsageError(
            f"chunk_bytes is {chunk_bytes!r}, expected a power of two from {SMALLEST_ASKED_BYTES} "
            "on, such as 16 << 20. Nothing was changed."
        )
    if algorithm is not None and algorithm not in HEX_DIGITS:
        raise UsageError(
            f"chunk_digest is {algorithm!r}, expected one of {', '.join(HEX_DIGITS)}. "
            "Nothing was changed."
        )
    chunking = Chunking(chunk_bytes, digest if algorithm is None else algorithm)
    new_hasher(chunking.algorithm)
    return chunking


def enlarge_to_fit(chunking: Chunking, sizes: Iterable[int], room_bytes: int) -> Chunking:
    """The same, its chunks doubled until the digests of parts of these sizes fit in the room."""
    known = list(sizes)
    while sum(map(chunking.count, known)) * chunking.digits > room_bytes:
        chunking = evolve(chunking, chunk_bytes=2 * chunking.chunk_bytes)
    return chunking


def too_many_chunks(chunking: Chunking, room_bytes: int) -> UsageError:
    """The error where the digests turned out to need more room than there is."""
    larger = f"chunk_bytes={4 * chunking.chunk_bytes}"
    return UsageError(
        f"a manifest has room for {room_bytes // chunking.digits} digests of chunks, and parts "
        f"whose size was not known beforehand need more, with chunks of {chunking.chunk_bytes} "
        f"bytes. This save was abandoned; earlier groups are intact. Take larger chunks, such as "
        f"{larger}, or hand those parts over as something whose size is known: bytes, an array, a "
        "pathlib.Path."
    )


class ChunkHasher:
    """The digests of a part's chunks in the making; `update` as that of a `Hasher`."""

    def __init__(self, chunking: Chunking, room_bytes: int) -> None:
        self._chunking, self._room_bytes = chunking, room_bytes
        self._digests: list[str] = []
        self._hasher = new_hasher(chunking.algorithm)
        self._filled = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes. UsageError where a manifest cannot hold so many digests."""
        view = memoryview(data)
        while view:
            piece = view[: self._chunking.chunk_bytes - self._filled]
            self._hasher.update(piece)
            self._filled += len(piece)
            view = view[len(piece) :]
            if self._filled == self._chunking.chunk_bytes:
                self._end_chunk()

    def hexdigests(self) -> str:
        """The digests of all chunks, one after the other; empty where there is one chunk only."""
        if self._filled:
            self._end_chunk()
        return "".join(self._digests) if len(self._digests) > 1 else ""

    def _end_chunk(self) -> None:
        self._digests.append(self._hasher.hexdigest())
        self._hasher, self._filled = new_hasher(self._chunking.algorithm), 0
        count = len(self._digests)
        if count > 1 and count * self._chunking.digits > self._room_bytes:
            raise too_many_chunks(self._chunking, self._room_bytes)


class PartDigest:
    """A part's digest in the making and, where there is a `ChunkHasher`, those of its chunks.

    With a `helper`, that takes the chunks' half of each piece.
    """

    def __init__(
        self, algorithm: str, chunks: ChunkHasher | None = None, helper: Helper | None = None
    ) -> None:
        self._whole, self._chunks, self._helper = new_hasher(algorithm), chunks, helper

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes; both digests have them when this returns. UsageError."""
        if self._chunks is None:
            self._whole.update(data)
        elif self._helper is None:
            self._whole.update(data)
            self._chunks.update(data)
        else:
            other = self._helper.submit(partial(self._chunks.update, data))
            self._whole.update(data)
            other.result()

    def hexdigest(self) -> str:
        """The digest of all bytes so far, in lower-case hex."""
        return self._whole.hexdigest()

    def chunks(self) -> str:
        """The digests of the chunks, at the end of the part: see `ChunkHasher.hexdigests`."""
        return "" if self._chunks is None else self._chunks.hexdigests()
