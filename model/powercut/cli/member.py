"""The command `powercut member`: can this tree be what a crash left?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from powercut.cli.console import FilePath, as_json, bad_input, emit
from powercut.membership.crash_points import (
    ANYWHERE,
    CrashPointAnswer,
    membership_query,
    program_of,
)
from powercut.membership.membership import BUDGET
from powercut.membership.observed_tree import read_tree
from powercut.profile import CRASH_CLASSES, limits_in_words, profile_named
from powercut.trace.trace_file import read_trace

EXIT_STATUS = """\b
Exit status:
  0  yes: some crash at that moment leaves this tree
  1  no: none does, and what contradicts what is printed
  2  bad input: nothing was run
  3  the output could not be written
  4  undecided: the budget was spent before there was an answer"""

_STATUS = {"yes": 0, "no": 1, "undecided": 4}


@click.command("member", epilog=EXIT_STATUS)
@click.argument("trace", type=FilePath())
@click.option(
    "--tree",
    required=True,
    type=FilePath(),
    help="The observed tree, as JSON: paths to contents. docs/traces.md says how.",
)
@click.option(
    "--profile",
    "-p",
    metavar="NAME",
    help="This profile instead of the trace's own; NAME+RULE has a rule more, to refute it.",
)
@click.option(
    "--crash-class", "-c", type=click.Choice(CRASH_CLASSES), default="power", show_default=True
)
@click.option(
    "--at",
    metavar="OP",
    help=f"The crash comes right after this op returned, while it ran (OP:begun), or {ANYWHERE}. "
    "After the last op before the trace's first crash by default.",
)
@click.option(
    "--budget",
    type=click.IntRange(1),
    default=BUDGET,
    show_default=True,
    help="Steps of deduction that an answer may cost.",
)
@as_json
def member_command(
    trace: Path,
    tree: Path,
    profile: str | None,
    crash_class: str,
    at: str | None,
    budget: int,
    as_json: bool,
) -> None:
    """Say whether the observed tree can be what a crash of TRACE's program leaves.

    The ops of TRACE up to its first crash are the program. A no names what was observed and the
    durable event or the rule that forbids it.
    """
    with bad_input():
        parsed = read_trace(trace)
        chosen = profile_named(parsed.profile if profile is None else profile)
        observed = read_tree(tree)
        program = program_of(parsed, str(trace))
        question = membership_query(program, chosen, crash_class, at, where=str(trace))
        found = question.ask(observed, budget)
    crash = found.answer.crash
    if as_json:
        emit(
            {
                "trace": str(trace),
                "tree": str(tree),
                "profile": chosen.name,
                "crash_class": crash_class,
                "answer": found.answer.verdict,
                "moment": found.moment,
                "moments_asked": found.asked,
                "because": found.answer.because,
                "lost": None if crash is None else list(crash.lost),
                "limits": [limit.to_json() for limit in chosen.limits],
            }
        )
    else:
        click.echo(render(found, chosen.name, crash_class))
        if found.answer.verdict == "no" and chosen.limits:
            click.echo(limits_in_words(chosen.limits))
    sys.exit(_STATUS[found.answer.verdict])


def render(found: CrashPointAnswer, profile: str, crash_class: str) -> str:
    """The answer for people."""
    answer, crash = found.answer, found.answer.crash
    when = f"a {crash_class} crash at {found.moment} under {profile}"
    if answer.verdict == "yes":
        lost = ", ".join(crash.lost) if crash is not None else ""
        return f"yes: {when} leaves this tree.\n  lost: {lost or 'nothing'}"
    if found.asked > 1:
        when += f", the last of {found.asked} moments"
    verb = "cannot leave" if answer.verdict == "no" else "may or may not leave"
    return f"{answer.verdict}: {when} {verb} this tree.\n  {answer.because}"
