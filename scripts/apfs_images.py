"""Crash images of APFS by the thousand, in a guest, with a control on each side.

Usage: python scripts/apfs_images.py [--images N] [--traces DIR] [--jobs N]

Three soaks, each judged by `powercut soak`:
1. linux-apfs-rw with its flushes put right: N images, none outside `apfs-linux`, and no promise of
   `lastgood:atomic_dirsync` broken;
2. ext4 of the same guest's kernel, as a control that must be clean;
3. linux-apfs-rw as packaged, as a control that must fail: no flush at its syncs, acknowledged
   groups gone, and a trace written.

Exit status: 0 as expected, 1 not so, 3 where no guest can run here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CANNOT_RUN = 3
LIMIT_S = 1200
CONTROL_IMAGES = 200


def soak(disks: str, *options: str) -> dict[str, dict[str, Any]]:
    """The sums of a soak, by disk; ends this program where it could not run, with its status."""
    command = [sys.executable, "-m", "powercut", "soak", "--fs", disks, "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
    if done.returncode == CANNOT_RUN:
        sys.exit(CANNOT_RUN)
    if done.returncode not in (0, 1, 4):
        sys.exit(f"apfs-images: the soak of {disks} ended with status {done.returncode}")
    found = {each["fs"]: each for each in json.loads(done.stdout)["comparisons"]}
    for fs, sums in found.items():
        report(fs, sums)
    return found


def images_of(found: dict[str, Any]) -> int:
    """All images, of first crashes and of second ones."""
    return int(found["images"]["mounted"] + found["second_crash"]["images"])


def is_clean(found: dict[str, Any], least: int) -> bool:
    """So many images at least, all of them in the model, and no property broken."""
    agrees = found["agrees"] and not found["undecided"] and not found["violations"]
    return agrees and images_of(found) >= least


def report(fs: str, found: dict[str, Any]) -> None:
    """One line of what was found."""
    syncs = found["syncs"]
    sys.stdout.write(
        f"{fs}: {images_of(found)} images, {found['outside_model']} outside {found['profile']}, "
        f"{found['images']['refused']} do not mount, {found['images']['hung']} hung, "
        f"violations {found['violations'] or 'none'}, fsck unclean {found['fsck']['unclean']} of "
        f"{found['fsck']['run']}, {syncs['without_flush']} of {syncs['returned']} syncs without "
        f"a flush, {syncs['flushes']} flushes, {found['images_per_s']} images/s a worker\n"
    )
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Run the three soaks and say what is not as expected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--traces", type=Path, default=Path("build/powercut-traces"))
    parser.add_argument("--jobs", default="2")
    chosen = parser.parse_args(arguments)
    common = ("--jobs", chosen.jobs, "--traces", str(chosen.traces))
    wrong: list[str] = []
    began = time.monotonic()

    found = soak("apfs-linux", "--images", str(chosen.images), *common)["apfs-linux"]
    if not is_clean(found, chosen.images):
        wrong.append("apfs-linux: all of its images had to be in the model, with no violation")
    if not found["syncs"]["flushes"]:
        wrong.append("apfs-linux: it had to flush")

    # Workload 0 saves groups; both at a time, one for each worker.
    both = soak("guest-ext4,apfs-linux-packaged", "--images", "9000", "--workloads", "1", *common)
    found = both["guest-ext4"]
    if not is_clean(found, CONTROL_IMAGES):
        wrong.append("guest-ext4: the control that has to be clean was not")

    found = both["apfs-linux-packaged"]
    if found["agrees"] or not found["outside_model"] or not found["violations"].get("P3"):
        wrong.append("apfs-linux-packaged: it had to lose acknowledged groups, and did not")
    if found["syncs"]["flushes"]:
        wrong.append("apfs-linux-packaged: it was to send no flush, and sent some")
    traces = sorted(chosen.traces.glob("soak-*-apfs-linux-packaged.toml"))
    if not traces:
        wrong.append("apfs-linux-packaged: no trace was written")
    for trace in traces:
        sys.stdout.write(f"refuted, as it must be: {trace}\n")

    for line in wrong:
        sys.stdout.write(f"NOT AS EXPECTED: {line}\n")
    sys.stdout.write(f"apfs-images: {time.monotonic() - began:.0f} s\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
