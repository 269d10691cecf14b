"""The folder of a run: raw rows as CSV, and a journal of the units that are done.

`data/TABLE.csv` holds rows, each with the key of its unit in front.  `journal.jsonl` has a line for
each unit that is done, written after its rows.  Rows without such a line are those of a unit that
was cut off: reading leaves them out, and the next write removes them.  All of it is read as if a
stranger had written it: within bounds, cell by cell, and never as code.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, field, frozen

from powercut_lab.errors import LabError
from powercut_lab.study import SIZES, Cell, RawTable, Row, Size, Unit

JOURNAL: Final = "journal.jsonl"
DATA: Final = "data"
LIMIT_BYTES: Final = 64 << 20
UNIT: Final = "unit"


@frozen
class DoneUnit:
    """A line of the journal: the unit, its table, how many rows it gave and how long it took."""

    experiment: str
    key: str
    table: str
    rows: int
    seconds: float
    size: Size
    seed: int
    packages: Mapping[str, str]


@define
class ResultFolder:
    """The rows and the journal of one folder."""

    path: Path
    done: list[DoneUnit] = field(factory=list)

    @classmethod
    def open(cls, path: Path) -> ResultFolder:
        """The folder as it is; empty where there is none. LabError where it is none of ours."""
        if path.exists() and not path.is_dir():
            raise LabError(f"{path} is a file; expected a folder to write to. It is unchanged.")
        return cls(path, list(_journal(path / JOURNAL)))

    def has(self, experiment: str, unit: Unit) -> bool:
        """The unit is done."""
        return (experiment, unit.key) in {(d.experiment, d.key) for d in self.done}

    def keep(self, unit: Unit, rows: Sequence[Row], done: DoneUnit) -> None:
        """Keep a unit's rows, then say that it is done. LabError for a row that does not fit."""
        for row in rows:
            check_row(unit.table, row)
        self._append_rows(unit, rows)
        line = json.dumps(asdict(done), sort_keys=True, allow_nan=False) + "\n"
        _append(self.path / JOURNAL, line.encode())
        self.done.append(done)

    def rows(self, table: RawTable) -> list[dict[str, Cell]]:
        """The rows of all units that are done. LabError."""
        wanted = {d.key: d.rows for d in self.done if d.table == table.name}
        found: dict[str, list[dict[str, Cell]]] = {}
        for key, row in read_rows(self._file(table), table):
            if key in wanted:
                found.setdefault(key, []).append(row)
        # A unit that was cut off and done again has the rows of its first attempt before the last.
        kept = {key: rows[len(rows) - wanted[key] :] for key, rows in found.items()}
        return [row for key in wanted for row in kept.get(key, ())]

    def _file(self, table: RawTable) -> Path:
        return self.path / DATA / f"{table.name}.csv"

    def _append_rows(self, unit: Unit, rows: Sequence[Row]) -> None:
        file = self._file(unit.table)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not file.exists():
            writer.writerow((UNIT, *unit.table.columns))
        writer.writerows((unit.key, *map(_shown, row)) for row in rows)
        _append(file, text.getvalue().encode())


def check_row(table: RawTable, row: Row) -> None:
    """Raise LabError unless the row has a cell of the right kind for each column."""
    if len(row) != len(table.columns):
        raise LabError(f"A row of {table.name} has {len(row)} cells; expected {table.columns}.")
    for column, cell in zip(table.columns, row, strict=True):
        numeric = isinstance(cell, int | float) and not isinstance(cell, bool)
        if numeric != (column in table.numeric):
            raise LabError(f"{table.name}.{column} is {cell!r}, which is of the wrong kind.")


def read_rows(file: Path, table: RawTable) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Each row of a file of a table with the key of its unit. LabError; no file has no rows."""
    text = _bounded(file)
    if not text:
        return
    lines = csv.reader(io.StringIO(text))
    try:
        heading = next(lines)
        if heading != [UNIT, *table.columns]:
            raise LabError(f"{file} has the columns {heading}; expected unit, {table.columns}.")
        for line in lines:
            if len(line) != len(heading):
                continue  # the last line of a unit that was cut off
            yield (
                line[0],
                {
                    column: _number(file, column, cell) if column in table.numeric else cell
                    for column, cell in zip(table.columns, line[1:], strict=True)
                },
            )
    except csv.Error as error:
        raise LabError(f"{file} is no CSV: {error}. Nothing was changed.") from error


def _number(file: Path, column: str, cell: str) -> int | float:
    try:
        return int(cell) if cell.lstrip("-").isdecimal() else float(cell)
    except ValueError as error:
        raise LabError(f"{file}: {column} is {cell[:40]!r}; expected a number.") from error


def _shown(cell: Cell) -> Cell:
    """Six digits are more than any clock here is good for."""
    return float(f"{cell:.6g}") if isinstance(cell, float) else cell


def _journal(file: Path) -> Iterator[DoneUnit]:
    for number, line in enumerate(_bounded(file).splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            return  # cut off inside: the unit is done again
        try:
            yield _done_unit(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LabError(
                f"{file}:{number} is no line of a journal of ours ({error}). Nothing was changed. "
                "Name another folder by --out, or remove this one."
            ) from error


def _done_unit(line: Any) -> DoneUnit:
    strings = {name: line[name] for name in ("experiment", "key", "table", "size")}
    numbers = {name: line[name] for name in ("rows", "seconds", "seed")}
    packages = line["packages"]
    if not all(isinstance(v, str) and len(v) < 500 for v in strings.values()):
        raise ValueError("a text was expected")
    if strings["size"] not in SIZES:
        raise ValueError(f"the size {strings['size']!r}")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers.values()):
        raise ValueError("a number was expected")
    if not isinstance(packages, dict) or not all(isinstance(v, str) for v in packages.values()):
        raise ValueError("packages")
    return DoneUnit(**strings, **numbers, packages=dict(packages))


def _bounded(file: Path) -> str:
    """The text of a file of ours; empty where there is none. LabError."""
    try:
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise LabError(f"{file} is no regular file; it was not read.")
        with file.open("rb") as stream:
            data = stream.read(LIMIT_BYTES + 1)
        if len(data) > LIMIT_BYTES:
            raise LabError(f"{file} has more than {LIMIT_BYTES} bytes; it was not read.")
        return data.decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{file} cannot be read: {error}. Nothing was changed.") from error


def _append(file: Path, data: bytes) -> None:
    """Append in one write, behind whatever a write that was cut off has left; synced."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":
                    data = b"\n" + data
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise LabError(
            f"{file} cannot be written: {error}. What was kept before is intact."
        ) from error
