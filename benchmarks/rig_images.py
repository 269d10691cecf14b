"""Crash images a second, on each file system, and against a naive peer in the same run.

    python benchmarks/rig_images.py [--fs ext4,xfs,btrfs] [--images N] [--rounds N]

An image is mounted (journal replay), its tree read, the model asked about it, recovery run and
judged, and unmounted: the work of `powercut compare`, fsck apart.  One worker on one core gives
the rate of a core alone, with the kernel's threads wherever the kernel puts them; two workers a
core give the rate of a busy machine, divided by its cores.  The peer mounts full copies of the
same contents with losetup, mount(8) and umount(8), and only runs the recovery.  Rounds of all
are interleaved; the median is told, with the range.

Below stands where the processor's time of an image goes: laying the content, the mount and umount
calls by themselves (the kernel's own work, journal replay included), reading with recovery, the
model with all else of the worker, and the kernel's threads: loop driver, journals, workqueues.  The
last are those of the whole machine meanwhile, so run nothing else.  Their sum, on one core, is what
no number of workers can go below.

Needs root, /dev/fuse and loop devices; says so with exit status 3 where they are missing.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from pathlib import Path
from statistics import median

from powercut.profile import load_profile
from powercut.simulation.subject import load_subject
from powercut.trace.trace_file import Trace
from powercut_rig import Bounds, Rig, RigUnavailable, crash_images, run_in_worker
from powercut_rig.blocks.block_log import CHUNK_BYTES, Replay
from powercut_rig.campaigns.campaign import cores
from powercut_rig.campaigns.random_programs import saves_trace
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.judge import (
    Judge,
    JudgedRecording,
    JudgeEffort,
    compare_in_worker,
    compare_trace,
)
from powercut_rig.judge.recovery_answer import recover_for_real
from powercut_rig.judge.trace_case import prepare_case
from powercut_rig.system.subprocesses import run_tool
from powercut_rig.system.worker import private_folder
from powercut_rig.system.worker_pool import Job, run_jobs

SUBJECT = "lastgood:atomic_dirsync"


def the_trace(fs: str) -> Trace:
    """A workload of two saves, the same on each file system."""
    return saves_trace(2, SUBJECT, FILE_SYSTEMS[fs].profile)


def judged(fs: str, images: int, core: int | None) -> tuple[int, float]:
    """Images judged by one worker, and the seconds it took, recordings apart."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    effort = JudgeEffort(limit=images // 2, again=0, fsck_every=0, coverage=False)
    result = compare_in_worker(the_trace(fs), "benchmark", fs, plans=(0, 2), effort=effort)
    if not result.agrees:
        raise SystemExit(f"{fs}: {result.findings}")
    return result.images, result.seconds


def spent(fs: str, images: int) -> dict[str, float]:
    """Milliseconds of processor time an image by what they go to, recordings apart."""
    entry = FILE_SYSTEMS[fs]
    effort = JudgeEffort(limit=images // 2, again=0, fsck_every=0, coverage=False).on(fs)
    total, kernel = 0.0, 0.0

    def measured(judge: Judge, scene: JudgedRecording) -> None:
        nonlocal total, kernel
        threads, began = kernel_threads_s(), time.process_time()
        all_images(judge, scene)
        total += time.process_time() - began
        kernel += kernel_threads_s() - threads

    all_images, Judge.all_images = Judge.all_images, measured  # type: ignore[assignment,method-assign]  # timed from outside
    with Rig(fs) as rig:
        profile = load_profile(entry.profile)
        compare_trace(rig, the_trace(fs), "benchmark", fs, profile, plans=(0, 2), effort=effort)
        phases = rig.phases
    each = 1000 / phases.images
    parts = {
        "content": phases.content.cpu_s,
        "mount": phases.mount.cpu_s,
        "reading": phases.use.cpu_s,
        "umount": phases.unmount.cpu_s,
    }
    parts["model and the rest"] = total - sum(parts.values())
    parts["kernel threads"] = kernel
    return {name: seconds * each for name, seconds in parts.items()}


def kernel_threads_s() -> float:
    """Processor time of all threads of the kernel so far."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if parent == "2" or stat.parent.name == "2":
                found += int((stat.parent / "schedstat").read_text().split()[0])
        except OSError:  # it has ended
            continue
    return found / 1e9


def busy_rate(fs: str, images: int) -> float:
    """Images a second a core with two workers for each core, from start to end."""
    workers = 2 * cores()
    jobs = [Job(str(n), functools.partial(judged, fs, images, None)) for n in range(workers)]
    done, longest = 0, 0.0
    for outcome in run_jobs(jobs, workers):
        if outcome.error is not None:
            raise outcome.error
        done += outcome.result[0]
        longest = max(longest, outcome.result[1])
    return done / longest / cores()


def peer(fs: str, images: int) -> float:
    """Images a second of full copies, with a program for each step."""
    entry, subject = FILE_SYSTEMS[fs], load_subject(SUBJECT)
    profile = load_profile(entry.profile)
    ops = [step.op for step in prepare_case(the_trace(fs), "benchmark", profile).program.steps]
    with Rig(fs) as rig:
        log = rig.record(ops)
    bounds = Bounds(atomic_unit_bytes=entry.atomic_unit_bytes)
    chosen, replay = crash_images(log, bounds).sample(images), Replay(log)
    options = ",".join(("noatime", entry.mount_options))
    with private_folder() as folder:
        copy, root = Path(folder) / "copy.img", Path(folder) / "mnt"
        root.mkdir()
        started = time.perf_counter()
        for image in chosen:
            content = bytearray(log.size_bytes)
            for chunk, data in (*log.base.items(), *replay.content(image.recipe).chunks()):
                content[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = data
            copy.write_bytes(content)
            device = run_tool(["losetup", "--find", "--show", str(copy)]).stdout.strip()
            try:
                run_tool(["mount", "-t", entry.kind, "-o", options, device, str(root)])
                recover_for_real(subject, profile, str(root))
                run_tool(["umount", str(root)])
            finally:
                run_tool(["losetup", "--detach", device])
                entry.forget(device, folder)
        return len(chosen) / (time.perf_counter() - started)


def spread_of(rates: list[float]) -> str:
    """The median and the range of some rates."""
    return f"{median(rates):7.1f}  from {min(rates):.1f} to {max(rates):.1f}"


def main() -> int:
    """Measure and print; 0 when measured, 3 when this machine cannot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fs", default="ext4,xfs,btrfs")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--peer-images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f} on {cores()} cores")
    core = max(os.sched_getaffinity(0))
    for fs in options.fs.split(","):
        alone, busy, copies, costs = [], [], [], []
        try:
            for _ in range(options.rounds):
                images, seconds = run_in_worker(judged, fs, options.images, core)
                alone.append(images / seconds)
                busy.append(busy_rate(fs, options.images))
                copies.append(run_in_worker(peer, fs, options.peer_images))
                costs.append(run_in_worker(spent, fs, options.images))
        except RigUnavailable as error:
            print(error, file=sys.stderr)
            return 3
        print(f"{fs}: images/s, median of {options.rounds} rounds")
        print(f"  one worker on one core       {spread_of(alone)}")
        print(f"  a core, two workers on each  {spread_of(busy)}")
        print(f"  peer: full copies            {spread_of(copies)}")
        print(f"  ratio to the peer            {median(alone) / median(copies):7.1f}")
        parts = {name: median(cost[name] for cost in costs) for name in costs[0]}
        said = ", ".join(f"{name} {value:.2f}" for name, value in parts.items())
        whole = median(sum(cost.values()) for cost in costs)
        print(f"  ms of processor an image     {whole:7.2f}  {said}")
        print(f"  so a core has room for       {1000 / whole:7.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
