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
from powercut_lab.strict_json import as_object, named_texts_in, number_in, text_in
from powercut_lab.study import SIZES, Cell, RawTable, Row, Size, WorkUnit

JOURNAL: Final = "journal.jsonl"
DATA: Final = "data"
LIMIT_BYTES: Final = 64 << 20
UNIT: Final = "unit"
_LONGEST_LINE_BYTES: Final = 1 << 20


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

    def has(self, experiment: str, unit: WorkUnit) -> bool:
        """The unit is done."""
        return (experiment, unit.key) in {(d.experiment, d.key) for d in self.done}

    def keep(self, unit: WorkUnit, rows: Sequence[Row], done: DoneUnit) -> None:
        """Keep a unit's rows, then say that it is done. LabError for a row that does not fit."""
        for row in rows:
            check_row(unit.table, row)
        self._append_rows(unit, rows)
        line = json.dumps(asdict(done), sort_keys=True, allow_nan=False) + "\n"
        _append(self.path / JOURNAL, line.encode())
        self.done.append(done)

    def packages(self) -> dict[str, str]:
        """The versions of each package that units were done with."""
        found: dict[str, set[str]] = {}
        for done in self.done:
            for name, version in done.packages.items():
                found.setdefault(name, set()).add(version)
        return {name: ", ".join(sorted(found[name])) for name in sorted(found)}

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

    def _append_rows(self, unit: WorkUnit, rows: Sequence[Row]) -> None:
        lines = _csv([(unit.key, *map(_shown, row)) for row in rows])
        _append(self._file(unit.table), lines, _csv([(UNIT, *unit.table.columns)]))


def check_row(table: RawTable, row: Row) -> None:
    """Raise LabError unless the row has a cell of the right kind for each column."""
    if len(row) != len(table.columns):
        raise LabError(f"A row of {table.name} has {len(row)} cells; expected {table.columns}.")
    for column, cell in zip(table.columns, row, strict=True):
        numeric = isinstance(cell, int | float) and not isinstance(cell, bool)
        if numeric != (column in table.numeric):
            raise LabError(f"{table.name}.{column} is {cell!r}, which is of the wrong kind.")
        if isinstance(cell, str) and len(f"{cell}|".splitlines()) > 1:
            raise LabError(f"{table.name}.{column} has a line break: {cell!r}.")


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


def _csv(rows: Sequence[Sequence[Cell]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _shown(cell: Cell) -> Cell:
    """Six digits are more than any clock here is good for."""
    return float(f"{cell:.6g}") if isinstance(cell, float) else cell


def _journal(file: Path) -> Iterator[DoneUnit]:
    for number, line in enumerate(_bounded(file).splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            return  # cut off inside: the unit is done again
        try:
            yield _done_unit(json.loads(line))
        except (ValueError, OverflowError, RecursionError) as error:
            raise LabError(
                f"{file}:{number} is no line of a journal of ours ({error}). Nothing was changed. "
                "Name another folder by --out, or remove this one."
            ) from error


def _done_unit(line: Any) -> DoneUnit:
    part = as_object(line, "the line")
    size = text_in(part, "size")
    if size not in SIZES:
        raise ValueError(f"size is {size[:40]!r}")
    return DoneUnit(
        experiment=text_in(part, "experiment"),
        key=text_in(part, "key"),
        table=text_in(part, "table"),
        rows=int(number_in(part, "rows")),
        seconds=number_in(part, "seconds"),
        size=size,
        seed=int(number_in(part, "seed")),
        packages=named_texts_in(part, "packages"),
    )


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


def _append(file: Path, data: bytes, heading: bytes = b"") -> None:
    """Append in one write, in the place of a line that a write that was cut off has left; synced.

    No line of ours has a line break inside, so what follows the last one is such a rest.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab+") as stream:
            start = max(0, stream.seek(0, os.SEEK_END) - _LONGEST_LINE_BYTES)
            stream.seek(start)
            end = start + stream.read().rfind(b"\n") + 1
            stream.truncate(end)
            stream.write(data if end else heading + data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise LabError(
            f"{file} cannot be written: {error}. What was kept before is intact."
        ) from error
