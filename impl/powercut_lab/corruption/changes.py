"""Faults of a whole checkpoint at rest: which of its files change, and to what.  Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from powercut_lab.corruption.faults import ByteFault, byte_faults, flip_bits

CONTROL: Final = "none"
MANIFEST_FLIP: Final = "flip in the manifest"
UNREADABLE: Final = "unreadable block"


@frozen
class Checkpoint:
    """The files of a checkpoint by name, and those of an older one beside it.

    `parts` hold the content; `records` vouch for them: a manifest, a commit record, a sidecar.
    """

    parts: Mapping[str, bytes]
    records: Mapping[str, bytes]
    older_parts: Mapping[str, bytes]
    older_records: Mapping[str, bytes]


@frozen
class Change:
    """Files that get other bytes, or (None) go; and where that is, for people."""

    files: Mapping[str, bytes | None]
    where: str

    def is_effective(self, checkpoint: Checkpoint) -> bool:
        """Some byte is another one now."""
        before = {**checkpoint.parts, **checkpoint.records}
        return any(before.get(name) != data for name, data in self.files.items())


Fault = Callable[[Checkpoint, random.Random], Change]


def faults_at_rest(kept: float) -> Mapping[str, Fault]:
    """Every fault by name; a truncation keeps the share `kept` of a file."""
    return {
        **{name: _in_a_part(fault) for name, fault in byte_faults(kept).items()},
        "swapped parts": _swap,
        "missing part": _remove,
        "stale manifest": _stale,
        MANIFEST_FLIP: _flip_record,
    }


def nothing(_checkpoint: Checkpoint, _draw: random.Random) -> Change:
    """The control."""
    return Change({}, "")


def draw_file(files: Mapping[str, bytes], draw: random.Random) -> str:
    """A file by chance, as a random byte of all of them would choose it."""
    return draw.choices(list(files), [len(data) for data in files.values()])[0]


def _in_a_part(fault: ByteFault) -> Fault:
    def apply(checkpoint: Checkpoint, draw: random.Random) -> Change:
        name = draw_file(checkpoint.parts, draw)
        damage = fault(checkpoint.parts[name], draw)
        where = f"{name}: {damage.length} bytes at {damage.offset}"
        return Change({name: damage.data}, where)

    return apply


def _flip_record(checkpoint: Checkpoint, draw: random.Random) -> Change:
    name = draw_file(checkpoint.records, draw)
    damage = flip_bits(checkpoint.records[name], draw)
    return Change({name: damage.data}, f"{name}: byte {damage.offset}")


def _swap(checkpoint: Checkpoint, draw: random.Random) -> Change:
    """Two parts change places; a single file changes places with the older one."""
    if len(checkpoint.parts) == 1:
        ((name, _),) = checkpoint.parts.items()
        return Change({name: checkpoint.older_parts[name]}, name)
    one, other = draw.sample(sorted(checkpoint.parts), 2)
    swapped = {one: checkpoint.parts[other], other: checkpoint.parts[one]}
    return Change(swapped, f"{one}, {other}")


def _remove(checkpoint: Checkpoint, draw: random.Random) -> Change:
    name = draw.choice(sorted(checkpoint.parts))
    return Change({name: None}, name)


def _stale(checkpoint: Checkpoint, _draw: random.Random) -> Change:
    """The records of the older checkpoint stand in place of this one's."""
    return Change(dict(checkpoint.older_records), ", ".join(checkpoint.older_records))
