"""The paper's own way of timing, kept to show its bias: whole processes, by their groups."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from lastgood.crashtest.subjects import PAPER_MODES
from powercut_lab.errors import LabError
from powercut_lab.latency.meter import Clock
from powercut_lab.latency.rounds import settle
from powercut_rig.system.subprocesses import TOOL_ENVIRONMENT, run_in_group

GROUPS: Final = 40
RUNS: Final = 10
QUICK_RUNS: Final = 4
DEADLINE_S: Final = 120.0
_SCRIPT: Final = Path(__file__).with_name("paper_script.py")

Program = Callable[[Sequence[str]], str]
"""Runs a program to its end; what it printed."""


def run_program(arguments: Sequence[str]) -> str:
    """Run a program, and give what it printed. LabError where it fails; OSError, TimeoutExpired."""
    done = run_in_group(arguments, DEADLINE_S, TOOL_ENVIRONMENT)
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-500:]
        raise LabError(f"{' '.join(arguments)} ended with status {done.returncode}: {said}")
    return done.stdout.decode()


def time_processes(
    folder: Path, runs: int, clock: Clock, program: Program = run_program
) -> Iterator[tuple[str, int, int, int, int]]:
    """Rows of a mode, the run, the groups, and microseconds: of the process, of its saves inside.

    The modes take turns. Errors as `run_program`.
    """
    for run in range(runs):
        shift = run % len(PAPER_MODES)
        for mode in PAPER_MODES[shift:] + PAPER_MODES[:shift]:
            home = folder / f"{mode}-{run}"
            home.mkdir()
            settle(folder)
            begun = clock()
            said = program([sys.executable, "-I", str(_SCRIPT), mode, str(home), str(GROUPS)])
            took = clock() - begun
            shutil.rmtree(home)
            yield mode, run, GROUPS, round(took / 1000), round(int(said) / 1000)
