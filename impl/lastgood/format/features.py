"""What this version knows of manifests, and what a manifest has beyond that. Pure; no I/O.

A manifest has one number, the lowest whose readers know all that it uses. Whoever adds a key, a
digest or a word here that a reader of today would not know raises `FORMAT`: docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lastgood.errors import LastgoodError, NewerFormatError
from lastgood.format.digests import HEX_DIGITS

HEADER: Final = "# lastgood manifest "
FORMAT: Final = 1
"""The newest number that this version reads and writes."""
VERSION_LINE: Final = f"{HEADER}{FORMAT}"
KEYS: Final = frozenset({"attempt", "generation", "metadata", "parts", "step", "world_size"})
MORE_KEYS: Final = frozenset({"chunk_bytes", "chunk_digest", "digest", "saved_at_s"})
"""Keys that are there only where they say something: a manifest has one spelling."""
PART_KEYS: Final = frozenset({"digest_from", "path", "size_bytes"})
MORE_PART_KEYS: Final = frozenset({"chunks"})
ORIGINS: Final = ("memory", "file")
"""What a part's digest may have been taken from."""

NEWER_FORMAT: Final = "newer_format"
"""The reason of a group whose manifest is intact and has something that this version lacks."""
_SHOWN: Final = 4
_SHOWN_LETTERS: Final = 48


class UnknownFeatureError(LastgoodError):
    """The manifest is intact, and has something in it that this version does not know.

    So it is not judged: it is no damage. `reason` is a word for machines, and what is needed.
    """

    def __init__(self, needs: list[str]) -> None:
        more = [f"{len(needs) - _SHOWN} more"] if len(needs) > _SHOWN else []
        text = ", ".join([*needs[:_SHOWN], *more])
        super().__init__(
            f"its seal is intact, and it needs {text}: a newer version of lastgood has written it"
        )
        self.reason = f"{NEWER_FORMAT}:{text}"


def is_newer_format(reason: str) -> bool:
    """Say whether a rejection's reason is that of a group which a newer version has written."""
    return reason.partition(":")[0] == NEWER_FORMAT


def require_judged(group: str, reason: str) -> None:
    """NewerFormatError where a newer version has written the group that has this reason."""
    if is_newer_format(reason):
        raise NewerFormatError(group, reason.partition(":")[2])


def require_known_format(first_line: bytes) -> None:
    """UnknownFeatureError where the first line of an intact manifest has another number."""
    if first_line != VERSION_LINE.encode():
        number = first_line[len(HEADER) :].decode("utf-8", "replace")
        is_number = number.isascii() and number.isdecimal()
        shown = number[:_SHOWN_LETTERS] if is_number else _shown(number)
        raise UnknownFeatureError([f"format {shown}"])


def require_known_features(head: Mapping[str, Any]) -> None:
    """UnknownFeatureError where an intact manifest's JSON has a key or a word that is not known.

    Whatever else is wrong with it: who does not know all of it cannot tell.
    """
    if needs := list(dict.fromkeys(_needs(head))):
        raise UnknownFeatureError(needs)


def _needs(head: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"the key {_shown(key)}" for key in sorted(head.keys() - KEYS - MORE_KEYS))
    for key in ("digest", "chunk_digest"):
        name = head.get(key)
        if isinstance(name, str) and name not in HEX_DIGITS:
            yield f"the digest {_shown(name)}"
    parts = head.get("parts")
    for raw in parts if isinstance(parts, list) else ():
        if isinstance(raw, dict):
            unknown = raw.keys() - PART_KEYS - MORE_PART_KEYS
            yield from (f"the key {_shown(key)} of a part" for key in sorted(unknown))
            origin = raw.get("digest_from")
            if isinstance(origin, str) and origin not in ORIGINS:
                yield f"digests from {_shown(origin)}"


def _shown(text: str) -> str:
    """The beginning of a text that somebody else has chosen, safe to print."""
    return ascii(text[:_SHOWN_LETTERS])
