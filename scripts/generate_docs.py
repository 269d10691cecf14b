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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from powercut.errors import PowercutError
from powercut.litmus import Litmus, read_litmus, run_litmus
from powercut.profile import EVIDENCE, Claim, Profile, load_profile, profile_names
from powercut.rules import RULES
from powercut.trace import read_trace

PAGES = {
    "docs/model.md": ("rules", "evidence", "litmus"),
    "traces/README.md": ("litmus-index", "counterexamples-index", "regressions-index"),
}


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
        for mark, claims in (("", profile.claims), ("in doubt: ", profile.unknown)):
            for claim in claims:
                if claim.rule.id == rule_id:
                    return mark + claim.evidence + classes_note(claim)
        return "-"

    rows = [
        [f"`{rule.id}`", rule.kind, rule.claim, *(cell(p, rule.id) for p in profiles)]
        for rule in RULES.values()
    ]
    return table(["rule", "kind", "claim", *(f"`{p.name}`" for p in profiles)], rows)


def classes_note(claim: Claim) -> str:
    """The crash class that a claim is limited to, if it is."""
    return f" ({', '.join(claim.classes)} only)" if len(claim.classes) == 1 else ""


def evidence_table(_: Path) -> str:
    """Each profile: what it stands for, its block, and how many claims have each grade."""
    rows = []
    for profile in loaded_profiles():
        grades = [c.evidence for c in profile.claims]
        counts = [str(grades.count(grade) or "-") for grade in EVIDENCE]
        unit = f"{profile.block_bytes}"
        rows.append(
            [f"`{profile.name}`", profile.title, unit, *counts, str(len(profile.unknown) or "-")]
        )
    return table(["profile", "stands for", "block, bytes", *EVIDENCE, "in doubt"], rows)


def litmus_tests(root: Path) -> list[Litmus]:
    """The litmus tests, by name."""
    return [read_litmus(path) for path in sorted((root / "traces/litmus").glob("*.toml"))]


def litmus_table(root: Path) -> str:
    """Each litmus test with its answer and its number of states under each profile.

    A profile with rules in doubt has a second column: what it would answer if all of them held.
    """
    profiles = loaded_profiles()
    doubting = [p for p in profiles if p.unknown]
    rows = []
    for test in litmus_tests(root):
        cells = [
            f"{test.answers[p.name]}, {test.states[p.name]}" if p.name in test.answers else ""
            for p in profiles
        ]
        cells += [hopeful_cell(test, p) if p.name in test.answers else "" for p in doubting]
        rows.append([f"[`{test.name}`](../traces/litmus/{test.name}.toml)", *cells])
    headings = [f"`{p.name}`" for p in profiles]
    headings += [f"`{p.name}` with its rules in doubt" for p in doubting]
    return table(["test", *headings], rows)


def hopeful_cell(test: Litmus, profile: Profile) -> str:
    """The answer and the number of states if every rule in doubt held; "same" for no change."""
    outcome = run_litmus(test, profile.with_unknown())
    hopeful = (outcome.answer, len(outcome.looks))
    same = hopeful == (test.answers[profile.name], test.states[profile.name])
    return "same" if same else f"{hopeful[0]}, {hopeful[1]}"


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
    "evidence": evidence_table,
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
        sys.stderr.write(f"generate_docs: {error}. Nothing was written.\n")
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
