"""Writes the table of verdicts of docs/properties.md: each subject under each profile.

Usage: python scripts/verdict_table.py [--jobs N] [--root FOLDER] [SUBJECT:MODE ...]

The verdicts are those of `powercut check` for a power cut, by enumeration within BOUNDS.  All rows
take half an hour or so; those named are asked anew and the others kept.  Each row is written when
it is there, so that what is broken off loses one row.

Exit status: 0 written; 2 bad input, or the page cannot be read: nothing was written.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from attrs import asdict, evolve
from generate_docs import DocsError, filled, loaded_profiles, table

from powercut.checker.check import CheckEffort, CheckQuestion, check
from powercut.checker.exhaustive import DAMAGED, Bound
from powercut.errors import PowercutError
from powercut.profile import load_profile
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.subject import load_subject, subject_names

PAGE: Final = "docs/properties.md"
PART: Final = "verdicts"
BOUNDS: Final = (Bound(saves=0, crashes=2, parts=1, pieces=1), evolve(DAMAGED, crashes=0))
"""A save after a first recovery, with two crashes; and damage to the groups of two saves."""
STATES: Final = (20_000, 400_000)
"""A search looks at so many crash states, and at more where it found nothing and was cut off."""
IN_ALL_MODES: Final = ("lastgood", "paper")
"""Every other subject is asked in the mode that is promised something."""
ROW: Final = re.compile(r"^\| `([^`]+:\w+)` \| .* \|$", re.MULTILINE)


def labels() -> list[str]:
    """The rows: each subject that is installed, in the modes that are asked here."""
    split = [(label, *label.split(":")) for label in subject_names()]
    return [
        label for label, name, mode in split if name in IN_ALL_MODES or mode == "atomic_dirsync"
    ]


def ask(question: tuple[str, str]) -> tuple[str, int]:
    """The cell of a subject under a profile, and the crash states that were looked at for it."""
    label, profile = question
    asked = CheckQuestion(load_subject(label), load_profile(profile), "power", tuple(PROPERTIES))
    for states in STATES:
        bounds = tuple(evolve(bound, states=states) for bound in BOUNDS)
        found = check(asked, CheckEffort("enumerated", bounds)).properties
        groups: dict[str, list[str]] = {}
        for name, verdict in found.items():
            groups.setdefault(verdict.verdict, []).append(name)
        if "not refuted" not in groups or groups.keys() & {"fails", "unknown"}:
            break
    others = [
        f"{word} {' '.join(groups[word])}"
        for word in ("fails", "unknown", "not refuted")
        if word in groups
    ]
    return ", ".join(others) or "holds", max(each.represented for each in found.values())


def rows(wanted: Sequence[str], profiles: Sequence[str], jobs: int) -> Iterator[list[str]]:
    """The rows in order, each as soon as it is there."""
    questions = [(label, profile) for label in wanted for profile in profiles]
    with ProcessPoolExecutor(jobs) as pool:
        answers = pool.map(ask, questions)
        for label in wanted:
            cells, states = zip(*(next(answers) for _ in profiles), strict=True)
            yield [f"`{label}`", *cells, f"{sum(states):,}"]


def part(headings: Sequence[str], lines: Sequence[str]) -> str:
    """The generated part: how far was looked, how much was seen, and the table."""
    bounds = (
        ", ".join(f"{name} {value:,}" for name, value in asdict(bound).items() if name != "states")
        for bound in BOUNDS
    )
    few, many = STATES
    states = sum(int(line.split(" | ")[-1].rstrip(" |").replace(",", "")) for line in lines)
    return (
        f"Bounds: {'; and '.join(bounds)}.\n"
        f"A search is cut off after {few:,} crash states where something fails or is unknown by "
        f"then, and elsewhere after {many:,}.\n"
        f"{states:,} crash states were looked at.\n\n" + "\n".join([table(headings, []), *lines])
    )


def main(arguments: list[str]) -> int:
    """Ask, and write each row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("labels", nargs="*", metavar="SUBJECT:MODE", help="all, if none is named")
    parser.add_argument("--jobs", type=int, default=2, help="processes; 2 by default")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args(arguments)
    path = options.root / PAGE
    known, profiles = labels(), [profile.name for profile in loaded_profiles()]
    headings = ["subject", *(f"`{name}`" for name in profiles), "crash states"]
    try:
        if unknown := set(options.labels) - set(known):
            raise DocsError(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
        page = path.read_text(encoding="utf-8")
        same = table(headings, []) in page
        if options.labels and not same:
            raise DocsError(f"{PAGE}: its table has other profiles; ask all rows")
        lines = {found[1]: found[0] for found in ROW.finditer(page)} if same else {}
        for row in rows(options.labels or known, profiles, options.jobs):
            label = row[0].strip("`")
            lines[label] = table(row, []).partition("\n")[0]
            text = part(headings, [lines[each] for each in known if each in lines])
            # Read anew: somebody may have edited the page meanwhile.
            page = filled(path.read_text(encoding="utf-8"), PART, text, PAGE)
            path.write_text(page, encoding="utf-8")
            sys.stdout.write(f"{label} was written\n")
            sys.stdout.flush()
    except (DocsError, PowercutError, OSError) as error:
        sys.stderr.write(f"verdict_table: {str(error).rstrip('.')}.\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
