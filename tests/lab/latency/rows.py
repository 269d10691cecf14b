"""Rows as a run would give them, drawn with dice."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from powercut_lab.latency import tables
from powercut_lab.latency.protocols import OURS, PAPERS, PROBE
from powercut_lab.result_folder import check_row
from powercut_lab.study import Cell, Data, RawTable

Model = Callable[[random.Random, str], tuple[int, int, int, int, int, int]]


def usual(dice: random.Random, way: str) -> tuple[int, int, int, int, int, int]:
    """Microseconds of the phases: syncs take long, and a directory sync a little more."""
    mode = way.partition(":")[2]
    fsync = 0 if mode == "unsafe" else dice.randrange(5000, 6000)
    dirsync = dice.randrange(900, 1100) if mode in ("atomic_dirsync", "atomic_fullsync") else 0
    return dice.randrange(300, 400), dice.randrange(300, 400), fsync, 30, dirsync, 200


def data_of(
    disks: tuple[str, ...], sizes: tuple[str, ...], rounds: int, model: Model = usual, seed: int = 0
) -> Data:
    dice = random.Random(seed)  # noqa: S311 - rows, no secrets
    samples = [
        (disk, size, way, number, *model(dice, way))
        for disk in disks
        for size in sizes
        for number in range(rounds)
        for way in (*OURS, *PAPERS, PROBE)
    ]
    processes = [
        (disk, "ext4", way.partition(":")[2], run, 40, 40 * (1000 + inside), 40 * inside)
        for disk in disks
        for run in range(10)
        for way in PAPERS
        for inside in [sum(model(dice, way))]
    ]
    return {
        tables.SAMPLES.name: [_row(tables.SAMPLES, row) for row in samples],
        tables.PROCESSES.name: [_row(tables.PROCESSES, row) for row in processes],
    }


def _row(table: RawTable, row: tuple[Cell, ...]) -> Mapping[str, Cell]:
    check_row(table, row)
    return dict(zip(table.columns, row, strict=True))
