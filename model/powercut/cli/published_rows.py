"""The output of `powercut litmus` for published cases: counts for each family, and row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from powercut.cli.console import table_of
from powercut.published.conformance import NAMED_OFFSETS, PIECES, ConformanceRow

BOUND: Final = (
    f"bound: every crash in which an event lands in at most {PIECES} pieces, cut evenly, and in "
    f"more at the first {NAMED_OFFSETS} offsets that its question names; counts of states in at "
    f"most {PIECES}"
)
"""What the answers to published cases speak for."""


def count_of_rows(count: int) -> str:
    """A number of rows, in words."""
    return "1 row" if count == 1 else f"{count} rows"


def disagrees(row: ConformanceRow) -> bool:
    """The row must agree, and does not."""
    return row.gated and row.agrees is False


def summary(rows: Sequence[ConformanceRow]) -> dict[str, Any]:
    """The counts of some rows, in all and for each family, and the bound they stand for."""
    families = list(dict.fromkeys(row.case.family for row in rows))
    return {
        **_counts(rows),
        "families": {
            name: _counts([r for r in rows if r.case.family == name]) for name in families
        },
        "bound": {"pieces": PIECES, "named_offsets": NAMED_OFFSETS},
        "reasons": dict(sorted(Counter(row.not_run for row in rows if row.not_run).items())),
    }


def _counts(rows: Sequence[ConformanceRow]) -> dict[str, int]:
    gated = [row for row in rows if row.gated]
    return {
        "cases": len({row.case.id for row in rows}),
        "rows": len(rows),
        "gated": len(gated),
        "agreed": sum(row.agrees is True for row in gated),
        "disagreed": sum(row.agrees is False for row in gated),
        "unknown": sum(row.agrees is None for row in gated),
        "not_gated": sum(not row.gated and not row.not_run for row in rows),
        "not_run": sum(bool(row.not_run) for row in rows),
    }


def show_rows(rows: Sequence[ConformanceRow], show_all: bool) -> None:
    """Print the counts of each family, and the rows that differ, or all of them."""
    counts = summary(rows)
    headings = [heading for heading in _counts([]) if heading != "cases"]
    console = Console()
    short = {"agreed": "agree", "disagreed": "differ", "not_gated": "ungated", "not_run": "not run"}
    table = table_of("family", *(short.get(heading, heading) for heading in headings))
    table.columns[0].no_wrap = True
    for name, family in counts["families"].items():
        table.add_row(escape(name), *(f"{family[heading]:,}" for heading in headings))
    table.add_row("all", *(f"{counts[heading]:,}" for heading in headings), style="bold")
    console.print(table)
    differs = [row for row in rows if row.agrees is False or (row.gated and not row.agrees)]
    shown = rows if show_all else differs
    if shown:
        detail = table_of("case", "name", "profile", "ours", "published", "evidence", "why")
        for row in shown:
            mark = "[red]gated[/] " if disagrees(row) else ""
            detail.add_row(
                mark + escape(row.case.id),
                escape(row.published.name),
                escape(row.profile or "-"),
                row.ours or "-",
                escape(row.published.result),
                escape(row.published.evidence),
                escape(_why(row)),
            )
        console.print(detail)
    for reason, count in counts["reasons"].items():
        console.print(f"not run, {count_of_rows(count)}: {reason}", markup=False, highlight=False)
    console.print(BOUND, markup=False, highlight=False)


def _why(row: ConformanceRow) -> str:
    """What there is to say of a row: why it was not run, what is disputed, what is to blame."""
    if row.not_run:
        return row.not_run
    parts = []
    if row.disputed:
        parts.append(f"disputed: {row.disputed}")
    if row.in_doubt:
        parts.append(f"hangs on {', '.join(row.in_doubt)}")
    if row.published.states is not None and row.states != row.published.states:
        parts.append(f"{row.states} states, published {row.published.states}")
    if row.blame:
        parts.append(f"turns {' or '.join(row.blame)}")
    return "; ".join(parts)
