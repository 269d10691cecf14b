"""Manifests as a newer version might write them: with something unknown, and sealed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final


def sealed(body: bytes) -> bytes:
    """A manifest that binds itself, whatever it says."""
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def with_number(manifest: bytes, number: str) -> bytes:
    """The same manifest with another format number."""
    body = manifest.rpartition(b"# sha256 ")[0]
    return sealed(f"# lastgood manifest {number}".encode() + body[body.index(b"\n") :])


def with_json(manifest: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The same manifest with a change in its JSON."""
    lines = manifest.rpartition(b"# sha256 ")[0].split(b"\n")
    head = json.loads(lines[1][2:])
    change(head)
    text = json.dumps(head, sort_keys=True, separators=(",", ":"))
    return sealed(b"\n".join([lines[0], b"# " + text.encode(), *lines[2:]]))


NEWER: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "format 2": lambda data: with_number(data, "2"),
    "format 37": lambda data: with_number(data, "37"),
    "the key 'zip'": lambda data: with_json(data, lambda head: head.update(zip="zstd")),
    "the key 'shard' of a part": lambda data: with_json(
        data, lambda head: head["parts"][0].update(shard=[0, 4])
    ),
    "the digest 'sha3'": lambda data: with_json(data, lambda head: head.update(digest="sha3")),
    "digests from 'network'": lambda data: with_json(
        data, lambda head: head["parts"][0].update(digest_from="network")
    ),
}
"""By what a reader must know of them."""


def make_newer(group: Path, needs: str = "format 2") -> None:
    """Let a newer version have written the manifest of a group."""
    manifest = group / "MANIFEST"
    manifest.write_bytes(NEWER[needs](manifest.read_bytes()))


def group_path(store: Path, number: int) -> Path:
    """The group of a generation whose step has the same number."""
    return store / f"gen-{number:08d}-step-{number:08d}"
