"""How fast a store saves and loads, against plain files and against what people use today.

    python benchmarks/store_speed.py [--quick] [--dir DIR] [--gib 1] [--parts 16] [--runs 9]
                                     [--only save,small,load,memory]

Everything takes turns in one run, on one machine; a ratio is the median over rounds, with a 95 %
interval. A ratio above 1 is faster than the peer. What each peer has synced and checks is printed
first; those that are not installed are named. `make bench-peers` runs it in an environment of its
own that has them. `cost_curve.py` goes over sizes and numbers of parts.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lastgood import Store
from lastgood.format.digests import Algorithm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks._memory import extra_mib
from benchmarks._paired import in_turns, shown
from benchmarks._peers import (
    PEERS,
    Parts,
    bare,
    bare_together,
    durablewrite,
    here,
    lastgood,
    moonclip_store,
    moonclip_tensors,
    settle,
)

SMALL_KIB = {"model.bin": 128, "optim.bin": 64}
SMALL_PEERS = ("moonclip", "moonclip, level 0", "durablewrite")


def parts_of(size_bytes: int, count: int) -> Parts:
    """Noise in parts of one size, no two the same: nothing can be compressed, or written once."""
    each = size_bytes // count
    return {f"part{n:03}": bytearray(os.urandom(each)) for n in range(count)}


def emptied(folder: Path) -> Callable[[], object]:
    """What comes before each run, untimed: nothing of the last one is left, nor dirty."""

    def empty() -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        settle(folder)

    return empty


def save(folder: Path, size_bytes: int, count: int, runs: int) -> None:
    """One large group, by every peer."""
    print(f"\nsave {size_bytes >> 20} MiB in {count} parts, {runs} rounds")
    parts = parts_of(size_bytes, count)
    works: dict[str, Callable[[], object]] = {
        name: partial(peer.save, folder / "out", parts) for name, peer in here(list(PEERS)).items()
    }
    took = in_turns(works, runs, emptied(folder))
    print(f"{'':28}{'GB/s':>6}   by raw                by DCP                by moonclip")
    for name, each in took.items():
        speed = size_bytes / statistics.median(each) / 1e9
        others = ("raw write + fsync", "PyTorch DCP", "moonclip")
        ratios = [shown(each, took[other]) if other in took else f"{'':19}" for other in others]
        print("   ".join([f"{name:28}{speed:6.2f}", *ratios]))


def small(folder: Path, runs: int) -> None:
    """The source paper's group, against the system calls that its plan cannot do without."""
    print(f"\nsmall group (128 KiB + 64 KiB + 40 bytes), {runs} rounds, opening not counted")
    parts: dict[str, bytearray] = {n: bytearray(k << 10) for n, k in SMALL_KIB.items()}
    parts["rng.json"] = bytearray(b'{"seed": 7, "state": "0123456789abcdef"}')

    def fresh() -> None:
        """Before each run: other bytes, so that nobody saves what is there already."""
        shutil.rmtree(folder / "out", ignore_errors=True)
        for name, kib in SMALL_KIB.items():
            parts[name][:] = os.urandom(kib << 10)

    fresh()
    with Store(folder / "store") as store:
        works: dict[str, Callable[[], object]] = {
            "bare system calls": partial(bare, folder / "out", parts),
            "in the save's own order": partial(bare_together, folder / "out", parts),
            "lastgood": partial(store.save, 1, parts),
        }
        for name in here(list(SMALL_PEERS)):
            if name == "durablewrite":
                works[name] = partial(durablewrite, folder / "out", parts)
            else:
                works[name] = small_moonclip(folder / name, parts, name)
        took = in_turns(works, runs, fresh)
    for name, each in took.items():
        low, high = statistics.quantiles(each, n=20)[0], statistics.quantiles(each, n=20)[-1]
        middle = statistics.median(each)
        print(f"{name:28}{1e3 * middle:6.2f} ms  (5 % {1e3 * low:.2f}, 95 % {1e3 * high:.2f})")
    for other in (name for name in took if name != "lastgood"):
        print(f"lastgood's time by {other:20}{shown(took[other], took['lastgood'])}")


def small_moonclip(folder: Path, parts: Parts, name: str) -> Callable[[], object]:
    """Saves into one open store, a step later each time."""
    settings = PEERS[name].settings
    store, steps = moonclip_store(folder, **settings), itertools.count()

    def save() -> None:
        store.save_tensors(step=next(steps), tensors=moonclip_tensors(parts))
        store.flush()

    return save


def load(folder: Path, size_bytes: int, count: int, runs: int) -> None:
    """A verified load from the page cache, against reading the same files."""
    print(
        f"\nverified load of {size_bytes >> 20} MiB in {count} parts from the cache, {runs} rounds"
    )
    parts = parts_of(size_bytes, count)
    works: dict[str, Callable[[], object]] = {}
    digests: list[Algorithm] = ["sha256"]
    if importlib.util.find_spec("xxhash"):
        digests.append("xxh3")
    for digest in digests:
        lastgood(folder / digest, parts, digest)
        store = Store(folder / digest, writable=False)
        works[f"{digest}, memory"] = partial(store.load, 1, hold="memory")
        works[f"{digest}, map"] = partial(store.load, 1, hold="map")
        works[f"{digest}, verify alone"] = partial(store.load, 1)
    files = sorted((folder / "sha256" / "gen-00000001-step-00000001").glob("part*"))
    works["raw read"] = lambda: [path.read_bytes() for path in files]
    took = in_turns(works, runs, lambda: None)
    for name, each in took.items():
        speed = size_bytes / statistics.median(each) / 1e9
        print(f"{name:28}{speed:6.2f} GB/s   by raw read {shown(each, took['raw read'])}")


def memory(folder: Path, size_bytes: int, count: int) -> None:
    """How much more memory a save takes than its caller's own, in a process of its own."""
    print(f"\nextra resident memory of a save of {size_bytes >> 20} MiB in {count} parts")
    program = [sys.executable, __file__, "--measure-memory", str(folder / "memory")]
    for digest in ("sha256", "xxh3"):
        arguments = ["--gib", str(size_bytes / (1 << 30)), "--parts", str(count), "--only", digest]
        done = subprocess.run(
            [*program, *arguments], capture_output=True, text=True, timeout=600, check=False
        )
        print(f"{digest:28}{done.stdout.strip() or done.stderr.strip()[-200:]}")
        shutil.rmtree(folder / "memory", ignore_errors=True)


def measured_memory(folder: Path, size_bytes: int, count: int, digest: str) -> None:
    """Print the growth of this process's peak while it saves."""
    parts = parts_of(size_bytes, count)
    with Store(folder, digest=digest) as store:  # type: ignore[arg-type]
        store.save(0, {"warm": b"up"})
        print(f"{extra_mib(partial(store.save, 1, parts)):6.1f} MiB")


def main() -> None:
    """Run what was asked for, in a folder that is removed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds, for a first look")
    parser.add_argument("--dir", default=None, help="the disk to measure")
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--only", default="save,small,load,memory")
    parser.add_argument("--measure-memory", default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size_bytes, runs = int(asked.gib * (1 << 30)), asked.runs
    if asked.quick:
        size_bytes, runs = 64 << 20, 3
    warnings.simplefilter("ignore")
    if asked.measure_memory:
        measured_memory(Path(asked.measure_memory), size_bytes, asked.parts, asked.only)
        return
    folder = Path(tempfile.mkdtemp(prefix="lastgood-bench-", dir=asked.dir))
    try:
        wanted = asked.only.split(",")
        if "save" in wanted:
            save(folder, size_bytes, asked.parts, runs)
        if "small" in wanted:
            small(folder, 10 * runs if asked.quick else 200)
        if "load" in wanted:
            load(folder, size_bytes, asked.parts, runs)
        if "memory" in wanted:
            memory(folder, size_bytes, asked.parts)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
