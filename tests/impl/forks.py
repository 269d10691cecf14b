"""Children of this process, for tests. A deadline ends each, and whatever its end was is told."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any, Final

DEADLINE_S: Final = 60.0
NOBODY: Final = 65534


class Child:
    """A fork of this process that does one thing and ends. It says what that gives, as JSON.

    Nobody waits for it for longer than the deadline: a child that hangs is killed by an alarm of
    its own, which no lock of Python's holds up.
    """

    def __init__(self, work: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _do(work, writing, deadline_s)
        # While this process has the other end as well, a read of a dead child's waits for ever.
        os.close(writing)

    def answer(self, *, killed_by: int | None = None) -> Any:
        """What its work gives; None where that signal ended it, which only who asks for may do.

        AssertionError where the work raised, where another signal ended it, or the deadline.
        """
        with os.fdopen(self._reading, "rb") as told:
            said = told.read()
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code != -signal.SIGALRM, f"the child did not end within {self._deadline_s} s"
        if killed_by is not None and code == -killed_by:
            return None
        assert code == 0, f"the child ended with the status {code}"
        found = json.loads(said)
        assert "error" not in found, found["error"]
        return found["answer"]


def become_nobody() -> None:
    """Be a user who may do little, from here on."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _do(work: Callable[[], object], writing: int, deadline_s: float) -> None:
    """All that the child does; it does not return."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, deadline_s)
        try:
            said = json.dumps({"answer": work()})
        except BaseException:
            said = json.dumps({"error": traceback.format_exc()})
        with os.fdopen(writing, "wb") as told:
            told.write(said.encode())
    finally:
        os._exit(0)
