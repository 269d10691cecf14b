"""Measures a store where it stands, against plain files: medians of pairs that take turns."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from lastgood.format.digests import Algorithm
from lastgood.store import Store


@frozen
class BenchResult:
    """Seconds of each run: plain files written and synced, a save, a verified load."""

    size_bytes: int
    parts: int
    digest: str
    plain_s: tuple[float, ...]
    save_s: tuple[float, ...]
    load_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The speed of a save by that of the plain files, the median over the pairs."""
        pairs = zip(self.plain_s, self.save_s, strict=True)
        return statistics.median(plain / save for plain, save in pairs)

    def as_json(self) -> dict[str, Any]:
        """The figures as JSON can say them."""
        return {**asdict(self), "ratio": self.ratio}

    def lines(self) -> list[str]:
        """The figures for people."""

        def speed(seconds: tuple[float, ...]) -> str:
            best, worst = self.size_bytes / min(seconds), self.size_bytes / max(seconds)
            middle = self.size_bytes / statistics.median(seconds)
            return f"{middle / 1e9:6.2f} GB/s  ({worst / 1e9:.2f} to {best / 1e9:.2f})"

        mib = self.size_bytes >> 20
        return [
            f"{mib} MiB in {self.parts} parts, {len(self.plain_s)} pairs, {self.digest}",
            f"plain write + fsync  {speed(self.plain_s)}",
            f"save                 {speed(self.save_s)}",
            f"verified load        {speed(self.load_s)}",
            f"save / plain         {self.ratio:6.2f}  (median over pairs)",
        ]


def measure(
    directory: str, size_bytes: int, parts: int, runs: int, digest: Algorithm
) -> BenchResult:
    """Save and load groups of that size in a folder of their own, which is removed. OSError."""
    content = os.urandom(1 << 20) * (size_bytes // parts // (1 << 20) + 1)
    data = {f"part{n}": memoryview(content)[: size_bytes // parts] for n in range(parts)}
    plain_s, save_s, load_s = [], [], []
    home = Path(tempfile.mkdtemp(prefix=".lastgood-bench-", dir=directory))
    try:
        for run in range(runs):
            plain_s.append(_timed(partial(_plain, home / "plain", data)))
            shutil.rmtree(home / "plain")
            with Store(home / "store", digest=digest) as store:
                save_s.append(_timed(partial(store.save, run, data)))
                load_s.append(_timed(partial(store.restore, run)))
            shutil.rmtree(home / "store")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    size_bytes = parts * (size_bytes // parts)
    return BenchResult(size_bytes, parts, digest, tuple(plain_s), tuple(save_s), tuple(load_s))


def _timed(work: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s


def _plain(folder: Path, data: dict[str, memoryview]) -> None:
    folder.mkdir()
    for name, view in data.items():
        with (folder / name).open("wb", buffering=0) as file:
            left = view
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
