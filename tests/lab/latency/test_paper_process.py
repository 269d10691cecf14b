"""The paper's way of timing: the process writes what the paper's protocol writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lastgood.backends.detect import disk_here
from lastgood.crashtest import paper_protocol
from lastgood.crashtest.subjects import PAPER_MODES
from powercut_lab.errors import LabError
from powercut_lab.latency import paper_process
from powercut_lab.latency.paper_process import run_program, time_processes
from tests.lab.latency.clocks import DiceClock

SCRIPT = Path(paper_process.__file__).with_name("paper_script.py")


@pytest.mark.parametrize("mode", PAPER_MODES)
def test_the_script_writes_groups_that_the_paper_protocol_reads_as_valid(
    tmp_path: Path, mode: str
) -> None:
    said = run_program([sys.executable, "-I", str(SCRIPT), mode, str(tmp_path), "3"])
    assert int(said) > 0
    found = paper_protocol.newest_valid(disk_here(), str(tmp_path))
    assert found is not None
    epoch, parts = found
    assert epoch == 2
    assert {name: len(data) for name, data in parts.items() if name != "rng.json"} == {
        "model.bin": 128 << 10,
        "optim.bin": 64 << 10,
    }
    assert len(list(tmp_path.iterdir())) == 3
    assert not list(tmp_path.rglob(".tmp*"))


SYNCS = """
import os, runpy, sys
calls = []
real = os.fsync
os.fsync = lambda fd: calls.append(fd) or real(fd)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(len(calls))
"""


@pytest.mark.parametrize(
    ("mode", "syncs"), [("unsafe", 0), ("atomic_nodirsync", 10), ("atomic_dirsync", 12)]
)
def test_the_script_syncs_as_often_as_the_paper_protocol(
    tmp_path: Path, mode: str, syncs: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", SYNCS, str(SCRIPT), mode, str(tmp_path), "2"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert int(done.stdout.split()[-1]) == syncs


def test_modes_take_turns_and_rows_hold_the_time_of_all_and_of_the_saves(tmp_path: Path) -> None:
    asked: list[str] = []

    def program(arguments: Sequence[str]) -> str:
        asked.append(arguments[3])
        assert Path(arguments[4]).is_dir()
        return "4000000\n"

    rows = list(time_processes(tmp_path, 4, DiceClock(1), program))
    assert len(rows) == len(asked) == 12
    assert [row[0] for row in rows] == asked
    assert {asked[n] for n in (0, 3, 6)} == set(PAPER_MODES)
    assert {(row[2], row[4]) for row in rows} == {(40, 4000)}
    assert all(0 <= row[3] <= 50 for row in rows)
    assert os.listdir(tmp_path) == []


def test_a_process_that_fails_is_an_error_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="IndexError"):
        run_program([sys.executable, "-I", str(SCRIPT), "unsafe", str(tmp_path)])
