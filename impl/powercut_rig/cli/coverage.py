"""The command `powercut coverage`: how much of the model a fixed set shows on disks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from rich.console import Console

from powercut.cli.console import EXIT_STATUS, emit
from powercut_rig.campaigns.coverage import (
    LEVELS,
    LIMIT,
    REASONS,
    Coverage,
    measure_coverage,
    sum_by_disk,
)
from powercut_rig.campaigns.coverage_workloads import COVERAGE_WORKLOADS
from powercut_rig.cli.doctor import kernel_name
from powercut_rig.cli.options import (
    JOBS_OPTION,
    JSON_OPTION,
    PROGRESS_OPTION,
    SEVERAL_FS_OPTION,
    count_option,
    progress,
    refuse_unless_ready,
    running,
)
from powercut_rig.reports.text import folded_table, print_plain

_NAMES = [workload.name for workload in COVERAGE_WORKLOADS]


@click.command("coverage", epilog=EXIT_STATUS)
@SEVERAL_FS_OPTION
@click.option(
    "--workload",
    "wanted",
    multiple=True,
    type=click.Choice(_NAMES),
    metavar="NAME",
    help=f"Only this one; repeatable. One of {', '.join(_NAMES)}.",
)
@click.option(
    "--level",
    type=click.Choice(list(LEVELS)),
    default="wide",
    show_default=True,
    help="; ".join(f"{name}: {said}" for name, said in LEVELS.items()) + ".",
)
@count_option(
    "--limit",
    default=LIMIT,
    said="At most so many images of a recording; of one with wide bounds three times as many.",
)
@JOBS_OPTION
@PROGRESS_OPTION
@JSON_OPTION
def coverage(
    file_systems: tuple[str, ...],
    wanted: tuple[str, ...],
    level: str,
    limit: int,
    jobs: int | None,
    lines: bool,
    as_json: bool,
) -> None:
    """Say how many of the model's trees disks show, for a fixed set of twenty small workloads.

    The model's trees are those of a power cut at any moment.  Those that were not seen are counted
    by the plainest way in which a crash can leave them.  That a tree was not seen is no failure;
    one outside the model is, as in `powercut compare`.
    """
    refuse_unless_ready(file_systems)
    chosen = [workload for workload in COVERAGE_WORKLOADS if not wanted or workload.name in wanted]
    with running("coverage"), progress(lines=lines, quiet=as_json) as told:
        rows = measure_coverage(
            chosen, file_systems, level, limit=limit, parallel=jobs, on_progress=told
        )
    if as_json:
        emit(
            {
                "kernel": kernel_name(),
                "level": level,
                "reasons": dict(REASONS),
                "workloads": [row.to_json() for row in rows],
                "sums": [row.to_json() for row in sum_by_disk(rows)],
            }
        )
    else:
        show_coverage(rows, level)
    sys.exit(0 if all(row.agrees for row in rows) else 1)


def show_coverage(rows: Sequence[Coverage], level: str) -> None:
    """Print a table, the sums at its end, and what went wrong below."""
    done = list(LEVELS)[: list(LEVELS).index(level) + 1]
    headings = (*(f"seen, {name}" for name in done), "not seen, by the plainest reason")
    table = folded_table(
        f"the model's trees seen on disks, {kernel_name()}, level {level}",
        ("workload", "disk", "allowed", *headings),
        caption="\n".join(f"{reason}: {said}" for reason, said in REASONS.items()),
    )
    for row in (*rows, *sum_by_disk(rows)):
        unseen = (f"{reason} {row.unseen[reason]}" for reason in REASONS if row.unseen[reason])
        table.add_row(
            row.workload,
            row.fs,
            str(row.allowed),
            *(str(row.seen_by[name]) for name in done),
            ", ".join(unseen) or "none",
        )
    console = Console()
    console.print(table)
    for row in rows:
        findings = row.comparison.findings if row.comparison else []
        for said in (*row.errors, *(f"{each.kind}: {each.detail}" for each in findings)):
            print_plain(console, f"{row.workload} on {row.fs}: {said}")
