"""The rig's commands: `powercut compare`, `powercut soak` and `powercut doctor`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from attrs import evolve
from rich.console import Console

from powercut.cli.console import EXIT_STATUS, bad_input, emit
from powercut.profile import profile_named
from powercut.trace.trace_file import read_trace
from powercut_rig.campaigns.campaign import run_campaign, workers_for
from powercut_rig.campaigns.soak import SOAK_EFFORT, SoakResult, soak, write_counterexamples
from powercut_rig.cli.doctor import diagnose, kernel_name
from powercut_rig.cli.options import (
    FS_OPTION,
    JOBS_OPTION,
    JSON_OPTION,
    PROGRESS_OPTION,
    SEVERAL_FS_OPTION,
    at_intervals,
    count_option,
    page_of,
    path_option,
    progress,
    refuse_unless_ready,
    report_options,
    running,
    status_of,
    write_reports,
)
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.judge import JudgeEffort
from powercut_rig.judge.trace_case import check_judgeable, prepare_case
from powercut_rig.macos import APFS
from powercut_rig.reports.text import folded_table, print_plain, show_comparisons, to_json

PROGRESS_IMAGES = 1000
INTERRUPTED = 130
"""The exit status of a soak that Ctrl-C ended and that found nothing wrong until then."""


@click.command(epilog=EXIT_STATUS)
@click.argument("traces", nargs=-1, type=click.Path(path_type=Path))
@FS_OPTION
@click.option(
    "--profile",
    "-p",
    metavar="NAME",
    help="Instead of the disk's own profile; NAME+RULE has a rule more, to refute it.",
)
@count_option(
    "--recordings",
    default=2,
    said="Recordings of each trace on each disk, each with another plan of early writes.",
)
@count_option("--limit", said="At most this many images a recording.")
@count_option(
    "--again",
    least=0,
    default=2,
    said="Images of a recording from which recovery is recorded and crashes again.",
)
@count_option(
    "--fsck",
    "fsck_every",
    least=0,
    default=50,
    said="Ask fsck about every so-manyth image; 0: never.",
)
@JOBS_OPTION
@PROGRESS_OPTION
@report_options
@click.option("--experiments", is_flag=True, help=f"{APFS} only: also measure its rules in doubt.")
@path_option(
    "--result",
    "result_path",
    default="powercut-apfs-result.json",
    said=f"{APFS} only: where the result is written, for `powercut report`.",
)
def compare(
    traces: tuple[Path, ...],
    file_systems: tuple[str, ...],
    profile: str | None,
    recordings: int,
    limit: int | None,
    again: int,
    fsck_every: int,
    jobs: int | None,
    lines: bool,
    as_json: bool,
    junit_path: Path | None,
    html_path: Path | None,
    experiments: bool,
    result_path: Path,
) -> None:
    """Hold the crash images of TRACES on real disks against the model.

    Each trace is run on a fresh file system behind a block recorder, up to its first crash.  Every
    crash image is mounted and read; the model is asked whether it has that tree; the subject's
    own recovery runs on it and is judged; from some images it is recorded while it recovers and
    saves, and crashes again.  Needs root, /dev/fuse and loop devices, or for the disks of a guest
    QEMU and a compiler and no root (`powercut doctor` says what is missing); everything it makes
    is its own and is gone afterwards.

    `--fs apfs` runs on a Mac and needs no root there: a disk image is cloned at each step.
    Without TRACES it runs saves and programs of its own.
    """
    with bad_input():
        parsed = [(str(path), read_trace(path)) for path in traces]
        for where, trace in parsed:
            check_judgeable(trace, where)
            for name in file_systems:
                own = name if name == APFS else FILE_SYSTEMS[name].profile
                prepare_case(trace, where, profile_named(profile or own))
    effort = JudgeEffort(limit=limit, again=again, fsck_every=fsck_every)
    if APFS in file_systems:
        from powercut_rig.cli.apfs import ApfsRequest, compare_apfs
        from powercut_rig.macos.experiments.compare import MAC_EFFORT

        refuse_company(file_systems)
        effort = evolve(MAC_EFFORT, limit=limit, again=again, fsck_every=fsck_every)
        compare_apfs(
            ApfsRequest(
                tuple(parsed), profile, recordings, effort, experiments, result_path, as_json,
                junit_path, html_path,
            )
        )  # fmt: skip
    if not parsed:
        raise click.UsageError(
            "Missing argument 'TRACES...': a file system other than apfs needs one."
        )
    refuse_unless_ready(file_systems)
    with running("compare"), progress(lines=lines, quiet=as_json) as told:
        results = run_campaign(
            parsed,
            file_systems,
            recordings,
            effort,
            profile=profile,
            parallel=jobs,
            on_progress=told,
        )
    write_reports(results, junit_path, html_path, lambda: page_of(results))
    emit({"kernel": kernel_name(), **to_json(results)}) if as_json else show_comparisons(results)
    sys.exit(status_of(results))


def refuse_company(file_systems: Sequence[str]) -> None:
    """Leave with exit status 2 where APFS is asked for beside what runs on Linux only."""
    if len(file_systems) > 1:
        others = ", ".join(name for name in file_systems if name != APFS)
        click.echo(
            f"powercut: {APFS} runs on a Mac, and {others} on Linux; ask for {APFS} alone. Nothing "
            "was run.",
            err=True,
        )
        sys.exit(2)


@click.command("soak", epilog=EXIT_STATUS)
@SEVERAL_FS_OPTION
@count_option("--images", default=500_000, said="Stop when so many crash images have been judged.")
@count_option("--first", least=0, default=0, said="The first workload.")
@count_option("--workloads", said="Stop after so many workloads, too.")
@click.option("--coverage", is_flag=True, help="Say how many of the model's trees were seen.")
@count_option("--every", default=PROGRESS_IMAGES, said="Say how far it is after so many images.")
@JOBS_OPTION
@report_options
@path_option(
    "--traces",
    default="powercut-traces",
    folder=True,
    said="Where a counterexample is written.",
)
def soak_command(
    file_systems: tuple[str, ...],
    images: int,
    first: int,
    workloads: int | None,
    coverage: bool,
    every: int,
    jobs: int | None,
    as_json: bool,
    junit_path: Path | None,
    html_path: Path | None,
    traces: Path,
) -> None:
    """Judge crash images of random programs and of saves until there are enough of them.

    Workloads are numbered: the same number gives the same workload everywhere, so runs with other
    numbers add up.  Says on standard error how far it is and, at its end or at Ctrl-C, which number
    comes next for `--first`.  What leaves the model is made smaller and written as a trace, with
    the command that runs it again.
    """
    refuse_unless_ready(file_systems)
    found = SoakResult(first)
    written: list[Path] = []
    interrupted = False
    tell = at_intervals(
        every, lambda count: click.echo(f"{count} of {images} images, {found.in_words}", err=True)
    )
    with running("soak"):
        try:
            soak(
                file_systems,
                images,
                found,
                workloads=workloads,
                parallel=jobs or workers_for(file_systems),
                effort=evolve(SOAK_EFFORT, coverage=coverage),
                on_progress=lambda so_far: tell(so_far.images_so_far),
            )
            written = write_counterexamples(found, traces)
        except KeyboardInterrupt:
            interrupted = True
    results = [found.sums[name] for name in file_systems if name in found.sums]
    write_reports(results, junit_path, html_path, lambda: page_of(results))
    numbers = {"first": found.first, "next": found.next, "interrupted": interrupted}
    if as_json:
        emit({"kernel": kernel_name(), "workloads": numbers, **to_json(results)})
    else:
        show_comparisons(results)
    for path in written:
        click.echo(f"powercut compare {path} --fs {read_trace(path).origin['fs']}", err=True)
    how = "interrupted after" if interrupted else "done:"
    click.echo(f"{how} {found.images} of {images} images, {found.in_words}", err=True)
    click.echo(f"more of other workloads: powercut soak --first {found.next}", err=True)
    sys.exit(status_of(results) or (INTERRUPTED if interrupted else 0))


@click.command(epilog=EXIT_STATUS)
@JSON_OPTION
def doctor(as_json: bool) -> None:
    """Say what of the rig can run on this machine, and why the rest cannot.

    Names the disks whose profile is refuted, too, and by what.  Looks only: nothing is mounted,
    attached or installed.  Exit status 0 where something can run, 3 where nothing can.
    """
    found = diagnose()
    if as_json:
        emit(
            {
                "kernel": kernel_name(),
                "can_run": [
                    {
                        "name": d.name,
                        "ready": d.ready,
                        "missing": list(d.missing),
                        "limits": [limit.to_json() for limit in d.limits],
                    }
                    for d in found
                ],
            }
        )
    else:
        table = folded_table(kernel_name(), ("what", "is", "here", "missing"))
        for each in found:
            here = "[green]yes[/]" if each.ready else "[yellow]no[/]"
            table.add_row(each.name, each.title, here, "\n".join(each.missing))
        console = Console()
        console.print(table)
        for each in found:
            for limit in each.limits:
                if limit.refutes:
                    print_plain(console, f"{each.name} is refuted: {limit.what}")
    sys.exit(0 if any(each.ready for each in found) else 3)
