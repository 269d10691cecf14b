"""What a save may ask for: everything else is a UsageError before anything was changed."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, SupportsIndex, TypeAlias, cast

from attrs import frozen

from lastgood.errors import UsageError
from lastgood.layout import MAX_NUMBER
from lastgood.manifest import (
    SIZE_LIMIT_BYTES,
    Manifest,
    clash,
    encode,
    is_count,
    is_safe_part_path,
)
from lastgood.metadata import snapshot
from lastgood.perform import Content, plain_bytes

PartData: TypeAlias = bytes | bytearray | memoryview | Path | Iterable[bytes]
"""A part to save: bytes, their chunks, or a file to copy."""

_READ_BYTES: Final = 4 << 20
_LINE_BYTES: Final = 256
"""More than a part's path costs in a manifest, apart from the path itself."""


@frozen
class Request:
    """A step and metadata that a manifest can describe; nobody can change them any more."""

    step: int
    metadata: Mapping[str, Any]


def checked(step: SupportsIndex, parts: list[str], metadata: object) -> Request:
    """Refuse what no manifest can describe. UsageError; nothing was changed."""
    number = _number(step)
    if not parts:
        raise UsageError("a group needs one part at least. Nothing was changed.")
    for path in parts:
        if not isinstance(path, str) or not is_safe_part_path(path):
            raise UsageError(
                f"part {path!r}: expected a relative path without '.', '..', backslash or control "
                "characters, and not MANIFEST, below it, or '-'. Nothing was changed."
            )
    if (both := clash(parts)) is not None:
        raise UsageError(f"{both!r} is both a part and a directory. Nothing was changed.")
    try:
        plain = snapshot(metadata)
        size_bytes = len(encode(Manifest(0, number, "", (), 1, plain)))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"metadata is not JSON that can be kept: {error}. Nothing was changed."
        ) from error
    except RecursionError as error:
        raise UsageError(
            "there is not enough stack left to write the metadata. Nothing was changed. "
            "Save from a shallower call."
        ) from error
    size_bytes += sum(7 * len(path) + _LINE_BYTES for path in parts)
    if size_bytes > SIZE_LIMIT_BYTES:
        raise UsageError(
            f"the manifest may need {size_bytes} bytes, more than {SIZE_LIMIT_BYTES}. Nothing was "
            "changed. Use fewer parts, or put the metadata into a part."
        )
    return Request(number, plain)


def contents(parts: Mapping[str, PartData]) -> dict[str, Content]:
    """Every part as chunks. UsageError where one is nothing that can be saved."""
    if not isinstance(parts, Mapping):
        raise UsageError(
            f"parts is {type(parts).__name__}, expected a mapping from paths to contents. "
            "Nothing was changed."
        )
    return {name: _content(name, data) for name, data in parts.items()}


def _number(step: SupportsIndex) -> int:
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if isinstance(step, bool) or not is_count(number) or number > MAX_NUMBER:
        raise UsageError(f"step is {step!r}, expected an integer from 0. Nothing was changed.")
    return number


def _content(name: str, data: PartData) -> Content:
    if isinstance(data, Path):
        try:
            is_file = data.is_file()
        except OSError as error:
            raise UsageError(
                f"part {name!r}: {str(data)!r} cannot be looked at: {error}. Nothing was changed."
            ) from error
        if not is_file:
            raise UsageError(
                f"part {name!r}: {str(data)!r} is no regular file. Nothing was changed."
            )
        return Content(_file_chunks(data), digest_from="file")
    try:
        view = plain_bytes(data)
    except ValueError as error:
        raise UsageError(f"part {name!r} is {error}. Nothing was changed.") from error
    if view is not None:
        return Content([view])
    if isinstance(data, str | Mapping) or not isinstance(data, Iterable):
        raise UsageError(
            f"part {name!r} is {type(data).__name__}, expected bytes in one piece, chunks of "
            "bytes, or a pathlib.Path. Nothing was changed."
        )
    return Content(cast("Iterable[bytes]", data))


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk
