"""The experiment: its units here, and its section of the report."""

from __future__ import annotations

from typing import ClassVar, Final

from powercut_lab.crash.disks import disk_units
from powercut_lab.crash.hooks import hook_units
from powercut_lab.crash.kills import kill_units, why_no_system_calls
from powercut_lab.crash.model_states import model_units
from powercut_lab.crash.tables import TABLES
from powercut_lab.study import Data, RawTable, Section, Size, StudyPlan


class CrashExperiment:
    """Crash injection: at the paper's points, at every call, in the model, on real disks."""

    name: ClassVar[str] = "crash"
    title: ClassVar[str] = "Crash injection"
    tables: ClassVar[tuple[RawTable, ...]] = TABLES

    def plan(self, size: Size, seed: int) -> StudyPlan:
        """The units and what is missing; a process is traced once, to see whether that works."""
        untraced = why_no_system_calls()
        disks, missing = disk_units(size)
        units = (
            *hook_units(size, seed),
            *kill_units(seed, traces=untraced is None),
            *model_units(size),
            *disks,
        )
        return StudyPlan(units, (*((untraced,) if untraced else ()), *missing))

    def section(self, data: Data) -> Section:
        """The findings, tables and figures, from rows alone."""
        # Here, because scipy is large: with it in memory each of some thousand forks takes twice
        # as long.
        from powercut_lab.crash.section import crash_section

        return crash_section(data)


EXPERIMENT: Final = CrashExperiment()
"""The program that the command runs."""
