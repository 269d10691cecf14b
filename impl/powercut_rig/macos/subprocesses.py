"""Programs of macOS: each run has a deadline, and a failure says which command it was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigError
from powercut_rig.system.subprocesses import SHOWN_CHARACTERS, find_program, run_in_group

_SEARCH_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
_ENVIRONMENT: Final = {"PATH": _SEARCH_PATH, "LC_ALL": "C", "LANG": "C"}


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
    """The end of a program: exit status, standard output as bytes, standard error as text."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def said(self) -> str:
        """Its complaints, or else what it printed, cut to a readable length."""
        text = self.stderr.strip() or self.stdout.decode(errors="replace").strip()
        return text[-SHOWN_CHARACTERS:]


ToolRunner = Callable[[Sequence[str], float], FinishedTool]
"""Runs a program to its end, within so many seconds; the exit status is the caller's to judge.

CommandError where the program cannot start or is too slow.
"""


def run_system(arguments: Sequence[str], timeout_s: float) -> FinishedTool:
    """Run a program of this machine; see `run_in_group`. CommandError."""
    environment = {**_ENVIRONMENT, "HOME": os.environ.get("HOME", "/")}
    try:
        done = run_in_group(arguments, timeout_s, environment)
    except OSError as error:
        raise CommandError(arguments, None, f"it cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(
            arguments, None, f"not done after {timeout_s:g} s, and killed"
        ) from error
    return FinishedTool(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def run_checked(run: ToolRunner, arguments: Sequence[str], timeout_s: float) -> FinishedTool:
    """Run a program that has to end with status 0. CommandError."""
    done = run(arguments, timeout_s)
    if done.status != 0:
        raise CommandError(arguments, done.status, done.said)
    return done


def is_installed(program: str) -> bool:
    """The program is where the system keeps its own."""
    return find_program(program, _SEARCH_PATH) is not None
