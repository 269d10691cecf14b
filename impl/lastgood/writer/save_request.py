"""The input of a save, validated: a wrong one is a UsageError before anything was changed."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, SupportsIndex, TypeAlias, cast

from attrs import frozen

from lastgood.buffers import plain_bytes
from lastgood.errors import Ending, UsageError, nothing_changed
from lastgood.format.chunks import DIGESTS_LIMIT_BYTES
from lastgood.format.manifest import (
    FOLDERS_LIMIT_BYTES,
    PATH_LIMIT_BYTES,
    SIZE_LIMIT_BYTES,
    are_too_deep,
    find_clash,
    is_count,
    is_safe_part_path,
)
from lastgood.format.metadata import snapshot
from lastgood.format.names import MAX_NUMBER
from lastgood.parts.part_writer import PartSource
from lastgood.protocol.plan import subdirs


class SupportsTensor(Protocol):
    """Whatever exports its memory by DLPack: tensors of PyTorch, JAX, TensorFlow, CuPy, …"""

    def __dlpack__(self) -> object:
        """Give a capsule."""


PartData: TypeAlias = bytes | bytearray | memoryview | Path | SupportsTensor | Iterable[bytes]
"""A part to save: bytes, an array or a CPU tensor, chunks of bytes, or a file to copy."""

_READ_BYTES: Final = 4 << 20
_HEAD_BYTES: Final = 1024
"""More than a manifest needs besides its parts and its metadata."""
_LINE_BYTES: Final = 256
"""More than a part's path costs in a manifest, apart from the path itself."""


@frozen
class SaveRequest:
    """A step and metadata that a manifest can describe; nobody can change them any more."""

    step: int
    metadata: Mapping[str, Any]
    metadata_bytes: int
    """The size of its text in a manifest."""


def check_request(step: SupportsIndex, parts: list[str] | None, metadata: object) -> SaveRequest:
    """Refuse what no manifest can describe. UsageError; nothing was changed.

    `parts` is None where they are not known yet: see `check_request_parts`.
    """
    request = SaveRequest(_number(step), *_checked_metadata(metadata))
    return request if parts is None else check_request_parts(request, parts)


def check_request_parts(
    request: SaveRequest, parts: list[str], ending: Ending = nothing_changed
) -> SaveRequest:
    """The request, if its parts can be in a manifest beside its metadata. UsageError."""
    if (why_not := _refusal(request, parts)) is not None:
        raise UsageError(f"{why_not} {ending()}")
    return request


def _refusal(request: SaveRequest, parts: list[str]) -> str | None:
    """The reason why no manifest can hold these parts; None where one can."""
    if not parts:
        return "a group needs one part at least."
    for path in parts:
        if not isinstance(path, str) or not is_safe_part_path(path):
            return (
                f"part {path!r}: expected a relative path without '.', '..', backslash or control "
                f"characters, of {PATH_LIMIT_BYTES} bytes at most, and not MANIFEST, below it, or "
                "'-'."
            )
    if are_too_deep(parts):
        return (
            "the parts lie in too many directories inside each other, expected "
            f"{FOLDERS_LIMIT_BYTES} bytes of directories' paths at most: use shorter paths."
        )
    if (both := find_clash(parts)) is not None:
        return f"{both!r} is both a part and a directory."
    names = [*parts, *subdirs(parts)]
    folded = {_folded(name): name for name in names}
    for name in names:
        if folded[_folded(name)] != name:
            return (
                f"{name!a} and {folded[_folded(name)]!a} are one name on file systems that ignore "
                "case or how a letter is composed: give one of them another name."
            )
    size_bytes = _manifest_bytes(request, parts)
    if size_bytes > SIZE_LIMIT_BYTES:
        return (
            f"the manifest may need {size_bytes} bytes, more than {SIZE_LIMIT_BYTES}: use fewer "
            "parts, or put the metadata into a part."
        )
    return None


def _manifest_bytes(request: SaveRequest, parts: list[str]) -> int:
    """The size of a manifest of these parts at most, apart from the digests of chunks."""
    return request.metadata_bytes + _HEAD_BYTES + sum(7 * len(path) + _LINE_BYTES for path in parts)


def room_for_chunks(request: SaveRequest, parts: list[str]) -> int:
    """So many hex digits of chunks may be in the manifest of these parts."""
    return min(DIGESTS_LIMIT_BYTES, SIZE_LIMIT_BYTES - _manifest_bytes(request, parts))


def _folded(name: str) -> str:
    """The form that names share which are one on macOS, Windows and ext4 with casefold."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _checked_metadata(metadata: object) -> tuple[Mapping[str, Any], int]:
    try:
        return snapshot(metadata)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"metadata is not JSON that can be kept: {error}. Nothing was changed."
        ) from error
    except RecursionError as error:
        raise UsageError(
            "there is not enough stack left to write the metadata. Nothing was changed. "
            "Save from a shallower call."
        ) from error


def part_sources(parts: Mapping[str, PartData], *, stable: bool = False) -> dict[str, PartSource]:
    """Every part as chunks. UsageError where one is nothing that can be saved.

    `stable`: nobody changes the memory of a part before the save returns.
    """
    if not isinstance(parts, Mapping):
        raise UsageError(
            f"parts is {type(parts).__name__}, expected a mapping from paths to contents. "
            "Nothing was changed."
        )
    return {name: _content(name, data, stable) for name, data in parts.items()}


def _number(step: SupportsIndex) -> int:
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if isinstance(step, bool) or not is_count(number) or number > MAX_NUMBER:
        raise UsageError(f"step is {step!r}, expected an integer from 0. Nothing was changed.")
    return number


def _content(name: str, data: PartData, stable: bool) -> PartSource:
    if isinstance(data, Path):
        try:
            is_file, size_bytes = data.is_file(), data.stat().st_size
        except FileNotFoundError:
            is_file, size_bytes = False, 0
        except OSError as error:
            raise UsageError(
                f"part {name!r}: {str(data)!r} cannot be looked at: {error}. Nothing was changed."
            ) from error
        if not is_file:
            raise UsageError(
                f"part {name!r}: {str(data)!r} is no regular file. Nothing was changed."
            )
        return PartSource(_file_chunks(data), "file", size_bytes, is_stable=True, is_ours=True)
    try:
        view = plain_bytes(data)
    except ValueError as error:
        raise UsageError(f"part {name!r} is {error}. Nothing was changed.") from error
    if view is not None:
        return PartSource([view], "memory", len(view), stable, is_ours=True)
    if isinstance(data, set | frozenset):
        raise UsageError(
            f"part {name!r} is a {type(data).__name__}, whose order is another one in each "
            "process, expected chunks of bytes in a list. Nothing was changed."
        )
    if isinstance(data, str | Mapping) or not isinstance(data, Iterable):
        raise UsageError(
            f"part {name!r} is {type(data).__name__}, expected bytes, an array or a CPU "
            "tensor, chunks of bytes, or a pathlib.Path. Nothing was changed."
        )
    return PartSource(cast("Iterable[bytes]", data))


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk
