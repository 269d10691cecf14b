"""The one way to an external program: it has a deadline, and its failure says what to do next."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigError

SEARCH_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
_ENVIRONMENT: Final = {"PATH": SEARCH_PATH, "LC_ALL": "C", "LANG": "C"}
_SHOWN_CHARACTERS: Final = 600
_KILL_S: Final = 10.0


class CommandError(RigError):
    """An external program failed; `status` is its exit status, None where it has none."""

    def __init__(self, arguments: Sequence[str], status: int | None, said: str) -> None:
        self.status = status
        self.said = said
        words = " ".join(arguments)
        how = "did not end by itself" if status is None else f"ended with status {status}"
        super().__init__(f"`{words}` {how}: {said or 'it said nothing'}")


@frozen
class FinishedTool:
    """What a program left: exit status, standard output as bytes, standard error as text."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def said(self) -> str:
        """What it complained of, or else printed, cut to a readable length."""
        text = self.stderr.strip() or self.stdout.decode(errors="replace").strip()
        return text[-_SHOWN_CHARACTERS:]


ToolRunner = Callable[[Sequence[str], float], FinishedTool]
"""Runs a program to its end, within so many seconds; the exit status is the caller's to judge.

CommandError where the program cannot start or is too slow.
"""


def run_system(arguments: Sequence[str], timeout_s: float) -> FinishedTool:
    """Run a program of this machine.

    It has a process group of its own: Ctrl-C on the terminal reaches this process alone, which
    then ends the program and cleans up.  At the deadline the group is killed.
    """
    try:
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_ENVIRONMENT, "HOME": os.environ.get("HOME", "/")},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(arguments, None, f"it cannot be started: {error.strerror}") from error
    try:
        stdout, stderr = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _end(child)
        raise CommandError(
            arguments, None, f"not done after {timeout_s:g} s, and killed"
        ) from error
    except BaseException:
        _end(child)
        raise
    return FinishedTool(child.returncode, stdout, stderr.decode(errors="replace"))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a program that we started, and all that it started in its group."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    try:
        child.communicate(timeout=_KILL_S)
    except subprocess.TimeoutExpired:  # it hangs inside the kernel: nobody can end it
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def run_checked(run: ToolRunner, arguments: Sequence[str], timeout_s: float) -> FinishedTool:
    """Run a program that has to end with status 0. CommandError."""
    done = run(arguments, timeout_s)
    if done.status != 0:
        raise CommandError(arguments, done.status, done.said)
    return done


def is_installed(program: str) -> bool:
    """The program is where the system keeps its own."""
    return shutil.which(program, path=SEARCH_PATH) is not None
