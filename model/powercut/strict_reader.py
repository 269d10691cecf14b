"""Strict reading: every value is checked, and what is wrong is named with its place."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from powercut.errors import PowercutError

SIZE_LIMIT_BYTES: Final = 16 << 20


@frozen
class StrictReader:
    """Reads one kind of file; every complaint is an `error` and says that nothing was run."""

    error: type[PowercutError]

    def fail(self, where: str, message: str) -> PowercutError:
        """The complaint, to be raised."""
        return self.error(f"{where}: {message}. Nothing was run.")

    def file(self, path: Path) -> dict[str, Any]:
        """The TOML table in a file of at most SIZE_LIMIT_BYTES."""
        return self.toml(self.text(path), str(path))

    def text(self, path: Path, limit_bytes: int = SIZE_LIMIT_BYTES) -> str:
        """The text in a regular file of at most so many bytes."""
        try:
            if not path.is_file():
                raise self.fail(str(path), "cannot be read: it is missing, or no regular file")
            with path.open("rb") as opened:
                data = opened.read(limit_bytes + 1)
            if len(data) > limit_bytes:
                raise self.fail(str(path), f"larger than {limit_bytes} bytes, and not read")
            return data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.fail(str(path), f"cannot be read: {error}") from error

    def toml(self, text: str, where: str) -> dict[str, Any]:
        """The TOML table in a text."""
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.fail(where, f"not TOML: {error}") from error

    def typed(self, table: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
        """The value of a required key, of the required type."""
        if key not in table:
            raise self.fail(where, f"the key {key!r} is missing")
        value = table[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fail(where, f"{key} is {value!r}, expected {kind.__name__}")
        return value

    def optional(
        self, table: Mapping[str, Any], key: str, kind: type, default: Any, where: str
    ) -> Any:
        """The value of a key that may be missing."""
        return self.typed(table, key, kind, where) if key in table else default

    def count(self, table: Mapping[str, Any], key: str, where: str, least: int = 0) -> int:
        """The value of a required key that counts something."""
        value: int = self.typed(table, key, int, where)
        if value < least:
            raise self.fail(where, f"{key} is {value}, expected {least} or more")
        return value

    def one_of(self, table: Mapping[str, Any], key: str, known: Sequence[str], where: str) -> str:
        """The value of a required key that has few."""
        value: str = self.typed(table, key, str, where)
        if value not in known:
            raise self.fail(where, f"{key} is {value!r}, expected one of {', '.join(known)}")
        return value

    def strings(self, table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
        """The value of a key that may be missing and lists strings."""
        values = self.optional(table, key, list, [], where)
        if not all(isinstance(value, str) for value in values):
            raise self.fail(where, f"{key} is {values!r}, expected a list of strings")
        return tuple(values)

    def texts(self, table: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
        """The value of a key that may be missing and maps words to strings."""
        values: dict[str, str] = self.optional(table, key, dict, {}, where)
        for name in values:
            self.typed(values, name, str, f"{where}: {key}")
        return values

    def keys(self, table: Any, known: Iterable[str], where: str) -> None:
        """Refuse what is no table, or has a key that nobody reads."""
        if not isinstance(table, dict):
            raise self.fail(where, f"expected a table, found {table!r}")
        for key in table:
            if key not in known:
                names = ", ".join(sorted(known))
                raise self.fail(
                    where, f"unknown key {key!r}{hint(key, known)}; known here: {names}"
                )

    def schema(self, table: Mapping[str, Any], where: str) -> None:
        """Refuse every version of the format but the first."""
        version = table.get("schema")
        if isinstance(version, bool) or version != 1:
            raise self.fail(where, f"schema is {version!r}, expected 1")


def short(value: Any) -> str:
    """A value as a complaint shows it, of at most 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def can_be_passed(text: str) -> bool:
    """A text that a program can pass to the kernel: no NUL, and bytes that it can stand for.

    A byte that is not UTF-8 stands there as Python reads it (U+DC80 to U+DCFF).
    """
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def is_file_name(value: Any) -> bool:
    """A text that can name an entry of a directory."""
    text = isinstance(value, str) and value not in ("", ".", "..") and "/" not in value
    return text and can_be_passed(value)


def hint(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word; empty where nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
