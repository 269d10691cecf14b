"""The raw data of the experiment: what is measured how often, and the columns of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from powercut_lab.latency.meter import columns
from powercut_lab.study import RawTable, Size


@frozen
class GroupSize:
    """A size of group: samples of each way in a full run, rounds in a unit, seconds of a round.

    The seconds are a guess, for the estimate.
    """

    name: str
    size_bytes: int
    samples: int
    rounds: int
    round_s: float


PAPER_GROUP: Final = GroupSize("paper", 192 << 10, 1000, 100, 0.12)
SIZES: Final = (
    PAPER_GROUP,
    GroupSize("1 MiB", 1 << 20, 1000, 100, 0.15),
    GroupSize("16 MiB", 16 << 20, 200, 40, 0.8),
    GroupSize("256 MiB", 256 << 20, 30, 6, 12.0),
)
BY_NAME: Final[Mapping[str, GroupSize]] = {size.name: size for size in SIZES}
SIZE_WORDS: Final = {PAPER_GROUP.name: "the paper's group (192 KiB)"}
QUICK_SAMPLES: Final = 40
QUICK_SIZES: Final = frozenset({"paper", "1 MiB"})
FAST_SIZES: Final = frozenset({"paper", "1 MiB"})
"""Those that the disk of known flush latency is asked for: its server is one process."""

SAMPLES: Final = RawTable(
    "latency_samples",
    ("disk", "file_system", "size", "way", "round", *columns()),
    frozenset({"round", *columns()}),
    "One save: whole microseconds of each phase, which add up to the save.",
)
PROCESSES: Final = RawTable(
    "latency_processes",
    ("disk", "mode", "run", "groups", "process_us", "saves_us"),
    frozenset({"run", "groups", "process_us", "saves_us"}),
    "One process of the paper's kind: microseconds of all of it, and of its saves timed inside.",
)


def samples_of(group: GroupSize, size: Size) -> int:
    """How many samples each way gives in a run of that size."""
    if size == "quick":
        return QUICK_SAMPLES if group.name in QUICK_SIZES else 0
    return group.samples if size == "full" else -(-group.samples // 3)


def blocks(samples: int, rounds: int) -> list[range]:
    """The rounds, cut so that a unit has about `rounds` of them: Ctrl-C loses one unit at most."""
    return [range(first, min(first + rounds, samples)) for first in range(0, samples, rounds)]
