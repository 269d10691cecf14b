"""The note in a lock file on who holds the lease: for people, and never for a decision.

It is written after the lock was taken and is not synced. Whatever is read is a stranger's.
"""

from __future__ import annotations

import json
from typing import Final

from attrs import frozen

LIMIT_BYTES: Final = 1024
NOTE_BEGINS: Final = b'{"pid": '
_HOST_CHARACTERS: Final = 255


@frozen
class LeaseHolder:
    """The process that holds a lease; `since_s` is the Unix time at which it took it.

    `is_us`: it is the process that asks. What is not known is None or empty.
    """

    pid: int | None = None
    host: str = ""
    since_s: int | None = None
    is_us: bool = False


def encode_holder(holder: LeaseHolder) -> bytes:
    """The note of a holder: one line of JSON."""
    note = {"pid": holder.pid, "host": holder.host, "since_s": holder.since_s}
    return json.dumps(note).encode("ascii") + b"\n"


def decode_holder(data: bytes) -> LeaseHolder:
    """The holder in a note; of anything else, one of whom nothing is known."""
    try:
        note = json.loads(data)
        pid, host, since_s = note["pid"], note["host"], note["since_s"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return LeaseHolder()
    is_well_formed = isinstance(host, str) and host.isprintable() and len(host) <= _HOST_CHARACTERS
    if not is_well_formed or not _is_number(pid) or not _is_number(since_s):
        return LeaseHolder()
    return LeaseHolder(pid, host, since_s)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
