"""The command `powercut disk-litmus`: published cases, asked of real disks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from powercut.cli.console import EXIT_STATUS, FilePath, bad_input, emit
from powercut.errors import CaseError
from powercut.published.cases import PublishedCase, read_cases
from powercut_rig.campaigns.campaign import cores
from powercut_rig.campaigns.disk_litmus import (
    IMAGES,
    PLANS,
    DiskLitmusResult,
    LitmusEffort,
    ask_disks,
    count_by_disk,
)
from powercut_rig.cli.doctor import kernel_name
from powercut_rig.cli.options import (
    FS_OPTION,
    JOBS_OPTION,
    JSON_OPTION,
    at_intervals,
    count_option,
    refuse_unless_ready,
    running,
)
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.reports.text import folded_table

_PROGRESS_CASES = 40
_SUMMARY = (
    "cases", "not_run", "images", "shown", "seen", "not_seen_here", "contradicted",
    "not_contradicted", "outside_model", "disagree",
)  # fmt: skip


@click.command("disk-litmus", epilog=EXIT_STATUS)
@click.argument("file", type=FilePath())
@FS_OPTION
@click.option("--case", "wanted", multiple=True, metavar="ID", help="Only this case; repeatable.")
@count_option("--images", default=IMAGES, said="At most so many images of a recording.")
@count_option(
    "--recordings",
    default=len(PLANS),
    said="Recordings of each case, each with another plan of early writes.",
)
@JOBS_OPTION
@JSON_OPTION
def disk_litmus(
    file: Path,
    file_systems: tuple[str, ...],
    wanted: tuple[str, ...],
    images: int,
    recordings: int,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Ask real disks the published cases in FILE: published against seen.

    Each case is run on a fresh file system behind the block recorder; each crash image that its
    question is about is mounted, asked, and held against the profile.  A published result that
    the disk contradicts is listed, and is no failure: kernels differ.  Exit status 1 says that a
    disk showed what its profile rules out, or an image that could not be read.
    """
    if not set(file_systems) <= set(FILE_SYSTEMS):
        raise click.UsageError(
            "apfs is asked on a Mac, by `powercut compare --fs apfs`; published cases are not run "
            "on it. Nothing was run."
        )
    with bad_input():
        cases = _chosen(read_cases(file), wanted, str(file))
    refuse_unless_ready(file_systems)
    every = len(cases) * len(file_systems)
    tell = at_intervals(
        _PROGRESS_CASES, lambda done: click.echo(f"{done} of {every} cases asked", err=True)
    )
    with running("disk-litmus"):
        probe = LitmusEffort(tuple(range(recordings)), images)
        rows = ask_disks(cases, file_systems, probe, jobs or cores(), tell)
    if as_json:
        emit(
            {
                "kernel": kernel_name(),
                "cases": [row.to_json() for row in rows],
                "summary": count_by_disk(rows),
            }
        )
    else:
        _show(rows)
    sys.exit(0 if all(row.agrees for row in rows) else 1)


def _chosen(cases: list[PublishedCase], wanted: Sequence[str], where: str) -> list[PublishedCase]:
    """The cases with those ids, or all. CaseError for an id that none has."""
    unknown = set(wanted) - {case.id for case in cases}
    if unknown:
        raise CaseError(f"{where}: no case has the id {min(unknown)!r}. Nothing was run.")
    return [case for case in cases if not wanted or case.id in wanted]


def _show(rows: Sequence[DiskLitmusResult]) -> None:
    """The counts of each disk, and the rows that say something."""
    console = Console()
    headings = ("disk", *(name.replace("_", " ") for name in _SUMMARY))
    table = folded_table(f"published cases on disks, {kernel_name()}", headings)
    for fs, summary in count_by_disk(rows).items():
        table.add_row(fs, *(f"{summary[name]:,}" for name in _SUMMARY))
    console.print(table)
    headings = ("case", "disk", "seen", "ours", "published", "an image")
    detail = folded_table("what the disks showed", headings)
    for row in rows:
        if row.answers or not row.agrees:
            detail.add_row(
                ("" if row.agrees else "[red]differs[/] ") + escape(row.case),
                row.fs,
                row.seen,
                row.ours,
                escape(_published(row)),
                escape((row.findings[0] if row.findings else row.example)[:400]),
            )
    if detail.row_count:
        console.print(detail)
    reasons: dict[str, int] = {}
    for row in rows:
        if row.not_run:
            reasons[row.not_run] = reasons.get(row.not_run, 0) + 1
    for reason, count in sorted(reasons.items()):
        console.print(f"not run, {count} cases: {reason}", markup=False, highlight=False)


def _published(row: DiskLitmusResult) -> str:
    said = [f"{p.name}: {p.result} ({p.evidence}), {row.standing(p)}" for p in row.published]
    return "; ".join(said) or "-"
