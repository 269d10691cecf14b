"""Pours the bytes of one part into its file, and into its digest on the way.

Nothing here asks what a byte means, and no more than a few pieces are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from attrs import frozen

from lastgood.buffers import plain_bytes
from lastgood.errors import UsageError
from lastgood.format.digests import Hasher
from lastgood.threads import Helper, Task

PIECE_BYTES: Final = 2 << 20
"""Large enough to be cheap, small enough to be hashed and written while still in the cache.

Every thread copies one piece at a time, or three where a second one digests for it: 48 MiB for the
most threads that a store takes by itself.
"""
_IN_FLIGHT: Final = 3
_ABANDONED: Final = "This save was abandoned; earlier groups are intact."


@frozen
class PartSource:
    """The bytes of one part, in chunks that may be taken once.

    `digest_from` as in `Part`. `size_bytes` is None where only the end will tell. `is_stable`:
    nobody changes the memory before the save returns. `is_ours`: any thread may take the chunks.
    """

    chunks: Iterable[bytes | memoryview]
    digest_from: str = "memory"
    size_bytes: int | None = None
    is_stable: bool = False
    is_ours: bool = False


Write = Callable[[bytes | memoryview], None]


def stream_part(name: str, content: PartSource, digest: Hasher, write: Write) -> int:
    """Write and digest a part, piece by piece, in this thread; its size in bytes.

    UsageError where its source fails; OSError of `write`.
    """
    size_bytes, spare = 0, bytearray()
    for view, is_fixed in _pieces(name, content):
        piece = view
        if not is_fixed:
            spare = _roomy(spare, view)
            piece = _copied(view, spare)
        digest.update(piece)
        write(piece)
        size_bytes += len(piece)
    return size_bytes


def stream_part_in_two_threads(name: str, content: PartSource, digest: Hasher, write: Write) -> int:
    """The same as `stream_part`; a second thread digests while this one writes."""
    size_bytes, turn = 0, 0
    spares = [bytearray() for _ in range(_IN_FLIGHT)]
    pending: list[Task[object] | None] = [None] * _IN_FLIGHT
    with Helper() as helper:
        for view, is_fixed in _pieces(name, content):
            if (earlier := pending[turn]) is not None:
                earlier.result()  # its memory is about to be used again
            piece = view
            if not is_fixed:
                spares[turn] = _roomy(spares[turn], view)
                piece = _copied(view, spares[turn])
            pending[turn] = helper.submit(partial(digest.update, piece))
            write(piece)
            size_bytes += len(piece)
            turn = (turn + 1) % _IN_FLIGHT
        for each in pending:
            if each is not None:
                each.result()
    return size_bytes


def _roomy(spare: bytearray, view: memoryview) -> bytearray:
    """Room for a copy: fresh memory has to be zeroed, so no more of it than is needed."""
    return spare if len(spare) >= len(view) else bytearray(len(view))


def _copied(view: memoryview, spare: bytearray) -> memoryview:
    """The bytes as they are now: what is hashed is what is written, whoever changes them."""
    copy = memoryview(spare)[: len(view)]
    copy[:] = view
    return copy


def _pieces(name: str, content: PartSource) -> Iterator[tuple[memoryview, bool]]:
    """The bytes in pieces of PIECE_BYTES at most, none empty, and whether they stay as they are."""
    for chunk in _guarded(name, content.chunks):
        try:
            view = plain_bytes(chunk)
        except ValueError as error:
            raise UsageError(f"part {name!r}: a chunk is {error}. {_ABANDONED}") from error
        if view is None:
            raise UsageError(
                f"part {name!r}: a chunk is {type(chunk).__name__}, expected bytes. {_ABANDONED}"
            )
        is_fixed = content.is_stable or type(view.obj) is bytes
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES], is_fixed


def _guarded(name: str, chunks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The chunks; an OSError of their source is the caller's fault, not the store's disk."""
    try:
        yield from chunks
    except OSError as error:
        raise UsageError(
            f"part {name!r} could not be read from its source: {error}. {_ABANDONED}"
        ) from error
