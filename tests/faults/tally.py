"""What a lane counted and what it found, as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from attrs import Factory, define, frozen


@frozen
class Finding:
    """Something that may not be: in which part of the lane, in which case, and what."""

    part: str
    case: str
    what: str


@define
class Tally:
    """Cases by part and outcome, and the findings among them."""

    counts: Counter[tuple[str, str]] = Factory(Counter)
    cases: Counter[str] = Factory(Counter)
    findings: list[Finding] = Factory(list)

    def count(self, part: str, outcomes: Iterable[str]) -> None:
        """One case more, with its outcomes."""
        self.cases[part] += 1
        self.counts.update((part, outcome) for outcome in outcomes)

    def find(self, part: str, case: str, what: Iterable[str]) -> None:
        """Note what was found in a case."""
        self.findings += [Finding(part, case, each) for each in what]

    def add(self, other: Tally) -> None:
        """Take over what another one has."""
        self.counts += other.counts
        self.cases += other.cases
        self.findings += other.findings

    def markdown(self) -> str:
        """The table for docs/faults.md."""
        lines = ["| part | cases | outcomes | findings |", "| --- | --- | --- | --- |"]
        for part, cases in self.cases.items():
            of_part = [(what, n) for (where, what), n in self.counts.items() if where == part]
            said = "; ".join(f"{n} {what}" for what, n in sorted(of_part, key=lambda e: -e[1]))
            found = sum(1 for each in self.findings if each.part == part)
            lines.append(f"| {part} | {cases} | {said} | {found} |")
        return "\n".join(lines)

    def as_json(self) -> str:
        """All of it for programs."""
        rows: list[dict[str, Any]] = [
            {
                "part": part,
                "cases": cases,
                "outcomes": {w: n for (where, w), n in self.counts.items() if where == part},
            }
            for part, cases in self.cases.items()
        ]
        found = [{"part": f.part, "case": f.case, "what": f.what} for f in self.findings]
        return json.dumps({"parts": rows, "findings": found}, indent=1)
