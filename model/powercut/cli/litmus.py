"""The command `litmus`: litmus tests of our own, and published cases, asked of the profiles."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from attrs import frozen
from rich.console import Console
from rich.markup import escape

from powercut.cli.console import EXIT_STATUS, FilePath, as_json, bad_input, emit, table_of
from powercut.cli.published_rows import count_of_rows, disagrees, show_rows, summary
from powercut.profile import Profile, load_profile, profile_names, profiles_in
from powercut.published.cases import read_cases
from powercut.published.conformance import compare_case, published_names
from powercut.rules import RULES
from powercut.trace.litmus import Litmus, read_litmus, run_litmus


@click.command(epilog=EXIT_STATUS)
@click.argument("files", type=FilePath(), nargs=-1, required=True, metavar="FILE...")
@click.option("--profile", "-p", metavar="NAME", help="Ask this profile alone; or a .toml file.")
@click.option("--all", "show_all", is_flag=True, help="Print every row, not the differences alone.")
@as_json
def litmus(files: tuple[Path, ...], profile: str | None, show_all: bool, as_json: bool) -> None:
    """Ask the profiles about litmus tests, or about published cases.

    FILEs that end in .toml are litmus tests: a tiny program and one question, with the answer that
    each profile must give (traces/litmus). The answer is printed beside the recorded one, with the
    rules that it hangs on. Of several files, only the differences are printed, and what is not
    recorded.

    Any other FILE holds published cases. A row is one case and one file system that somebody
    published a result for. It is gated where the name has a profile, the evidence is strong, the
    model has all that the case needs and the point is not disputed. Exit status 0 says that no
    gated row disagrees, within the bound that is printed. A row whose result or evidence is no
    known word is not run, and told on stderr as well. Profiles in a folder "profiles" beside FILE
    are asked as well as the built-in ones.
    """
    ours = [file for file in files if file.suffix == ".toml"]
    if (ours and len(ours) < len(files)) or (len(files) > 1 and not ours):
        message = "expected one file of published cases, or litmus tests (.toml) only"
        raise click.UsageError(f"{message}; got {', '.join(map(str, files))}. Nothing was run.")
    with bad_input():
        only = load_profile(profile) if profile is not None else None
        if ours:
            asked = [read_litmus(file) for file in dict.fromkeys(ours)]
            found = [each for test in asked for each in _answers(test, only)]
        else:
            names = published_names(profiles_in(files[0].parent / "profiles"))
            rows = [row for c in read_cases(files[0]) for row in compare_case(c, names, only)]
    if ours:
        _print_answers(found, show_all or len(ours) == 1, as_json)
        sys.exit(1 if any(each.agrees is False for each in found) else 0)
    if as_json:
        emit({"cases": [row.to_json() for row in rows], "summary": summary(rows)})
    else:
        show_rows(rows, show_all)
    odd = Counter(row.published.odd for row in rows if row.published.odd)
    for reason, count in odd.items():
        where = f"{count_of_rows(count)} of {files[0]}"
        click.echo(f"powercut: {where} not run, nor gated: {reason}", err=True)
    sys.exit(1 if any(disagrees(row) for row in rows) else 0)


@frozen
class LitmusAnswer:
    """The answer of one profile to one litmus test, beside the recorded one; None: none.

    `hangs_on` are the rules of the profile without which, one by one, the answer is another.
    """

    test: Litmus
    profile: str
    answer: str
    states: int
    recorded: str | None
    recorded_states: int | None
    hangs_on: tuple[str, ...]

    @property
    def agrees(self) -> bool | None:
        """Both the answer and the number of states are the recorded ones; None: none recorded."""
        if self.recorded is None:
            return None
        return (self.answer, self.states) == (self.recorded, self.recorded_states)

    def to_json(self) -> dict[str, Any]:
        """The answer as `powercut litmus --json` prints it."""
        return {
            "test": self.test.name,
            "question": self.test.question,
            "profile": self.profile,
            "answer": self.answer,
            "recorded": self.recorded,
            "states": {"found": self.states, "recorded": self.recorded_states},
            "agrees": self.agrees,
            "hangs_on": list(self.hangs_on),
        }


def _answers(test: Litmus, only: Profile | None) -> Iterator[LitmusAnswer]:
    profiles = [only] if only is not None else [load_profile(name) for name in profile_names()]
    for profile in profiles:
        outcome = run_litmus(test, profile)
        hangs_on = tuple(
            claim.rule.id
            for claim in profile.claims
            if test.name in claim.rule.litmus
            and run_litmus(test, profile.without(claim.rule.id)).answer != outcome.answer
        )
        yield LitmusAnswer(
            test,
            profile.name,
            outcome.answer,
            len(outcome.looks),
            test.answers.get(profile.name),
            test.states.get(profile.name),
            hangs_on,
        )


def _print_answers(found: Sequence[LitmusAnswer], show_all: bool, as_json: bool) -> None:
    tests = {id(each.test): each.test for each in found}
    counts = {
        "tests": len(tests),
        "answers": len(found),
        "agree": sum(each.agrees is True for each in found),
        "differ": sum(each.agrees is False for each in found),
        "not_recorded": sum(each.agrees is None for each in found),
    }
    if as_json:
        emit({"answers": [each.to_json() for each in found], "summary": counts})
        return
    console = Console()
    for test in tests.values():
        rows = [each for each in found if each.test is test and (show_all or not each.agrees)]
        if rows:
            _print_test(test, rows, console)
    tests_asked = "1 test" if len(tests) == 1 else f"{len(tests)} tests"
    console.print(
        f"{tests_asked}, {counts['answers']} answers: {counts['agree']} as recorded, "
        f"{counts['differ']} differ, {counts['not_recorded']} not recorded",
        markup=False,
        highlight=False,
    )


def _print_test(test: Litmus, rows: Sequence[LitmusAnswer], console: Console) -> None:
    citing = ", ".join(rule.id for rule in RULES.values() if test.name in rule.litmus)
    where = "at the end" if test.crash == "end" else "anywhere"
    for line in (
        f"{test.name}: {test.question}",
        f"crash of the class {test.crash_class}, {where}; at most {test.pieces} pieces an event",
        f"cited by: {citing or 'no rule'}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    table = table_of("profile", "answer", "states", "recorded", "hangs on")
    for each in rows:
        recorded = "-" if each.recorded is None else f"{each.recorded}, {each.recorded_states}"
        mark = "[red]differs[/] " if each.agrees is False else ""
        cells = (f"{each.states:,}", mark + recorded, ", ".join(each.hangs_on))
        table.add_row(escape(each.profile), each.answer, *cells)
    console.print(table)
