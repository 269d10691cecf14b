"""The table in README.md: each contract, its domain, and what CrossHair said of both of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from attrs import frozen

from tests.contracts.contract import Contract
from tests.contracts.lane import Finding, Verdict

PAGE = Path(__file__).with_name("README.md")
GENERATED = re.compile(
    r"(?<=<!-- generated: contracts -->\n).*(?=<!-- end: contracts -->)", re.DOTALL
)
HEADINGS = ("promise", "domain", "counted", "CrossHair says", "mutant", "of which CrossHair says")
REFUTED, NOT_REFUTED = "refuted", "not refuted in time"


@frozen
class Row:
    """A contract, and what came of it and of its mutant."""

    contract: Contract
    found: Finding
    mutant_found: Finding

    @property
    def said(self) -> str:
        """The verdict on the contract."""
        return self.found.verdict.value

    @property
    def said_of_mutant(self) -> str:
        """The verdict on the mutant."""
        is_refuted = self.mutant_found.verdict is Verdict.COUNTEREXAMPLE
        return REFUTED if is_refuted else NOT_REFUTED

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        call = re.search(r"when calling \w+(\(.*?\))(?: \(which|$)", self.mutant_found.text)
        return (
            *fixed_cells(self.contract),
            self.said,
            mutant_cell(self.contract),
            self.said_of_mutant + (f" by `{call[1]}`" if call else ""),
        )


def fixed_cells(contract: Contract) -> tuple[str, str, str]:
    """The cells on a contract for which nothing is run but the contract itself."""
    counted = len(set(contract.satisfying()))
    return f"`{contract.name}`", contract.domain, f"{counted:,}"


def mutant_cell(contract: Contract) -> str:
    """The change that the mutant is."""
    mutant = contract.mutant
    return f"`{Path(mutant.file).name}`: `{mutant.old}` becomes `{mutant.new}`"


def page(rows: Iterable[Row], budget_s: float) -> str:
    """README.md with this table."""
    cells = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    tools = f"CrossHair {version('crosshair-tool')}, Z3 {version('z3-solver')}"
    python = platform.python_version()
    lines = [
        f"{tools}, Python {python}; at most {budget_s:g} s of processor time each.",
        "",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]
    text = "".join(f"{line}\n" for line in lines)
    return GENERATED.sub(lambda _: text, PAGE.read_text(encoding="utf-8"))


def kept_rows() -> list[list[str]]:
    """The cells of the committed table, row by row."""
    found = GENERATED.search(PAGE.read_text(encoding="utf-8"))
    rows = [line.strip("| ").split(" | ") for line in (found[0] if found else "").splitlines()]
    return [cells for cells in rows if len(cells) == len(HEADINGS)][2:]


def kept_answers() -> dict[str, tuple[str, str]]:
    """For each contract of the committed table: what was said of it, and of its mutant."""
    return {cells[0].strip("`"): (cells[3], cells[5].partition(" by ")[0]) for cells in kept_rows()}
