"""The ways of saving that take turns: the library's, the paper's, and those that people use today.

Each is opened once on an empty folder and then saves one group after the other.  What one save has
left is removed before the next, which is not timed.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

from attrs import frozen

from lastgood import Store
from lastgood.backends.detect import disk_here
from lastgood.crashtest import paper_protocol
from lastgood.crashtest.subjects import PAPER_MODES
from lastgood.parts.part_writer import PartSource
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import MODES, Mode
from lastgood.protocol.receipt import phase_of
from lastgood.protocol.steps import SimpleStep
from powercut_lab.latency.meter import Meter, MeteredDisk, Times, filled_in

Parts = Mapping[str, bytearray]

Lane = Literal["plain", "torch"]
LANES: Final[tuple[Lane, ...]] = get_args(Lane)

OURS: Final = tuple(f"lastgood:{mode}" for mode in MODES)
PAPERS: Final = tuple(f"paper:{mode}" for mode in PAPER_MODES)
THREADS: Final = "lastgood:atomic_dirsync, threads"
PROBE: Final = "overwrite 4 KiB + fdatasync"
"""No way of saving: one block in place and one flush, the least that a disk can be asked for."""

BIG_BYTES: Final = 8 << 20
"""From that size on a store of the library uses more than one thread."""

# Python has no fdatasync on macOS.
_sync_data: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class SaveSession(Protocol):
    """One way of saving, open on a folder of its own."""

    def save(self, number: int) -> Times:
        """Save a group; the nanoseconds of each phase. `number` is another one each time."""

    def clear(self) -> None:
        """Remove what the last save has left."""

    def close(self) -> None:
        """Give back what is held."""


@frozen
class Way:
    """A way of saving: its name, the package that it needs, and how it is opened on a folder.

    It is measured with groups of `smallest_bytes` and more; `gives` says of others what is done
    when it returns.
    """

    name: str
    needs: str
    open: Callable[[Path, Parts, Meter], SaveSession]
    smallest_bytes: int = 0
    gives: str = ""


def group_of(size_bytes: int, seed: int) -> dict[str, bytearray]:
    """The parts of a group: a model, an optimizer half its size, and RNG state as JSON.

    All that can be chosen is noise, so that nothing can be compressed or written once.
    """
    dice = random.Random(seed)  # noqa: S311 - the same group for the same seed
    model = size_bytes * 2 // 3
    return {
        "model.bin": _noise(dice, model),
        "optim.bin": _noise(dice, size_bytes - model),
        "rng.json": bytearray(b'{"seed": %d, "state": "%016x"}' % (seed, dice.getrandbits(64))),
    }


def _noise(dice: random.Random, size_bytes: int) -> bytearray:
    piece = dice.randbytes(min(size_bytes, 1 << 20))
    return bytearray((piece * (size_bytes // max(1, len(piece)) + 1))[:size_bytes])


class StoreSession:
    """Saves of a store that stays open, as a training process has it.

    With one thread its phases are told apart; with `workers` None it has as many threads as it
    chooses, and its time is told as a whole.
    """

    def __init__(
        self, folder: Path, parts: Parts, meter: Meter, *, mode: Mode, workers: int | None = 1
    ) -> None:
        self._parts, self._meter, self._workers = parts, meter, workers
        disk = MeteredDisk(disk_here(), meter) if workers == 1 else disk_here()
        self._store = Store(
            folder / "store", mode=mode, disk=disk, clock=meter.seconds, workers=workers
        )
        self._group = ""

    def save(self, number: int) -> Times:
        """See `SaveSession.save`."""

        def save() -> None:
            receipt = self._store.save(number, self._parts)
            self._group = receipt.path
            self._meter.filled(filled_in(receipt.phases))

        return self._meter.save(save) if self._workers == 1 else self._meter.whole(save)

    def clear(self) -> None:
        """See `SaveSession.clear`."""
        shutil.rmtree(self._group)

    def close(self) -> None:
        """See `SaveSession.close`."""
        self._store.close()


class TimedPaperSession:
    """Saves by the paper's protocol, through the same disk and the same clock."""

    def __init__(self, folder: Path, parts: Parts, meter: Meter, *, mode: Mode) -> None:
        self._root, self._parts, self._meter, self._mode = folder / "epochs", parts, meter, mode
        self._disk = MeteredDisk(disk_here(), meter)
        self._root.mkdir()
        self._epoch = 0

    def save(self, number: int) -> Times:
        """See `SaveSession.save`."""
        self._epoch = number
        return self._meter.save(self._save)

    def _save(self) -> None:
        epoch, root = self._epoch, str(self._root)
        executor = StepExecutor(
            self._disk,
            {
                path: PartSource([memoryview(data)], size_bytes=len(data))
                for path, data in self._parts.items()
            },
            lambda name, written: paper_protocol.record(name, written, epoch=epoch, time_s=0.0),
            clock=self._meter.seconds,
            observe=self._observe,
        )
        for step in paper_protocol.plan_save(self._mode, root, epoch, list(self._parts)):
            executor.execute(step)

    def _observe(self, step: SimpleStep, seconds: float) -> None:
        self._meter.filled(filled_in({phase_of(step): seconds}))

    def clear(self) -> None:
        """See `SaveSession.clear`."""
        shutil.rmtree(self._root / paper_protocol.epoch_name(self._epoch))

    def close(self) -> None:
        """See `SaveSession.close`."""


class ProbeSession:
    """Overwrites the first block of a file that is there, and syncs it."""

    def __init__(self, folder: Path, _parts: Parts, meter: Meter) -> None:
        self._meter, self._block = meter, os.urandom(4096)
        self._fd = os.open(folder / "block", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.pwrite(self._fd, self._block, 0)
        os.fsync(self._fd)

    def save(self, number: int) -> Times:
        """See `SaveSession.save`."""
        del number

        def probe() -> None:
            self._meter.spend("write", lambda: os.pwrite(self._fd, self._block, 0))
            self._meter.spend("fsync", lambda: _sync_data(self._fd))

        return self._meter.save(probe)

    def clear(self) -> None:
        """See `SaveSession.clear`."""

    def close(self) -> None:
        """See `SaveSession.close`."""
        os.close(self._fd)


class FileSession:
    """One file for the whole group, written by a function of a library and synced, or not."""

    def __init__(
        self,
        folder: Path,
        parts: Parts,
        meter: Meter,
        *,
        prepare: Callable[[Parts], Callable[[Path], object]],
        synced: bool = False,
    ) -> None:
        self._path, self._meter, self._synced = folder / "group", meter, synced
        self._write = prepare(parts)

    def save(self, number: int) -> Times:
        """See `SaveSession.save`."""
        del number
        return self._meter.save(self._save)

    def _save(self) -> None:
        self._meter.spend("write", lambda: self._write(self._path))
        if self._synced:
            fd = os.open(self._path, os.O_RDONLY)
            try:
                self._meter.spend("fsync", lambda: os.fsync(fd))
            finally:
                os.close(fd)

    def clear(self) -> None:
        """See `SaveSession.clear`."""
        self._path.unlink()

    def close(self) -> None:
        """See `SaveSession.close`."""


class DcpSession:
    """PyTorch's distributed checkpoint in one process, `sync_files` on, as it comes."""

    def __init__(self, folder: Path, parts: Parts, meter: Meter) -> None:
        self._folder, self._meter, self._state = folder / "dcp", meter, _tensors(parts)

    def save(self, number: int) -> Times:
        """See `SaveSession.save`."""
        del number
        import torch.distributed.checkpoint as checkpoint

        def save() -> None:
            writer = checkpoint.FileSystemWriter(str(self._folder), sync_files=True)
            checkpoint.save(self._state, storage_writer=writer, no_dist=True)

        return self._meter.whole(save)

    def clear(self) -> None:
        """See `SaveSession.clear`."""
        shutil.rmtree(self._folder)

    def close(self) -> None:
        """See `SaveSession.close`."""


def _tensors(parts: Parts) -> dict[str, Any]:
    """The same memory as PyTorch tensors, without a copy."""
    import torch

    return {name: torch.frombuffer(data, dtype=torch.uint8) for name, data in parts.items()}


def _torch_save(parts: Parts) -> Callable[[Path], object]:
    import torch

    state = _tensors(parts)
    return lambda path: torch.save(state, path)


def _safetensors(parts: Parts) -> Callable[[Path], object]:
    import numpy as np
    from safetensors.numpy import save_file

    state = {name: np.frombuffer(data, dtype=np.uint8) for name, data in parts.items()}
    return lambda path: save_file(state, str(path))


WAYS: Final[tuple[Way, ...]] = (
    *(Way(f"lastgood:{mode}", "", partial(StoreSession, mode=mode)) for mode in MODES),
    Way(THREADS, "", partial(StoreSession, mode="atomic_dirsync", workers=None), BIG_BYTES),
    *(Way(f"paper:{mode}", "", partial(TimedPaperSession, mode=mode)) for mode in PAPER_MODES),
    Way(
        "torch.save", "torch", partial(FileSession, prepare=_torch_save),
        gives="one file under its final name; nothing is synced",
    ),
    Way(
        "torch.save + fsync", "torch", partial(FileSession, prepare=_torch_save, synced=True),
        gives="the same, and the file is synced, its directory not",
    ),
    Way(
        "safetensors", "safetensors", partial(FileSession, prepare=_safetensors),
        gives="one file, renamed to its final name in newer versions; nothing is synced",
    ),
    Way(
        "PyTorch DCP", "torch", DcpSession,
        gives="data is synced; .metadata (in 2.13) before it is written, directories never",
    ),
    Way(PROBE, "", ProbeSession),
)  # fmt: skip
"""All of them, in the order of the report."""

UNDIVIDED: Final = frozenset({THREADS, "PyTorch DCP"})
"""Those whose time is told as a whole."""

ORDER: Final = tuple(way.name for way in WAYS)


COMPANIONS: Final = frozenset({"lastgood:unsafe", "lastgood:atomic_dirsync"})
"""Those of the library that take turns with the ways of PyTorch."""


def ways_for(size_bytes: int, lane: Lane) -> Sequence[Way]:
    """Those that take turns here with groups of that size, in a lane.

    The ways of PyTorch have a lane of their own, so that an environment with PyTorch can add them
    to what one without it has measured.
    """
    if lane == "torch":
        return [way for way in WAYS if way.needs == "torch" or way.name in COMPANIONS]
    return [
        way
        for way in WAYS
        if way.needs != "torch"
        and size_bytes >= way.smallest_bytes
        and not (way.needs and package_is_missing(way.needs))
    ]


def package_is_missing(name: str) -> bool:
    """The package is not installed; it is not imported for this."""
    return importlib.util.find_spec(name) is None
