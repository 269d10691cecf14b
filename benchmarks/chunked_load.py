"""What chunks cost a save, and what they give a load: of one part, and of one range of it.

    python benchmarks/chunked_load.py [--quick] [--dir DIR] [--gib 1] [--chunk-mib 16] [--runs 7]
                                      [--only load,range,save,memory]

Everything takes turns in one run; a ratio is the median over rounds, with a 95 % interval, and a
ratio above 1 is faster than what it is compared with. Reads come from the page cache, so that the
hashing shows. The processor seconds of each are told beside it: they say what a machine with
fewer idle processors would pay.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lastgood import Loaded, Opened, Store, open_read_only

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks._memory import extra_mib
from benchmarks._paired import in_turns, shown

WAYS: Mapping[str, Mapping[str, Any]] = {
    "no chunks, SHA-256": {},
    "chunks of SHA-256": {"chunk_bytes": 16 << 20},
    "chunks of BLAKE3": {"chunk_bytes": 16 << 20, "chunk_digest": "blake3"},
    "chunks of XXH3": {"chunk_bytes": 16 << 20, "chunk_digest": "xxh3"},
    "all of XXH3": {"chunk_bytes": 16 << 20, "digest": "xxh3"},
}
"""How a group may be saved; the size of a chunk is the one asked for."""


def options(way: str, chunk_bytes: int) -> dict[str, Any]:
    """What a store is opened with."""
    found = dict(WAYS[way])
    return {**found, "chunk_bytes": chunk_bytes} if found else found


def noise(size_bytes: int) -> bytearray:
    """Bytes that no file system can make smaller."""
    once = os.urandom(1 << 20)
    return bytearray((once * (size_bytes // len(once) + 1))[:size_bytes])


class Processor:
    """The processor seconds that this process spends in each of several works."""

    def __init__(self) -> None:
        self.spent_s: dict[str, list[float]] = {}

    def watched(self, name: str, work: Callable[[], object]) -> Callable[[], None]:
        """The same work, its processor seconds noted. What it gives is let go after that."""

        def run() -> None:
            begun_s = time.process_time()
            answer = work()
            self.spent_s.setdefault(name, []).append(time.process_time() - begun_s)
            del answer

        return run


def told(
    works: Mapping[str, Callable[[], object]],
    runs: int,
    size_bytes: int,
    by: list[str],
    before_each: Callable[[], object] = lambda: None,
) -> None:
    """Run all in turns and print the speed of each, its ratios, and its processor seconds."""
    processor = Processor()
    watched = {name: processor.watched(name, work) for name, work in works.items()}
    took = in_turns(watched, runs, before_each)
    print(f"{'':34}{'GB/s':>7}{'cpu s':>8}   " + "".join(f"{'by ' + name:36}" for name in by))
    for name, each in took.items():
        speed = size_bytes / statistics.median(each) / 1e9
        cpu_s = statistics.median(processor.spent_s[name][-runs:])  # without the warm-up
        ratios = "".join(f"{shown(each, took[other]):36}" for other in by)
        print(f"{name:34}{speed:7.2f}{cpu_s:8.2f}   {ratios}")


def fill(folder: Path, size_bytes: int, chunk_bytes: int) -> None:
    """A store for each way, with one group of one part."""
    part = noise(size_bytes)
    for way in WAYS:
        with Store(folder / way, **options(way, chunk_bytes)) as store:
            store.save(1, {"model": part}, stable=True)


def reader(folder: Path, way: str, workers: int) -> Store:
    """A store to read from, with so many threads."""
    return Store(folder / way, writable=False, workers=workers)


def load(folder: Path, size_bytes: int, workers: int, runs: int) -> None:
    """A verified load of one part by one thread, by several, and a read that verifies nothing."""
    print(f"\nverified load of one part of {size_bytes >> 20} MiB, {runs} rounds")
    works: dict[str, Callable[[], object]] = {}
    for way in WAYS:
        store = reader(folder, way, workers)
        works[f"{way}, {workers} threads"] = partial(store.load, 1, hold="memory")
    serial = "chunks of SHA-256, 1 thread"
    works[serial] = partial(reader(folder, "chunks of SHA-256", 1).load, 1, hold="memory")
    path = folder / "chunks of SHA-256" / "gen-00000001-step-00000001" / "model"
    works["raw read"] = path.read_bytes
    told(works, runs, size_bytes, [f"no chunks, SHA-256, {workers} threads", "raw read"])


def ranges(folder: Path, size_bytes: int, workers: int, runs: int) -> None:
    """One hundredth of a part, from its middle, against all of it."""
    length = size_bytes // 100
    print(f"\nopening and reading {length:,} bytes of one part of {size_bytes >> 20} MiB")
    works: dict[str, Callable[[], object]] = {}
    for way in WAYS:
        works[f"{way}, range"] = partial(of_the_middle, reader(folder, way, workers), length)
    whole = "no chunks, SHA-256, whole load"
    works[whole] = partial(reader(folder, "no chunks, SHA-256", workers).load, 1, hold="memory")
    told(works, runs, length, [whole])


def of_the_middle(store: Store, length: int) -> memoryview:
    """So many bytes from the middle of the newest group's part."""
    opened = store.open_group()
    if opened is None:
        raise RuntimeError("the store of this benchmark has lost its group")
    return opened.read_range("model", opened.group.size_bytes // 2, length)


def save(folder: Path, size_bytes: int, chunk_bytes: int, runs: int) -> None:
    """A save with chunks against one without: one part, and sixteen of the same size together."""
    for count in (1, 16):
        print(f"\nsave {size_bytes >> 20} MiB in {count} parts, {runs} rounds")
        parts = {f"part{n:02}": noise(size_bytes // count) for n in range(count)}
        works = {
            way: partial(saved, folder / "save", parts, options(way, chunk_bytes)) for way in WAYS
        }
        told(works, runs, size_bytes, ["no chunks, SHA-256"], partial(emptied, folder / "save"))


def saved(folder: Path, parts: Mapping[str, bytearray], how: Mapping[str, Any]) -> None:
    """One group in a fresh store."""
    with Store(folder, **how) as store:
        store.save(1, parts, stable=True)


def emptied(folder: Path) -> None:
    """What comes before each run, untimed. A save has synced what it wrote: nothing is dirty."""
    shutil.rmtree(folder, ignore_errors=True)


def memory(folder: Path, size_bytes: int) -> None:
    """How much more memory than its result a verification, a range and a verified load take."""
    print(f"\nextra resident memory, one part of {size_bytes >> 20} MiB with chunks of SHA-256")
    for what in ("verify", "range", "load"):
        done = subprocess.run(
            [sys.executable, __file__, "--measure-memory", str(folder), "--only", what],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        print(f"{what:34}{done.stdout.strip() or done.stderr.strip()[-200:]}")


def measured_memory(folder: Path, what: str) -> None:
    """Print the growth of this process's peak while it reads, without what it was given."""
    store = open_read_only(folder / "chunks of SHA-256")
    handed: Loaded | Opened | memoryview | None = store.open_group()
    result_bytes = 0

    def read() -> None:
        nonlocal handed, result_bytes
        if what == "verify":
            store.verify()
        elif what == "range":
            handed = of_the_middle(store, 10 << 20)
            result_bytes = len(handed)
        else:
            handed = store.load(1, hold="memory")
            result_bytes = handed.group.size_bytes

    grown_mib = extra_mib(read)
    print(f"{grown_mib - result_bytes / (1 << 20):6.1f} MiB")


def main() -> None:
    """Run what was asked for, in a folder that is removed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds, for a first look")
    parser.add_argument("--dir", default=None, help="the disk to measure")
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--chunk-mib", type=int, default=16)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2 + (os.cpu_count() or 1))
    parser.add_argument("--only", default="load,range,save,memory")
    parser.add_argument("--measure-memory", default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size_bytes, chunk_bytes, runs = int(asked.gib * (1 << 30)), asked.chunk_mib << 20, asked.runs
    if asked.quick:
        size_bytes, chunk_bytes, runs = 128 << 20, 4 << 20, 3
    warnings.simplefilter("ignore")
    if asked.measure_memory:
        measured_memory(Path(asked.measure_memory), asked.only)
        return
    print(f"{os.cpu_count()} processors, chunks of {chunk_bytes >> 20} MiB")
    folder = Path(tempfile.mkdtemp(prefix="lastgood-bench-", dir=asked.dir))
    try:
        wanted = asked.only.split(",")
        if {"load", "range", "memory"} & set(wanted):
            fill(folder, size_bytes, chunk_bytes)
        if "load" in wanted:
            load(folder, size_bytes, asked.workers, runs)
        if "range" in wanted:
            ranges(folder, size_bytes, asked.workers, runs)
        if "memory" in wanted:
            memory(folder, size_bytes)
        if "save" in wanted:
            save(folder, size_bytes, chunk_bytes, runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
