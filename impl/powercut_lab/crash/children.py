"""Children of this process that die, and what they had said until then."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from powercut_lab.errors import LabError

DEADLINE_S: Final = 60.0

Hear = Callable[[], list[Mapping[str, Any]]]
"""Waits until a child is dead, and gives all that it said."""

Say = Callable[[Mapping[str, Any]], None]
"""Says something to the parent, at once: what was said is not lost when the child dies."""


@frozen
class ChildEnd:
    """The end of a child: it was killed by SIGKILL, or it came to its end; and all that it said."""

    killed: bool
    said: tuple[Mapping[str, Any], ...]


def run_child(work: Callable[[Say], None], deadline_s: float = DEADLINE_S) -> ChildEnd:
    """Do the work in a fork of this process, which may die of SIGKILL.

    An exception is said as {"error": text} and ends the child.  LabError where the child takes
    longer than the deadline, or another signal ends it.
    """
    with listening() as (send, hear):
        child = os.fork()
        if child == 0:
            be_child(work, send, deadline_s)
        try:
            said = hear()
            _, status = os.waitpid(child, 0)
        except BaseException:  # Ctrl-C: nobody is left behind
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
    return end_of(status, said)


def end_of(status: int, said: Sequence[Mapping[str, Any]]) -> ChildEnd:
    """The end of a child by its wait status. LabError as `run_child`."""
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise LabError(f"A child ended with the status {code}; expected 0, or SIGKILL.")
    return ChildEnd(code != 0, tuple(said))


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, Hear]]:
    """A pipe for a child: its end to write to, and a function that reads all that was said."""
    receive, send = os.pipe()
    is_open = {receive, send}

    def hear() -> list[Mapping[str, Any]]:
        os.close(send)  # or a read would wait for this process
        is_open.remove(send)
        with os.fdopen(receive, closefd=False) as stream:
            return [json.loads(line) for line in stream if line.endswith("\n")]

    try:
        yield send, hear
    finally:
        for each in is_open:
            os.close(each)


def be_child(work: Callable[[Say], None], send: int, deadline_s: float) -> None:
    """All that a child does; it does not return."""
    try:
        gc.disable()  # a collection would write to, and so copy, every page that it looks at
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, deadline_s)
        # Standard output: a tracer takes no notice of what is written there.
        os.dup2(send, 1)
        try:
            work(_say)
        except BaseException as error:
            _say({"error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _say(what: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")
