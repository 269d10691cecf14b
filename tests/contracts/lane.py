"""Runs CrossHair on one promise within a budget and says what came of it.

CrossHair also "confirms" a contract whose preconditions nothing can meet.  So test_contracts.py
counts the inputs that meet them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from attrs import frozen

from tests import ROOT

MESSAGE = re.compile(r"^(?P<file>.+?):(?P<line>\d+): (?P<kind>error|info): (?P<text>.*)$")


class Verdict(Enum):
    """What CrossHair said."""

    COUNTEREXAMPLE = "counterexample"
    NOT_CONFIRMED = "not confirmed"
    CONFIRMED = "confirmed over all paths"


@frozen
class Finding:
    """The verdict on one promise, and CrossHair's own words."""

    verdict: Verdict
    text: str


class LaneError(Exception):
    """CrossHair could not check a target, which is never taken for a pass."""


def environment(extra_path: Sequence[Path] = ()) -> dict[str, str]:
    """The environment that a check runs in: hashes are fixed, both source roots importable."""
    roots = [*extra_path, ROOT / "model", ROOT / "impl", ROOT]
    path = os.pathsep.join(str(root) for root in roots)
    return {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path}


def check(target: str, budget_s: float, extra_path: Sequence[Path] = ()) -> Finding:
    """The verdict on one function, searched for `budget_s` of processor time.

    Raises LaneError where CrossHair fails by itself, does not end, or finds no contract at all.
    """
    command = [sys.executable, "-m", "crosshair", "check", "--analysis_kind=asserts"]
    command += ["--report_all", f"--per_condition_timeout={budget_s}", target]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60 + 40 * budget_s,
            env=environment(extra_path),
            cwd=ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LaneError(f"{target}: CrossHair was still running after {error.timeout} s") from error
    if done.returncode not in (0, 1):
        raise LaneError(f"{target}: CrossHair ended with {done.returncode}: {done.stderr.strip()}")
    findings = parse(done.stdout)
    if not findings:
        raise LaneError(f"{target}: no contract was found, so nothing was checked")
    broken = [f for f in findings if f.verdict is Verdict.COUNTEREXAMPLE]
    if bool(broken) != (done.returncode == 1) or (len(findings) > 1 and not broken):
        raise LaneError(f"{target}: status {done.returncode} contradicts: {done.stdout.strip()}")
    return broken[0] if broken else findings[0]


def parse(output: str) -> list[Finding]:
    """One finding for each message. A line that is no message continues the one before it."""
    findings: list[Finding] = []
    for line in output.splitlines():
        match = MESSAGE.match(line)
        if match is not None:
            findings.append(Finding(_verdict(match["kind"], match["text"]), match["text"]))
        elif findings:
            last = findings.pop()
            findings.append(Finding(last.verdict, f"{last.text}\n{line}"))
    return findings


def _verdict(kind: str, text: str) -> Verdict:
    if kind == "error":
        return Verdict.COUNTEREXAMPLE
    if text.startswith("Confirmed"):
        return Verdict.CONFIRMED
    if text.startswith("Not confirmed"):
        return Verdict.NOT_CONFIRMED
    raise LaneError(f"CrossHair said something unknown: {text!r}")
