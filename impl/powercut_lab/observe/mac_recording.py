"""Records one save on a Mac: the program's own steps, and fs_usage for all below them.

fs_usage needs root.  It was written after Apple's documents and was not run on a Mac here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from powercut.report.timeline import REQUESTS, TimelineSpan, joined, numbered
from powercut_lab.errors import LabError
from powercut_lab.observe.fs_usage import spans_of
from powercut_lab.observe.layers import microseconds, phases, with_later
from powercut_lab.observe.recording import RecordedSave, arguments_of, save_and_tell
from powercut_lab.observe.save_program import Told

COMMAND: Final = ("fs_usage", "-w", "-f", "filesys", "-f", "diskio")
_STARTS_WITHIN_S: Final = 10.0
_ENDS_WITHIN_S: Final = 10.0
_DRAINS_S: Final = 1.0  # what the kernel traced is printed a little later


def why_no_fs_usage() -> str | None:
    """The reason why fs_usage cannot record here; None where it can."""
    if sys.platform != "darwin":
        return "fs_usage is a program of macOS."
    if shutil.which(COMMAND[0]) is None:
        return "fs_usage was not found."
    if os.geteuid() != 0:
        return f"fs_usage needs root; this is user id {os.geteuid()}."
    return None


def record_with_fs_usage(folder: Path, protocol: str, mode: str) -> RecordedSave:
    """A save below a folder, with what fs_usage saw of it. LabError."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        with _running(output):
            told = save_and_tell(arguments_of(str(folder / "store"), protocol, mode))
            time.sleep(_DRAINS_S)
        output.seek(0)
        return RecordedSave(told.file_system, "fs_usage", join_usage(told, output.readlines()))


def join_usage(told: Told, lines: list[str]) -> tuple[TimelineSpan, ...]:
    """The steps of a save, and the events of fs_usage's lines, on one clock.

    fs_usage prints the time of day: the program says which one its monotonic clock began at.
    """
    local = time.localtime(told.wall_begin_s)
    begin_s = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + told.wall_begin_s % 1
    end_us, quiet_us = microseconds(told, told.end_ns), microseconds(told, told.quiet_ns)
    seen = [
        span
        for span in spans_of(lines, "python", begin_s)
        if 0 <= span.begin <= (quiet_us if span.look in REQUESTS else end_us)
    ]
    return with_later(joined(numbered([*phases(told), *seen])), end_us)


@contextlib.contextmanager
def _running(output: IO[str]) -> Iterator[None]:
    """fs_usage, from when it prints its first lines until the block ends. LabError."""
    with subprocess.Popen(COMMAND, stdout=output, stderr=subprocess.STDOUT) as tracer:
        try:
            deadline = time.monotonic() + _STARTS_WITHIN_S
            while not os.fstat(output.fileno()).st_size:
                if tracer.poll() is not None or time.monotonic() > deadline:
                    raise LabError("fs_usage did not begin to print; another tracer may run.")
                time.sleep(0.05)
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            try:
                tracer.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                tracer.kill()
