"""The report as one HTML page that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from html import escape
from typing import Final

from powercut_lab.figure_style import THEMES, Theme, svg_of
from powercut_lab.report.report import TITLE, Beside, Report
from powercut_lab.study import Figure, Picture, ReportTable, Section

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#57606a;--line:#d0d7de;
--band:#f6f8fa;--mark:#0550ae}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--soft:#9aa4ae;
--line:#3d444d;--band:#161b22;--mark:#79c0ff}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
margin:0 auto;max-width:62rem;padding:1rem;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
h3{margin:1.8rem 0 .3rem;font-size:1.05rem}p,li{max-width:46rem}
.caption,.note,figcaption,footer{color:var(--soft);font-size:.9rem}
.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{border:1px solid var(--line);padding:.25rem .55rem;text-align:left;vertical-align:top}
thead th{background:var(--band)}tbody th{font-weight:600}
figure{margin:1rem 0}figure img{max-width:100%;height:auto}
.picture{overflow-x:auto}
.box{border:2px solid var(--mark);border-radius:.4rem;padding:.2rem 1rem}
nav ul{padding-left:1.2rem}a{color:var(--mark)}code{overflow-wrap:anywhere}
@media print{.wide,.picture{overflow:visible}}
"""


def page(report: Report, summary: Section | None = None) -> str:
    """The whole page; `summary` stands in a box at its top."""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(TITLE)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(TITLE)}</h1>",
        *(["<div class=box>", *_section(summary, 2), "</div>"] if summary else []),
        *_contents(report),
        *_machine("This machine", report.machine, report.packages, report.size, report.seed),
    ]
    for name, section in report.sections.items():
        lines += [f'<section id="{escape(name)}">', *_section(section, 2)]
        lines += [*_beside(name, report.beside), "</section>"]
    lines += [*_not_run(report), "</body></html>", ""]
    return "\n".join(lines)


def _contents(report: Report) -> Iterator[str]:
    yield '<nav aria-label="Contents"><ul>'
    for name, section in report.sections.items():
        yield f'<li><a href="#{escape(name)}">{escape(section.title)}</a></li>'
    yield '<li><a href="#not-run">What was not run here</a></li></ul></nav>'


def _machine(
    title: str, machine: Mapping[str, str], packages: Mapping[str, str], size: str, seed: int
) -> Iterator[str]:
    facts = {**machine, **packages, "size": size, "seed": str(seed)}
    words = "; ".join(f"{escape(name)} {escape(value)}" for name, value in facts.items())
    yield f'<p class="caption"><b>{escape(title)}:</b> {words}.</p>'


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"<h{level}>{escape(section.title)}</h{level}>"
    if section.findings:
        yield "<ul>" + "".join(f"<li>{escape(each)}</li>" for each in section.findings) + "</ul>"
    for item in section.items:
        yield from _table(item, level + 1) if isinstance(item, ReportTable) else _figure(item)


def _table(table: ReportTable, level: int) -> Iterator[str]:
    yield f"<h{level}>{escape(table.title)}</h{level}>"
    yield f'<p class="caption">{escape(table.caption)}</p>'
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    yield f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>'
    for first, *rest in table.rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        yield f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
    yield "</tbody></table></div>"
    yield from (f'<p class="note">{escape(note)}</p>' for note in table.notes)


def _figure(figure: Figure | Picture) -> Iterator[str]:
    text, caption = escape(figure.text), escape(figure.caption)
    yield f"<h3>{escape(figure.title)}</h3>"
    if isinstance(figure, Picture):
        image = f'<img alt="{text}" src="{_inline(figure.svg)}">'
        yield f'<figure><div class="picture" tabindex="0">{image}</div>'
    else:
        drawn: dict[Theme, str] = {theme: _inline(svg_of(figure, theme)) for theme in THEMES}
        yield (
            '<figure><picture><source media="(prefers-color-scheme: dark)" '
            f'srcset="{drawn["dark"]}"><img alt="{text}" src="{drawn["light"]}"></picture>'
        )
    yield f"<figcaption>{caption}</figcaption></figure>"


def _inline(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _beside(name: str, beside: Beside | None) -> Iterator[str]:
    """The tables of another machine that belong to an experiment."""
    if beside is None or not beside.tables.get(name):
        return
    yield "<h3>The same on another machine</h3>"
    yield from _machine("It", beside.machine, beside.packages, beside.size, beside.seed)
    section = Section("", beside.findings.get(name, ()), beside.tables[name])
    yield from list(_section(section, 3))[1:]


def _not_run(report: Report) -> Iterator[str]:
    yield '<section id="not-run"><h2>What was not run here</h2><ul>'
    for name, missing in report.missing:
        yield (
            f"<li><b>{escape(name)}, {escape(missing.part)}:</b> {escape(missing.reason)} "
            f"{escape(missing.remedy)}</li>"
        )
    for failed in report.failed:
        yield f"<li><b>{escape(failed.experiment)}, {escape(failed.key)}</b> failed: "
        yield f"{escape(failed.error)}</li>"
    for name, count in report.unfinished:
        yield f"<li><b>{escape(name)}:</b> {count} units are not done yet. "
        yield "The same command goes on.</li>"
    yield "</ul></section>"
