"""External programs and child processes, each with a deadline and none that outlives its parent."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from powercut_rig import linux
from powercut_rig.errors import RigError

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
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in `folder`; raise `RigError` when it is missing, slow or unhappy.

    The program is killed at the deadline, and by the kernel when this process dies.
    """
    parent = os.getpid()
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            cwd=folder,
            env={**_ENVIRONMENT, **(environment or {})},
            preexec_fn=lambda: linux.die_with_parent(parent),
        )
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
