"""`powercut compare --fs apfs` and `powercut report`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import click
from attrs import frozen

from powercut.cli.console import EXIT_STATUS, as_json, bad_input, emit
from powercut.profile import profile_named
from powercut.trace.trace_file import Trace
from powercut_rig.cli.options import (
    refuse_if_missing,
    report_files,
    running,
    status_of,
    write_reports,
)
from powercut_rig.judge.judge import JudgeEffort
from powercut_rig.macos import APFS, NOT_RUN
from powercut_rig.macos.experiments.catalog import EXPERIMENTS
from powercut_rig.macos.experiments.compare import calibrate, compare_on_mac, own_traces
from powercut_rig.macos.experiments.report import result_page, show_result
from powercut_rig.macos.experiments.result import MacResult, made_here, read_result, write_result
from powercut_rig.macos.experiments.verdicts import run_experiment_or_explain
from powercut_rig.macos.requirements import missing_for_mac, this_mac
from powercut_rig.macos.rig import MacRig
from powercut_rig.macos.session import session
from powercut_rig.macos.subprocesses import ToolRunner, run_system

RigOpener = Callable[[ToolRunner], AbstractContextManager[MacRig]]
"""Opens a rig on this machine, and cleans up after it."""


@frozen
class ApfsRequest:
    """The request to `powercut compare --fs apfs`: its work, and the files for its reports."""

    traces: tuple[tuple[str, Trace], ...]
    profile: str | None
    recordings: int
    effort: JudgeEffort
    experiments: bool
    result_path: Path
    as_json: bool
    junit_path: Path | None
    html_path: Path | None


def compare_apfs(
    request: ApfsRequest, run: ToolRunner = run_system, opened: RigOpener = session
) -> NoReturn:
    """Ask this Mac, write the result file and the reports, and exit.

    Exit status 3 where this is no Mac or something is missing: nothing was made then.
    """
    refuse_if_missing(missing_for_mac(run), f"{APFS} is not run here")
    if request.result_path.exists():
        click.echo(
            f"powercut: {request.result_path} is there already. Nothing was run and nothing "
            "overwritten; move it away, or name another file with --result.",
            err=True,
        )
        sys.exit(2)
    try:
        with running("compare"), opened(run) as rig:
            result = ask_mac(rig, run, request, lambda line: click.echo(line, err=True))
    except OSError as error:
        click.echo(
            f"powercut: {APFS} was not asked to the end: {error}. Everything is detached and "
            "removed; no result was written.",
            err=True,
        )
        sys.exit(2)
    try:
        write_result(result, request.result_path)
        _write(result, request.junit_path, request.html_path)
    except OSError as error:  # an hour of work is not thrown away for a full disk
        emit(result.to_json())
        click.echo(f"powercut: a file cannot be written: {error}. The result is above.", err=True)
        sys.exit(2)
    emit(result.to_json()) if request.as_json else show_result(result)
    click.echo(
        f"The result is in {request.result_path}; `powercut report` reads it on any machine. "
        f"{NOT_RUN} Please send it back.",
        err=True,
    )
    sys.exit(exit_status(result))


def ask_mac(
    rig: MacRig, run: ToolRunner, request: ApfsRequest, tell: Callable[[str], None]
) -> MacResult:
    """Everything that is asked of a Mac. RigError where its images cannot be trusted at all."""
    known = calibrate(rig, request.effort)
    comparisons = compare_on_mac(
        rig,
        request.traces or own_traces(),
        request.recordings,
        known.effort,
        profile=request.profile,
        on_progress=tell,
    )
    profile = profile_named(request.profile or APFS)
    lands = known.plain_writes_land
    settled = [
        run_experiment_or_explain(each, rig, profile, tell, plain_writes_land=lands)
        for each in EXPERIMENTS
        if request.experiments
    ]
    return MacResult(
        this_mac(run, rig.folder),
        made_here(),
        tuple(comparisons),
        tuple(settled),
        known.notes,
        lands,
    )


def exit_status(result: MacResult) -> int:
    """1 where something left the model or a promise broke, 4 where something is undecided.

    Where the image's driver may keep writes back, what left the model is undecided too.
    """
    if not result.agrees:
        return 1 if result.plain_writes_land else 4
    return status_of(result.comparisons)


def _write(result: MacResult, junit_path: Path | None, html_path: Path | None) -> None:
    write_reports(result.comparisons, junit_path, html_path, lambda: result_page(result))


@click.command(epilog=EXIT_STATUS)
@click.argument("file", type=click.Path(path_type=Path))
@report_files
@as_json
def report(file: Path, junit_path: Path | None, html_path: Path | None, as_json: bool) -> None:
    """Show what a Mac found: FILE is the result that `powercut compare --fs apfs` wrote there.

    Runs nothing, on any machine.  With `--html` and `--junit` the same reports are written as on
    the Mac.  Exit status as there.
    """
    with bad_input():
        result = read_result(file)
    try:
        _write(result, junit_path, html_path)
    except OSError as error:
        click.echo(f"powercut report: a report cannot be written: {error}", err=True)
        sys.exit(2)
    emit(result.to_json()) if as_json else show_result(result)
    sys.exit(exit_status(result))
