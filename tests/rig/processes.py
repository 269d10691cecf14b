"""Processes of a test: started, looked at, and gone in the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import ROOT

DEADLINE_S = 120.0


@contextlib.contextmanager
def running(
    *arguments: str, cwd: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Python with the packages of this tree, in a session of its own; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **variables, "PYTHONPATH": f"{ROOT}/model:{ROOT}/impl"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def alive(pid: int) -> bool:
    """The process exists and is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def eventually(claim: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
