"""The experiment `observe`: one save of each mode, layer by layer, on each file system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from attrs import field, frozen

from lastgood.crashtest.subjects import PAPER_MODES
from lastgood.protocol.plan import MODES
from powercut.report.timeline_csv import to_rows
from powercut_lab.observe.mac_recording import record_with_fs_usage, why_no_fs_usage
from powercut_lab.observe.recording import RecordedSave, record_here, record_on_rig
from powercut_lab.observe.saves import EVENTS
from powercut_lab.observe.section import section_of
from powercut_lab.study import Data, Missing, RawTable, Row, Section, Size, StudyPlan, WorkUnit
from powercut_rig import what_is_missing

FILE_SYSTEMS: Final = ("ext4", "xfs", "btrfs")
_RUNS: Final[dict[Size, int]] = {"quick": 1, "default": 2, "full": 3}
_SECONDS: Final = 2.0
SUBJECTS: Final = (
    *(("lastgood", mode) for mode in MODES),
    *(("paper", mode) for mode in PAPER_MODES),
)

Recorder = Callable[[Path, str, str], RecordedSave]
"""Records a save: it gets an empty folder, a protocol and a mode."""


@frozen
class Observe:
    """See `powercut_lab.study.Experiment`.

    `lacking` says what keeps the rig from recording a file system here.
    """

    name: str = "observe"
    title: str = "One save, layer by layer"
    tables: tuple[RawTable, ...] = (EVENTS,)
    lacking: Callable[[str], list[str]] = field(default=what_is_missing, eq=False, repr=False)

    def plan(self, size: Size, seed: int) -> StudyPlan:
        """A unit for each file system, mode and run; without the rig, for this machine's own."""
        del seed  # no layer looks at the bytes of a part
        recorders: dict[str, Recorder] = {}
        missing = []
        for fs in FILE_SYSTEMS:
            if lacks := self.lacking(fs):
                missing.append(_no_rig(fs, lacks))
            else:
                recorders[fs] = partial(_on_rig, fs)
        why = why_no_fs_usage()
        if why is None:
            recorders["mac"] = record_with_fs_usage
        else:
            missing.append(_no_fs_usage(why))
        if not recorders:
            recorders["here"] = record_here
        runs = range(1, _RUNS[size] + 1)
        units = [
            WorkUnit(
                f"{place}/{protocol}:{mode}/{run}",
                EVENTS,
                partial(_rows, recorder, protocol, mode, run),
                _SECONDS,
            )
            for run in runs
            for place, recorder in recorders.items()
            for protocol, mode in SUBJECTS
        ]
        return StudyPlan(tuple(units), tuple(missing))

    def section(self, data: Data) -> Section:
        """The timelines, and which flush belongs to which sync."""
        return section_of(self.title, data)


def _on_rig(fs: str, _folder: Path, protocol: str, mode: str) -> RecordedSave:
    return record_on_rig(fs, protocol, mode)


def _rows(recorder: Recorder, protocol: str, mode: str, run: int, folder: Path) -> Iterator[Row]:
    saved = recorder(folder, protocol, mode)
    for row in to_rows(saved.spans):
        yield (saved.file_system, protocol, mode, run, saved.source, *row)


def _no_rig(fs: str, lacks: list[str]) -> Missing:
    return Missing(
        f"block writes and flushes on {fs}",
        " ".join(lacks),
        "Run it as root on Linux with /dev/fuse, loop devices and that file system's mkfs.",
        f"{fs}/",
    )


def _no_fs_usage(why: str) -> Missing:
    return Missing(
        "disk events of a Mac by fs_usage",
        f"{why} That recorder was written after Apple's documents and has not been run on a Mac.",
        "Run powercut experiment observe on a Mac as root, and name its result with --beside.",
        "mac/",
    )


EXPERIMENT: Final = Observe()
