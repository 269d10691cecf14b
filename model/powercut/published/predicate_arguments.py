"""The kinds of arguments that predicates of published cases take, each with its check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from powercut.strict_reader import is_file_name

FILE_BYTES_MAX: Final = 1 << 26
"""The longest content that a predicate may spell out, in bytes."""

OFFSET_MAX: Final = (1 << 63) - 1
"""The largest number of bytes that a program can name to the kernel (off_t)."""


def _whole(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_path(value: Any) -> bool:
    return value == "." or (
        isinstance(value, str) and all(is_file_name(name) for name in value.split("/"))
    )


def _is_character(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 1 and ord(value) < 256


def _is_run(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2
    return pair and _is_character(value[0]) and _whole(value[1], FILE_BYTES_MAX)


def _are_runs(value: Any) -> bool:
    runs = isinstance(value, list) and all(map(_is_run, value))
    return runs and sum(count for _, count in value) <= FILE_BYTES_MAX


KINDS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "path": ("a path of names, such as 'd/f', or '.'", _is_path),
    "paths": ("a list of paths", lambda v: isinstance(v, list) and all(map(_is_path, v))),
    "names": ("a list of names", lambda v: isinstance(v, list) and all(map(is_file_name, v))),
    "text": ("a text", lambda v: isinstance(v, str)),
    "count": ("a count of 0 or more", lambda v: _whole(v, OFFSET_MAX)),
    "offset": (f"a number of bytes from 0 to {OFFSET_MAX}", lambda v: _whole(v, OFFSET_MAX)),
    "length": (f"a length from 0 to {FILE_BYTES_MAX} bytes", lambda v: _whole(v, FILE_BYTES_MAX)),
    "character": ("one character up to U+00FF, which stands for one byte", _is_character),
    "runs": (f"a list of [character, count], in all at most {FILE_BYTES_MAX} bytes", _are_runs),
}
"""The kinds of arguments: what is expected, in words, and the check of it."""
