"""The experiment: which units it has, by size, and its section of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from powercut_lab.corruption.file_runs import SUBJECT as SINGLE_FILE
from powercut_lab.corruption.file_runs import formats, inject_into_file
from powercut_lab.corruption.group_runs import MOMENTS, inject
from powercut_lab.corruption.groups import GroupSubject, all_subjects
from powercut_lab.corruption.paper_files import has_torch, paper_rows
from powercut_lab.corruption.paper_values import SEEDS
from powercut_lab.corruption.raw import INJECTIONS, PAPER_FILES, counted
from powercut_lab.corruption.unreadable import inject_unreadable, why_missing
from powercut_lab.study import Data, Missing, RawTable, Row, Section, Size, StudyPlan, WorkUnit

COUNTS: Final[dict[Size, int]] = {"quick": 40, "default": 400, "full": 400}
"""Injections of each fault, in each mode and at each moment."""
_QUICK_SEEDS: Final = (7,)
"""One seed of the paper's makes 40 files for each fault; this one has the no-op."""
_QUICK_MODES: Final = ("atomic_dirsync",)
_TORCH_REMEDY: Final = (
    "pip install torch==2.13.0 (for the processor alone), then the same command again: what is "
    "done stays."
)


class CorruptionExperiment:
    """Damages groups and single files, and asks every layer of a checkpoint on its own."""

    name: str = "corruption"
    title: str = "Corruption: what each layer notices"
    tables: tuple[RawTable, ...] = (PAPER_FILES, INJECTIONS)

    def plan(self, size: Size, seed: int) -> StudyPlan:
        """See `Study.plan`."""
        units = [
            *_group_units(COUNTS[size], seed),
            *(_file_unit(ending, COUNTS[size], seed) for ending in formats()),
        ]
        missing = []
        if has_torch():
            units.append(_paper_unit(_QUICK_SEEDS if size == "quick" else SEEDS))
        else:
            reason = "PyTorch is not installed, and table 4 of the paper is of its files."
            missing.append(Missing("table 4 and files of PyTorch", reason, _TORCH_REMEDY))
        if lacks := why_missing():
            remedy = "Run it as root on Linux with loop devices, FUSE and btrfs-progs."
            missing.append(Missing("unreadable blocks (btrfs)", " ".join(lacks), remedy))
        else:
            units += _unreadable_units(size, seed)
        return StudyPlan(tuple(units), tuple(missing))

    def section(self, data: Data) -> Section:
        """See `Study.section`."""
        from powercut_lab.corruption.section import corruption_section

        return corruption_section(self.title, data)


def _group_units(count: int, seed: int) -> Iterator[WorkUnit]:
    for subject in all_subjects():
        for moment in MOMENTS:
            key = f"groups/{subject.name}:{subject.mode}/{moment.replace(' ', '-')}"
            work = partial(_group_work, subject, moment, count, seed)
            yield WorkUnit(key, INJECTIONS, work, estimate_s=0.5 + 0.03 * count)


def _group_work(
    subject: GroupSubject, moment: str, count: int, seed: int, folder: Path
) -> Iterable[Row]:
    return counted(inject(subject, moment, count, seed, folder))


def _file_unit(ending: str, count: int, seed: int) -> WorkUnit:
    def work(folder: Path) -> Iterable[Row]:
        return counted(inject_into_file(ending, count, seed, folder))

    return WorkUnit(f"files/{ending}", INJECTIONS, work, estimate_s=1 + 0.03 * count)


def _paper_unit(seeds: tuple[int, ...]) -> WorkUnit:
    work = partial(paper_rows, seeds)
    return WorkUnit("table-4", PAPER_FILES, work, estimate_s=10 + 4.0 * len(seeds))


def _unreadable_units(size: Size, seed: int) -> Iterator[WorkUnit]:
    pairs = [(each.name, each.mode) for each in all_subjects()]
    if size == "quick":
        pairs = [pair for pair in pairs if pair[1] in _QUICK_MODES and pair[0] != "lastgood+rename"]
    pairs += [(SINGLE_FILE, ending) for ending in formats()]
    for subject, mode in pairs:
        work = partial(_unreadable_work, subject, mode, COUNTS[size], seed)
        key = f"unreadable/{subject.replace(' ', '-')}:{mode}"
        yield WorkUnit(key, INJECTIONS, work, estimate_s=3 + 0.1 * COUNTS[size])


def _unreadable_work(subject: str, mode: str, count: int, seed: int, folder: Path) -> Iterable[Row]:
    return counted(inject_unreadable(subject, mode, count, seed, folder))


EXPERIMENT: Final = CorruptionExperiment()
