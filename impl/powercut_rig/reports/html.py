"""Comparisons as one HTML file that needs nothing else: counts, and pictures of recordings.

A picture runs from left to right in the order of the block log: ops above, the writes of the
file system below, flushes as lines through both.  Of a finding it also shows the cut and what
did not land.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from powercut_rig.blocks.block_log import Recipe
from powercut_rig.blocks.timeline import Timeline
from powercut_rig.judge.result import Comparison, Finding
from powercut_rig.reports.text import broken_in_words, remarks, seen_in_words

_STEP: Final = 14
_LEFT: Final = 90
_OPS_Y: Final = 30
_WRITES_Y: Final = 120
_HEIGHT: Final = 190

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;
color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #d0d7de;padding:.3rem .6rem;
text-align:left}th{background:#f6f8fa}.bad{color:#b3261e;font-weight:600}.good{color:#1a6f3c}
pre{white-space:pre-wrap;background:#f6f8fa;padding:.6rem;overflow-wrap:anywhere}
.picture{overflow-x:auto;border:1px solid #d0d7de;margin:.5rem 0 1.5rem}
svg text{font:11px system-ui,sans-serif;fill:#1b1f24}
.op{fill:#9ec5fe;stroke:#3b72c4}.write{fill:#6e7781}.flush{stroke:#1a6f3c;stroke-width:2}
.lost{fill:#b3261e}.torn{fill:#e08e0b}.after{fill:#d8dee4}
.cut{stroke:#b3261e;stroke-width:2;stroke-dasharray:5 3}
@media (prefers-color-scheme:dark){body,svg text{color:#e6edf3;background:#0d1117;fill:#e6edf3}
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
    recipe = finding.recipe if finding else Recipe(len(timeline.entries))
    lost, torn = set(recipe.dropped), {tear.index for tear in recipe.torn}
    shapes: list[str] = []
    begun: tuple[int, str] | None = None
    row = 0
    for entry in timeline.entries:
        x = _LEFT + entry.place * _STEP
        if entry.kind == "begin":
            begun = (x, entry.label)
        elif entry.kind == "end" and begun is not None:
            start, label = begun
            width = max(x - start, 4)
            shapes.append(
                f'<rect class="op" x="{start}" y="{_OPS_Y}" width="{width}" height="12">'
                f"<title>{escape(label)}</title></rect>"
                f'<text x="{start}" y="{_OPS_Y + 26 + 12 * (row % 4)}">{escape(label)}</text>'
            )
            row += 1
        elif entry.kind == "flush":
            shapes.append(
                f'<line class="flush" x1="{x}" x2="{x}" y1="{_OPS_Y}" y2="{_HEIGHT - 20}">'
                "<title>flush</title></line>"
            )
        elif entry.kind == "write":
            kind = "lost" if entry.place in lost else "torn" if entry.place in torn else "write"
            if entry.place >= recipe.position:
                kind = "after"
            height = min(50, 6 + entry.bytes // 1024)
            shapes.append(
                f'<rect class="{kind}" x="{x}" y="{_WRITES_Y}" width="{_STEP - 3}" '
                f'height="{height}"><title>{entry.bytes} B at {entry.offset_bytes}'
                f"{'' if kind == 'write' else ', ' + kind}</title></rect>"
            )
    if finding is not None:
        x = _LEFT + recipe.position * _STEP - 2
        shapes.append(
            f'<line class="cut" x1="{x}" x2="{x}" y1="10" y2="{_HEIGHT - 10}">'
            f'<title>the cut</title></line><text x="{x + 4}" y="16">the cut</text>'
        )
    width = _LEFT + (len(timeline.entries) + 2) * _STEP
    return (
        f'<figure class="picture"><figcaption>{escape(timeline.title)}</figcaption>'
        f'<svg role="img" aria-label="{escape(timeline.title)}" width="{width}" '
        f'height="{_HEIGHT}"><text x="4" y="{_OPS_Y + 10}">ops</text>'
        f'<text x="4" y="{_WRITES_Y + 10}">block writes</text>{"".join(shapes)}</svg></figure>'
    )
