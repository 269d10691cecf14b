"""Saves on real disks: rows that fit, and nothing left behind."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from powercut_lab.errors import LabError
from powercut_lab.latency import child, disks, protocols, tables
from powercut_lab.result_folder import check_row
from powercut_rig.linux import fuse_server
from powercut_rig.system.worker import FOLDER_PREFIX


def job_on(disk: str) -> dict[str, object]:
    return {
        "table": "samples",
        "disk": disk,
        "size": "paper",
        "lane": "plain",
        "seed": 3,
        "rounds": [4, 6],
    }


def check_rows_on(disk: str, workplace: Path) -> None:
    rows = child.carry_out(job_on(disk), workplace, 240.0)
    for row in rows:
        check_row(tables.SAMPLES, row)
    ways = [way.name for way in protocols.ways_for(tables.PAPER_GROUP.size_bytes, "plain")]
    assert sorted((str(row[2]), row[3]) for row in rows) == sorted(
        (way, number) for way in ways for number in (4, 5)
    )
    assert {row[:2] for row in rows} == {(disk, "paper")}
    assert list((workplace / child.HOME).rglob("disk")) == []


def test_the_own_disk_gives_rows(tmp_path: Path) -> None:
    check_rows_on(disks.HERE.name, tmp_path)


@pytest.mark.rig
@pytest.mark.parametrize("disk", [disks.EXT4_LOOP.name, disks.TMPFS.name, disks.DELAYED.name])
def test_a_disk_that_is_made_gives_rows_and_is_gone(disk: str, tmp_path: Path) -> None:
    check_rows_on(disk, tmp_path)
    backing = [
        path.read_text()
        for path in Path("/sys/block").glob("loop*/loop/backing_file")
        if path.exists()
    ]
    assert not [each for each in backing if str(tmp_path) in each]
    assert FOLDER_PREFIX not in Path("/proc/self/mounts").read_text()


def test_the_own_disk_has_a_name(tmp_path: Path) -> None:
    assert disks.file_system_of(tmp_path)


def test_a_job_that_fails_says_why_and_the_caller_goes_on(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="KeyError: 'no such disk'"):
        child.carry_out(job_on("no such disk"), tmp_path, 60.0)


def test_a_job_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_UNWIND_S", 0.0)
    with pytest.raises(LabError, match="was ended"):
        child.carry_out(job_on(disks.HERE.name), tmp_path, 0.0)


def flushes_of(flush_s: float, node: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a disk server has slept when told to sync a node; it must have answered."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    answers, answer = os.pipe()
    flat = mmap.mmap(-1, 4096)
    try:
        server = fuse_server.DiskServer(answer, flat, -1, flush_s=flush_s)
        server._other(fuse_server._FSYNC, 77, node, memoryview(b""))
        length, error, unique = fuse_server._OUT.unpack(os.read(answers, 100))
        assert (length, error, unique) == (16, 0, 77)
    finally:
        os.close(answers)
        os.close(answer)
    return slept


def test_a_disk_of_known_flush_latency_takes_it_for_each_flush_of_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert flushes_of(0.25, fuse_server._DISK, monkeypatch) == [0.25]
    assert flushes_of(0.25, fuse_server._CONTROL, monkeypatch) == []
    assert flushes_of(0.0, fuse_server._DISK, monkeypatch) == []
