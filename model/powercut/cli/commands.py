"""The commands of `powercut`: what they are asked, what they print, how they exit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from powercut.checker.check import CheckEffort, CheckQuestion, check, write_traces
from powercut.checker.exhaustive import DAMAGED, DEEP, Bound
from powercut.checker.verdict import NOT_REFUTED, CheckReport, SetReport, Verdict
from powercut.cli.catalog import profiles
from powercut.cli.console import EXIT_STATUS, FilePath, as_json, bad_input, emit, table_of
from powercut.cli.litmus import litmus
from powercut.cli.member import member_command
from powercut.profile import CRASH_CLASSES, load_profile, load_set, set_names
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.subject import load_subject, subject_names
from powercut.trace.explain import explain as explain_trace
from powercut.trace.explain import render
from powercut.trace.replay import Replayed
from powercut.trace.replay import replay as replay_trace
from powercut.trace.trace_file import read_trace

_COLOUR = {"holds": "green", "fails": "red", "unknown": "yellow", "not refuted": "yellow"}


class CommandGroup(click.Group):
    """The command group; other packages add commands by the entry points `powercut.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our commands and those of installed packages."""
        added = [point.name for point in entry_points(group="powercut.commands")]
        return sorted({*super().list_commands(ctx), *added})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Our command, or the one that an installed package adds under that name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in entry_points(group="powercut.commands"):
            if point.name == cmd_name:
                command: click.Command = point.load()
                return command
        return None


@click.group(
    cls=CommandGroup, epilog=EXIT_STATUS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="lastgood", prog_name="powercut")
def powercut() -> None:
    """What may a power cut leave, and does the protocol survive it?"""


@powercut.command("check", epilog=EXIT_STATUS)
@click.argument("subject")
@click.option(
    "--profile",
    "-p",
    required=True,
    metavar="NAME",
    help="A profile, a .toml file, or a set of profiles.",
)
@click.option(
    "--crash-class",
    "-c",
    type=click.Choice(CRASH_CLASSES),
    default="power",
    show_default=True,
    help="What dies: the program, the kernel, or the drive's cache too.",
)
@click.option(
    "--property",
    "properties",
    multiple=True,
    type=click.Choice(tuple(PROPERTIES)),
    help="Ask about this property only; may be repeated. All by default.",
)
@click.option(
    "--method",
    type=click.Choice(("both", "enumerated", "sampled")),
    default="both",
    show_default=True,
    help="Every history within the bound, longer ones by sampling, or both.",
)
@click.option(
    "--saves",
    type=click.IntRange(1, 4),
    default=2,
    show_default=True,
    help="In a history; those of --deep have bounds of their own.",
)
@click.option("--crashes", type=click.IntRange(1, 3), default=1, show_default=True)
@click.option("--parts", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option("--pieces", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option(
    "--deep/--no-deep",
    default=True,
    show_default=True,
    help="Also every history of two crashes, with one save of one part, in one piece.",
)
@click.option(
    "--examples", type=click.IntRange(1), default=60, show_default=True, help="Sampled histories."
)
@click.option("--random", is_flag=True, help="Sample other histories each time.")
@click.option(
    "--traces",
    type=FilePath(file_okay=False),
    default=Path("powercut-traces"),
    show_default=True,
    help="Where a counterexample is written.",
)
@click.option(
    "--accept",
    type=click.Choice(("not-refuted",)),
    help="Let the exit status be 0 where nothing is worse than that.",
)
@as_json
def check_command(
    subject: str,
    profile: str,
    crash_class: str,
    properties: tuple[str, ...],
    method: str,
    deep: bool,
    examples: int,
    random: bool,
    traces: Path,
    accept: str | None,
    as_json: bool,
    **bound: int,
) -> None:
    """Ask whether SUBJECT (NAME:MODE) keeps its promises after every crash.

    A property that fails is shrunk to a small history and written as a trace that `powercut
    replay` judges again. `holds` speaks for every history within the bound that is printed.
    `not refuted` says that nothing was found, by sampling or by a search that was cut off, and no
    more. In some histories something of a group goes bad at rest; P7 speaks of these alone.

    Of a set, such as linux-measured, each profile is asked, and the weakest answer is the set's.
    """
    with bad_input():
        group = load_set(profile) if profile in set_names() else None
        asked = group.members if group is not None else (load_profile(profile),)
        subject_asked = load_subject(subject)
        named = properties or tuple(PROPERTIES)
        questions = [CheckQuestion(subject_asked, each, crash_class, named) for each in asked]
        bounds = (Bound(**bound), *((DEEP,) if deep else ()), DAMAGED)
        effort = CheckEffort(method, bounds, examples, random)
        with _progress(as_json) as progress:
            reports = [_checked(question, effort, traces, progress) for question in questions]
    answer = reports[0] if group is None else SetReport(group.name, tuple(reports), group.left_out)
    if as_json:
        emit(answer.to_json())
    elif isinstance(answer, SetReport):
        show_set(answer)
    else:
        show_report(answer)
    sys.exit(0 if accept and answer.exit_code == NOT_REFUTED else answer.exit_code)


def _checked(
    question: CheckQuestion, effort: CheckEffort, traces: Path, progress: Callable[[str], None]
) -> CheckReport:
    """The report on one profile, its counterexamples written where that can be done."""
    name = question.profile.name
    report = check(question, effort, lambda words: progress(escape(f"{name}: {words}")))
    try:
        return write_traces(report, question, traces)
    except OSError as error:
        click.echo(f"powercut: the verdict stands, its trace is not written: {error}", err=True)
        return report


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal; silence elsewhere."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("starting") as status:
        yield status.update


def show_report(report: CheckReport) -> None:
    """Print the verdicts of a report as a table."""
    table = Table(
        title=escape(f"{report.subject} under {report.profile}, {report.crash_class} crash"),
        title_justify="left",
    )
    for heading in ("property", "verdict", "how far", "crash states", "run"):
        table.add_column(heading, overflow="fold")
    for name, verdict in report.properties.items():
        claim = PROPERTIES[name].partition(":")[0]
        table.add_row(
            f"{name} {claim}",
            f"[{_COLOUR[verdict.verdict]}]{verdict.verdict}[/]",
            how_far(verdict),
            f"{verdict.represented:,}",
            f"{verdict.run:,}",
        )
    console = Console()
    console.print(table)
    for line in _below(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _below(report: CheckReport) -> Iterator[str]:
    """The lines below the table of a report."""
    for name, verdict in report.properties.items():
        if verdict.counterexample is not None:
            yield f"{name}: {verdict.counterexample.because}."
            for rule in verdict.counterexample.needs:
                yield f"{name}: its crash needs the permission {rule}."
        if verdict.unknown_rules:
            yield f"{name} hangs on what is in doubt: {', '.join(verdict.unknown_rules)}."
        if verdict.trace is not None:
            yield from (f"  powercut {word} {verdict.trace}" for word in ("replay", "explain"))
    missed: dict[str, list[str]] = {}
    for name, verdict in report.properties.items():
        for sentence in verdict.missed:
            missed.setdefault(sentence, []).append(name)
    for sentence, names in missed.items():
        yield f"{', '.join(names)}: {sentence}."
    for rule, why in report.doubts.items():
        yield f"{rule} is {why}"
    yield from (f"outside of this verdict: {limit.what}" for limit in report.limits)


def show_set(report: SetReport) -> None:
    """Print a row for each profile of a set, its weakest answers, and what is left out."""
    first = report.members[0]
    title = f"{first.subject} under {report.profile}, {first.crash_class} crash"
    table = table_of("profile", *report.weakest, title=escape(title))
    rows = {
        each.profile: {name: verdict.verdict for name, verdict in each.properties.items()}
        for each in report.members
    }
    for profile, words in {**rows, report.profile: report.weakest}.items():
        if profile == report.profile:
            table.add_section()
        table.add_row(profile, *(f"[{_COLOUR[word]}]{word}[/]" for word in words.values()))
    console = Console()
    console.print(table)
    far: dict[str, list[str]] = {}
    for each in report.members:
        for name, verdict in each.properties.items():
            if verdict.counterexample is None:
                names = far.setdefault(how_far(verdict), [])
                names += [name] if name not in names else []
    lines = [f"{', '.join(names)}: {words}." for words, names in far.items()]
    for each in report.members:
        lines += [f"{each.profile}:"] * any(_below(each))
        lines += [f"  {line}" for line in _below(each)]
    lines += [f"not in {report.profile}: {name}: {why}." for name, why in report.left_out.items()]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def how_far(verdict: Verdict) -> str:
    """What the verdict speaks for, so that a sampled one never reads like a proof."""
    if verdict.counterexample is not None:
        return f"counterexample, {verdict.method}"
    bounds: dict[str, list[str]] = {}
    for name, value in verdict.bound.items():
        kind, _, plain = name.rpartition("_")
        if not (verdict.exhaustive and plain in ("states", "runs")):  # limits that were not met
            bounds.setdefault(kind, []).append(f"{value} {plain}")
    first, *more = map(", ".join, bounds.values())
    if verdict.method == "sampled":
        return f"nothing found in {first} (sampled: no proof)"
    said = "every history within" if verdict.exhaustive else "nothing found; cut off at"
    return "; and within ".join([f"{said} {first}", *more])


def show_replays(results: Sequence[tuple[Path, Replayed]]) -> None:
    """Print a line for each trace: the verdict, what was asked, and the path in one piece."""
    rows = [
        (
            f"{r.verdict}, as recorded" if r.agrees else f"{r.verdict}, recorded {r.trace.verdict}",
            r.trace.property,
            f"{r.trace.subject or 'the ops'} under {r.world.profile.name}",
        )
        for _, r in results
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    console = Console()
    for (path, result), row in zip(results, rows, strict=True):
        words = "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        line = Text(f"{words}  {path}")
        line.stylize("green" if result.agrees else "red", 0, len(row[0]))
        console.print(line, soft_wrap=True)


@powercut.command(epilog=EXIT_STATUS)
@click.argument("traces", nargs=-1, required=True, type=FilePath())
@click.option("--profile", "-p", metavar="NAME", help="This profile instead of the trace's own.")
@as_json
def replay(traces: tuple[Path, ...], profile: str | None, as_json: bool) -> None:
    """Judge TRACES again on the model: the same file gives the same verdict on any machine."""
    with bad_input():
        other = load_profile(profile) if profile is not None else None
        parsed = [(path, read_trace(path)) for path in traces]
        results = [(path, replay_trace(trace, str(path), other)) for path, trace in parsed]
    if as_json:
        emit({"traces": [result.to_json(str(path)) for path, result in results]})
    else:
        show_replays(results)
    sys.exit(0 if all(result.agrees for _, result in results) else 1)


@powercut.command(epilog=EXIT_STATUS)
@click.argument("trace", type=FilePath())
@click.option("--profile", "-p", metavar="NAME", help="This profile instead of the trace's own.")
@as_json
def explain(trace: Path, profile: str | None, as_json: bool) -> None:
    """Say why TRACE is possible, and which rule or which fsync would forbid it."""
    with bad_input():
        other = load_profile(profile) if profile is not None else None
        explanation = explain_trace(read_trace(trace), str(trace), other)
    if as_json:
        emit(explanation.to_json())
    else:
        click.echo(render(explanation, f"powercut replay {trace}"))
    sys.exit(0 if explanation.verdict == explanation.trace.verdict else 1)


@powercut.command(epilog=EXIT_STATUS)
@as_json
def subjects(as_json: bool) -> None:
    """List the protocols that are installed, as NAME:MODE."""
    if as_json:
        emit({"subjects": subject_names()})
    else:
        click.echo("\n".join(subject_names()))


powercut.add_command(profiles)
powercut.add_command(litmus)
powercut.add_command(member_command)
