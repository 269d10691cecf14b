"""Writes the generated parts of docs/apfs.md: what holds on a Mac, and what would settle the rest.

Usage: python scripts/generate_apfs.py [--check] [--root FOLDER]

The verdicts are those of `powercut check` for each mode of lastgood under the profile apfs, within
the bound that the page names.  It takes a minute.  With --check nothing is written.

Exit status: 0 written, or up to date; 1 with --check, the page is stale; 2 the page cannot be read.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import evolve
from generate_docs import DocsError, filled, table

from powercut.checker.check import CheckEffort, CheckQuestion, check
from powercut.checker.exhaustive import Bound
from powercut.checker.verdict import Verdict
from powercut.profile import Profile, load_profile
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.subject import load_subject
from powercut_rig.macos import APFS
from powercut_rig.macos.experiments.catalog import EXPERIMENTS, NOT_BY_AN_IMAGE

PAGE: Final = "docs/apfs.md"
MODES: Final = ("unsafe", "atomic_nodirsync", "atomic_dirsync", "atomic_fullsync")
CLASSES: Final = ("process", "kernel", "power")
PLURAL: Final = {"holds": "hold", "fails": "**fail**"}
BOUND: Final = Bound(saves=1, crashes=1, parts=1, pieces=1, states=100_000, runs=1500)


def verdicts(mode: str, crash_class: str, profile: Profile) -> Mapping[str, Verdict]:
    """What `powercut check` says of one mode and one crash class, within the bound."""
    question = CheckQuestion(load_subject(f"lastgood:{mode}"), profile, crash_class, OF_CRASHES)
    return check(question, CheckEffort("enumerated", (BOUND,))).properties


def cell(mode: str, crash_class: str) -> str:
    """The verdicts of one mode and one class in words, the properties grouped by verdict."""
    profile = load_profile(APFS)
    found = verdicts(mode, crash_class, profile)
    groups: dict[str, list[str]] = {}
    for name, verdict in found.items():
        groups.setdefault(verdict.verdict, []).append(name)
    if "unknown" in groups:
        alone = deciding(mode, crash_class, profile, groups["unknown"])
        words = f"*unknown*, hang on {alone}"
        groups = {words if word == "unknown" else word: names for word, names in groups.items()}
    return "; ".join(f"{', '.join(names)} {PLURAL.get(w, w)}" for w, names in groups.items())


def deciding(mode: str, crash_class: str, profile: Profile, names: list[str]) -> str:
    """Rules in doubt that are enough together, and of which none can be left out."""
    needed = list(profile.unknown)
    for claim in profile.unknown:
        fewer = [each for each in needed if each is not claim]
        granted = evolve(profile, claims=(*profile.claims, *fewer), unknown=())
        question = CheckQuestion(
            load_subject(f"lastgood:{mode}"), granted, crash_class, tuple(names)
        )
        report = check(question, CheckEffort("enumerated", (BOUND,)))
        if all(verdict.verdict == "holds" for verdict in report.properties.values()):
            needed = fewer
    return " and ".join(f"`{claim.rule.id}`" for claim in needed)


def row(mode: str) -> list[str]:
    """One mode, in each crash class."""
    return [f"`{mode}`", *(cell(mode, crash_class) for crash_class in CLASSES)]


def matrix() -> str:
    """The table of modes and crash classes."""
    return table(["mode", *CLASSES], [row(mode) for mode in MODES])


def experiments() -> str:
    """Each rule of the profile, the experiment that asks about it, and what that leaves open."""
    profile = load_profile(APFS)
    by_rule = {each.rule: each for each in EXPERIMENTS}
    rows = []
    for claim in (*profile.unknown, *profile.claims):
        standing = "in doubt" if claim in profile.unknown else claim.evidence
        each = by_rule.get(claim.rule.id)
        asked = NOT_BY_AN_IMAGE[claim.rule.id] if each is None else each.question
        rows.append(
            [f"`{claim.rule.id}`", standing, asked, "" if each is None else each.leaves_open]
        )
    return table(["rule", "stands as", "a Mac is asked", "leaves open"], rows)


PARTS: Final = {"apfs-matrix": matrix, "apfs-experiments": experiments}


def main(arguments: list[str]) -> int:
    """Write the page, or say that it is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where stale")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args(arguments)
    path = options.root / PAGE
    try:
        now = wanted = path.read_text(encoding="utf-8")
        for name, part in PARTS.items():
            wanted = filled(wanted, name, part(), PAGE)
    except (DocsError, OSError) as error:
        sys.stderr.write(f"generate_apfs: {error}. Nothing was written.\n")
        return 2
    if now == wanted:
        return 0
    if not options.check:
        path.write_text(wanted, encoding="utf-8")
    verb = "is stale; run python scripts/generate_apfs.py" if options.check else "was written"
    sys.stdout.write(f"{PAGE} {verb}\n")
    return 1 if options.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
