"""Crash images a second on one core, by phase, and against a naive peer in the same run.

    python benchmarks/rig_images.py [--images N] [--peer-images N]

Each image is attached, mounted (journal replay), its small tree read, a small recovery run
(read the newest group, write a note beside it, fsync both), and unmounted.  The peer does the
same on a full copy of the disk with losetup, mount(8) and umount(8) as programs.  Needs root,
/dev/fuse and loop devices; says so with exit status 3 where they are missing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from powercut.ops import Create, Fsync, Mkdir, Op, Rename, Write
from powercut_rig import (
    BlockLog,
    CrashImage,
    Phases,
    Recipe,
    Rig,
    RigUnavailable,
    crash_images,
    read_tree,
    run_in_worker,
)
from powercut_rig.blocklog import CHUNK_BYTES, Replay
from powercut_rig.tools import run_tool
from powercut_rig.worker import private_folder


def checkpoint_program(groups: int) -> list[Op]:
    """A small checkpoint writer: two parts and a manifest in a fresh directory, then a rename."""
    ops: list[Op] = [Mkdir("/ckpt")]
    for group in range(groups):
        folder, final = f"/ckpt/tmp-{group}", f"/ckpt/group-{group}"
        ops.append(Mkdir(folder))
        for name, size in (("model", 12_000), ("optimizer", 20_000), ("MANIFEST", 400)):
            path = f"{folder}/{name}"
            ops += [Create(path), Write(path, 0, bytes([65 + group]) * size), Fsync(path)]
        ops += [Fsync(folder), Rename(folder, final), Fsync("/ckpt")]
    return ops


def recover(root: str) -> int:
    """Read the tree, take the newest whole group, write a note and sync it; return its size."""
    tree = read_tree(root)
    groups = sorted(path for path, content in tree.items() if content is None and "group-" in path)
    whole = [group for group in groups if f"{group}/MANIFEST" in tree]
    note = Path(root) / "RECOVERED"
    fd = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(fd, (whole[-1] if whole else "none").encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return len(tree)


def rig_rate(limit: int) -> tuple[float, Phases, BlockLog, tuple[CrashImage, ...], int]:
    """The seconds for `limit` images, their phases, the recording, the images, how many exist."""
    with Rig(fs="ext4") as rig:
        recording = rig.record(checkpoint_program(8))
        found = crash_images(recording)
        chosen = found.sample(limit)
        started = time.perf_counter()
        for image in rig.images(recording, chosen):
            recover(image.mountpoint)
        seconds = time.perf_counter() - started
        return seconds, rig.phases, recording, chosen, len(found.images)


def peer_rate(recording: BlockLog, recipes: list[Recipe]) -> float:
    """Seconds for the same work on full copies, with a program for each step."""
    replay = Replay(recording)
    with private_folder() as folder:
        image, root = Path(folder) / "copy.img", Path(folder) / "mnt"
        root.mkdir()
        started = time.perf_counter()
        for recipe in recipes:
            content = bytearray(recording.size_bytes)
            for chunk, data in recording.base.items():
                content[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = data
            for chunk, data in replay.content(recipe).chunks():
                content[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = data
            image.write_bytes(content)
            device = run_tool(["losetup", "--find", "--show", str(image)]).stdout.strip()
            try:
                run_tool(["mount", "-t", "ext4", "-o", "noatime", device, str(root)])
                recover(str(root))
                run_tool(["umount", str(root)])
            finally:
                run_tool(["losetup", "--detach", device])
        return time.perf_counter() - started


def main() -> int:
    """Measure and print; 0 when measured, 3 when this machine cannot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--peer-images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3, help="the median round is told")
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    try:
        rounds = [run_in_worker(rig_rate, options.images) for _ in range(options.rounds)]
        rounds.sort(key=lambda measured: measured[0] / len(measured[3]))
        seconds, phases, recording, chosen, total = rounds[len(rounds) // 2]
        peers = [image.recipe for image in chosen[:: max(1, len(chosen) // options.peer_images)]]
        peer_s = run_in_worker(peer_rate, recording, peers)
    except RigUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    rate, peer = len(chosen) / seconds, len(peers) / peer_s
    print(f"recording: {recording.writes} writes, {recording.flushes} flushes, {total} images")
    print(f"rig:   {rate:7.1f} images/s on one core ({len(chosen)} images in {seconds:.2f} s)")
    fastest, slowest = (len(m[3]) / m[0] for m in (rounds[0], rounds[-1]))
    print(f"       median of {len(rounds)} rounds, from {slowest:.1f} to {fastest:.1f}")
    for name in ("content", "mount", "use", "unmount"):
        print(f"         {name:8} {getattr(phases, name + '_s') / phases.images * 1e3:6.3f} ms")
    print(f"peer:  {peer:7.1f} images/s ({len(peers)} full copies, mount(8), umount(8))")
    print(f"ratio: {rate / peer:7.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
