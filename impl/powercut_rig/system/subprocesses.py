"""External programs and child processes, each with a deadline and none that outlives its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from powercut_rig.errors import RigError
from powercut_rig.system import linux_syscalls

TOOL_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.002
_SHOWN_CHARACTERS: Final = 600
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for; mkfs and fsck live in sbin, which a user's path often lacks."""

_ENVIRONMENT: Final = {"PATH": SEARCH_PATH, "LC_ALL": "C"}


def run_tool(
    arguments: Sequence[str],
    *,
    ok: Sequence[int] = (0,),
    timeout_s: float = TOOL_TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    family: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in `folder`; raise `RigError` when it is missing, slow or unhappy.

    The program is killed at the deadline and at Ctrl-C, with all that it started in its group, and
    by the kernel when this process dies.  What it started goes with it then too for a `family`, of
    a program that leaves work to others; that costs a process more.
    """
    parent = os.getpid()
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=folder,
            env={**_ENVIRONMENT, **(environment or {})},
            start_new_session=True,  # its group is its own, and has its number
            preexec_fn=lambda: linux_syscalls.die_with_parent(parent),  # noqa: PLW1509  # one thread
        )
        done = _done(process, arguments, timeout_s, family)
    except FileNotFoundError as error:
        raise RigError(f"The program {arguments[0]} is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise RigError(
            f"{arguments[0]} did not end within {timeout_s:.0f} s and was killed."
        ) from error
    if done.returncode not in ok:
        said = (done.stderr or done.stdout).strip()[-_SHOWN_CHARACTERS:]
        raise RigError(f"{' '.join(arguments)} ended with status {done.returncode}: {said}")
    return done


def _done(
    process: subprocess.Popen[str], arguments: Sequence[str], timeout_s: float, family: bool
) -> subprocess.CompletedProcess[str]:
    with process:
        try:
            with _ended_with_us(process.pid) if family else contextlib.nullcontext():
                said, complained = process.communicate(timeout=timeout_s)
        except BaseException:
            # Where it is not reaped yet the number of its group is still its own.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, said, complained)


@contextlib.contextmanager
def _ended_with_us(group: int) -> Iterator[None]:
    """While this goes on a process kills that group when this one dies, in whatever way."""
    # Its input ends then, and only then: otherwise it gets a line at the end of the work.
    watch = ("/bin/sh", "-c", f"read line || kill -s KILL -- -{group}")
    with subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        try:
            yield
        finally:
            watcher.communicate(b"\n")


def wait_for_exit(pid: int, timeout_s: float) -> bool:
    """Reap a child if it ends within `timeout_s`; say whether it did."""
    deadline = time.monotonic() + timeout_s
    while True:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
