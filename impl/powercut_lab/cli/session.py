"""One call of `powercut experiment`: says what it will do, does it, and writes the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import click
from attrs import evolve, frozen

from powercut_lab.catalog import NAMES, experiment_named
from powercut_lab.errors import LabError
from powercut_lab.machine import facts
from powercut_lab.report.advice import advice_of
from powercut_lab.report.beside import read_beside
from powercut_lab.report.report import Beside, Report, data_of, sections_of
from powercut_lab.report.writer import PAGE, write_report
from powercut_lab.result_folder import ResultFolder
from powercut_lab.run_facts import RunFacts
from powercut_lab.runner import Progress, Request, Runner, RunResult
from powercut_lab.study import Missing, Section, Size, Study, StudyPlan

INTERRUPTED: Final = 130
_FAILED: Final = 1
_BAD_INPUT: Final = 2


@frozen
class ExperimentCall:
    """The arguments of a call."""

    what: str
    size: str
    seed: int
    only: tuple[str, ...]
    out: Path
    beside: Path | None
    only_list: bool


Experiments = Mapping[str, Study]


def carry_out(asked: ExperimentCall, every: Experiments | None = None) -> int:
    """Do what was asked of the experiments there are (None: ours), and give the exit status."""
    every = {name: experiment_named(name) for name in NAMES} if every is None else every
    try:
        beside = None if asked.beside is None else read_beside(asked.beside)
        folder = ResultFolder.open(asked.out)
        asked = _as_begun(asked, folder)
        wanted = tuple(every) if asked.what in ("all", "report") else (asked.what,)
        request = Request(
            [every[name] for name in wanted],
            cast("Size", asked.size),
            asked.seed,
            asked.only,
        )
        plans = {each.name: each.plan(request.size, request.seed) for each in every.values()}
        _announce(request, plans, folder)
        if asked.only_list:
            return 0
        result, status = _run(asked, request, folder)
        if asked.what != "report":
            missing = [(name, each) for name, plan in plans.items() for each in plan.missing]
            RunFacts(facts(), tuple(missing)).write(asked.out)
        data = data_of(folder, tuple(every.values()))
        sections = sections_of(data, tuple(every.values()))
        report = _report(request, plans, folder, sections, result, beside)
        write_report(report, asked.out, advice_of(data))
        click.echo(f"The report is {asked.out / PAGE}.")
        return status
    except LabError as error:
        click.echo(f"powercut experiment: {error}", err=True)
        return _BAD_INPUT


def _as_begun(asked: ExperimentCall, folder: ResultFolder) -> ExperimentCall:
    """The call with the size and seed of the folder where it only reports. LabError."""
    begun = {(done.size, done.seed) for done in folder.done}
    if asked.what == "report":
        if not begun:
            raise LabError(f"{asked.out} holds no rows; run an experiment with --out {asked.out}.")
        size, seed = min(begun)
        return evolve(asked, size=size, seed=seed)
    for size, seed in begun - {(asked.size, asked.seed)}:
        raise LabError(
            f"{asked.out} holds rows of size {size} and seed {seed}, and size {asked.size} and "
            f"seed {asked.seed} were asked for. Nothing was run. Name another folder by --out."
        )
    return asked


def _announce(request: Request, plans: Mapping[str, StudyPlan], folder: ResultFolder) -> None:
    """Say what will be done, and what this machine lacks."""
    for experiment in request.experiments:
        plan = plans[experiment.name]
        left = [unit for unit in plan.units if not folder.has(experiment.name, unit)]
        seconds = sum(unit.estimate_s for unit in left)
        click.echo(
            f"{experiment.name}: {len(left)} of {len(plan.units)} units to do, "
            f"about {_time(seconds)}",
            err=True,
        )
        for missing in plan.missing:
            click.echo(f"  not here: {missing.part}. {missing.reason} {missing.remedy}", err=True)


def _run(asked: ExperimentCall, request: Request, folder: ResultFolder) -> tuple[RunResult, int]:
    """Run what is to be run; the units that failed, and the exit status."""
    if asked.what == "report":
        return RunResult(()), 0
    teller = Teller(terminal=sys.stderr.isatty())
    try:
        result = Runner(folder, teller).run(request)
    except KeyboardInterrupt:
        click.echo("\nCtrl-C: what was measured is kept; the same command goes on.", err=True)
        return RunResult(()), INTERRUPTED
    finally:
        teller.end()
    for failed in result.failed:
        click.echo(f"failed: {failed.experiment}: {failed.key}: {failed.error}", err=True)
    return result, _FAILED if result.failed else 0


def _report(
    request: Request,
    plans: Mapping[str, StudyPlan],
    folder: ResultFolder,
    sections: Mapping[str, Section],
    result: RunResult,
    beside: Beside | None,
) -> Report:
    """The report on all that the folder holds, also of earlier calls. LabError."""
    left = {
        name: sum(not folder.has(name, unit) for unit in plan.units) for name, plan in plans.items()
    }
    run = RunFacts.read(folder.path)
    return Report(
        machine=run.machine,
        packages=folder.packages(),
        size=request.size,
        seed=request.seed,
        sections=sections,
        missing=[
            (name, each) for name, each in run.missing if not _done_elsewhere(folder, name, each)
        ],
        failed=result.failed,
        unfinished=[(name, count) for name, count in left.items() if count],
        beside=beside,
    )


def _done_elsewhere(folder: ResultFolder, experiment: str, missing: Missing) -> bool:
    """Another environment has done the part, into the same folder."""
    return bool(missing.prefix) and any(
        done.experiment == experiment and done.key.startswith(missing.prefix)
        for done in folder.done
    )


class Teller:
    """Says how far a run is: one line kept up to date on a terminal, one line a phase in a pipe."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._phase = ""

    def __call__(self, at: Progress) -> None:
        """Hear of a unit that begins."""
        if self._terminal:
            line = f"{at.done + 1} of {at.units}, about {_time(at.left_s)} left: {at.what}"
            click.echo(f"\r\x1b[2K{line[:100]}", err=True, nl=False)
            return
        if at.phase != self._phase:
            self._phase = at.phase
            left = _time(at.left_s)
            click.echo(
                f"{at.phase}: from unit {at.done + 1} of {at.units}, about {left} left", err=True
            )

    def end(self) -> None:
        """End the line that was kept up to date."""
        if self._terminal:
            click.echo("\r\x1b[2K", err=True, nl=False)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
