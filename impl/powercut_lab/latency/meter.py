"""Counts where the time of a save goes: a clock, and a disk that tells it of each call.

Every nanosecond of a save belongs to one phase.  What the disk's calls take goes to their own
phases, what the steps that fill files take beside those calls is `digest`, and the rest is `other`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import accumulate, pairwise
from typing import Any, Final, Literal, TypeVar

from lastgood.backends.capabilities import fast_reads, full_sync, system_info, write_hints
from lastgood.backends.interface import Disk, FileSystemTraits, OpenFile
from powercut_lab.passing_reader import PassingReader

Phase = Literal["write", "digest", "fsync", "rename", "dirsync", "other"]
PHASES: Final[tuple[Phase, ...]] = ("write", "digest", "fsync", "rename", "dirsync", "other")
PHASE_WORDS: Final[Mapping[Phase, str]] = {
    "write": "write",
    "digest": "digest",
    "fsync": "fsync of files",
    "rename": "rename",
    "dirsync": "directory syncs",
    "other": "other",
}

Clock = Callable[[], int]
"""Nanoseconds that only grow."""

Times = Mapping[Phase, int]
"""Nanoseconds by phase; a phase that is not there took none."""

_T = TypeVar("_T")


class Meter:
    """Adds up nanoseconds by phase, of one save at a time."""

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        self.clock = clock
        self._spent: dict[Phase, int] = {}
        self._filling_ns = 0

    def seconds(self) -> float:
        """The same clock for those who ask for seconds."""
        return self.clock() / 1e9

    def spend(self, phase: Phase, call: Callable[[], _T]) -> _T:
        """Make a call, and count its time for a phase."""
        begun = self.clock()
        try:
            return call()
        finally:
            self._spent[phase] = self._spent.get(phase, 0) + self.clock() - begun

    def filled(self, seconds: float) -> None:
        """Note how long a step took that makes, fills or closes a file, disk calls included."""
        self._filling_ns += round(seconds * 1e9)

    def save(self, work: Callable[[], object]) -> Times:
        """Carry out one save; the time of each phase, which add up to the time of all."""
        self._spent, self._filling_ns = {}, 0
        begun = self.clock()
        work()
        wall = self.clock() - begun
        return attribute(wall, self._spent, self._filling_ns)

    def whole(self, work: Callable[[], object]) -> Times:
        """Carry out one save that cannot be looked into: all of it is `other`."""
        begun = self.clock()
        work()
        return {"other": self.clock() - begun}


def attribute(wall_ns: int, spent_ns: Times, filling_ns: int) -> Times:
    """The phases of a save of one thread; they add up to `wall_ns`.

    `spent_ns` is the time of the disk's calls, `filling_ns` that of the steps that fill files, in
    which all calls of the phase `write` lie.  ValueError where they are more than the whole.
    """
    # The steps were timed in seconds: their rounding may leave less than nothing.
    digest = max(0, filling_ns - spent_ns.get("write", 0))
    other = wall_ns - sum(spent_ns.values()) - digest
    if other < 0:
        raise ValueError(
            f"phases of {sum(spent_ns.values()) + digest} ns were found in a save of {wall_ns} ns: "
            "calls of several threads, or one inside another, cannot be added up"
        )
    return {**spent_ns, "digest": digest, "other": other}


def microseconds(times: Times) -> tuple[int, ...]:
    """Whole microseconds of each of PHASES, which add up to those of the whole save."""
    # The ends of the phases are rounded, laid one after the other: so their lengths add up.
    ends = [0, *(round(end / 1000) for end in accumulate(times.get(each, 0) for each in PHASES))]
    return tuple(end - begun for begun, end in pairwise(ends))


class MeteredDisk(PassingReader):
    """A disk that tells a meter how long each call took; it offers all capabilities."""

    def __init__(self, disk: Disk, meter: Meter) -> None:
        super().__init__(disk)
        self._meter = meter
        self._hints, self._info = write_hints(disk), system_info(disk)
        self._reads = fast_reads(disk)

    def __getattr__(self, name: str) -> Any:
        """A full sync, where the disk below offers one: the library looks whether it is there."""
        below = full_sync(self._disk)
        if name != "full_sync_dir" or below is None:
            raise AttributeError(name)
        return lambda path: self._meter.spend("dirsync", lambda: below(path))

    def mkdir(self, path: str) -> None:
        """See `Disk.mkdir`."""
        self._meter.spend("write", lambda: self._disk.mkdir(path))

    def create(self, path: str) -> None:
        """See `Disk.create`."""
        self._meter.spend("write", lambda: self._disk.create(path))

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Disk.write`."""
        self._meter.spend("write", lambda: self._disk.write(path, data))

    def preallocate(self, path: str, size_bytes: int) -> None:
        """See `WriteHints.preallocate`."""
        self._meter.spend("write", lambda: self._hints.preallocate(path, size_bytes))

    def write_early(self, path: str) -> None:
        """See `WriteHints.write_early`."""
        self._meter.spend("write", lambda: self._hints.write_early(path))

    def close(self, path: str) -> None:
        """See `Disk.close`."""
        self._meter.spend("write", lambda: self._disk.close(path))

    def fsync(self, path: str) -> None:
        """See `Disk.fsync`."""
        self._meter.spend("fsync", lambda: self._disk.fsync(path))

    def fsync_dir(self, path: str) -> None:
        """See `Disk.fsync_dir`."""
        self._meter.spend("dirsync", lambda: self._disk.fsync_dir(path))

    def rename(self, src: str, dst: str) -> None:
        """See `Disk.rename`."""
        self._meter.spend("rename", lambda: self._disk.rename(src, dst))

    def unlink(self, path: str) -> None:
        """See `Disk.unlink`."""
        self._disk.unlink(path)

    def rmdir(self, path: str) -> None:
        """See `Disk.rmdir`."""
        self._disk.rmdir(path)

    def lock(self, path: str) -> None:
        """See `Disk.lock`."""
        self._disk.lock(path)

    def unlock(self, path: str) -> None:
        """See `Disk.unlock`."""
        self._disk.unlock(path)

    def canonical(self, path: str) -> str:
        """See `SystemInfo.canonical`."""
        return self._info.canonical(path)

    def file_system(self, path: str) -> FileSystemTraits:
        """See `SystemInfo.file_system`."""
        return self._info.file_system(path)

    def holds(self, path: str) -> bool:
        """See `SystemInfo.holds`."""
        return self._info.holds(path)

    def free_bytes(self, path: str) -> int | None:
        """See `SystemInfo.free_bytes`."""
        return self._info.free_bytes(path)

    def used_bytes(self, path: str) -> int | None:
        """See `SystemInfo.used_bytes`."""
        return self._info.used_bytes(path)

    def may_write(self, path: str) -> bool:
        """See `SystemInfo.may_write`."""
        return self._info.may_write(path)

    def link_count(self, path: str) -> int | None:
        """See `SystemInfo.link_count`."""
        return self._info.link_count(path)

    def stamp(self, path: str) -> tuple[int, ...] | None:
        """See `SystemInfo.stamp`."""
        return self._info.stamp(path)

    def owner(self, path: str) -> str | None:
        """See `SystemInfo.owner`."""
        return self._info.owner(path)

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """See `FastReads.digest_with`."""
        return self._reads.digest_with(path, limit_bytes, algorithm)

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        """See `FastReads.read_and_digest`."""
        return self._reads.read_and_digest(path, limit_bytes, algorithm)

    def map(self, path: str, limit_bytes: int) -> memoryview:
        """See `FastReads.map`."""
        return self._reads.map(path, limit_bytes)

    def open_file(self, path: str, limit_bytes: int) -> AbstractContextManager[OpenFile]:
        """See `FastReads.open_file`."""
        return self._reads.open_file(path, limit_bytes)


def filled_in(phases: Mapping[str, float]) -> float:
    """The seconds of the steps that make, fill and close files, of a receipt's phases."""
    return phases.get("write_s", 0.0)


def sync_us(row: Mapping[str, Any]) -> int:
    """The microseconds of a row that a save has waited for syncs."""
    return int(row["fsync_us"]) + int(row["dirsync_us"])


def wall_us(row: Mapping[str, Any]) -> int:
    """The microseconds of a row: its phases together."""
    return sum(int(row[f"{phase}_us"]) for phase in PHASES)


def columns(phases: Iterable[Phase] = PHASES) -> tuple[str, ...]:
    """The columns of the phases."""
    return tuple(f"{phase}_us" for phase in phases)
