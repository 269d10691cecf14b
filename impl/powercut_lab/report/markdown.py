"""The report as Markdown, with figures as files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from powercut_lab.report.report import TITLE, Beside, Report
from powercut_lab.study import ReportTable, Section

FIGURES = "figures"


def markdown(report: Report, summary: Section | None = None) -> str:
    """The whole report; figures are named, and lie in the folder `figures`."""
    facts = {**report.machine, **report.packages}
    lines = [
        f"# {TITLE}",
        "",
        *(_section(summary) if summary else ()),
        "Measured on: " + "; ".join(f"{name} {value}" for name, value in facts.items()) + ".",
        f"Size {report.size}, seed {report.seed}.",
        "",
    ]
    for name, section in report.sections.items():
        lines += [*_section(section), *_beside(name, report.beside)]
    lines += ["## What was not run here", "", *_not_run(report)]
    return "\n".join(lines) + "\n"


def table_lines(table: ReportTable) -> Iterator[str]:
    """One table; a bar inside a cell is escaped."""
    for row in (table.columns, ("---",) * len(table.columns), *table.rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _section(section: Section) -> Iterator[str]:
    yield from (f"## {section.title}", "")
    yield from _list(section.findings)
    for item in section.items:
        yield from (f"### {item.title}", "", item.caption, "")
        if isinstance(item, ReportTable):
            yield from (*table_lines(item), "")
            yield from _list(item.notes)
        else:
            yield from (f"![{item.text}]({FIGURES}/{item.name}.svg)", "")


def _list(sentences: Iterable[str]) -> list[str]:
    lines = [f"* {each}" for each in sentences]
    return [*lines, ""] if lines else []


def _beside(name: str, beside: Beside | None) -> Iterator[str]:
    if beside is None:
        return
    for table in beside.tables.get(name, ()):
        where = ", ".join(beside.machine.values())
        yield from (f"### {table.title}, on another machine", "", f"{table.caption} ({where})", "")
        yield from (*table_lines(table), "")


def _not_run(report: Report) -> list[str]:
    return [
        *(f"* {name}, {m.part}: {m.reason} {m.remedy}" for name, m in report.missing),
        *(f"* {f.experiment}, {f.key} failed: {f.error}" for f in report.failed),
        *(f"* {name}: {count} units are not done yet." for name, count in report.unfinished),
    ]
