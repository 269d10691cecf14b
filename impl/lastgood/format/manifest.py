"""The manifest: what a group holds, in one file that binds itself. Pure; no I/O.

It is text that `sha256sum -c MANIFEST` can check inside the group's directory:

    # lastgood manifest 1
    # {"attempt":...,"generation":...,"parts":[...],"step":...,...}
    <sha256>  <path>                 one line for each part
    # sha256 <digest of every byte above this line>

Another algorithm is named by the key "digest"; `b3sum` and `xxhsum` read the same lines.
Where parts have chunks, "chunk_bytes" is their size and "chunk_digest" the algorithm, if it is
another one; the digests are in the part's "chunks", one after the other.
A manifest is valid in exactly one spelling: decoding encodes again and compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from attrs import field, frozen

from lastgood.errors import LastgoodError
from lastgood.format.chunks import DIGESTS_LIMIT_BYTES, Chunking, is_chunk_size
from lastgood.format.digests import HEX_DIGITS, is_digest
from lastgood.format.features import (
    HEADER,
    KEYS,
    MORE_KEYS,
    MORE_PART_KEYS,
    ORIGINS,
    PART_KEYS,
    VERSION_LINE,
    require_known_features,
    require_known_format,
)
from lastgood.format.metadata import MAX_INTEGER, from_text, to_text

SIZE_LIMIT_BYTES: Final = 16 << 20
NAME_LIMIT_BYTES: Final = 255
PATH_LIMIT_BYTES: Final = 1024
FOLDERS_LIMIT_BYTES: Final = 64 << 20
"""Of the paths of all directories that the parts name: what a reader may have to remember."""
MAX_SIZE_BYTES: Final = MAX_INTEGER


class ManifestError(LastgoodError, ValueError):
    """The bytes are not an intact manifest. `reason` is a word for machines."""

    exit_status = 1

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@frozen
class Part:
    """One file of a group. `digest_from` is "memory" or "file": what was hashed.

    `chunks` are the hex digests of its chunks, one after the other; empty where it has none.
    """

    path: str
    size_bytes: int
    digest: str
    digest_from: str = "memory"
    chunks: str = field(default="", repr=False)


@frozen
class Manifest:
    """The content of a group; its parts are in the order in which the caller gave them.

    `algorithm` is that of the parts' digests. `saved_at_s` is the Unix time by the writer's clock,
    or None: a hint for retention, never for choosing a group. `chunking` says how parts are cut;
    None where none has chunks.
    """

    generation: int
    step: int
    attempt: str
    parts: tuple[Part, ...]
    world_size: int = 1
    metadata: Mapping[str, Any] = field(factory=dict)
    algorithm: str = "sha256"
    saved_at_s: int | None = None
    chunking: Chunking | None = None

    @cached_property
    def part_by_path(self) -> Mapping[str, Part]:
        """The parts by their paths; made where somebody asks for one by its path."""
        return {part.path: part for part in self.parts}


def is_safe_part_path(path: str) -> bool:
    """The path is relative, normal, inside the group, printable, and not the manifest's own.

    Nor is it below the manifest, nor "-", which `sha256sum -c` takes for its standard input.
    """
    if not path.isprintable() or "\\" in path or path.partition("/")[0].upper() == "MANIFEST":
        return False
    if path == "-" or path.startswith("#") or len(path.encode()) > PATH_LIMIT_BYTES:
        return False
    return all(is_safe_name(name) for name in path.split("/"))


def is_safe_name(name: str) -> bool:
    """One name of a path: not empty, not "." or "..", no longer than file systems take."""
    return name not in ("", ".", "..") and len(name.encode()) <= NAME_LIMIT_BYTES


def is_count(value: object) -> bool:
    """The value is an integer that counts something, of 63 bits: not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER


def are_too_deep(paths: Sequence[str]) -> bool:
    """So many directories are named that their paths would fill a reader's memory.

    A manifest of 16 MiB can name millions, each of them deep inside others.
    """
    return sum(path.count("/") * len(path) for path in paths) > FOLDERS_LIMIT_BYTES


def find_clash(paths: Sequence[str]) -> str | None:
    """The first path that is there twice, or that another one needs as a directory."""
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            return path
        seen.add(path)
    for path in paths:
        names = path.split("/")
        for n in range(1, len(names)):
            if "/".join(names[:n]) in seen:
                return "/".join(names[:n])
    return None


def encode(manifest: Manifest) -> bytes:
    """The manifest's only spelling. ValueError or TypeError where its metadata is not JSON."""
    head: dict[str, Any] = {
        "attempt": manifest.attempt,
        "generation": manifest.generation,
        "metadata": dict(manifest.metadata),
        "parts": [_part_json(part) for part in manifest.parts],
        "step": manifest.step,
        "world_size": manifest.world_size,
    }
    if manifest.algorithm != "sha256":
        head["digest"] = manifest.algorithm
    if manifest.saved_at_s is not None:
        head["saved_at_s"] = manifest.saved_at_s
    if manifest.chunking is not None:
        head["chunk_bytes"] = manifest.chunking.chunk_bytes
        if manifest.chunking.algorithm != manifest.algorithm:
            head["chunk_digest"] = manifest.chunking.algorithm
    lines = [VERSION_LINE, f"# {to_text(head)}", *(f"{p.digest}  {p.path}" for p in manifest.parts)]
    body = "".join(f"{line}\n" for line in lines).encode()
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def _part_json(part: Part) -> dict[str, Any]:
    said = {"digest_from": part.digest_from, "path": part.path, "size_bytes": part.size_bytes}
    return {**said, "chunks": part.chunks} if part.chunks else said


def decode(data: bytes) -> Manifest:
    """The manifest that the bytes are. ManifestError says what is wrong with them.

    UnknownFeatureError where they are intact and something in them is not known to this version.
    RecursionError where the caller's own stack is too deep: that says nothing about the bytes.
    """
    first = data.partition(b"\n")[0]
    if not first.startswith(HEADER.encode()):
        raise _error("not_a_manifest", f"it begins with {_shown(first)}, expected {VERSION_LINE!r}")
    body, seal, last = data.rpartition(b"# sha256 ")
    if not seal or not last.endswith(b"\n") or not is_digest(last[:-1].decode("latin-1"), "sha256"):
        raise _error(
            "truncated",
            f"it ends after {len(data)} bytes, expected '# sha256 ' and 64 hex digits at its end",
        )
    digest = hashlib.sha256(body).hexdigest()
    if last[:-1].decode() != digest:
        raise ManifestError(
            "commit_manifest_mismatch",
            f"its bytes have the SHA-256 {digest}, its last line says {last[:-1].decode()}",
        )
    require_known_format(first)
    lines = body.decode("utf-8", "replace").split("\n")
    if len(lines) < 3 or not lines[1].startswith("# "):
        raise _error("json", "its second line is something else, expected '# ' and JSON")
    manifest = _from_json(lines[1][2:], lines[2:-1])
    try:
        canonical = encode(manifest)
    except ValueError as error:
        raise _error("json", f"its metadata is not the JSON that is expected: {error}") from error
    if canonical != data:
        raise _error("form", "it is another spelling, expected the canonical one")
    return manifest


def _error(what: str, message: str) -> ManifestError:
    return ManifestError(f"manifest_error:{what}", message)


def _shown(line: bytes) -> str:
    """The beginning of a line, safe to print."""
    return ascii(line[:48].decode("utf-8", "replace"))


def _from_json(text: str, sums: list[str]) -> Manifest:
    """The manifest of the JSON line and the checksum lines, each value checked."""
    try:
        head = from_text(text)
    except ValueError as error:
        raise _error(
            "json", f"its second line is not the JSON that is expected: {error}"
        ) from error
    if isinstance(head, dict):
        require_known_features(head)
    keys = set(head) if isinstance(head, dict) else set()
    if not KEYS <= keys <= KEYS | MORE_KEYS or not isinstance(head["parts"], list):
        raise _error("keys", f"expected the keys {sorted(KEYS)}")
    for key in ("generation", "step", "world_size", "saved_at_s"):
        if not is_count(head.get(key, 0)):
            raise _error("value", f"{key} is wrong, expected a count")
    if not isinstance(head["attempt"], str) or not isinstance(head["metadata"], dict):
        raise _error("value", "attempt or metadata is wrong, expected text and an object")
    algorithm = head.get("digest", "sha256")
    if not isinstance(algorithm, str) or algorithm not in HEX_DIGITS:
        raise _error("value", f"digest is wrong, expected one of {', '.join(HEX_DIGITS)}")
    if len(sums) != len(head["parts"]):
        raise _error(
            "parts", f"{len(head['parts'])} parts and {len(sums)} digests, expected as many"
        )
    pairs = zip(head["parts"], sums, strict=True)
    chunking = _chunking(head, algorithm)
    parts = tuple(_part(raw, line, algorithm, chunking) for raw, line in pairs)
    if not parts:
        raise _error("parts", "it lists no part, expected one at least")
    if are_too_deep([part.path for part in parts]):
        raise _error(
            "parts",
            f"its directories' paths are too long, expected {FOLDERS_LIMIT_BYTES} bytes at most",
        )
    if (path := find_clash([part.path for part in parts])) is not None:
        raise _error("parts", f"two parts need the path {path!r}, expected one")
    digests_bytes = sum(len(part.chunks) for part in parts)
    if digests_bytes > DIGESTS_LIMIT_BYTES or (chunking is not None and not digests_bytes):
        raise _error(
            "chunks",
            f"its chunks have {digests_bytes} hex digits, expected 1 to {DIGESTS_LIMIT_BYTES} with "
            "chunk_bytes and none without",
        )
    return Manifest(
        head["generation"],
        head["step"],
        head["attempt"],
        parts,
        head["world_size"],
        head["metadata"],
        algorithm,
        head.get("saved_at_s"),
        chunking,
    )


def _chunking(head: Mapping[str, Any], algorithm: str) -> Chunking | None:
    """The chunking in its JSON; None where there is none."""
    chunk_bytes, kind = head.get("chunk_bytes"), head.get("chunk_digest", algorithm)
    if "chunk_bytes" not in head:
        if "chunk_digest" in head:
            raise _error("chunks", "chunk_digest is there, expected chunk_bytes beside it")
        return None
    if not is_chunk_size(chunk_bytes):
        raise _error("chunks", "chunk_bytes is wrong, expected a power of two of 63 bits")
    if not isinstance(kind, str) or kind not in HEX_DIGITS:
        raise _error("chunks", f"chunk_digest is wrong, expected one of {', '.join(HEX_DIGITS)}")
    return Chunking(head["chunk_bytes"], kind)


def _part(raw: Any, line: str, algorithm: str, chunking: Chunking | None) -> Part:
    """One part of its JSON object and its checksum line."""
    keys = set(raw) if isinstance(raw, dict) else set()
    if not PART_KEYS <= keys <= PART_KEYS | MORE_PART_KEYS:
        raise _error("parts", f"a part has other keys, expected {sorted(PART_KEYS)}")
    path = raw["path"]
    if not isinstance(path, str) or not is_safe_part_path(path):
        shown = ascii(path)[:128]
        raise ManifestError(
            f"unsafe_path:{shown}",
            f"the path {shown} was found, expected a plain relative path inside the group",
        )
    digest, gap, named = line.partition("  ")
    if not gap or named != path or not is_digest(digest, algorithm):
        raise _error("parts", f"a digest line is wrong, expected that of {path!r}")
    if not is_count(raw["size_bytes"]) or raw["digest_from"] not in ORIGINS:
        raise _error(
            "value", f"size or origin of {path!r} is wrong, expected a count and a known word"
        )
    chunks = raw.get("chunks", "")
    count = 0 if chunking is None else chunking.count(raw["size_bytes"])
    kind = algorithm if chunking is None else chunking.algorithm
    if not isinstance(chunks, str) or not is_digest(chunks, kind, count):
        raise _error(
            "chunks",
            f"the chunks of {path!r} are wrong, expected {count} digests in lower-case hex",
        )
    return Part(path, raw["size_bytes"], digest, raw["digest_from"], chunks)
