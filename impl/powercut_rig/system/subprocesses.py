"""External programs and child processes, each with a deadline and none that outlives its parent."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from powercut_rig.errors import RigError
from powercut_rig.system import linux_syscalls

TOOL_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.002
_KILL_S: Final = 10.0
SHOWN_CHARACTERS: Final = 600
"""How much of what a program said an error shows, from the end."""

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for; mkfs and fsck live in sbin, which a user's path often lacks."""

TOOL_ENVIRONMENT: Final = {"PATH": SEARCH_PATH, "LC_ALL": "C"}


def find_program(name: str, path: str = SEARCH_PATH) -> str | None:
    """The path of a program, sbin included; None where it is not installed."""
    return shutil.which(name, path=path)


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

    See `run_in_group`.
    """
    variables = {**TOOL_ENVIRONMENT, **(environment or {})}
    try:
        done = run_in_group(arguments, timeout_s, variables, folder=folder, family=family)
    except FileNotFoundError as error:
        raise RigError(f"The program {arguments[0]} is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise RigError(
            f"{arguments[0]} did not end within {timeout_s:.0f} s and was killed."
        ) from error
    stdout, stderr = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    if done.returncode not in ok:
        said = (stderr or stdout).strip()[-SHOWN_CHARACTERS:]
        raise RigError(f"{' '.join(arguments)} ended with status {done.returncode}: {said}")
    return subprocess.CompletedProcess(arguments, done.returncode, stdout, stderr)


def run_in_group(
    arguments: Sequence[str],
    timeout_s: float,
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    family: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, in a process group of its own. OSError, TimeoutExpired.

    Ctrl-C on the terminal reaches this process alone.  The program is killed at the deadline and
    at any error, with all that it started in its group; on Linux the kernel kills it when this
    process dies.  Then what it started goes with it too for a `family`, of a program that leaves
    work to others; that costs a process more.
    """
    with _watcher() if family else contextlib.nullcontext(lambda: None) as be_watched:
        parent = os.getpid()

        def begin() -> None:
            linux_syscalls.die_with_parent(parent)
            be_watched()

        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,  # its group is its own, and has its number
            preexec_fn=begin if sys.platform == "linux" else None,  # noqa: PLW1509  # one thread
        )
        try:
            said, complained = process.communicate(timeout=timeout_s)
        except BaseException:
            _kill_group(process)
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, said, complained)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and all that it started in its group; wait, but not for ever."""
    # Where it is not reaped yet the number of its group is still its own.
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs inside the kernel
            process.wait(_KILL_S)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@contextlib.contextmanager
def _watcher() -> Iterator[Callable[[], None]]:
    """A process that kills a group when this one dies, in whatever way.

    The group's first process names it by calling the function, before it becomes its program.
    """
    # Its input ends then, and only then: otherwise it gets a line at the end of the work.
    script = 'read group && [ "$group" ] && { read line || kill -s KILL -- "-$group"; }'
    watch = ("/bin/sh", "-c", script)
    with subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        fd = watcher.stdin.fileno() if watcher.stdin else -1

        def be_watched() -> None:
            os.write(fd, b"%d\n" % os.getpid())

        try:
            yield be_watched
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
