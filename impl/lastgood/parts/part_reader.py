"""Reads a file piece by piece, into a digest and into whatever memory the bytes belong in.

No more than one piece of what is not kept is in memory, however large a chunk or a part is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lastgood.backends.interface import OpenFile
from lastgood.format.chunks import PartDigest, Span
from lastgood.format.digests import new_hasher

PIECE_BYTES: Final = 1 << 20

Room = Callable[[int, int], memoryview]
"""Memory for a file's bytes from one offset up to another; it may give less, but some."""


def chunk_digests(
    file: OpenFile, span: Span, algorithm: str, room: Room | None = None
) -> tuple[str, ...]:
    """The digests of a file's chunks, read into `room`, or into memory that is forgotten. OSError.

    Of a chunk that the file ends in, that of what there is.
    """
    into = scratch_room(span.stop - span.start) if room is None else room
    found = []
    for start, stop in span:
        digest, at = new_hasher(algorithm), start
        while at < stop:
            piece = into(at, min(stop, at + PIECE_BYTES))
            count = file.read_into(at, piece)
            digest.update(piece[:count])
            at += count
            if count < len(piece):
                break
        found.append(digest.hexdigest())
    return tuple(found)


def digest_whole(file: OpenFile, digest: PartDigest) -> int:
    """Give a digest all that a file has now; its size. OSError; UsageError of the digest."""
    piece = memoryview(bytearray(PIECE_BYTES))
    size_bytes = 0
    while count := file.read_into(size_bytes, piece):
        digest.update(piece[:count])
        size_bytes += count
    return size_bytes


def scratch_room(size_bytes: int) -> Room:
    """Room that each piece overwrites: for bytes that only their digest is wanted of."""
    memory = memoryview(bytearray(min(PIECE_BYTES, size_bytes)))
    return lambda start, stop: memory[: stop - start]


def room_around(result: memoryview, offset_bytes: int, start: int, stop: int) -> Room:
    """Room for a file's bytes from `start` up to `stop`: those of the result go into the result.

    It holds the file's bytes from `offset_bytes` on; what is outside is overwritten.
    """
    end = offset_bytes + len(result)
    spare = scratch_room(stop - start)

    def room(at: int, until: int) -> memoryview:
        if at < offset_bytes:
            return spare(at, min(until, offset_bytes))
        if at < end:
            return result[at - offset_bytes : min(until, end) - offset_bytes]
        return spare(at, until)

    return room
