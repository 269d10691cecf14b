"""Carries out the units of experiments, keeps what is done, and says how far it is."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import field, frozen

from powercut_lab.errors import LabError
from powercut_lab.machine import packages
from powercut_lab.result_folder import DoneUnit, ResultFolder
from powercut_lab.study import Size, Study, WorkUnit


@frozen
class FailedUnit:
    """A unit that raised an error of its own; the others went on."""

    experiment: str
    key: str
    error: str


@frozen
class Progress:
    """The progress of a run: units done and in all, the seconds that are left by estimate.

    `what` is the unit that begins; units of one `phase` give rows of one table.
    """

    done: int
    units: int
    left_s: float
    phase: str
    what: str


@frozen
class Request:
    """The task of a run: the experiments, how much, from which seed.

    `only` keeps the units whose key contains one of its texts; empty keeps all.
    """

    experiments: Sequence[Study]
    size: Size
    seed: int
    only: tuple[str, ...] = ()


@frozen
class RunResult:
    """The units of a run that failed."""

    failed: tuple[FailedUnit, ...]


@frozen
class Runner:
    """Runs units one after the other; `tell` hears of progress, `clock` gives seconds."""

    folder: ResultFolder
    tell: Callable[[Progress], None] = lambda _progress: None
    clock: Callable[[], float] = time.monotonic
    versions: dict[str, str] = field(factory=packages)

    def run(self, request: Request) -> RunResult:
        """Carry out what is not done yet.

        A unit that fails is named, and the others go on.  KeyboardInterrupt passes through: what
        was kept before is intact, and the next run begins with the unit that was cut off.
        """
        planned = [(each, each.plan(request.size, request.seed)) for each in request.experiments]
        check_keys(plan.units for _, plan in planned)
        units = [
            (experiment, unit)
            for experiment, plan in planned
            for unit in plan.units
            if _wanted(unit, request.only) and not self.folder.has(experiment.name, unit)
        ]
        failed = []
        for number, (experiment, unit) in enumerate(units):
            left_s = sum(later.estimate_s for _, later in units[number:])
            what = f"{experiment.name}: {unit.key}"
            self.tell(Progress(number, len(units), left_s, unit.table.name, what))
            error = self._carry_out(experiment, unit, request)
            if error is not None:
                failed.append(FailedUnit(experiment.name, unit.key, error))
        return RunResult(tuple(failed))

    def _carry_out(self, experiment: Study, unit: WorkUnit, request: Request) -> str | None:
        workplace = Path(tempfile.mkdtemp(prefix="powercut-lab-"))
        try:
            begun = self.clock()
            rows = list(unit.work(workplace))
            took = self.clock() - begun
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
        done = DoneUnit(
            experiment.name, unit.key, unit.table.name, len(rows), round(took, 3),
            request.size, request.seed, self.versions,
        )  # fmt: skip
        self.folder.keep(unit, rows, done)
        return None


def check_keys(plans: Iterable[Sequence[WorkUnit]]) -> None:
    """Raise LabError where two units of one plan have one key."""
    for units in plans:
        keys = [unit.key for unit in units]
        twice = {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()
        if twice:
            raise LabError(f"Two units have one key: {sorted(twice)[:3]}.")


def _wanted(unit: WorkUnit, only: tuple[str, ...]) -> bool:
    return not only or any(text in unit.key for text in only)
