"""Reads JSON that a stranger may have written: within bounds, and each value of its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from powercut_lab.errors import LabError

LIMIT_BYTES: Final = 8 << 20
_TEXT: Final = 4000
_MANY: Final = 5000


def read_object(path: Path) -> Mapping[str, Any]:
    """The object that a file holds. LabError: no such file, too long, no JSON, no object."""
    try:
        with path.open("rb") as stream:
            data = stream.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error}. Nothing was changed.") from error
    if len(data) > LIMIT_BYTES:
        raise LabError(f"{path} has more than {LIMIT_BYTES} bytes; it was not read.")
    try:
        return as_object(json.loads(data), "the file")
    except (ValueError, RecursionError) as error:
        raise LabError(f"{path} is not what was expected: {error}. Nothing was changed.") from error


def as_object(value: Any, what: str) -> Mapping[str, Any]:
    """The value, which is an object. ValueError."""
    if not isinstance(value, dict) or len(value) > _MANY:
        raise ValueError(f"{what[:40]} is {_short(value)}; expected an object")
    return value


def list_in(part: Mapping[str, Any], name: str) -> list[Any]:
    """The list of that name. ValueError."""
    value = part.get(name)
    if not isinstance(value, list) or len(value) > _MANY:
        raise ValueError(f"{name} is {_short(value)}; expected a list")
    return value


def text_in(part: Mapping[str, Any], name: str) -> str:
    """The text of that name. ValueError."""
    value = part.get(name)
    if not isinstance(value, str) or len(value) > _TEXT:
        raise ValueError(f"{name} is {_short(value)}; expected a text")
    return value


def texts_in(part: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The list of texts of that name. ValueError."""
    return tuple(text_in({name: each}, name) for each in list_in(part, name))


def named_texts_in(part: Mapping[str, Any], name: str) -> dict[str, str]:
    """The object of that name, whose values are texts. ValueError."""
    inner = as_object(part.get(name), name)
    return {key[:_TEXT]: text_in(inner, key) for key in inner}


def number_in(part: Mapping[str, Any], name: str) -> float:
    """The number of that name. ValueError."""
    value = part.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is {_short(value)}; expected a number")
    return value


def _short(value: Any) -> str:
    return repr(value)[:40]
