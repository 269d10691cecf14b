"""The raw data of the experiment: what is measured how often, and the columns of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from powercut_lab.latency.disks import DiskKind
from powercut_lab.latency.meter import columns
from powercut_lab.study import RawTable, Size


@frozen
class GroupSize:
    """A size of group: samples of each way in a full run, rounds in a unit, seconds of a save.

    The seconds are a guess, for the estimate: of a save with what is done before and after it.
    """

    name: str
    size_bytes: int
    samples: int
    rounds: int
    save_s: float


PAPER_GROUP: Final = GroupSize("paper", 192 << 10, 1000, 100, 0.02)
SIZES: Final = (
    PAPER_GROUP,
    GroupSize("1 MiB", 1 << 20, 1000, 100, 0.025),
    GroupSize("16 MiB", 16 << 20, 200, 40, 0.08),
    GroupSize("256 MiB", 256 << 20, 30, 6, 1.0),
)
BY_NAME: Final[Mapping[str, GroupSize]] = {size.name: size for size in SIZES}
QUICK_SAMPLES: Final = 40
QUICK_SLOW_SAMPLES: Final = 15
QUICK_SIZES: Final = frozenset({"paper", "1 MiB"})

SAMPLES: Final = RawTable(
    "latency_samples",
    ("disk", "size", "way", "round", *columns()),
    frozenset({"round", *columns()}),
    "One save: whole microseconds of each phase, which add up to the save.",
)
PROCESSES: Final = RawTable(
    "latency_processes",
    ("disk", "file_system", "mode", "run", "groups", "process_us", "saves_us"),
    frozenset({"run", "groups", "process_us", "saves_us"}),
    "One process of the paper's kind: microseconds of all of it, and of its saves timed inside.",
)


def samples_of(disk: DiskKind, group: GroupSize, size: Size) -> int:
    """The number of samples that each way gives on a disk in a run of that size.

    The disk of known flush latency takes the paper's group alone: its server is one process, and
    with more bytes it would time that.
    """
    if disk.kind == "delayed" and group is not PAPER_GROUP:
        return 0
    if size == "quick":
        few = QUICK_SLOW_SAMPLES if disk.kind == "delayed" else QUICK_SAMPLES
        return few if group.name in QUICK_SIZES else 0
    return group.samples if size == "full" else -(-group.samples // 3)


def blocks(samples: int, rounds: int) -> list[range]:
    """The rounds, cut so that a unit has about `rounds` of them: Ctrl-C loses one unit at most."""
    return [range(first, min(first + rounds, samples)) for first in range(0, samples, rounds)]
