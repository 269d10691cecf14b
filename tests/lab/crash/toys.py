"""Protocols with a known hole, on a real disk, whose saves have the steps of the paper's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from attrs import frozen

from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Session, Subject, load_subject
from powercut_lab.crash.trials import Protocol

PARTS = ("model.bin", "optim.bin", "rng.json")
LIMIT_BYTES = 1 << 20


@frozen
class Found:
    generation: int
    step: int
    parts: Mapping[str, bytes]


class ToySession:
    """A directory for each group: three parts, then a manifest with their digests."""

    def __init__(self, disk: SubjectDisk, store: str, *, verifies: bool = True) -> None:
        self.disk, self.store, self.verifies = disk, store, verifies
        for path in (store.rpartition("/")[0], store):
            if disk.kind(path) == "missing":
                disk.mkdir(path)

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        self.write(step, parts)
        return step

    def write(self, step: int, parts: Mapping[str, bytes]) -> None:
        group = f"{self.store}/g{step:04d}"
        # What a dead process has left is written anew.
        for path in [f"{group}/{name}" for name in (*PARTS, "manifest")]:
            if self.disk.kind(path) == "file":
                self.disk.unlink(path)
        if self.disk.kind(group) == "missing":
            self.disk.mkdir(group)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
        for name, data in {**parts, "manifest": json.dumps(digests).encode()}.items():
            self.disk.create(f"{group}/{name}")
            self.disk.write(f"{group}/{name}", data)
            self.disk.close(f"{group}/{name}")

    def recover(self) -> Found | None:
        for name in reversed(self.disk.names(self.store)):
            found = self.look(f"{self.store}/{name}", int(name[1:]))
            if found is not None:
                return found
        return None

    def look(self, group: str, step: int) -> Found | None:
        there = [n for n in PARTS if self.disk.kind(f"{group}/{n}") == "file"]
        parts = {name: self.disk.read(f"{group}/{name}", LIMIT_BYTES) for name in there}
        if self.verifies:
            if self.disk.kind(f"{group}/manifest") == "missing":
                return None
            try:
                wanted = json.loads(self.disk.read(f"{group}/manifest", LIMIT_BYTES))
            except ValueError:
                return None
            if wanted != {n: hashlib.sha256(data).hexdigest() for n, data in parts.items()}:
                return None
        return Found(step, step, parts)

    def close(self) -> None:
        """Nothing is held."""


class HastySession(ToySession):
    """It acknowledges first; what it saved last it writes when it is closed."""

    def __init__(self, disk: SubjectDisk, store: str) -> None:
        super().__init__(disk, store)
        self.owed: tuple[int, Mapping[str, bytes]] | None = None

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        self.close()
        self.owed = step, parts
        return step

    def close(self) -> None:
        if self.owed is not None:
            owed, self.owed = self.owed, None
            self.write(*owed)


@frozen
class Toy:
    mode: str
    modes: tuple[str, ...] = ("sound", "hasty", "trusting")

    def open(self, disk: SubjectDisk, store: str, mode: str, rename_is_atomic: bool) -> Session:
        if mode == "hasty":
            return HastySession(disk, store)
        return ToySession(disk, store, verifies=mode != "trusting")

    def read(self, disk: SubjectDisk, store: str) -> Found | None:
        return ToySession(disk, store, verifies=self.mode != "trusting").recover()

    def real_disk(self) -> SubjectDisk:
        return load_subject("paper:unsafe").protocol.real_disk()


def small_group(seed: int, number: int) -> Mapping[str, bytes]:
    """Three parts of a few bytes, unlike those of any other group."""
    return {name: f"{name} of {number} in run {seed}".encode() for name in PARTS}


def toy(mode: str) -> Protocol:
    """A toy in one mode; only `sound` has no hole."""
    return Protocol(Subject("toy", mode, Toy(mode)), small_group)
