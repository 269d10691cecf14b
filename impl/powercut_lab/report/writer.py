"""Writes the report into its folder: the page, the Markdown, the figures, the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from powercut_lab.figure_style import svg_of
from powercut_lab.report.markdown import FIGURES, markdown
from powercut_lab.report.page import page
from powercut_lab.report.report import Report, to_json
from powercut_lab.run_facts import replace_file
from powercut_lab.study import Figure, ReportTable, Section

PAGE: Final = "index.html"
MARKDOWN: Final = "report.md"
RESULT: Final = "result.json"


def write_report(report: Report, folder: Path, summary: Section | None = None) -> None:
    """Write all of it; each file is replaced whole. LabError, the files before are intact."""
    texts = {
        PAGE: page(report, summary),
        MARKDOWN: markdown(report, summary),
        RESULT: json.dumps(to_json(report), indent=1, ensure_ascii=False) + "\n",
    }
    for section in (*([summary] if summary else []), *report.sections.values()):
        for item in section.items:
            if isinstance(item, Figure):
                texts[f"{FIGURES}/{item.name}.svg"] = svg_of(item, "light")
            elif not isinstance(item, ReportTable):
                texts[f"{FIGURES}/{item.name}.svg"] = item.svg
    for name, text in texts.items():
        replace_file(folder / name, text)
