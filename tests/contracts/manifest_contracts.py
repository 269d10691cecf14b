"""What the manifest's encoding and the names of groups promise."""

from __future__ import annotations

import posixpath

from lastgood.format.manifest import (
    Manifest,
    ManifestError,
    Part,
    decode,
    encode,
    is_safe_part_path,
)
from lastgood.format.names import GroupName, next_generation, parse_name

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ENCODED = encode(Manifest(7, 42, "a", (Part("weights", 3, DIGEST),)))


def a_safe_path_stays_inside_its_group(path: str) -> None:
    """Joined to the group's directory it is normal already and names something below it."""
    assert len(path) <= 8
    assert is_safe_part_path(path)

    joined = f"/group/{path}"

    assert posixpath.normpath(joined) == joined
    assert not path.startswith("/")
    assert path != "MANIFEST"
    assert "\n" not in path


def what_is_encoded_is_decoded(
    generation: int, step: int, size_bytes: int, world_size: int, attempt: str, path: str
) -> None:
    """Decoding gives back the manifest, for any counts and any safe path."""
    assert min(generation, step, size_bytes, world_size) >= 0
    assert max(generation, step, size_bytes, world_size) < 1 << 63
    assert len(attempt) <= 4
    assert len(path) <= 4
    assert is_safe_part_path(path)
    manifest = Manifest(
        generation, step, attempt, (Part(path, size_bytes, DIGEST),), world_size, {"a": step}
    )

    assert decode(encode(manifest)) == manifest


def a_changed_byte_is_refused(place: int, change: int) -> None:
    """Of an encoded manifest with any one byte changed, nothing is ever decoded."""
    assert 0 <= place < len(ENCODED)
    assert 0 < change < 256

    data = bytearray(ENCODED)
    data[place] ^= change
    try:
        decode(bytes(data))
    except ManifestError:
        refused = True
    else:
        refused = False

    assert refused


def a_shortened_manifest_is_refused(length: int) -> None:
    """Of an encoded manifest that was cut anywhere, nothing is ever decoded."""
    assert 0 <= length < len(ENCODED)

    try:
        decode(ENCODED[:length])
    except ManifestError:
        refused = True
    else:
        refused = False

    assert refused


def a_group_has_one_name(generation: int, step: int, attempt: bool) -> None:
    """A name that is written is read as the group that it was written for."""
    assert 0 <= generation < 10**15
    assert 0 <= step < 10**18
    group = GroupName(generation, step, attempt)

    assert parse_name(str(group)) == group


def a_generation_is_never_used_twice(live: int, dead: int, quarantined: int) -> None:
    """The next generation is above all that any name mentions, dead attempts included."""
    assert 0 <= live < 10**15
    assert 0 <= dead < 10**15
    assert 0 <= quarantined < 10**15
    names = [str(GroupName(live, 1)), str(GroupName(dead, 2, attempt=True)), "lock"]
    away = [f"{GroupName(quarantined, 3)}.1"]

    assert next_generation(names, away) == 1 + max(live, dead, quarantined)
