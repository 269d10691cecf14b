"""The sidecar of a file: its size and SHA-256, its format, and the facts of its tensors.

It is JSON in one spelling, sealed by a SHA-256 of its own, so that damage of a sidecar is not
taken for damage of the file.  Pure; no I/O.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal, get_args

from attrs import frozen

from lastgood.format.digests import is_digest
from lastgood.guard.tensors import TensorFacts

SUFFIX: Final = ".guard.json"
VERSION: Final = 1
LIMIT_BYTES: Final = 64 << 20
_LONGEST_TEXT: Final = 4096
_MOST_DIMENSIONS: Final = 64

FormatName = Literal["npz", "safetensors", "torch", "opaque"]
FORMATS: Final[tuple[FormatName, ...]] = get_args(FormatName)
_BY_ENDING: Final[dict[str, FormatName]] = {
    ".npz": "npz", ".safetensors": "safetensors", ".pt": "torch", ".pth": "torch",
}  # fmt: skip


class SidecarError(ValueError):
    """The bytes are no intact sidecar."""


@frozen
class Sidecar:
    """The facts of a file when it was saved.

    `tensors` are in the order of the file, None where nothing here could load it.
    """

    size_bytes: int
    sha256: str
    format: FormatName = "opaque"
    tensors: tuple[TensorFacts, ...] | None = None


def format_of(name: str) -> FormatName:
    """The format of a file, by the ending of its name."""
    return next((kind for end, kind in _BY_ENDING.items() if name.endswith(end)), "opaque")


def encode_sidecar(sidecar: Sidecar) -> bytes:
    """The sidecar's only spelling."""
    tensors = None
    if sidecar.tensors is not None:
        tensors = [
            {"digest": t.digest, "dtype": t.dtype, "name": t.name, "shape": list(t.shape)}
            for t in sidecar.tensors
        ]
    body = {
        "format": sidecar.format,
        "guard": VERSION,
        "sha256": sidecar.sha256,
        "size_bytes": sidecar.size_bytes,
        "tensors": tensors,
    }
    return _text({**body, "seal": _seal(body)})


def decode_sidecar(data: bytes) -> Sidecar:
    """The sidecar that the bytes are. SidecarError says what is wrong with them."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SidecarError(f"no JSON: {error}") from error
    keys = {"format", "guard", "sha256", "size_bytes", "tensors", "seal"}
    if not isinstance(raw, dict) or set(raw) != keys:
        raise SidecarError(f"expected an object with the keys {sorted(keys)}")
    seal = raw.pop("seal")
    if seal != _seal(raw):
        raise SidecarError("its seal is not that of its content")
    if raw["guard"] != VERSION:
        raise SidecarError(f"version {raw['guard']!r}, expected {VERSION}")
    if raw["format"] not in FORMATS or not _is_count(raw["size_bytes"]):
        raise SidecarError("format or size is wrong")
    if not isinstance(raw["sha256"], str) or not is_digest(raw["sha256"], "sha256"):
        raise SidecarError("no SHA-256")
    tensors = raw["tensors"]
    if tensors is not None and not isinstance(tensors, list):
        raise SidecarError("tensors is no list")
    facts = None if tensors is None else tuple(map(_tensor, tensors))
    sidecar = Sidecar(raw["size_bytes"], raw["sha256"], raw["format"], facts)
    if encode_sidecar(sidecar) != data:
        raise SidecarError("another spelling, expected the canonical one")
    return sidecar


def _tensor(raw: Any) -> TensorFacts:
    if not isinstance(raw, dict) or set(raw) != {"digest", "dtype", "name", "shape"}:
        raise SidecarError("a tensor has other keys")
    texts = [raw[key] for key in ("digest", "dtype", "name")]
    if not all(isinstance(text, str) and len(text) <= _LONGEST_TEXT for text in texts):
        raise SidecarError("a tensor's text is wrong")
    shape = raw["shape"]
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
        raise SidecarError("a tensor's shape is wrong")
    if not all(map(_is_count, shape)) or not is_digest(raw["digest"], "sha256"):
        raise SidecarError("a tensor's shape or digest is wrong")
    return TensorFacts(raw["name"], raw["dtype"], tuple(shape), raw["digest"])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(_text(body)).hexdigest()


def _text(value: dict[str, Any]) -> bytes:
    # ASCII only: names of tensors may hold what UTF-8 cannot say.
    return json.dumps(value, sort_keys=True, indent=1).encode() + b"\n"
