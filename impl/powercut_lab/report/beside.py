"""Reads the result of another machine, which is a stranger's file: bounded, and checked whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powercut_lab.errors import LabError
from powercut_lab.report.report import Beside
from powercut_lab.strict_json import (
    as_object,
    list_in,
    named_texts_in,
    number_in,
    read_object,
    text_in,
    texts_in,
)
from powercut_lab.study import SIZES, ReportTable


def read_beside(path: Path) -> Beside:
    """The result that the file holds. LabError where it is no `result.json` of ours."""
    root = read_object(path)
    try:
        return _beside(root)
    except ValueError as error:
        raise LabError(
            f"{path} is no result of `powercut experiment`: {error}. Expected the result.json of "
            "another run. Nothing was run."
        ) from error


def _beside(root: Mapping[str, Any]) -> Beside:
    if root.get("schema") != 1:
        raise ValueError(f"schema is {root.get('schema')!r:.40}; expected 1")
    size = text_in(root, "size")
    if size not in SIZES:
        raise ValueError(f"size is {size[:40]!r}; expected one of {', '.join(SIZES)}")
    parts = as_object(root.get("experiments"), "experiments")
    experiments = {name: as_object(part, name) for name, part in parts.items()}
    return Beside(
        machine=named_texts_in(root, "machine"),
        packages=named_texts_in(root, "packages"),
        size=size,
        seed=int(number_in(root, "seed")),
        findings={name: texts_in(part, "findings") for name, part in experiments.items()},
        tables={
            name: tuple(_table(each) for each in list_in(part, "tables"))
            for name, part in experiments.items()
        },
    )


def _table(value: Any) -> ReportTable:
    part = as_object(value, "a table")
    columns = texts_in(part, "columns")
    rows = []
    for row in list_in(part, "rows"):
        cells = texts_in({"row": row}, "row")
        if not cells or len(cells) != len(columns):
            raise ValueError(f"a row has {len(cells)} cells and the table {len(columns)} columns")
        rows.append(cells)
    name, title, caption = (text_in(part, each) for each in ("name", "title", "caption"))
    return ReportTable(name, title, caption, columns, tuple(rows), texts_in(part, "notes"))
