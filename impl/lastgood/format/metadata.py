"""Metadata: JSON that every reader can read, however its process is set up. Pure.

A reader has limits of its own (the depth of its stack, the digits that it converts). A group that
only some readers can read would be taken for a damaged one by the others, so the format's limits
lie below all of those, and a save refuses what is beyond them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

MAX_DEPTH: Final = 64
"""Mappings and lists inside each other, the metadata itself being the first."""
MAX_INTEGER: Final = 2**63 - 1
MIN_INTEGER: Final = -(2**63)
_INTEGER_DIGITS: Final = 20
_SHOWN_KEYS: Final = 8
# The quantifier is possessive and the last quote optional: one pass, whatever the text is.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def snapshot(metadata: object) -> tuple[dict[str, Any], int]:
    """A copy of metadata, as JSON gives it back, and how many bytes its text has.

    Nobody can change that copy while it is saved.

    ValueError or TypeError, in words, where it is not what metadata may be.
    """
    if not isinstance(metadata, Mapping):
        raise TypeError(f"found {type(metadata).__name__}, expected a mapping")
    _check(metadata)
    text = to_text(dict(metadata))
    return json.loads(text), len(text)


def to_text(value: dict[str, Any]) -> str:
    """The only spelling of a JSON object. ValueError or TypeError where it is none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_text(text: str) -> Any:
    """The JSON value of a text, within the limits above for the mapping inside it.

    ValueError where it is not JSON or beyond them, the same in every process. RecursionError
    where the caller's own stack is too deep: that says nothing about the text.
    """
    if _depth(text) > MAX_DEPTH + 1:
        raise ValueError(f"it is nested more than {MAX_DEPTH + 1} deep")
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int:
    # Longer ones are never converted: Python's limit on that is a setting of the process.
    if len(digits) > _INTEGER_DIGITS or not MIN_INTEGER <= int(digits) <= MAX_INTEGER:
        raise ValueError(f"it has an integer of {len(digits)} digits, expected 64 bits at most")
    return int(digits)


def _depth(text: str) -> int:
    """The depth of nested brackets, counted without nesting anything."""
    depth = deepest = 0
    for token in _TOKEN.finditer(text):
        bracket = text[token.start()]
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


_Place = tuple["_Place", object] | None
"""The place of a value: that of its container, and its key or index there."""


def _check(metadata: Mapping[Any, Any]) -> None:
    """Look at every value, one after the other: a walk that recursed would have a limit too."""
    todo: list[tuple[object, int, _Place]] = [(metadata, 1, None)]
    while todo:
        value, depth, place = todo.pop()
        if isinstance(value, Mapping | list | tuple):
            if depth > MAX_DEPTH:
                raise ValueError(
                    f"{_said(place)} is nested more than {MAX_DEPTH} deep, or contains itself"
                )
            if isinstance(value, Mapping):
                if place is not None and not isinstance(value, dict):
                    raise TypeError(f"{_said(place)} is {type(value).__name__}, expected a dict")
                for key in value:
                    if not isinstance(key, str):
                        raise TypeError(
                            f"{_said(place)} has the key {key!r} of type {type(key).__name__}, "
                            "which is not text"
                        )
            inner = value.items() if isinstance(value, Mapping) else enumerate(value)
            todo.extend((each, depth + 1, (place, key)) for key, each in inner)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(
                f"{_said(place)} is {value}, which JSON cannot say: write it as text, or as None"
            )
        elif isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
            raise ValueError(
                f"{_said(place)} is an integer of {value.bit_length()} bits, expected -2**63 to "
                "2**63-1: write a longer one as text"
            )
        elif not isinstance(value, str | int | float | None):
            raise TypeError(
                f"{_said(place)} is {type(value).__name__}, which JSON cannot say: expected text, "
                "a number (of an array's, number.item()), a truth value, None, a list or a dict"
            )


def _said(place: _Place) -> str:
    """A place as Python would write it; the middle of a long one is left out."""
    keys: list[str] = []
    while place is not None:
        place, key = place
        keys.append(f"[{key!r:.64}]")
    if len(keys) > _SHOWN_KEYS:
        half = _SHOWN_KEYS // 2
        keys[half:-half] = ["[…]"]
    return f"metadata{''.join(reversed(keys))}"
