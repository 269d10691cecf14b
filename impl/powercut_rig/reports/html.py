"""Comparisons as one HTML file that needs nothing else: counts, and pictures of recordings.

A picture runs down in the order of the block log: ops on the left, the writes and flushes of the
file system on the right.  Of a finding it also shows the cut and what did not land.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from powercut.report import timeline_svg
from powercut.report.timeline import Timeline
from powercut.report.timeline_csv import to_csv
from powercut_rig.blocks.timeline import with_crash
from powercut_rig.judge.result import Comparison, Finding
from powercut_rig.reports.text import broken_in_words, remarks, seen_in_words

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;
color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #d0d7de;padding:.3rem .6rem;
text-align:left}th{background:#f6f8fa}.bad{color:#b3261e;font-weight:600}.good{color:#1a6f3c}
pre{white-space:pre-wrap;background:#f6f8fa;padding:.6rem;overflow-wrap:anywhere}
.picture div{max-height:40rem;overflow-y:auto;border:1px solid #d0d7de}
@media (prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}
th,pre{background:#161b22}}
"""


def page(
    results: Sequence[Comparison], title: str = "Model against disk", foreword: str = ""
) -> str:
    """The whole report; `foreword` is HTML that stands below the title."""
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
            foreword,
            _summary(results),
            *(_section(result) for result in results),
            "</body></html>",
            "",
        ]
    )


def _summary(results: Sequence[Comparison]) -> str:
    headings = (
        "trace", "disk", "profile", "recordings", "images", "after a second crash", "trees",
        "outside the model", "do not mount", "violations", "model's trees seen", "fsck unclean",
        "images/s",
    )  # fmt: skip
    rows = []
    for result in results:
        cells = (
            result.trace, result.fs, result.profile, len(result.plans), result.images,
            result.second_images, len(result.trees), result.outside, result.refused,
            broken_in_words(result), seen_in_words(result),
            f"{result.unclean} of {result.fsck_run}", f"{result.images_per_s:.0f}",
        )  # fmt: skip
        colour = "good" if result.agrees else "bad"
        inside = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        rows.append(f'<tr class="{colour}">{inside}</tr>')
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _section(result: Comparison) -> str:
    parts = [f"<h2>{escape(result.trace)} on {escape(result.fs)}</h2>"]
    kinds = ", ".join(
        f"{kind}: {count} of {result.possible[kind]}" for kind, count in result.tried.items()
    )
    parts.append(f"<p>Contents tried, of how many there are: {escape(kinds)}.</p>")
    if remarks(result):
        parts.append(f"<pre>{escape(chr(10).join(remarks(result)))}</pre>")
    parts += [
        picture(finding.timeline, finding)
        for finding in result.findings
        if finding.timeline is not None
    ]
    if result.timeline is not None:
        parts.append(picture(result.timeline))
    return "\n".join(parts)


def picture(timeline: Timeline, finding: Finding | None = None) -> str:
    """One recording as SVG; with a finding, the cut and what was lost."""
    shown = with_crash(timeline, finding.recipe) if finding else timeline
    title = escape(timeline.title)
    return (
        f'<figure class="picture"><figcaption>{title}</figcaption>'
        f'<div tabindex="0">{timeline_svg.draw(shown)}</div>'
        f"<details><summary>The same as CSV</summary><pre>{escape(to_csv(shown))}</pre></details>"
        "</figure>"
    )
