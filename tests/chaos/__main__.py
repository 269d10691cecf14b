"""Puts `training.py` under ckpt-chaos: every way of saving must pass, the unsafe habit must fail.

    python -m tests.chaos [--jobs N] [--work DIR]

The tester records each file that a run creates, renames or removes, then runs it again and kills
it at one of those places after the other, resumes, and compares the end with that of a run that
nobody killed, bit for bit. Status 1 where a save of lastgood does not pass everywhere, or where the
habit that overwrites its only file does: then the tester has not looked.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from attrs import frozen

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
LIMIT_S: Final = 1800
FAILURES: Final = "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK"


@frozen
class Subject:
    """A way to save; `checkpoints` is where they lie, None where they do not all stay."""

    how: str
    checkpoints: str | None
    modes: str
    must_pass: bool


# What lastgood writes itself it opens by os.open, whose files this tester cannot cut or take back:
# "torn" and "unsynced" have their place where foreign code writes by open().
SUBJECTS: Final = (
    Subject("save", "{out}/store/gen-*", "before,term", True),
    Subject("attempt", "{out}/store/gen-*", "before,torn,term,unsynced", True),
    Subject("prune", None, "before,term", True),
    Subject("in-place", None, "before,torn", False),
)


def command_for(subject: Subject, work: Path, jobs: int) -> list[str]:
    """The tester's command line."""
    options = ["--modes", subject.modes, "--max-points", "1000", "--jobs", str(jobs)]
    options += ["--step-regex", r"resumed from step (\d+)", "--result-file", "{out}/final.json"]
    options += ["--fail-on", FAILURES, "--work", str(work / subject.how), "--timeout", "120"]
    options += ["--junit", str(work / f"{subject.how}.xml")]
    if subject.checkpoints is not None:
        options += ["--checkpoint-glob", subject.checkpoints]
    train = [sys.executable, str(HERE / "training.py"), "{out}", "--how", subject.how]
    return [sys.executable, "-m", "ckpt_chaos", "run", *options, "--", *train]


def judged(report: Path) -> tuple[int, list[str]]:
    """How many places it was killed at, and those that it did not come back from as it should."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))  # noqa: S314  # our own
    bad = [(case.get("name"), each) for case in cases for each in case.iter("failure")]
    return len(cases), [f"{name}: {failure.get('message')}" for name, failure in bad]


def put_under(subject: Subject, work: Path, jobs: int) -> bool:
    """Run one subject and print how it ended; whether that is how it has to end."""
    done = subprocess.run(
        command_for(subject, work, jobs),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    report = work / f"{subject.how}.xml"
    if done.returncode not in (0, 1) or not report.is_file():
        print(f"{subject.how}: the tester did not finish:\n{done.stdout}{done.stderr}")
        return False
    places, bad = judged(report)
    print(f"{subject.how:9} {places:4} runs, {places - len(bad)} PASS, {len(bad)} not", flush=True)
    for line in bad:
        print(f"          {line}")
    warnings = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    print("".join(f"          {line}\n" for line in warnings), end="")
    return places > 1 and not warnings and (not bad) is subject.must_pass


def main() -> None:
    """Every subject, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--work", type=Path, default=None, help="keep the tester's files here")
    asked = parser.parse_args()
    print(f"ckpt-chaos {importlib.metadata.version('ckpt-chaos')}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lastgood-chaos-") as folder:
        work = asked.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        ended = {each.how: put_under(each, work, asked.jobs) for each in SUBJECTS}
    wrong = [how for how, is_right in ended.items() if not is_right]
    print(f"NOT as it must be: {', '.join(wrong)}" if wrong else "all as it must be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
