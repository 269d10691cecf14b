"""Comparisons as a table on a terminal, and as JUnit XML for a CI server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from powercut.profile import limits_in_words
from powercut_rig.judge.result import Comparison

_HEADINGS = ("#", "disk", "images", "trees", "outside", "violations", "seen", "images/s")
_CAPTION = (
    "images: of a first crash + of a second one, in a recovery. trees: distinct ones. "
    "outside: images whose tree the model does not have + images that do not mount. "
    "seen: how many of the model's trees the disk showed (?: not listed, or too many to list)."
)


def to_json(results: Sequence[Comparison]) -> dict[str, Any]:
    """The whole report, as `--json` prints it."""
    return {
        "comparisons": [result.to_json() for result in results],
        "images": sum(result.images + result.second_images for result in results),
        "outside_model": sum(result.outside for result in results),
        "refused": sum(result.refused for result in results),
        "agrees": all(result.agrees for result in results),
    }


def broken_in_words(result: Comparison) -> str:
    """The properties that broke, how often, and whether the model lets them."""
    broken = ", ".join(f"{name} {count}" for name, count in sorted(result.violations.items()))
    if not broken:
        return "none"
    return broken + (" (NOT allowed)" if result.not_allowed else " (allowed)")


def wrong_in_words(result: Comparison) -> str:
    """The images that the model does not account for, by what is wrong with them."""
    every = result.images + result.second_images
    said = f"{result.outside} of {every} images outside the model"
    return f"{said}, {result.refused} that do not mount" if result.refused else said


def seen_in_words(result: Comparison) -> str:
    """The number of the model's trees that were seen, of how many."""
    every = "?" if result.model_states is None else str(result.model_states)
    return f"{result.model_states_seen} of {every}"


def remarks(result: Comparison) -> list[str]:
    """Remarks for below the table: what went wrong, and what did not show."""
    said = [f"{result.trace} on {result.fs}: not finished: {error}" for error in result.errors]
    if result.outside or result.refused:
        declared = limits_in_words(result.limits)
        said.append(
            f"{result.trace} on {result.fs}: {wrong_in_words(result)}"
            + (f"; {declared}" if declared else ".")
        )
    if not result.reproduced:
        said.append(
            f"{result.trace} on {result.fs}: {result.judged} fails in the model and was not seen "
            "to fail on this disk, in these recordings."
        )
    if result.syncs and not result.flushes:
        said.append(
            f"{result.trace} on {result.fs}: {result.syncs} syncs returned and the disk was never "
            "asked to flush. Nothing that they promised is durable on a drive with a cache."
        )
    if result.unclean:
        said.append(
            f"{result.trace} on {result.fs}: fsck complains of {result.unclean} of "
            f"{result.fsck_run} images that it was asked about."
        )
    said += [
        f"{result.trace} on {result.fs}: {each.kind}, plan {each.plan}, crash {each.crash}, at "
        f"{each.moment}\n  {each.recipe}\n  {each.detail}"
        for each in result.findings
    ]
    return said


def folded_table(title: str, headings: Iterable[str], *, caption: str | None = None) -> Table:
    """An empty table whose cells are folded where the terminal is narrow, and never cut."""
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_plain(console: Console, text: str) -> None:
    """Print text as it is: no markup, no colours, no line breaks of ours."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show_comparisons(results: Sequence[Comparison]) -> None:
    """Print the traces, a table, and what the model does not account for below it.

    The table has a trace's number only: a path would be cut into pieces on a narrow terminal.
    """
    console = Console()
    numbers = {trace: n for n, trace in enumerate(dict.fromkeys(r.trace for r in results), 1)}
    for trace, number in numbers.items():
        print_plain(console, f"{number}  {trace}")
    table = folded_table("model against disk", _HEADINGS, caption=_CAPTION)
    for result in results:
        colour = "green" if result.agrees else "red"
        table.add_row(
            str(numbers[result.trace]),
            escape(result.fs),
            f"{result.images} + {result.second_images}",
            f"{len(result.trees)}",
            f"[{colour}]{result.outside} + {result.refused}[/]",
            broken_in_words(result),
            seen_in_words(result),
            f"{result.images_per_s:.0f}",
        )
    console.print(table)
    for result in results:
        for remark in remarks(result):
            print_plain(console, remark)


def junit(results: Sequence[Comparison]) -> bytes:
    """One suite for each file system, one case for each trace."""
    root = ET.Element("testsuites", name="powercut compare")
    for fs in dict.fromkeys(result.fs for result in results):
        mine = [result for result in results if result.fs == fs]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=f"powercut compare {fs}",
            tests=str(len(mine)),
            failures=str(sum(not result.agrees for result in mine)),
            errors="0",
        )
        for result in mine:
            case = ET.SubElement(
                suite, "testcase", classname=fs, name=result.trace, time=f"{result.seconds:.3f}"
            )
            if not result.agrees:
                what = wrong_in_words(result)
                failure = ET.SubElement(case, "failure", message=_printable(what))
                failure.text = _printable("\n".join(remarks(result)))
            said = f"images {result.images}, violations {broken_in_words(result)}"
            ET.SubElement(case, "system-out").text = _printable(said)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _printable(text: str) -> str:
    """The text without what XML has no place for."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
