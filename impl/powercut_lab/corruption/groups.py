"""Groups that are damaged: the parts, the stores of every mode, and the disk that does the damage.

The parts have the paper's sizes, 128 KiB, 64 KiB and a little JSON; but the two big ones are files
of tensors, so that a load, a shape and a digest of tensors can notice something.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from attrs import frozen

from lastgood.backends.detect import disk_here
from lastgood.backends.interface import Disk
from lastgood.crashtest import paper_protocol
from lastgood.crashtest.subjects import (
    PAPER,
    PAPER_MODES,
    LastgoodSubject,
    PaperSubject,
    RecoveredGroup,
)
from lastgood.format.chunks import Chunking
from lastgood.format.names import MANIFEST, GroupName
from lastgood.protocol.plan import FORMS, MODES
from powercut_lab.passing_reader import PassingReader

MODEL: Final = "model.safetensors"
OPTIMIZER: Final = "optim.npz"
RNG: Final = "rng.json"
PARTS: Final = (MODEL, OPTIMIZER, RNG)
CHUNK_BYTES: Final = 16 << 10
OLDER, NEWER = 3, 6
"""The steps of the two groups of a store; the newer one is damaged."""
_STORE: Final = "store"


@cache
def parts_of(seed: int, step: int) -> Mapping[str, bytes]:
    """The parts of the group of a step: the same for the same seed."""
    from safetensors.numpy import save

    draw = np.random.default_rng((seed, step))
    model = {"layer.weight": draw.standard_normal((128, 256), dtype=np.float32)}
    moments = draw.standard_normal((2, 64, 128), dtype=np.float32)
    optimizer = io.BytesIO()
    np.savez(optimizer, exp_avg=moments[0], exp_avg_sq=moments[1])
    rng = {"epoch": step, "seed": seed, "state": [int(n) for n in draw.integers(0, 2**32, 16)]}
    return {
        MODEL: save(model),
        OPTIMIZER: optimizer.getvalue(),
        RNG: json.dumps(rng, sort_keys=True).encode(),
    }


@frozen
class GroupSubject:
    """One protocol in one mode, and how its files are named on a disk."""

    name: str
    mode: str
    subject: LastgoodSubject | PaperSubject
    records: tuple[str, ...]
    directory: Callable[[int, int], str]

    @property
    def is_papers(self) -> bool:
        """It is the source paper's protocol."""
        return isinstance(self.subject, PaperSubject)

    def save(self, store: Path, seed: int, number: int, step: int, disk: Disk) -> str:
        """Save the group of a step as the store's `number`-th; the name of its directory."""
        self.save_parts(store, parts_of(seed, step), step, disk)
        return self.directory(number, step)

    def save_parts(self, store: Path, parts: Mapping[str, bytes], step: int, disk: Disk) -> None:
        """Save these parts."""
        session = self.subject.open(disk, str(store), self.mode, True)
        try:
            session.save(step, parts)
        finally:
            session.close()

    def recover(self, store: Path) -> RecoveredGroup | None:
        """The group that its own reader hands out. It raises what that raises."""
        return self.subject.read(disk_here(), str(store))


def all_subjects() -> Iterator[GroupSubject]:
    """Each protocol in each mode: that of lastgood, with chunks, in its forms; and the paper's.

    `unsafe` has one form only.
    """
    chunking = Chunking(CHUNK_BYTES, "sha256")
    for form in FORMS:
        ours = LastgoodSubject(form, options={"chunking": chunking})
        for mode in MODES:
            if (form, mode) != ("rename", "unsafe"):
                yield GroupSubject(f"lastgood+{form}", mode, ours, (MANIFEST,), _our_directory)
    records = (paper_protocol.MANIFEST, paper_protocol.COMMIT)
    for mode in PAPER_MODES:
        yield GroupSubject("paper", mode, PAPER, records, _paper_directory)


def _our_directory(number: int, step: int) -> str:
    return str(GroupName(number, step))


def _paper_directory(_number: int, step: int) -> str:
    return paper_protocol.epoch_name(step)


def fill_store(subject: GroupSubject, store: Path, seed: int, steps: tuple[int, ...]) -> list[str]:
    """Save a group for each step, undamaged; the names of their directories."""
    disk = FaultyDisk(disk_here())
    return [subject.save(store, seed, n, step, disk) for n, step in enumerate(steps, 1)]


class FaultyDisk(PassingReader):
    """A disk that damages files on their way to it, and leaves out syncs, which change no byte.

    `damage` gets all that was written to a file, and gives what the disk keeps.  A file reaches the
    disk when it is synced or closed.
    """

    def __init__(self, disk: Disk, damage: Callable[[bytes], bytes] = lambda data: data) -> None:
        super().__init__(disk)
        self._damage = damage
        self._held: dict[str, bytearray] = {}

    def mkdir(self, path: str) -> None:
        """See `Disk.mkdir`."""
        self._disk.mkdir(path)

    def create(self, path: str) -> None:
        """See `Disk.create`."""
        self._disk.create(path)
        self._held[path] = bytearray()

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Disk.write`; nothing reaches the disk yet."""
        self._held[path] += data

    def fsync(self, path: str) -> None:
        """Let the file reach the disk, damaged or not."""
        held = self._held.pop(path, None)
        if held is not None:
            self._disk.write(path, self._damage(bytes(held)))

    def close(self, path: str) -> None:
        """See `Disk.close`."""
        self.fsync(path)
        self._disk.close(path)

    def fsync_dir(self, path: str) -> None:
        """Do nothing."""

    def rename(self, src: str, dst: str) -> None:
        """See `Disk.rename`."""
        self._disk.rename(src, dst)

    def unlink(self, path: str) -> None:
        """See `Disk.unlink`."""
        self._disk.unlink(path)

    def rmdir(self, path: str) -> None:
        """See `Disk.rmdir`."""
        self._disk.rmdir(path)

    def lock(self, path: str) -> None:
        """See `Disk.lock`."""
        self._disk.lock(path)

    def unlock(self, path: str) -> None:
        """See `Disk.unlock`."""
        self._disk.unlock(path)
