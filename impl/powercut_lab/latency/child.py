"""The process that does one unit: a fresh one, so that no library's threads are in the way.

    python -m powercut_lab.latency.child JOB.json

Only a process of one thread may fork workers, and no library that is measured is ever imported by
the process that asked.  Job and rows are JSON files in the unit's folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from powercut_lab.errors import LabError
from powercut_lab.latency import disks, paper_process, protocols, rounds, tables
from powercut_lab.study import Row

JOB: Final = "job.json"
ROWS: Final = "rows.json"
HOME: Final = "home"
_UNWIND_S: Final = 20.0
_LIMIT_BYTES: Final = 64 << 20


def carry_out(job: Mapping[str, Any], workplace: Path, timeout_s: float) -> list[Row]:
    """The rows of a job, done in a process of its own in an empty folder. LabError."""
    file = workplace / JOB
    file.write_text(json.dumps({**job, "parent": os.getpid(), "timeout_s": timeout_s}))
    process = subprocess.Popen(
        [sys.executable, "-m", "powercut_lab.latency.child", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C reaches this process alone, which then asks it to end
    )
    try:
        _, said = process.communicate(timeout=timeout_s + _UNWIND_S)
    except BaseException as error:
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise LabError(f"{job} was not done after {timeout_s:.0f} s and was ended.") from error
        raise
    if process.returncode:
        words = said.decode(errors="replace").strip()[-1500:]
        raise LabError(f"{job} failed with status {process.returncode}: {words}")
    return _rows(workplace / ROWS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the process unwind its mounts, for a while; then kill it, and they go with it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_UNWIND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _rows(file: Path) -> list[Row]:
    with file.open("rb") as stream:
        data = stream.read(_LIMIT_BYTES + 1)
    if len(data) > _LIMIT_BYTES:
        raise LabError(f"{file} has more than {_LIMIT_BYTES} bytes; it was not read.")
    return [tuple(row) for row in json.loads(data)]


def sample_rows(job: Mapping[str, Any], workplace: Path) -> list[Row]:
    """The rows of the table of samples that a job asks for: some rounds of a size on a disk."""
    disk, group = disks.BY_NAME[job["disk"]], tables.BY_NAME[job["size"]]
    work = partial(_samples, job)
    found = disks.on_disk(disk, workplace, group.size_bytes, job["timeout_s"], work)
    return [(disk.name, group.name, way, number, *times) for way, number, times in found]


def _samples(job: Mapping[str, Any], folder: Path) -> list[rounds.Sample]:
    size_bytes = tables.BY_NAME[job["size"]].size_bytes
    return rounds.measure(
        folder,
        protocols.ways_for(size_bytes, job["lane"]),
        protocols.group_of(size_bytes, job["seed"]),
        range(*job["rounds"]),
        time.perf_counter_ns,
    )


def process_rows(job: Mapping[str, Any], workplace: Path) -> list[Row]:
    """The rows of the table of processes: the paper's own way of timing, on a disk."""
    disk = disks.BY_NAME[job["disk"]]
    size_bytes = paper_process.GROUPS * tables.PAPER_GROUP.size_bytes
    work = partial(_processes, job["runs"])
    fs, found = disks.on_disk(disk, workplace, size_bytes, job["timeout_s"], work)
    return [(disk.name, fs, *row) for row in found]


def _processes(runs: int, folder: Path) -> tuple[str, list[tuple[str, int, int, int, int]]]:
    taken = list(paper_process.time_processes(folder, runs, time.perf_counter_ns))
    return disks.file_system_of(folder), taken


def main(job_file: str) -> None:
    """Do the job that a file describes; its rows go to a file beside it."""
    file = Path(job_file)
    job = json.loads(file.read_text())
    if sys.platform == "linux":
        from powercut_rig.system.linux_syscalls import die_with_parent

        die_with_parent(job["parent"])
    home = file.parent / HOME
    home.mkdir()
    rows = {"samples": sample_rows, "processes": process_rows}[job["table"]](job, home)
    file.with_name(ROWS).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1])
