"""External programs: what becomes of what they started when their time or this process is over."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from powercut_rig.errors import RigError
from powercut_rig.system.subprocesses import run_tool
from tests import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as children end on Linux")

PATIENCE_S = 20


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    yield fifo, fd
    os.close(fd)


def ends(fd: int) -> bool:
    """Nobody holds the other end any more, after something was written to it."""
    os.set_blocking(fd, True)
    said = b""
    while select.select([fd], [], [], PATIENCE_S)[0]:
        if not (piece := os.read(fd, 99)):
            return said == b"started\n"
        said += piece
    return False


def script(fifo: Path, then: str, *, children: int = 1) -> str:
    """Start a child that holds the pipe, say so there, and do something.

    Not before the parent has so many children: this program, and the watcher of a family.
    """
    alone = f"[ $(wc -w </proc/$PPID/task/$PPID/children) -lt {children} ]"
    return f"exec 3>{fifo}; sleep 600 & while {alone}; do :; done; echo started >&3; {then}; wait"


@contextmanager
def at_the_signal(raised: BaseException) -> Iterator[None]:
    def act(number: int, frame: FrameType | None) -> None:
        raise raised

    before = signal.signal(signal.SIGUSR1, act)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("raised", "seen"),
    [(subprocess.TimeoutExpired("sh", 7), RigError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["deadline", "ctrl-c"],
)
@pytest.mark.parametrize("family", [False, True])
def test_what_a_program_started_ends_with_it(
    pipe: tuple[Path, int], raised: BaseException, seen: type[BaseException], family: bool
) -> None:
    fifo, fd = pipe
    # The program itself says when its time is over: once its child is there, and somebody reads
    # what it says, which is more than a pipe holds.
    then = f"head -c 300000 /dev/zero; kill -USR1 {os.getpid()}"
    command = ("sh", "-c", script(fifo, then))
    with at_the_signal(raised), pytest.raises(seen):
        run_tool(command, family=family)
    assert ends(fd)


def test_a_family_ends_with_this_process_even_by_sigkill(pipe: tuple[Path, int]) -> None:
    fifo, fd = pipe
    command = ("sh", "-c", script(fifo, "true", children=2))
    code = (
        f"from powercut_rig.system.subprocesses import run_tool; run_tool({command!r}, family=True)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/model:{ROOT}/impl"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        try:
            assert select.select([fd], [], [], PATIENCE_S)[0]
        finally:
            process.kill()
    assert ends(fd)


@pytest.mark.parametrize("family", [False, True])
def test_a_program_that_ends_by_itself_gives_what_it_said(family: bool) -> None:
    done = run_tool(("sh", "-c", "echo a; echo b >&2; exit 3"), ok=(3,), family=family)
    assert (done.returncode, done.stdout, done.stderr) == (3, "a\n", "b\n")


def test_a_program_that_is_unhappy_or_missing_is_named() -> None:
    with pytest.raises(RigError, match="status 3: why"):
        run_tool(("sh", "-c", "echo why >&2; exit 3"))
    with pytest.raises(RigError, match="no-such-program is not installed"):
        run_tool(("no-such-program",), family=True)
