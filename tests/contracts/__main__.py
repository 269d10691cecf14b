"""`python -m tests.contracts`: the whole lane, within a fixed budget.

BUDGET_S of processor time for each condition, a little over two minutes in all.
Exit status: 0 no counterexample, 1 a counterexample, 3 a target could not be checked.
"""

from __future__ import annotations

import sys

from tests.contracts.lane import LaneError, Verdict, check

BUDGET_S = 8.0
TARGETS = (
    "powercut.crash.downsets",
    "tests.contracts.downsets_contracts",
    "tests.contracts.manifest_contracts",
    "tests.contracts.recovery_contracts",
)


def main() -> int:
    """Check every target, print one line for each condition, and a count at the end."""
    counts = dict.fromkeys(Verdict, 0)
    for target in TARGETS:
        try:
            findings = check(target, BUDGET_S)
        except LaneError as error:
            print(f"could not run: {error}", file=sys.stderr)
            return 3
        for finding in findings:
            counts[finding.verdict] += 1
            said = f": {finding.text}" if finding.verdict is Verdict.COUNTEREXAMPLE else ""
            print(f"{target} ({finding.place}): {finding.verdict.value}{said}", flush=True)
    print(", ".join(f"{count} {verdict.value}" for verdict, count in counts.items()))
    return 1 if counts[Verdict.COUNTEREXAMPLE] else 0


if __name__ == "__main__":
    sys.exit(main())
