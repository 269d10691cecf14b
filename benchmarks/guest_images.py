"""How long a guest takes to make and to boot, and how many crash images it shows in a second.

Usage: python benchmarks/guest_images.py [--images N] [--keep-cache] [--prepare]

Seconds are of the clock; in brackets the processor time of all that was run, or of QEMU, which
other work on the machine changes less.  `read` is an image that is mounted and looked at,
`recovered` one on which `lastgood:atomic_dirsync` also recovers and syncs again.  The cache of
guests is a fresh one, so that making is measured, unless --keep-cache is given; --prepare measures
nothing else.  Exit status 3 where no guest can run.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from attrs import evolve

from powercut_rig.campaigns.soak import SOAK_EFFORT, SoakWorkload
from powercut_rig.errors import RigUnavailable
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest.prepare import prepared
from powercut_rig.guest.rig import session_for
from powercut_rig.guest.snapshot import trial
from powercut_rig.judge.judge import compare_in_worker
from powercut_rig.system.worker import run_without_mounts

WHAT = {"read": 1, "recovered": 0}


def processor_s(pid: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_s() -> float:
    """The processor time so far of this process and of those it has waited for."""
    every = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in every)


def measured(fs: str, number: int, images: int) -> tuple[int, float, float]:
    """Images of one recording, the seconds they took, and QEMU's processor time for them."""
    checker = session_for(FILE_SYSTEMS[fs], recording=False)
    checker.start()
    effort = evolve(SOAK_EFFORT, limit=images, again=0, fsck_every=0)
    workload = SoakWorkload(number, fs)
    trace = workload.trace()
    compare_in_worker(trace, "warm", fs, plans=(0,), effort=evolve(effort, limit=5))
    before = processor_s(checker.pid)
    found = compare_in_worker(trace, workload.name, fs, plans=(0,), effort=effort)
    return found.images, found.seconds, processor_s(checker.pid) - before


def main() -> int:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--keep-cache", action="store_true")
    parser.add_argument("--prepare", action="store_true", help="measure making and booting only")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        if not chosen.keep_cache:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            os.environ["XDG_CACHE_HOME"] = folder
        try:
            began, before = time.monotonic(), children_s()
            guest = prepared()
            seconds, used = time.monotonic() - began, children_s() - before
            print(f"made, booted and saved, each driver loaded once: {seconds:.1f} s ({used:.1f})")
            began, before = time.monotonic(), children_s()
            trial(guest.saved, guest.orders["apfs_strict"])
            seconds, used = time.monotonic() - began, children_s() - before
            print(f"a start, to the driver being loaded: {seconds:.2f} s ({used:.2f})")
        except RigUnavailable as error:
            print(f"not run here: {error}")
            return 3
        for fs in () if chosen.prepare else ("apfs-linux", "guest-ext4"):
            for what, number in WHAT.items():
                count, seconds, cpu_s = run_without_mounts(measured, fs, number, chosen.images)
                print(
                    f"{fs}, {what}: {count / seconds:.1f} images/s "
                    f"({count / cpu_s:.1f} in a second of QEMU's own time), {count} images"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
