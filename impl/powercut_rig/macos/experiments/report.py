"""A Mac's result as tables on a terminal, and as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from powercut_rig.macos import NO_POWER
from powercut_rig.macos.experiments.result import MacResult
from powercut_rig.macos.experiments.verdicts import ExperimentVerdict
from powercut_rig.reports import html
from powercut_rig.reports.text import folded_table, print_plain, show_comparisons

_COLOURS: Final = {
    "strike": "red", "add": "green", "confirm": "green", "open": "yellow", "outside": "red",
}  # fmt: skip
_HEADINGS: Final = ("rule", "outcome", "what it would change in apfs.toml", "because")


def show_result(result: MacResult) -> None:
    """Print what a Mac found."""
    console = Console()
    console.print(
        f"{result.machine.in_words()}; images on {result.machine.volume}; {result.made_by}",
        markup=False,
        highlight=False,
    )
    if result.comparisons:
        show_comparisons(result.comparisons)
    if result.settled:
        console.print(_experiments(result.settled))
        for each in result.settled:
            print_plain(console, f"{each.rule} leaves open {each.leaves_open}")
    for line in (*result.notes, NO_POWER):
        print_plain(console, line)


def _experiments(settled: Sequence[ExperimentVerdict]) -> Table:
    table = folded_table("rules of the profile apfs, kernel class", _HEADINGS)
    for each in settled:
        colour = _COLOURS[each.outcome]
        table.add_row(
            escape_markup(each.rule),
            f"[{colour}]{each.outcome}[/]",
            escape_markup(each.in_profile),
            escape_markup(each.because),
        )
    return table


def result_page(result: MacResult) -> str:
    """The same as HTML."""
    title = f"APFS on {result.machine.in_words()}"
    rows = "".join(
        f"<tr><td>{escape(each.rule)}</td><td>{escape(each.question)}</td>"
        f"<td>{escape(each.outcome)}</td><td>{escape(each.in_profile)}</td>"
        f"<td>{escape(each.because)}</td><td>{escape(each.leaves_open)}</td></tr>"
        for each in result.settled
    )
    headings = ("rule", "question", "outcome", "in apfs.toml", "because", "leaves open")
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    notes = "".join(f"<p>{escape(note)}</p>" for note in (NO_POWER, *result.notes))
    experiments = (
        f"<h2>Rules, kernel class</h2><table><tr>{head}</tr>{rows}</table>" if rows else ""
    )
    return html.page(result.comparisons, title, notes + experiments)
