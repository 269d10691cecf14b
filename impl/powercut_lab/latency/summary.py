"""The matter of tables, figures and findings: the rows, in groups, with their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from powercut_lab import statistics
from powercut_lab.latency import disks, protocols, tables
from powercut_lab.latency.meter import PHASES, Phase, sync_us, wall_us
from powercut_lab.statistics import Interval, PairedComparison
from powercut_lab.study import Cell, Data

Rows = Sequence[Mapping[str, Cell]]
INTERVALS_S: Final = {1.0: "1 s", 10.0: "10 s", 60.0: "1 min", 600.0: "10 min"}
"""Seconds of training between two saves."""


@define
class Series:
    """The samples of one way on one disk with one size of group, by round."""

    rows: dict[int, Mapping[str, Any]] = field(factory=dict)
    _quantiles: dict[float, Interval] = field(factory=dict, init=False, repr=False)

    @property
    def walls_us(self) -> list[int]:
        """Microseconds of each save, in the order of rounds."""
        return [wall_us(self.rows[number]) for number in sorted(self.rows)]

    def quantile(self, at: float) -> Interval:
        """A quantile of the saves in microseconds, with its interval."""
        if at not in self._quantiles:
            self._quantiles[at] = statistics.quantile(self.walls_us, at)
        return self._quantiles[at]

    def mean_us(self, phase: Phase) -> float:
        """The mean of a phase in microseconds: means add up, quantiles do not."""
        times = [int(row[f"{phase}_us"]) for row in self.rows.values()]
        return sum(times) / len(times)

    def phase_quantile(self, phase: Phase, at: float) -> Interval:
        """A quantile of a phase in microseconds, with its interval."""
        return statistics.quantile([int(row[f"{phase}_us"]) for row in self.rows.values()], at)

    def sync_quantile(self, at: float) -> Interval:
        """A quantile of the microseconds that a save waits for syncs, with its interval."""
        return statistics.quantile([sync_us(row) for row in self.rows.values()], at)


@define
class Summary:
    """All samples by disk, size and way; the processes by disk and mode."""

    series: Mapping[tuple[str, str, str], Series]
    processes: Mapping[tuple[str, str], Rows]
    file_systems: Mapping[str, str]
    _ratios: dict[Any, Any] = field(factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, data: Data) -> Summary:
        """The rows in groups; of a run that was cut off, what there is."""
        series: dict[tuple[str, str, str], Series] = {}
        for row in data.get(tables.SAMPLES.name, ()):
            key = str(row["disk"]), str(row["size"]), str(row["way"])
            series.setdefault(key, Series()).rows[int(row["round"])] = row
        file_systems = {disk: disks.known_file_system(disk) for disk, _, _ in series}
        processes: dict[tuple[str, str], list[Mapping[str, Cell]]] = {}
        for row in data.get(tables.PROCESSES.name, ()):
            processes.setdefault((str(row["disk"]), str(row["mode"])), []).append(row)
            file_systems[str(row["disk"])] = str(row["file_system"])
        return cls(series, processes, file_systems)

    @property
    def disks(self) -> list[str]:
        """The disks that there are rows of, in the order of the report."""
        return _ordered({disk for disk, _, _ in self.series}, list(disks.BY_NAME))

    @property
    def sizes(self) -> list[str]:
        """The sizes that there are rows of, the smallest first."""
        return _ordered({size for _, size, _ in self.series}, list(tables.BY_NAME))

    def sync_share(self, disk: str, size: str, way: str) -> float | None:
        """The share of the mean save that it waits for syncs; None where nothing was measured."""
        series = self.at(disk, size, way)
        whole = sum(map(series.mean_us, PHASES)) if series else 0.0
        if series is None or not whole:
            return None
        return (series.mean_us("fsync") + series.mean_us("dirsync")) / whole

    def ways(self, size: str, among: Sequence[str] = protocols.ORDER) -> list[str]:
        """Those of the ways that there are rows of for a size, in the order of the report."""
        found = {way for _, its, way in self.series if its == size and way in among}
        return _ordered(found, list(protocols.ORDER))

    def at(self, disk: str, size: str, way: str) -> Series | None:
        """The samples of a way; None where there are none."""
        return self.series.get((disk, size, way))

    def overhead(self, disk: str, size: str, way: str, base: str, at: float) -> Interval | None:
        """A quantile of a way by the same of another; None where one has no samples."""
        key = (disk, size, way, base, at)
        if key not in self._ratios:
            pairs = self._pairs(disk, size, way, base)
            self._ratios[key] = statistics.quantile_ratio(*pairs, at) if pairs else None
        found: Interval | None = self._ratios[key]
        return found

    def paired(self, disk: str, size: str, way: str, base: str) -> PairedComparison | None:
        """A way against another, round by round; None where they have no round in common."""
        key = (disk, size, way, base)
        if key not in self._ratios:
            pairs = self._pairs(disk, size, way, base)
            self._ratios[key] = statistics.compare_paired(*pairs) if pairs else None
        found: PairedComparison | None = self._ratios[key]
        return found

    def _pairs(
        self, disk: str, size: str, way: str, base: str
    ) -> tuple[list[int], list[int]] | None:
        """Microseconds of the base and of the way, of the rounds that both have."""
        first, second = self.at(disk, size, base), self.at(disk, size, way)
        if first is None or second is None:
            return None
        rounds = sorted(first.rows.keys() & second.rows.keys())
        base_us = [wall_us(first.rows[number]) for number in rounds]
        if not rounds or not all(base_us):
            return None
        return base_us, [wall_us(second.rows[number]) for number in rounds]

    def process_us(self, disk: str, mode: str) -> list[float]:
        """Microseconds a group as the paper counts them: each process by its groups."""
        rows = self.processes.get((disk, mode), ())
        return [float(row["process_us"]) / float(row["groups"]) for row in rows]

    def inside_us(self, disk: str, mode: str) -> list[float]:
        """Microseconds a group of the same processes, timed inside of them."""
        rows = self.processes.get((disk, mode), ())
        return [float(row["saves_us"]) / float(row["groups"]) for row in rows]


def share_of_training(save_us: float, interval_s: float) -> float:
    """The share of the time that saves take: one after each `interval_s` seconds of training."""
    save_s = save_us / 1e6
    return save_s / (save_s + interval_s)


def base_of(way: str) -> str:
    """The unsafe mode of the protocol of a way."""
    return f"{way.partition(':')[0]}:unsafe"


def _ordered(found: set[str], order: Sequence[str]) -> list[str]:
    """Known names in their order, then others by name."""
    return [name for name in order if name in found] + sorted(found - set(order))
