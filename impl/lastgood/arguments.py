"""The arguments of public calls: a wrong one is a UsageError before anything was changed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex, TypeVar

from lastgood.errors import UsageError

_T = TypeVar("_T")


def require_a(what: str, value: object, kind: type, example: str) -> None:
    """UsageError where there is a value and it is not of that kind."""
    if value is not None and not isinstance(value, kind):
        raise UsageError(
            f"{what} is {value!r}, expected a {kind.__name__} such as {example}. "
            "Nothing was changed."
        )


def require_callable(what: str, value: object) -> None:
    """UsageError where there is a value and it cannot be called."""
    if value is not None and not callable(value):
        raise UsageError(f"{what} is {value!r}, expected a function. Nothing was changed.")


def as_integer(what: str, value: SupportsIndex, least: int = 0) -> int:
    """An integer, of another library's kind as well, but no truth value. UsageError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise UsageError(
            f"{what} is {value!r}, expected an integer from {least}. Nothing was changed."
        )
    return number


def as_tuple(what: str, given: Iterable[_T]) -> tuple[_T, ...]:
    """All that is given, in its order. UsageError where it is not several."""
    try:
        return tuple(given)
    except TypeError as error:
        raise UsageError(f"{what} is {given!r}, expected several in a list or a tuple.") from error


def unix_time(now: Callable[[], float]) -> Callable[[], float]:
    """The same clock, whose answers are numbers that a manifest can note. UsageError."""

    def checked() -> float:
        given: Any = now()
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if not is_number or not math.isfinite(given):
            raise UsageError(
                f"now() gave {given!r}, expected Unix time, a number of seconds. No group was "
                "saved, moved or given up for it; earlier groups are intact."
            )
        return float(given)

    return checked


def check_count(owner: object, attribute: Any, value: int) -> None:
    """A validator of attrs: an integer from 1. UsageError."""
    as_integer(_field_name(owner, attribute), value, 1)


def check_seconds(owner: object, attribute: Any, value: float) -> None:
    """A validator of attrs: a number of seconds, more than 0. UsageError."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not value > 0:
        name = _field_name(owner, attribute)
        raise UsageError(f"{name} is {value!r}, expected seconds, more than 0.")


def check_all_are(kind: type) -> Callable[[object, Any, Iterable[object]], None]:
    """A validator of attrs: everything in the field is of that kind. UsageError."""

    def check(owner: object, attribute: Any, value: Iterable[object]) -> None:
        for each in value:
            if not isinstance(each, kind):
                name = _field_name(owner, attribute)
                raise UsageError(f"{each!r} is among the {name}, expected a {kind.__name__} each.")

    return check


def _field_name(owner: object, attribute: Any) -> str:
    return f"{attribute.name} of {type(owner).__name__}"
