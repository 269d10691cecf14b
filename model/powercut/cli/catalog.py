"""The commands that show what the model knows: `profiles`, and `litmus` for published cases."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from powercut.cli.console import EXIT_STATUS, FilePath, as_json, bad_input, emit
from powercut.errors import ProfileError
from powercut.profile import Claim, Profile, load_profile, profile_names
from powercut.published.cases import read_cases
from powercut.published.conformance import NAMED_OFFSETS, PIECES, ConformanceRow, compare_case
from powercut.rules import RULES
from powercut.strict_reader import hint

BOUND: Final = (
    f"bound: every crash in which an event lands in at most {PIECES} pieces, cut evenly, and in "
    f"more at the first {NAMED_OFFSETS} offsets that its question names; counts of states in at "
    f"most {PIECES}"
)
"""What the answers to published cases speak for."""

_STANDINGS: Final = (("", "claims"), ("in doubt: ", "unknown"), ("while quiet: ", "quiet"))


@click.command(epilog=EXIT_STATUS)
@click.argument("name", required=False)
@click.option("--rule", "rule_id", metavar="ID", help="One rule in full, with its sources.")
@as_json
def profiles(name: str | None, rule_id: str | None, as_json: bool) -> None:
    """List the profiles; with NAME, its rules with their sources and evidence.

    With --rule, the rule as rules.py has it, the evidence that each profile has for it, and what
    its sources say.
    """
    with bad_input():
        chosen = [load_profile(n) for n in ([name] if name is not None else profile_names())]
        if rule_id is not None and rule_id not in RULES:
            known = ", ".join(RULES)
            raise ProfileError(f"unknown rule {rule_id!r}{hint(rule_id, RULES)}. Known: {known}")
    if rule_id is not None:
        emit(_rule_json(rule_id, chosen)) if as_json else _show_rule(rule_id, chosen)
    elif as_json:
        emit({"profiles": [_profile_json(profile) for profile in chosen]})
    elif name:
        _show_profile(chosen[0])
    else:
        table = _table("profile", "stands for", "rules", "in doubt")
        for profile in chosen:
            counts = str(len(profile.claims)), str(len(profile.unknown))
            table.add_row(profile.name, profile.title, *counts)
        Console().print(table)


def _table(*headings: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _claim_json(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.rule.id,
        "kind": claim.rule.kind,
        "claim": claim.rule.claim,
        "evidence": claim.evidence,
        "source": claim.source,
        "classes": sorted(claim.classes),
        "carrier": claim.carrier,
        "litmus": list(claim.rule.litmus),
        "errs": claim.rule.errs,
        "note": claim.note,
        "doubt": claim.doubt,
        "measure": claim.measure,
    }


def _profile_json(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "block_bytes": profile.block_bytes,
        "sector_bytes": profile.sector_bytes,
        "weaker_than": list(profile.weaker_than),
        "published": list(profile.published),
        "rules": [_claim_json(claim) for claim in profile.claims],
        "unknown": [_claim_json(claim) for claim in profile.unknown],
        "quiet": [_claim_json(claim) for claim in profile.quiet],
    }


def _show_profile(profile: Profile) -> None:
    headings = ("kind", "rule", "claim", "evidence", "source", "litmus")
    table = _table(*headings, title=f"{profile.name}: {profile.title}")
    for standing, which in _STANDINGS:
        for claim in getattr(profile, which):
            rule = claim.rule
            litmus = ", ".join(rule.litmus)
            row = (rule.kind, standing + rule.id, rule.claim, claim.evidence, claim.source, litmus)
            table.add_row(*row)
    console = Console()
    console.print(table)
    for claim in profile.unknown:
        text = f"{claim.rule.id} is {claim.doubt}; what would settle it: {claim.measure}."
        console.print(text, markup=False, highlight=False)
    console.print("One rule in full: powercut profiles --rule ID", markup=False, highlight=False)


def source_entries() -> dict[str, str]:
    """The entries of sources.md by their labels."""
    text = (resources.files("powercut") / "sources.md").read_text(encoding="utf-8")
    entries = {}
    for entry in text.split("\n### ")[1:]:
        label, _, body = entry.partition("\n")
        entries[label.strip()] = body.partition("\n## ")[0].strip()
    return entries


def _claims_of(rule_id: str, chosen: Sequence[Profile]) -> list[tuple[Profile, str, Claim]]:
    return [
        (profile, standing, claim)
        for profile in chosen
        for standing, which in _STANDINGS
        for claim in getattr(profile, which)
        if claim.rule.id == rule_id
    ]


def _rule_json(rule_id: str, chosen: Sequence[Profile]) -> dict[str, Any]:
    claims = _claims_of(rule_id, chosen)
    labels = dict.fromkeys([*RULES[rule_id].source, *(claim.source for _, _, claim in claims)])
    entries = source_entries()
    return {
        "rule": rule_id,
        "text": inspect.getsource(RULES[rule_id].holds),
        "claims": [
            {"profile": profile.name, "standing": standing.rstrip(": "), **_claim_json(claim)}
            for profile, standing, claim in claims
        ],
        "sources": {label: entries.get(label, "") for label in labels},
    }


def _show_rule(rule_id: str, chosen: Sequence[Profile]) -> None:
    found = _rule_json(rule_id, chosen)
    click.echo(found["text"])
    table = _table("profile", "evidence", "source", "note")
    for profile, standing, claim in _claims_of(rule_id, chosen):
        table.add_row(profile.name, standing + claim.evidence, claim.source, escape(claim.note))
    Console().print(table)
    for label, entry in found["sources"].items():
        click.echo(f"\n{label}\n{entry}")


@click.command(epilog=EXIT_STATUS)
@click.argument("file", type=FilePath())
@click.option("--profile", "-p", metavar="NAME", help="Only what is published for this profile.")
@click.option("--all", "show_all", is_flag=True, help="Print every row, not the differences alone.")
@as_json
def litmus(file: Path, profile: str | None, show_all: bool, as_json: bool) -> None:
    """Hold the profiles against the published cases in FILE, row by row.

    A row is one case and one file system that somebody published a result for. It is gated where
    the name has a profile, the evidence is strong, the model has all that the case needs and the
    point is not disputed. Exit status 0 says that no gated row disagrees, within the bound that is
    printed. A row whose result or evidence is no known word is not run, and told on stderr as well.
    """
    with bad_input():
        only = load_profile(profile) if profile is not None else None
        rows = [row for case in read_cases(file) for row in compare_case(case, only)]
    if as_json:
        emit({"cases": [row.to_json() for row in rows], "summary": summary(rows)})
    else:
        _show_rows(rows, show_all)
    odd = Counter(row.published.odd for row in rows if row.published.odd)
    for reason, count in odd.items():
        click.echo(f"powercut: {_rows(count)} of {file} not run, nor gated: {reason}", err=True)
    sys.exit(1 if any(_disagrees(row) for row in rows) else 0)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _disagrees(row: ConformanceRow) -> bool:
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


def _show_rows(rows: Sequence[ConformanceRow], show_all: bool) -> None:
    counts = summary(rows)
    headings = [heading for heading in _counts([]) if heading != "cases"]
    console = Console()
    short = {"agreed": "agree", "disagreed": "differ", "not_gated": "ungated", "not_run": "not run"}
    table = _table("family", *(short.get(heading, heading) for heading in headings))
    table.columns[0].no_wrap = True
    for name, family in counts["families"].items():
        table.add_row(name, *(f"{family[heading]:,}" for heading in headings))
    table.add_row("all", *(f"{counts[heading]:,}" for heading in headings), style="bold")
    console.print(table)
    differs = [row for row in rows if row.agrees is False or (row.gated and not row.agrees)]
    shown = rows if show_all else differs
    if shown:
        detail = _table("case", "name", "profile", "ours", "published", "evidence", "why")
        for row in shown:
            mark = "[red]gated[/] " if _disagrees(row) else ""
            detail.add_row(
                mark + escape(row.case.id),
                escape(row.published.name),
                row.profile or "-",
                row.ours or "-",
                escape(row.published.result),
                escape(row.published.evidence),
                escape(_why(row)),
            )
        console.print(detail)
    for reason, count in counts["reasons"].items():
        console.print(f"not run, {_rows(count)}: {reason}", markup=False, highlight=False)
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
