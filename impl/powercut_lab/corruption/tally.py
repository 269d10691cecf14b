"""Sums over the rows of this experiment, and how they are written in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from powercut_lab.corruption.changes import CONTROL
from powercut_lab.corruption.group_runs import MOMENTS
from powercut_lab.statistics import share
from powercut_lab.study import Cell

Rows = Sequence[Mapping[str, Cell]]
Test = Callable[[Mapping[str, Cell]], bool]

LAYER_WORDS: Final = {
    "load": "load error",
    "shape": "shape",
    "digest": "tensor digest",
    "file_hash": "file hash",
    "manifest": "manifest",
    "chunk": "chunk",
}
NEEDS: Final = {
    "load": ("load",),
    "shape": ("load", "shape"),
    "digest": ("load", "shape", "digest"),
    "file_hash": ("file_hash",),
    "manifest": ("manifest",),
    "chunk": ("chunk",),
}
"""The notice of a layer that stands alone: a shape or a digest can only be had of what loads."""


@frozen
class Kind:
    """A kind of checkpoint in the tables: its name, and which rows are of it."""

    name: str
    test: Test


KINDS: Final = (
    Kind("group of lastgood", lambda row: str(row["subject"]).startswith("lastgood")),
    Kind("group of the paper", lambda row: row["subject"] == "paper"),
    *(
        Kind(f"single file .{ending}", lambda row, mode=ending: _is_file(row, mode))  # type: ignore[misc]
        for ending in ("npz", "safetensors", "pt")
    ),
)


def _is_file(row: Mapping[str, Cell], ending: str) -> bool:
    return row["subject"] == "single file" and row["mode"] == ending


def count_of(rows: Iterable[Mapping[str, Cell]]) -> int:
    """The number of injections that the rows stand for."""
    return sum(int(row["count"]) for row in rows)


def effective(rows: Rows) -> list[Mapping[str, Cell]]:
    """The rows of injections that changed a byte."""
    return [row for row in rows if row["effective"] == 1]


def no_ops(rows: Rows) -> list[Mapping[str, Cell]]:
    """The rows of injections that changed nothing; controls are none."""
    return [row for row in rows if row["effective"] == 0 and row["fault"] != CONTROL]


def controls(rows: Rows) -> list[Mapping[str, Cell]]:
    """The rows without a fault."""
    return [row for row in rows if row["fault"] == CONTROL]


def noticed(rows: Rows, layer: str) -> int | None:
    """The number of injections that one layer noticed by its own word; None where it is in none."""
    having = [row for row in rows if row[layer] != -1]
    return count_of(row for row in having if row[layer] == 1) if having else None


def missed_alone(rows: Rows, layer: str) -> tuple[int, int] | None:
    """The number that a layer alone misses, and of how many; None where it is in none."""
    having = [row for row in rows if row[layer] != -1]
    if not having:
        return None
    missed = [row for row in having if not any(row[name] == 1 for name in NEEDS[layer])]
    return count_of(missed), count_of(having)


def series(rows: Rows) -> list[tuple[str, str]]:
    """The pairs of a moment and a fault, in order; controls are none."""
    seen = dict.fromkeys((str(row["moment"]), str(row["fault"])) for row in rows)
    pairs = [pair for pair in seen if pair[1] != CONTROL]
    return sorted(pairs, key=lambda pair: MOMENTS.index(pair[0]))


def of_series(rows: Rows, pair: tuple[str, str]) -> list[Mapping[str, Cell]]:
    """The rows of one moment and fault."""
    return [row for row in rows if (row["moment"], row["fault"]) == pair]


def with_interval(count: int, of: int) -> str:
    """A share with its Wilson interval, such as "12/400: 3.0 % [1.7, 5.2]"."""
    if of == 0:
        return "—"
    found = share(count, of)
    percent = [f"{100 * value:.1f}" for value in (found.value, found.low, found.high)]
    return f"{count}/{of}: {percent[0]} % [{percent[1]}, {percent[2]}]"
