"""The report as a value: the machine, what came out of each experiment, and what was not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from powercut_lab.result_folder import ResultFolder
from powercut_lab.runner import FailedUnit
from powercut_lab.study import Data, Missing, ReportTable, Section, Size, Study

TITLE: Final = "Checkpoint protocols: what a crash leaves, what damage does, what a save costs"


@frozen
class Report:
    """All that the page says.

    `sections` go by the name of their experiment; `beside` is the result of another machine.
    """

    machine: Mapping[str, str]
    packages: Mapping[str, str]
    size: Size
    seed: int
    sections: Mapping[str, Section]
    missing: Sequence[tuple[str, Missing]]
    failed: Sequence[FailedUnit]
    unfinished: Sequence[tuple[str, int]]
    beside: Beside | None = None


@frozen
class Beside:
    """The result of another machine: its facts, and its tables by experiment."""

    machine: Mapping[str, str]
    packages: Mapping[str, str]
    size: str
    seed: int
    findings: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, tuple[ReportTable, ...]]


def data_of(folder: ResultFolder, experiments: Sequence[Study]) -> Data:
    """The rows of every table of the experiments. LabError."""
    return {table.name: folder.rows(table) for each in experiments for table in each.tables}


def sections_of(data: Data, experiments: Sequence[Study]) -> dict[str, Section]:
    """The section of each experiment that has rows."""
    return {
        experiment.name: experiment.section(data)
        for experiment in experiments
        if any(data[table.name] for table in experiment.tables)
    }


def tables_of(section: Section) -> tuple[ReportTable, ...]:
    """The tables of a section, in order."""
    return tuple(item for item in section.items if isinstance(item, ReportTable))


def to_json(report: Report) -> dict[str, Any]:
    """The result as `result.json` holds it, which `--beside` reads on another machine."""
    return {
        "schema": 1,
        "machine": dict(report.machine),
        "packages": dict(report.packages),
        "size": report.size,
        "seed": report.seed,
        "experiments": {
            name: {
                "findings": list(section.findings),
                "tables": [
                    {
                        "name": table.name,
                        "title": table.title,
                        "caption": table.caption,
                        "columns": list(table.columns),
                        "rows": [list(row) for row in table.rows],
                        "notes": list(table.notes),
                    }
                    for table in tables_of(section)
                ],
            }
            for name, section in report.sections.items()
        },
        "not_run": [
            {"experiment": name, "part": m.part, "reason": m.reason, "remedy": m.remedy}
            for name, m in report.missing
        ],
    }
