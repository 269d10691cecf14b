"""Counts what the pytest runs did, and fails where a test did not run that had to.

Usage: python3 scripts/ci_summary.py JUNIT_XML ... [--failed [STEP ...]]

A skip is allowed only where its reason says that the test is for macOS.  The rig's tests and the
training test must be among those that ran, in any of the reports.  Each failed STEP (lint, for one)
counts as failed; those named "test" and "test-all" are the pytest runs themselves, whose failures
the reports hold one by one.  The last line is "N passed, N failed", of all reports together.

Exit status: 0 all ran and passed, 1 not so, 2 a report cannot be read.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

MUST_RUN = tuple(
    f"tests.{folder}."
    for folder in ("impl", "model", "mutants", "rig", "snapshots", "stateful", "train")
)

RUNS = frozenset({"test", "test-all"})
"""The steps that write the reports."""


def outcome(case: ElementTree.Element) -> tuple[str, str]:
    """What became of one test: passed, failed or skipped, and the reason for a skip."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed", ""
    skipped = case.find("skipped")
    if skipped is None or skipped.get("type") == "pytest.xfail":
        return "passed", ""
    return "skipped", skipped.get("message", "")


def complaints(cases: list[tuple[str, str, str]]) -> list[str]:
    """One sentence for each thing that had to run and did not."""
    found = [
        f"skipped, and nothing may be skipped here: {name}: {reason}"
        for name, what, reason in cases
        if what == "skipped" and "macOS" not in reason
    ]
    found += [
        f"no test of {prefix}* passed"
        for prefix in MUST_RUN
        if not any(name.startswith(prefix) and what == "passed" for name, what, _ in cases)
    ]
    return found


def main(arguments: list[str]) -> int:
    """Judge the reports that are named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--failed", nargs="*", default=[])
    asked = parser.parse_args(arguments)
    try:
        # pytest wrote the reports a moment ago; they are not foreign input.
        reports = [ElementTree.fromstring(path.read_bytes()) for path in asked.reports]  # noqa: S314
    except (OSError, ElementTree.ParseError) as error:
        sys.stdout.write(f"ci: no readable pytest report: {error}\n0 passed, 1 failed\n")
        return 2
    cases = [
        (f"{case.get('classname')}.{case.get('name')}", *outcome(case))
        for report in reports
        for case in report.iter("testcase")
    ]
    wrong = [f"this step failed: {name}" for name in asked.failed if name not in RUNS]
    wrong += complaints(cases)
    for sentence in wrong:
        sys.stdout.write(f"ci: {sentence}\n")
    passed = sum(what == "passed" for _, what, _ in cases)
    failed = sum(what == "failed" for _, what, _ in cases) + len(wrong)
    if RUNS & set(asked.failed) and not failed:
        # pytest can fail with every test passed: an error while collecting or at its end.
        sys.stdout.write("ci: pytest failed, though no test did\n")
        failed = 1
    sys.stdout.write(f"{passed} passed, {failed} failed\n")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
