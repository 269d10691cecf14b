"""Faults of bytes, by the paper's rules where it has one.  Pure: bytes in, bytes out.

The draws come in the order of the paper's code, so that its seeds give its injections.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

BLOCK_BYTES: Final = 4096
_BYTES_PER_FLIP: Final = 200_000


@frozen
class FaultAction:
    """Bytes after a fault, and where it struck: the first byte, and how many it set or removed."""

    data: bytes
    offset: int
    length: int


ByteFault = Callable[[bytes, random.Random], FaultAction]


def no_fault(data: bytes, _draw: random.Random) -> FaultAction:
    """The control: nothing happens."""
    return FaultAction(data, 0, 0)


def flip_bits(data: bytes, draw: random.Random) -> FaultAction:
    """Flip one bit, or one for each 200,000 bytes."""
    damaged = bytearray(data)
    at = 0
    for _ in range(max(1, len(data) // _BYTES_PER_FLIP)):
        at = draw.randrange(len(data))
        damaged[at] ^= 1 << draw.randrange(8)
    return FaultAction(bytes(damaged), at, 1)


def truncation(kept: float) -> ByteFault:
    """Cut a file off behind the share `kept` of it."""

    def truncate(data: bytes, _draw: random.Random) -> FaultAction:
        keep = int(len(data) * kept)
        return FaultAction(data[:keep], keep, len(data) - keep)

    return truncate


def zero_range(data: bytes, draw: random.Random) -> FaultAction:
    """Set a hundredth of the bytes to zero, from a random place on, up to the end at most."""
    start = draw.randrange(len(data))
    length = min(len(data) - start, max(1, len(data) // 100))
    return FaultAction(data[:start] + bytes(length) + data[start + length :], start, length)


def duplicate_block(data: bytes, draw: random.Random) -> FaultAction:
    """Write one block of 4 KiB over another one; a file of one block stays as it is."""
    blocks = -(-len(data) // BLOCK_BYTES)
    if blocks < 2:
        return FaultAction(data, 0, 0)
    source, target = draw.sample(range(blocks), 2)
    copied = data[source * BLOCK_BYTES : (source + 1) * BLOCK_BYTES]
    start = target * BLOCK_BYTES
    copied = copied[: min(BLOCK_BYTES, len(data) - start)]
    return FaultAction(data[:start] + copied + data[start + len(copied) :], start, len(copied))


def byte_faults(kept: float) -> Mapping[str, ByteFault]:
    """The faults of bytes by name; a truncation keeps the share `kept`."""
    return {
        "bit flip": flip_bits,
        "truncation": truncation(kept),
        "zero range": zero_range,
        "duplicated block": duplicate_block,
    }
