"""Sums over the rows of the raw tables, and how a count is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from powercut_lab.crash.tables import PROTOCOLS
from powercut_lab.crash.trials import COUNTED, Counts
from powercut_lab.statistics import share
from powercut_lab.study import Cell

Rows = Sequence[Mapping[str, Cell]]
PERCENT: Final = 100


def text(row: Mapping[str, Cell], column: str) -> str:
    """A cell of text."""
    return str(row[column])


def number(row: Mapping[str, Cell], column: str) -> int:
    """A cell that counts something."""
    return int(row[column])


def counts_by(rows: Rows, *columns: str) -> dict[tuple[str, ...], Counts]:
    """The sums of trials by the cells of some columns, in the order of the rows."""
    found: dict[tuple[str, ...], Counts] = {}
    for row in rows:
        counted = found.setdefault(tuple(text(row, each) for each in columns), Counts())
        for name in COUNTED:
            setattr(counted, name, getattr(counted, name) + number(row, name))
    return found


def summed(counts: Iterable[Counts]) -> Counts:
    """The sum of all of them."""
    found = Counts()
    for each in counts:
        for name in COUNTED:
            setattr(found, name, getattr(found, name) + getattr(each, name))
    return found


def as_share(count: int, of: int) -> str:
    """A count with its Wilson interval in per cent, as the paper writes it: 0/10 [0.0, 27.8]."""
    if of == 0:
        return "none"
    found = share(count, of)
    return f"{count}/{of} [{PERCENT * found.low:.1f}, {PERCENT * found.high:.1f}]"


def protocols_in(rows: Rows) -> list[str]:
    """The protocols that have rows, in their usual order; others behind them."""
    there = dict.fromkeys(text(row, "protocol") for row in rows)
    return [*(p for p in PROTOCOLS if p in there), *(p for p in there if p not in PROTOCOLS)]


def distinct(rows: Rows, column: str) -> list[str]:
    """The cells of a column, each once, in the order of the rows."""
    return list(dict.fromkeys(text(row, column) for row in rows))
