"""Writes the generated parts of docs/model.md and traces/README.md: the tables and the index.

Usage: python scripts/generate_docs.py [--check] [--root FOLDER]

A generated part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; all else on the
page is left as it is.  With --check nothing is written.  Profiles and rules are those of the
installed powercut; traces are those under FOLDER (this repository, where it is not given).

Exit status: 0 written, or up to date; 1 with --check, a page is stale; 2 a page or a trace cannot
be read, nothing was written.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from attrs import evolve

from powercut.errors import PowercutError
from powercut.profile import EVIDENCE, Claim, Limit, Profile, load_profile, profile_names
from powercut.rules import RULES
from powercut.trace.litmus import Litmus, read_litmus, run_litmus
from powercut.trace.trace_file import read_trace

PAGES = {
    "docs/model.md": ("rules", "claims", "evidence", "limits", "litmus", "mutants"),
    "traces/README.md": ("litmus-index", "counterexamples-index", "regressions-index"),
}


GRADES = {"documented": "D", "measured": "M", "inferred": "I", "assumed": "A"}


class DocsError(Exception):
    """A page lacks a marker; the message names both."""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a bar inside a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in lines)


def loaded_profiles() -> list[Profile]:
    """The built-in profiles: the ideal first, then those with the fewest rules."""
    profiles = [load_profile(name) for name in profile_names()]
    return sorted(profiles, key=lambda p: (p.name != "sequential", len(p.claims), p.name))


def rules_table(_: Path) -> str:
    """Each rule with the evidence that each profile has for it."""
    profiles = loaded_profiles()

    def cell(profile: Profile, rule_id: str) -> str:
        for mark, claims in (("", profile.claims), ("?", profile.unknown), ("q", profile.quiet)):
            for claim in claims:
                if claim.rule.id == rule_id:
                    return GRADES[claim.evidence] + mark + carrier_note(claim) + classes_note(claim)
        return ""

    rows = [
        [f"`{rule.id}`", rule.kind, *cells]
        for rule in RULES.values()
        if any(cells := [cell(p, rule.id) for p in profiles])
    ]
    return table(["rule", "kind", *(f"`{p.name}`" for p in profiles)], rows)


def claims_table(_: Path) -> str:
    """Each rule: what it says, where it comes from, and in which direction it errs."""
    rows = [
        [
            f"`{rule.id}`",
            rule.claim,
            ", ".join(f"[{label}](sources.md#{anchor(label)})" for label in rule.source),
            rule.errs or "exact, as far as is known",
        ]
        for rule in RULES.values()
    ]
    return table(["rule", "claim", "sources", "errs"], rows)


def anchor(label: str) -> str:
    """The fragment that a heading of a Markdown page is linked by."""
    return re.sub(r"[^\w-]", "", label.lower())


def carrier_note(claim: Claim) -> str:
    """The carrier of a claim, where it is not the usual one."""
    unusual = {("scope", "log"): "l", ("atomic", "commit"): "c"}
    return unusual.get((claim.rule.kind, claim.carrier), "")


def classes_note(claim: Claim) -> str:
    """The crash class that a claim is limited to, if it is."""
    return "k" if claim.classes == {"kernel"} else "p" if claim.classes == {"power"} else ""


def mutants_table(root: Path) -> str:
    """For each rule: the profiles in which it was left out, and the litmus tests that noticed."""
    tests = {test.name: test for test in litmus_tests(root)}
    rows = []
    for rule in RULES.values():
        caught: dict[tuple[str, ...], list[str]] = {}
        for profile, full, mutant in mutants_of(rule.id):
            noticed = tuple(
                name
                for name in rule.litmus
                if run_litmus(tests[name], full).answer != run_litmus(tests[name], mutant).answer
            )
            caught.setdefault(noticed, []).append(profile)
        for noticed, profiles in caught.items():
            names = ", ".join(noticed) or "**none: it survives**"
            rows.append([f"`{rule.id}`", ", ".join(profiles), names])
    return table(["rule left out", "of", "caught by"], rows)


def mutants_of(rule_id: str) -> Iterator[tuple[str, Profile, Profile]]:
    """Each profile that has the rule in some standing: with it, and without."""
    for profile in loaded_profiles():
        for claim in profile.claims:
            if claim.rule.id == rule_id:
                yield profile.name, profile, profile.without(rule_id)
        for claim in profile.unknown:
            if claim.rule.id == rule_id:
                relied_on = evolve(profile, claims=(*profile.claims, claim))
                yield f"{profile.name} (in doubt)", relied_on, profile
        for claim in profile.quiet:
            if claim.rule.id == rule_id:
                quiet = profile.when_quiet()
                yield f"{profile.name} (quiet)", quiet, quiet.without(rule_id)


def evidence_table(_: Path) -> str:
    """Each profile: what it stands for, its block, and how many claims have each grade."""
    rows = []
    for profile in loaded_profiles():
        grades = [c.evidence for c in profile.claims]
        counts = [str(grades.count(grade) or "-") for grade in EVIDENCE]
        unit = f"{profile.block_bytes} / {profile.sector_bytes}"
        doubts = str(len(profile.unknown) or "-")
        quiet = str(len(profile.quiet) or "-")
        rows.append([f"`{profile.name}`", profile.title, unit, *counts, doubts, quiet])
    headings = ["profile", "stands for", "block / sector, bytes", *EVIDENCE, "in doubt", "quiet"]
    return table(headings, rows)


def limits_table(_: Path) -> str:
    """Each limit: the profiles that declare it, what was seen, and its source."""
    declared: dict[Limit, list[str]] = {}
    for profile in loaded_profiles():
        for limit in profile.limits:
            declared.setdefault(limit, []).append(f"`{profile.name}`")
    rows = [
        [
            ", ".join(names),
            limit.what,
            limit.evidence,
            f"[{limit.source}](sources.md#{anchor(limit.source)})",
            "yes" if limit.refutes else "-",
        ]
        for limit, names in declared.items()
    ]
    return table(["profiles", "outside", "evidence", "source", "refuted by it"], rows)


def litmus_tests(root: Path) -> list[Litmus]:
    """The litmus tests, by name."""
    return [read_litmus(path) for path in sorted((root / "traces/litmus").glob("*.toml"))]


def litmus_table(root: Path) -> str:
    """Each litmus test with its answer and its number of states under each profile."""
    profiles = loaded_profiles()
    rows = [
        [
            f"[`{test.name}`](../traces/litmus/{test.name}.toml)",
            *(answer_cell(test, profile) for profile in profiles),
        ]
        for test in litmus_tests(root)
    ]
    return table(["test", *(f"`{p.name}`" for p in profiles)], rows)


def answer_cell(test: Litmus, profile: Profile) -> str:
    """The answer and the number of states; what differs with the rules in doubt, or while quiet."""
    if profile.name not in test.answers:
        return ""
    given = test.answers[profile.name]
    cell = f"{given[0].upper()} {test.states[profile.name]}"
    if profile.unknown:
        hopeful = run_litmus(test, profile.with_unknown()).answer
        cell += f" ?{hopeful[0].upper()}" if hopeful != given else ""
    quiet = test.quiet.get(profile.name, given)
    return cell + (f" q{quiet[0].upper()}" if quiet != given else "")


def litmus_index(root: Path) -> str:
    """One line for each litmus test: its question, and the rules that need it."""
    lines = []
    for test in litmus_tests(root):
        needed = ", ".join(f"`{r.id}`" for r in RULES.values() if test.name in r.litmus)
        needs = f" Needed by {needed}." if needed else ""
        lines.append(f"* [{test.name}](litmus/{test.name}.toml): {test.question}{needs}")
    return "\n".join(lines)


def trace_index(folder: str) -> Callable[[Path], str]:
    """One or two lines for each trace in a folder: its first line, why it fails, who found it."""

    def index(root: Path) -> str:
        lines = []
        for path in sorted((root / "traces" / folder).glob("*.toml")):
            trace = read_trace(path)
            first = path.read_text(encoding="utf-8").splitlines()[0]
            title = first.lstrip("# ") if first.startswith("#") else f"{trace.property}."
            why = trace.because
            because = f" {why[0].upper()}{why[1:]}." if why else ""
            by = f" Found by {trace.origin['by']}." if "by" in trace.origin else ""
            lines.append(f"* [{path.stem}]({folder}/{path.name}): {title}{because}{by}")
        return "\n".join(lines)

    return index


PARTS: dict[str, Callable[[Path], str]] = {
    "rules": rules_table,
    "claims": claims_table,
    "mutants": mutants_table,
    "evidence": evidence_table,
    "limits": limits_table,
    "litmus": litmus_table,
    "litmus-index": litmus_index,
    "counterexamples-index": trace_index("counterexamples"),
    "regressions-index": trace_index("regressions"),
}


def filled(page: str, name: str, part: str, where: str) -> str:
    """The page with one generated part put between its markers. DocsError."""
    start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(re.escape(start) + r"\n.*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise DocsError(f"{where}: expected {start} and {end} once, on lines of their own")
    return pattern.sub(lambda _: f"{start}\n{part}\n{end}", page)


def generated(root: Path) -> dict[Path, tuple[str, str]]:
    """Each page as it is and as it should be. DocsError, PowercutError, OSError."""
    pages = {}
    for name, parts in PAGES.items():
        path = root / name
        now = path.read_text(encoding="utf-8")
        wanted = now
        for part in parts:
            wanted = filled(wanted, part, PARTS[part](root), name)
        pages[path] = (now, wanted)
    return pages


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where stale")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args(arguments)
    try:
        pages = generated(options.root)
    except (DocsError, PowercutError, OSError) as error:
        sys.stderr.write(f"generate_docs: {str(error).rstrip('.')}. Nothing was written.\n")
        return 2
    stale = {path: wanted for path, (now, wanted) in pages.items() if now != wanted}
    for path, wanted in stale.items():
        if not options.check:
            path.write_text(wanted, encoding="utf-8")
        verb = "is stale; run python scripts/generate_docs.py" if options.check else "was written"
        sys.stdout.write(f"{path.relative_to(options.root)} {verb}\n")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
