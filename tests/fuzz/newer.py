"""Manifests with something that no version of today knows: made by a tape, and told apart.

The second is said again here, plainly, so that it is the library's judge and not its echo.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from lastgood.format.metadata import from_text
from lastgood.format.names import parse_name
from tests.fuzz.tape import Tape

_KNOWN: Final = {
    *("attempt", "chunk_bytes", "chunk_digest", "digest", "generation", "metadata", "parts"),
    *("saved_at_s", "step", "world_size"),
}
_KNOWN_OF_A_PART: Final = {"chunks", "digest_from", "path", "size_bytes"}
_DIGESTS: Final = {"sha256", "blake3", "xxh3"}
_ORIGINS: Final = {"memory", "file"}
_HEADER: Final = b"# lastgood manifest "
_WORDS: Final = ("zip", "sha3", "", "\x1b[2J", "ä", "\ud800", "k" * 300, "Digest", "network")
_NUMBERS: Final = (b"2", b"3", b"10", b"0", b"01", b"9" * 40, b"", b"two", b"1 ", b"\xff")


def has_unknown(data: bytes) -> bool:
    """Whether a manifest's seal is intact, and something in it is unknown."""
    body, seal, last = data.rpartition(b"# sha256 ")
    if not data.startswith(_HEADER) or not seal:
        return False
    if last != hashlib.sha256(body).hexdigest().encode() + b"\n":
        return False
    lines = data.split(b"\n")
    if lines[0] != _HEADER + b"1":
        return True
    try:
        head = from_text(body.split(b"\n")[1].removeprefix(b"# ").decode("utf-8", "replace"))
    except (ValueError, IndexError):
        return False
    return isinstance(head, dict) and body.count(b"\n") > 1 and lines[1][:2] == b"# " and _odd(head)


def _odd(head: dict[str, Any]) -> bool:
    listed = head["parts"] if isinstance(head.get("parts"), list) else []
    parts = [part for part in listed if isinstance(part, dict)]
    digests = [head.get("digest"), head.get("chunk_digest")]
    origins = [part.get("digest_from") for part in parts]
    return (
        not set(head) <= _KNOWN
        or any(not set(part) <= _KNOWN_OF_A_PART for part in parts)
        or any(isinstance(name, str) and name not in _DIGESTS for name in digests)
        or any(isinstance(word, str) and word not in _ORIGINS for word in origins)
    )


def with_unknown(manifest: bytes, tape: Tape) -> bytes:
    """A valid manifest with something unknown in it, sealed again."""
    lines = manifest.rpartition(b"# sha256 ")[0].split(b"\n")
    head = json.loads(lines[1][2:])
    kind, which = tape.byte() % 5, tape.byte()
    word = _WORDS[which % len(_WORDS)]
    part = head["parts"][which % len(head["parts"])]
    if kind == 0:
        lines[0] = _HEADER + _NUMBERS[which % len(_NUMBERS)]
    elif kind == 1:
        head[word] = tape.number() >> 1  # within the limits of number 1
    elif kind == 2:
        part[word] = tape.number() >> 1
    elif kind == 3:
        head["digest" if tape.byte() % 2 else "chunk_digest"] = word
    else:
        part["digest_from"] = word
    if kind:
        lines[1] = b"# " + json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    body = b"\n".join(lines)
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def newer_groups(photographed: dict[bytes, Any], store: bytes) -> dict[bytes, dict[bytes, Any]]:
    """The groups of a store that a newer version has written, and all below each of them."""
    found: dict[bytes, dict[bytes, Any]] = {}
    for path, (_, _, _, _, content) in photographed.items():
        names = path.removeprefix(store + b"/").split(b"/")
        name = parse_name(names[0].decode("utf-8", "surrogateescape"))
        is_manifest = len(names) == 2 and names[1] == b"MANIFEST" and content is not None
        is_group = name is not None and not name.attempt and not name.pruned
        if is_manifest and is_group and has_unknown(content):
            home = store + b"/" + names[0]
            # Not when: whoever removes a hard link touches the file's inode.
            found[home] = {
                below: (kind, size, inode, data)
                for below, (kind, size, inode, _, data) in photographed.items()
                if below.startswith(home + b"/")
            }
    return found
