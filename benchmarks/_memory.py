"""How much memory a piece of work takes beyond what was there before. Linux."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

PROCESS = Path("/proc/self")


def extra_mib(work: Callable[[], object]) -> float:
    """By how much the resident memory of this process grew while it worked, at its peak, in MiB."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed and kept would hide what is taken
    (PROCESS / "clear_refs").write_text("5")  # the peak begins anew
    before = _resident_kib("VmRSS")
    work()
    return max(0, _resident_kib("VmHWM") - before) / 1024


def _resident_kib(word: str) -> int:
    status = (PROCESS / "status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(word)).split()[1])
