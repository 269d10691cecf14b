"""`python -m tests.contracts [--write]`: every contract and its mutant, within a fixed budget.

At most BUDGET_S of processor time for each: what is confirmed or refuted takes a second or two.
Only a counterexample to a contract fails.  A lesser answer than the table's in README.md depends
on the machine: it is a note.  With --write the table is written anew.

Exit status: 0 no counterexample, 1 a counterexample, 3 a target could not be checked.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.contracts.catalog import CONTRACTS
from tests.contracts.contract import Contract
from tests.contracts.lane import LaneError, Verdict, check
from tests.contracts.table import PAGE, Row, kept_answers, page

BUDGET_S = 8.0


def checked(contract: Contract) -> Row:
    """What CrossHair says of a contract, and of its mutant. LaneError where it could not be run."""
    found = check(contract.target, BUDGET_S)
    with tempfile.TemporaryDirectory() as folder:
        try:
            root = contract.mutant.plant(Path(folder))
        except ValueError as error:
            raise LaneError(str(error)) from error
        return Row(contract, found, check(contract.target, BUDGET_S, [root]))


def report(row: Row, answers: tuple[str, str] | None) -> None:
    """One line on a contract, another on a counterexample, and one where the table says more."""
    print(f"{row.contract.name}: {row.said}; its mutant: {row.said_of_mutant}", flush=True)
    if row.found.verdict is Verdict.COUNTEREXAMPLE:
        print(f"  {row.found.text}")
    elif answers != (row.said, row.said_of_mutant):
        print(f"  note: the table in tests/contracts/README.md has {answers or 'nothing of it'}")


def main(arguments: list[str]) -> int:
    """Check every contract and its mutant; see the head of this file."""
    if arguments not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 2
    kept, rows = kept_answers(), list[Row]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for row in pool.map(checked, CONTRACTS):
                report(row, kept.get(row.contract.name))
                rows.append(row)
        except LaneError as error:
            pool.shutdown(cancel_futures=True)
            print(f"could not run: {error}", file=sys.stderr)
            return 3
    if arguments:
        PAGE.write_text(page(rows, BUDGET_S), encoding="utf-8")
    verdicts = [row.found.verdict for row in rows]
    refuted = sum(row.mutant_found.verdict is Verdict.COUNTEREXAMPLE for row in rows)
    print(
        *(f"{verdicts.count(each)} {each.value}" for each in Verdict),
        f"{refuted} of {len(rows)} mutants refuted",
        sep=", ",
    )
    return 1 if Verdict.COUNTEREXAMPLE in verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
