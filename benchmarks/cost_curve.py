"""What a save costs by its size and its number of parts, against plain files with one fsync each.

    python benchmarks/cost_curve.py [--dir DIR] [--smallest BYTES] [--largest BYTES] [--budget-s 45]
                                    [--markdown]

From 1 KiB to 4 GiB, in 1, 16 and 256 parts; the plain files and each digest take turns. A row's
ratio is the time of the plain files by that of the save, the median over its rounds, with a 95 %
interval: above 1 the save is faster. The store is new and open, as it is in a training run; what
opening one takes is printed once. A row takes rounds until its budget is spent, 5 at least and 41
at most.

The bytes come from one buffer of 256 MiB that all parts share. A part that is longer is given as
chunks of 64 MiB by an iterator, to the plain files too, so that 4 GiB need no 4 GiB of memory. The
last columns are what a save adds to the resident memory of its process, at its peak.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

from lastgood import Store
from lastgood.format.digests import Algorithm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks._memory import extra_mib
from benchmarks._paired import in_turns, shown
from benchmarks._peers import settle, sync_dir, write_file

SIZES = tuple(1 << bits for bits in (10, 14, 18, 22, 26, 30, 32))
COUNTS = (1, 16, 256)
SHARED_BYTES = 256 << 20
CHUNK_BYTES = 64 << 20
FEWEST, MOST = 5, 41
PLAIN = "plain files"
Sizes = Mapping[str, int]
Part = memoryview | Iterator[memoryview]


def part_sizes(size_bytes: int, count: int) -> Sizes:
    """Parts of one size, but for the last, which has the rest."""
    each = size_bytes // count
    sizes = {f"part{n:03}": each for n in range(count)}
    sizes[f"part{count - 1:03}"] += size_bytes - each * count
    return sizes


def chunks(shared: memoryview, size_bytes: int) -> Iterator[memoryview]:
    """So many bytes from the shared buffer, over and over."""
    for begun in range(0, size_bytes, CHUNK_BYTES):
        at = begun % len(shared)
        yield shared[at : at + min(CHUNK_BYTES, size_bytes - begun)]


def parts_of(shared: memoryview, sizes: Sizes) -> dict[str, Part]:
    """Each part as memory, or as an iterator where it is longer than the buffer."""
    return {
        name: shared[:size] if size <= len(shared) else chunks(shared, size)
        for name, size in sizes.items()
    }


def plain(folder: Path, shared: memoryview, sizes: Sizes) -> None:
    """One file after the other: written, synced, closed; then the directory."""
    folder.mkdir()
    for name, part in parts_of(shared, sizes).items():
        write_file(folder / name, part)
    sync_dir(folder)


class Stores:
    """A new, open store for each digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opening_s: list[float] = []
        self._stores: dict[Algorithm, Store] = {}

    def renew(self) -> None:
        """Leave nothing of the last run, nor anything dirty; open anew."""
        self.close()
        self.folder.mkdir()
        settle(self.folder)
        for digest in digests():
            begun_s = time.perf_counter()
            self._stores[digest] = Store(self.folder / digest, digest=digest)
            self.opening_s.append(time.perf_counter() - begun_s)

    def close(self) -> None:
        """Close and remove all."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, digest: Algorithm, shared: memoryview, sizes: Sizes) -> None:
        """A save as users have it by default."""
        parts = cast("Mapping[str, memoryview]", parts_of(shared, sizes))
        self._stores[digest].save(1, parts)


def row(
    stores: Stores, shared: memoryview, size_bytes: int, count: int, budget_s: float
) -> list[str]:
    """The figures of one shape, in the order of the columns."""
    sizes = part_sizes(size_bytes, count)
    home = stores.folder / "plain"
    works: dict[str, Callable[[], object]] = {PLAIN: partial(plain, home, shared, sizes)}
    for digest in digests():
        works[digest] = partial(stores.save, digest, shared, sizes)
    begun_s = time.perf_counter()
    grown = {}
    for name, work in works.items():  # not counted: it warms up, and tells how long a round takes
        stores.renew()
        grown[name] = extra_mib(work)
    took_s = time.perf_counter() - begun_s
    rounds = max(FEWEST, min(MOST, int(budget_s / took_s)))
    took = in_turns(works, rounds, stores.renew, warm_up=False)
    stores.close()
    saves = [name for name in works if name != PLAIN]
    cells = [said(size_bytes), str(count), str(rounds)]
    cells += [f"{1e3 * statistics.median(each):.2f}" for each in took.values()]
    cells += [shown(took[name], took[PLAIN]).strip() for name in saves]
    return cells + [f"{grown[name]:.1f}" for name in saves]


def digests() -> list[Algorithm]:
    """SHA-256, and XXH3 where its package is installed."""
    return ["sha256", "xxh3"] if importlib.util.find_spec("xxhash") else ["sha256"]


def said(size_bytes: int) -> str:
    """A power of two for people."""
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes >= 1 << bits:
            return f"{size_bytes >> bits} {unit}"
    return f"{size_bytes} B"


def header() -> list[str]:
    """The names of the columns."""
    names = ["size", "parts", "rounds", "plain, ms"]
    names += [f"{digest}, ms" for digest in digests()]
    names += [f"{digest}: plain / save" for digest in digests()]
    return names + [f"{digest}: MiB more" for digest in digests()]


def printed(cells: list[str], markdown: bool) -> None:
    """One line of the table."""
    if markdown:
        print(f"| {' | '.join(cells)} |", flush=True)
    else:
        print("  ".join(f"{cell:>20}" if n > 2 else f"{cell:>7}" for n, cell in enumerate(cells)))
        sys.stdout.flush()


def main() -> None:
    """Measure each shape in a folder that is removed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dir", default=None, help="the disk to measure")
    parser.add_argument("--smallest", type=int, default=SIZES[0], help="in bytes")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="in bytes")
    parser.add_argument("--budget-s", type=float, default=45, help="seconds for each row, about")
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is removed then too
    folder = Path(tempfile.mkdtemp(prefix="lastgood-curve-", dir=asked.dir))
    stores = Stores(folder / "out")
    try:
        if "xxh3" not in digests():
            print("not run: XXH3 (the package xxhash is not installed)")
        shared = memoryview(bytearray(os.urandom(min(SHARED_BYTES, asked.largest))))
        names = header()
        printed(names, asked.markdown)
        if asked.markdown:
            printed(["---"] * len(names), markdown=True)
        for size_bytes in (n for n in SIZES if asked.smallest <= n <= asked.largest):
            for count in COUNTS:
                cells = row(stores, shared, size_bytes, count, asked.budget_s)
                printed(cells, asked.markdown)
        opening_ms = 1e3 * statistics.median(stores.opening_s)
        print(f"\nopening a new store, not counted above: {opening_ms:.2f} ms, the median")
    finally:
        stores.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
