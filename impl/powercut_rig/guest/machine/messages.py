"""Messages between the host and its guest: JSON with raw bytes beside it, each with its length.

Used on both sides.  A guest mounts disks that nobody vouches for, so what it answers is data and
never code: no pickle, and no message beyond a bound.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, Final

LARGEST_BYTES: Final = 64 << 20
_HEAD: Final = struct.Struct("<II")
_BYTES: Final = "\0bytes"


class BadMessageError(Exception):
    """Bytes arrived that are no message."""


def packed(value: Any) -> bytes:
    """A value of JSON's kinds, and bytes, as a message. ValueError where it is too large."""
    blobs: list[bytes] = []
    place = 0

    def aside(blob: Any) -> dict[str, list[int]]:
        nonlocal place
        if not isinstance(blob, bytes | bytearray | memoryview):
            raise TypeError(f"{type(blob).__name__} cannot be sent")
        blobs.append(bytes(blob))
        place += len(blobs[-1])
        return {_BYTES: [place - len(blobs[-1]), place]}

    head = json.dumps(value, default=aside).encode("ascii")
    if len(head) + place > LARGEST_BYTES:
        raise ValueError(f"a message of {len(head) + place} B is too large")
    return _HEAD.pack(len(head), place) + head + b"".join(blobs)


def receive(read: Callable[[int], bytes]) -> Any:
    """The next message; `read` gives at most so many bytes, and none at the end.

    EOFError at the end; `BadMessageError` for what is no message.
    """
    head_bytes, blob_bytes = _HEAD.unpack(_exactly(read, _HEAD.size))
    if head_bytes + blob_bytes > LARGEST_BYTES:
        raise BadMessageError(f"a message of {head_bytes + blob_bytes} B was announced")
    head = _exactly(read, head_bytes)
    blobs = _exactly(read, blob_bytes)

    def back(table: dict[str, Any]) -> Any:
        if table.keys() != {_BYTES}:
            return table
        start, stop = table[_BYTES]
        if not 0 <= start <= stop <= len(blobs):
            raise ValueError("bytes outside of the message")
        return blobs[start:stop]

    try:
        return json.loads(head, object_hook=back)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadMessageError(f"a message does not parse: {error}") from error


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    pieces = []
    while count:
        piece = read(count)
        if not piece:
            raise EOFError("the other side is gone")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
