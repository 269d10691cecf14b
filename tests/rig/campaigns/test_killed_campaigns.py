"""compare, soak and coverage, ended at many moments: no mount, device or process is left behind.

By default once each, in `make test-all` some times more; with HYPOTHESIS_PROFILE=soak twenty
times each.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen

import pytest

from tests import ROOT
from tests.rig.processes import DEADLINE_S, alive, descendants, eventually, running

pytestmark = pytest.mark.rig

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
TIMES = 20 if SOAK else 4
TRACE = ROOT / "traces/regressions/lastgood-atomic-dirsync-two-saves.toml"
COMMANDS = {
    "compare": (
        str(TRACE), "--fs", "ext4,xfs,btrfs", "--recordings", "2", "--again", "3", "--jobs", "2",
        "--progress",
    ),
    "soak": ("--fs", "ext4,xfs,btrfs", "--images", "5000", "--jobs", "2", "--every", "20"),
    "coverage": ("--fs", "ext4,xfs,btrfs", "--level", "drawn", "--jobs", "2", "--progress"),
}  # fmt: skip


def loops_of(pids: list[int], folder: Path) -> set[int]:
    """The loop devices that these processes hold open through nodes in `folder`."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(link)
                    if target.startswith(str(folder)) and (
                        got := re.search(r"/loop(\d+)$", target)
                    ):
                        found.add(int(got[1]))
    return found


def ours(loop: int, pids: list[int]) -> bool:
    """The device is attached, and no other rig has taken it over meanwhile."""
    if not Path(f"/sys/block/loop{loop}/loop/backing_file").exists():
        return False
    return not any(
        loop in loops_of([int(entry.name)], Path("/"))
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and int(entry.name) not in pids
    )


def campaign(folder: Path, command: str = "compare") -> AbstractContextManager[Popen[str]]:
    return running("-m", "powercut", command, *COMMANDS[command], TMPDIR=str(folder))


def hear(process: Popen[str], lines: int) -> None:
    """Wait for so many lines of progress, and be content with fewer at the end."""
    assert process.stderr is not None
    for _ in range(lines):
        assert select.select([process.stderr], [], [], DEADLINE_S)[0]
        if not process.stderr.readline():
            return


WAYS = ("kill", "interrupt", "interrupt all")
ENDS = [
    pytest.param(
        command,
        WAYS[(time + offset) % 3],
        time,
        marks=[pytest.mark.thorough] if time else [],
    )
    for offset, command in enumerate(COMMANDS)
    for time in range(TIMES if SOAK or command == "compare" else 2)
]


@pytest.mark.parametrize(("command", "how", "time"), ENDS)
def test_ended_at_any_moment_it_leaves_nothing(
    tmp_path: Path, command: str, how: str, time: int
) -> None:
    dice = random.Random() if SOAK else random.Random(time)  # noqa: S311 - moments, not secrets
    with campaign(tmp_path, command) as process:
        hear(process, dice.randrange(1, 9))
        pids = [process.pid, *descendants(process.pid)]
        loops = loops_of(pids, tmp_path)
        if how == "interrupt all":  # as a terminal does
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(process.pid, signal.SIGKILL if how == "kill" else signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE_S)

        if command == "soak" and how != "kill":
            assert re.search(r"interrupted after \d+ of 5000 images, .* numbered 0 to \d+", said)
            assert process.returncode == 130
        assert eventually(lambda: not any(map(alive, pids)))
        assert eventually(lambda: not any(ours(loop, pids) for loop in loops))
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
        # A killed run may leave an empty folder for the next one to remove, and nothing else.
        left = [path for folder in tmp_path.iterdir() for path in folder.iterdir()]
        assert left == []
        assert how == "kill" or list(tmp_path.iterdir()) == []


def test_the_moments_above_do_meet_workers_with_devices(tmp_path: Path) -> None:
    with campaign(tmp_path) as process:
        hear(process, 2)
        pids = descendants(process.pid)
        assert len(pids) >= 2
        assert loops_of(pids, tmp_path)
