"""An experiment as a value: units of work, the rows that they give, and what is made of the rows.

A unit is kept whole or not at all, so a run that is cut off goes on where it stopped.  Rows are
raw data: a table or a figure is computed from rows alone, never from anything else that a run knew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from attrs import field, frozen

Size = Literal["quick", "default", "full"]
SIZES: tuple[Size, ...] = get_args(Size)

Cell = str | int | float
Row = tuple[Cell, ...]


@frozen
class RawTable:
    """The name and the columns of a table of raw data.

    `about` says in a sentence what one row is; units stand in the names of columns (`fsync_us`).
    A `numeric` column holds numbers only; every other column holds text.
    """

    name: str
    columns: tuple[str, ...]
    numeric: frozenset[str]
    about: str


@frozen
class WorkUnit:
    """One piece of work; its rows go to `table`.

    `key` names it within its experiment, and is the same for the same seed and size: a key that
    is done is not done again.  `work` gets an empty folder of its own, which is removed afterwards,
    and gives the rows, each a cell for each column.  `estimate_s` is a guess in seconds.
    """

    key: str
    table: RawTable
    work: Callable[[Path], Iterable[Row]] = field(eq=False, repr=False)
    estimate_s: float


@frozen
class Missing:
    """A part of an experiment that is not run here: which, why, and what to do about it.

    Each is a sentence.  Where another environment has done the part, units whose key begins with
    `prefix` are there, and nothing is missing.
    """

    part: str
    reason: str
    remedy: str
    prefix: str = ""


@frozen
class StudyPlan:
    """The units that an experiment will carry out here, in order, and the parts it leaves out."""

    units: tuple[WorkUnit, ...]
    missing: tuple[Missing, ...] = ()

    @property
    def estimate_s(self) -> float:
        """The guess for all of it, in seconds."""
        return sum(unit.estimate_s for unit in self.units)


@frozen
class ReportTable:
    """A table for people.

    `caption` says what was measured, where and how often; `notes` stand below it, a sentence each.
    The first column names its rows.  Cells are text already.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@frozen
class Figure:
    """A figure for people.

    `draw` gets an empty matplotlib Figure with the report's style in force.  `data` names the raw
    tables that it is drawn from.  `text` says in words what it shows, for those who cannot see it.
    """

    name: str
    title: str
    caption: str
    text: str
    draw: Callable[[Any], None] = field(eq=False, repr=False)
    data: tuple[str, ...]
    width_in: float = 5.2
    height_in: float = 3.2


@frozen
class Picture:
    """A picture that is SVG already, in colours of its own that suit light and dark."""

    name: str
    title: str
    caption: str
    text: str
    svg: str


@frozen
class Section:
    """One experiment in the report: sentences that say what came out, then tables and figures."""

    title: str
    findings: tuple[str, ...]
    items: tuple[ReportTable | Figure | Picture, ...]


Data = Mapping[str, Sequence[Mapping[str, Cell]]]
"""The rows of each raw table by name, each row by column; a table without rows is empty."""


class Study(Protocol):
    """One of the experiments."""

    name: str
    title: str
    tables: tuple[RawTable, ...]

    def plan(self, size: Size, seed: int) -> StudyPlan:
        """The plan for this machine; looks only, changes nothing."""

    def section(self, data: Data) -> Section:
        """The results, from rows alone: of a run that was cut off, of what there is."""
