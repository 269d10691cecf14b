"""SIGKILL, EIO, ENOSPC and short writes at the system calls of a real save and recovery.

On each file system, by a real process.  What one run left is what the next finds, so recoveries
meet leftovers of many kinds.  By default a few of the pairs, at every sixth call; in
`make test-all` all of them, at every fourth; with HYPOTHESIS_PROFILE=soak at each.
"""

from __future__ import annotations

import errno
import os
import sys

import pytest
from attrs import define, field

import lastgood
from powercut_rig import run_in_worker
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.linux.recorded_disk import RecordedDisk
from powercut_rig.linux.recorder import mounted
from powercut_rig.system.ptrace import Action, TracedRun, run_traced, why_no_tracing
from powercut_rig.system.worker import private_folder
from tests.rig.saving_program import DISK_FAILED, content

pytestmark = [
    pytest.mark.rig,
    pytest.mark.skipif(why_no_tracing() is not None, reason=str(why_no_tracing())),
]

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
QUICK, THOROUGH = 6, 1 if SOAK else 4
"""How many calls apart two runs are met."""
FAULTS: dict[str, tuple[Action, int]] = {
    "killed": ("kill", 0),
    "EIO": ("fail", errno.EIO),
    "ENOSPC": ("fail", errno.ENOSPC),
    "short": ("short", 0),
}


@define
class Tally:
    """What a round of runs did: the calls that were met, and how the runs ended."""

    calls: tuple[str, ...] = ()
    met: list[str] = field(factory=list)
    endings: set[str] = field(factory=set)
    wrong: list[str] = field(factory=list)


def run_once(store: str, action: Action, error: int, at: int | None) -> tuple[TracedRun, list[str]]:
    """One run of the program: how it ended, and what it said."""
    receive, send = os.pipe()
    try:
        run = run_traced(
            [sys.executable, "-m", "tests.rig.saving_program", store],
            at=at,
            action=action,
            error=error,
            output_fd=send,
        )
    finally:
        os.close(send)
    with os.fdopen(receive) as said:
        return run, said.read().splitlines()


def rounds(fs: str, fault: str, stride: int) -> Tally:
    """Run the program again and again on one store, met at one call after the other."""
    entry, (action, error) = FILE_SYSTEMS[fs], FAULTS[fault]
    with private_folder() as folder, RecordedDisk(folder, entry.size_bytes) as disk:
        entry.make(disk.device)
        with mounted(entry, disk.device, folder) as root:
            return rounds_in(f"{root}/ckpt/run", action, error, stride)


def rounds_in(store: str, action: Action, error: int, stride: int) -> Tally:
    whole, said = run_once(store, action, error, None)
    tally = Tally(whole.calls)
    assert said == ["loaded 0", "saved 1"], said
    acknowledged = 1
    for at in range(0, len(whole.calls), stride):
        run, said = run_once(store, action, error, at)
        tally.met.append(run.met)
        words = [line.split() for line in said]
        acknowledged = max([acknowledged, *(int(w[1]) for w in words if w[0] == "saved")])
        tally.endings.add("killed" if run.killed else f"status {os.WEXITSTATUS(run.status)}")
        here = f"call {at} ({run.met}), {said}"
        with lastgood.open_read_only(store) as reader:
            loaded = reader.load_latest()
            if loaded is None or loaded.generation < acknowledged:
                tally.wrong.append(f"{here}: {acknowledged} was acknowledged, {loaded} found")
            elif {part: loaded.read(part) for part in loaded.parts} != content(loaded.step):
                tally.wrong.append(f"{here}: {loaded.generation} is not what was saved")
    after, said = run_once(store, "kill", 0, None)
    if after.status != 0 or not said[-1].startswith("saved"):
        tally.wrong.append(f"the next save did not work: {said}")
    return tally


CASES = [
    *[(fs, "killed", QUICK) for fs in ("ext4", "xfs", "btrfs")],
    *[("ext4", "EIO", QUICK), ("xfs", "ENOSPC", QUICK), ("btrfs", "short", QUICK)],
    *[
        pytest.param(fs, fault, THOROUGH, marks=pytest.mark.thorough)
        for fs in ("ext4", "xfs", "btrfs")
        for fault in FAULTS
    ],
]


@pytest.mark.parametrize(("fs", "fault", "stride"), CASES)
def test_whatever_happens_at_a_call_nothing_acknowledged_is_lost(
    fs: str, fault: str, stride: int
) -> None:
    tally = run_in_worker(rounds, fs, fault, stride)

    assert tally.wrong == []
    assert {"fsync", "write", "mkdir", "openat"} <= set(tally.calls)
    assert len(tally.met) >= 4
    assert all(tally.met)  # each was met: none of these runs went undisturbed
    expected = {"killed": "killed", "short": "status 0"}.get(fault, f"status {DISK_FAILED}")
    assert expected in tally.endings
