"""`powercut compare`: traces on a real disk, held against the model."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from powercut.cli import EXIT_STATUS, bad_input, emit
from powercut.profile import load_profile
from powercut.trace import read_trace
from powercut_rig.compare import PROFILE_OF, Comparison, compare_in_worker
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.requirements import what_is_missing
from powercut_rig.worker import run_in_worker


@click.command(epilog=EXIT_STATUS)
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--fs",
    type=click.Choice(tuple(PROFILE_OF)),
    default="ext4",
    show_default=True,
    help="The real file system to record on.",
)
@click.option("--profile", "-p", metavar="NAME", help="This profile instead of the disk's own.")
@click.option("--limit", type=click.IntRange(1), help="At most this many crash images a trace.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def compare(
    traces: tuple[Path, ...], fs: str, profile: str | None, limit: int | None, as_json: bool
) -> None:
    """Hold the crash images of TRACES on a real disk against the model.

    Each trace is run on a fresh file system behind a block recorder, up to its first crash.  Every
    crash image is mounted and read; the model is asked whether it has that tree; the subject's
    own recovery runs on it and is judged; traces about P1, P2 and P3 can be judged so.  Needs root,
    /dev/fuse and loop devices; everything it makes is its own and is gone afterwards.
    """
    with bad_input():
        parsed = [(path, read_trace(path)) for path in traces]
        if profile:
            load_profile(profile)
    if missing := what_is_missing(fs):
        _cannot_run(missing)
    try:
        with bad_input():
            results = [
                run_in_worker(
                    compare_in_worker, trace, str(path), fs, profile_name=profile, limit=limit
                )
                for path, trace in parsed
            ]
    except RigUnavailable as error:
        _cannot_run([str(error)])
    except (RigError, ValueError) as error:
        click.echo(f"powercut compare: {error}", err=True)
        sys.exit(2)
    if as_json:
        emit({"comparisons": [result.to_json() for result in results]})
    else:
        show(results)
    if not all(result.agrees for result in results):
        sys.exit(1)
    sys.exit(4 if any(result.undecided for result in results) else 0)


def _cannot_run(missing: list[str]) -> None:
    """Say what this machine lacks, and leave with exit status 3."""
    click.echo("powercut compare: not run here. This machine lacks:", err=True)
    for sentence in missing:
        click.echo(f"  - {sentence}", err=True)
    sys.exit(3)


def show(results: list[Comparison]) -> None:
    """Print the comparisons as a table, and what the model does not account for below it."""
    console = Console()
    table = Table(title="model against disk", title_justify="left")
    for heading in ("trace", "disk", "images", "outside", "violations", "trees seen", "images/s"):
        table.add_column(heading, overflow="fold")
    for result in results:
        broken = ", ".join(f"{name} {count}" for name, count in sorted(result.violations.items()))
        allowed = "" if not broken else " (allowed)" if not result.not_allowed else " (NOT allowed)"
        table.add_row(
            escape(Path(result.trace).name),
            result.fs,
            f"{result.images}",
            f"[{'red' if result.outside else 'green'}]{result.outside}[/]",
            (broken or "none") + allowed,
            f"{result.model_states_seen} of {result.model_states}",
            f"{result.images_per_s:.0f}",
        )
    console.print(table)
    for result in results:
        if not result.reproduced:
            console.print(
                f"{result.trace}: {result.judged} fails in the model and was not seen to fail on "
                "this disk, in this recording.",
                markup=False,
                highlight=False,
            )
        for finding in result.findings:
            console.print(
                f"{result.trace}: {finding.kind} at {finding.moment}\n  {finding.recipe}\n"
                f"  {finding.detail}",
                markup=False,
                highlight=False,
            )
