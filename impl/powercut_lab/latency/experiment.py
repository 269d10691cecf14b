"""The experiment on latency as a value: what it runs here, and what is made of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from attrs import frozen

from powercut_lab.latency import child, disks, paper_process, protocols, tables
from powercut_lab.latency.figures import all_figures
from powercut_lab.latency.findings import all_findings
from powercut_lab.latency.report_tables import all_tables
from powercut_lab.latency.summary import Summary
from powercut_lab.study import (
    Data,
    Figure,
    Missing,
    RawTable,
    ReportTable,
    Section,
    Size,
    StudyPlan,
    WorkUnit,
)
from powercut_rig.system.requirements import missing_everywhere

_START_S: Final = 3.0
"""The time of a unit before its first save: its process, its disk, the libraries it imports."""

_TORCH_START_S: Final = 10.0
TORCH_PREFIX: Final = "torch/"
TORCH_ROUNDS: Final = 10_000
"""The rounds of the lane of PyTorch are numbered from there on: none is one of the other lane."""

_PROCESS_S: Final = 0.6
_PATIENCE: Final = 8.0
_LEAST_TIMEOUT_S: Final = 240.0


@frozen
class LatencyExperiment:
    """Times saves, phase by phase, on every disk that can be had here."""

    name: str = "latency"
    title: str = "Latency: what a save takes, phase by phase, on each disk"
    tables: tuple[RawTable, ...] = (tables.SAMPLES, tables.PROCESSES)

    def plan(self, size: Size, seed: int) -> StudyPlan:
        """See `Study.plan`."""
        lacks = missing_everywhere()
        units: list[WorkUnit] = []
        missing: list[Missing] = []
        for group in tables.SIZES:
            for disk in disks.DISKS:
                samples = tables.samples_of(disk, group, size)
                lack = disks.why_missing(disk, group.size_bytes, lacks)
                if lack is not None:
                    missing.append(lack)
                elif samples:
                    for lane in _lanes(disk, size):
                        units.extend(_sample_units(disk, group, samples, lane, seed))
                    if group is tables.PAPER_GROUP and _times_processes(disk, size):
                        runs = paper_process.QUICK_RUNS if size == "quick" else paper_process.RUNS
                        units.append(_process_unit(disk, runs, seed))
        missing.extend(_missing_packages())
        if size != "quick":
            missing.append(_SLOW_DISK_SIZES)
        return StudyPlan(tuple(units), tuple(dict.fromkeys(missing)))

    def section(self, data: Data) -> Section:
        """See `Study.section`."""
        summary = Summary.of(data)
        items: list[ReportTable | Figure] = [*all_figures(summary), *all_tables(summary)]
        return Section(self.title, all_findings(summary), tuple(items))


def _sample_units(
    disk: disks.DiskKind, group: tables.GroupSize, samples: int, lane: protocols.Lane, seed: int
) -> Iterator[WorkUnit]:
    """Some rounds of a lane on one disk: a unit is short, so that Ctrl-C loses little."""
    round_s = len(protocols.ways_for(group.size_bytes, lane)) * group.save_s * disk.pace
    start_s = _START_S if lane == "plain" else _TORCH_START_S
    prefix, shift = ("", 0) if lane == "plain" else (TORCH_PREFIX, TORCH_ROUNDS)
    for block in tables.blocks(samples, group.rounds):
        job = {
            "table": "samples",
            "disk": disk.name,
            "size": group.name,
            "lane": lane,
            "seed": seed,
            "rounds": [block.start + shift, block.stop + shift],
        }
        key = f"{prefix}{disk.name}/{group.name}/rounds {block.start:04}-{block.stop - 1:04}"
        # One round more is a warm-up.
        yield _unit(key, tables.SAMPLES, job, start_s + round_s * (len(block) + 1))


def _process_unit(disk: disks.DiskKind, runs: int, seed: int) -> WorkUnit:
    job = {"table": "processes", "disk": disk.name, "seed": seed, "runs": runs}
    estimate_s = _START_S + _PROCESS_S * runs * len(protocols.PAPERS) * disk.pace
    return _unit(f"{disk.name}/processes {runs}", tables.PROCESSES, job, estimate_s)


def _unit(key: str, table: RawTable, job: dict[str, Any], estimate_s: float) -> WorkUnit:
    timeout_s = max(_LEAST_TIMEOUT_S, _PATIENCE * estimate_s)
    return WorkUnit(key, table, partial(child.carry_out, job, timeout_s=timeout_s), estimate_s)


def _lanes(disk: disks.DiskKind, size: Size) -> Sequence[protocols.Lane]:
    """PyTorch takes its turns where it is installed; in a quick run on the own disk alone."""
    with_torch = not protocols.package_is_missing("torch")
    return protocols.LANES if with_torch and (size != "quick" or disk is disks.HERE) else ("plain",)


def _times_processes(disk: disks.DiskKind, size: Size) -> bool:
    """One disk is enough to show the bias; more of them where there is time."""
    return disk is disks.HERE or (size != "quick" and disk.kind != "delayed")


_SLOW_DISK_SIZES: Final = Missing(
    f"Groups larger than the paper's on the disk {disks.DELAYED.name!r}",
    "Its server is one Python process: with more bytes its own pace would be timed.",
    "None is needed: where much is written, the time of a flush matters less.",
)


def _missing_packages() -> Iterator[Missing]:
    for package in dict.fromkeys(way.needs for way in protocols.WAYS if way.needs):
        if protocols.package_is_missing(package):
            names = [way.name for way in protocols.WAYS if way.needs == package]
            yield Missing(
                f"Saves by {', '.join(names)}",
                f"The package {package} is not installed.",
                f"Install it: pip install {package}.",
                TORCH_PREFIX if package == "torch" else "",
            )


EXPERIMENT: Final = LatencyExperiment()
