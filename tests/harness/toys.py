"""Toy subjects: tiny protocols with known holes, so that the net is tested without lastgood."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from powercut.disk import Disk
from powercut.subject import Subject


@frozen
class Found:
    generation: int
    parts: Mapping[str, bytes]


class ToySession:
    """One file for each save, `s1`, `s2`, ...; the newest that ends in a full stop wins."""

    def __init__(self, disk: Disk, store: str, mode: str) -> None:
        self.disk, self.store, self.mode = disk, store, mode
        for path in ("/ckpt", store):
            if disk.kind(path) == "missing":
                disk.mkdir(path)
        if mode != "no_store_sync":
            disk.fsync_dir("/")
            disk.fsync_dir("/ckpt")

    def _numbers(self) -> list[int]:
        return sorted((int(n[1:]) for n in self.disk.names(self.store)), reverse=True)

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        number = 1 + max(self._numbers(), default=0)
        path = f"{self.store}/s{number}"
        self.disk.create(path)
        self.disk.write(path, b",".join(parts.values()) + b".")
        if self.mode != "no_file_sync":
            self.disk.fsync(path)
        self.disk.close(path)
        if self.mode != "no_dir_sync":
            self.disk.fsync_dir(self.store)
        return number

    def recover(self) -> Found | None:
        for number in self._numbers():
            path = f"{self.store}/s{number}"
            data = self.disk.read(path, 1000)
            whole = self.mode == "no_check" or (data.endswith(b".") and b"\0" not in data)
            whole = whole and b"\xdb" not in data
            if whole or self.mode == "no_check":
                if self.mode != "no_resync":
                    self.disk.fsync(path)
                    self.disk.fsync_dir(self.store)
                if self.mode == "dies_on_leftovers" and number != self._numbers()[0]:
                    raise RuntimeError("a leftover")
                values = data.rstrip(b".").split(b",")
                return Found(number, {f"part{i}": v for i, v in enumerate(values, start=1)})
        return None

    def close(self) -> None:
        """Nothing is held."""


@frozen
class Toy:
    modes: tuple[str, ...] = (
        "good",
        "no_store_sync",
        "no_file_sync",
        "no_dir_sync",
        "no_resync",
        "no_check",
        "dies_on_leftovers",
    )

    def open(self, disk: Disk, store: str, mode: str, rename_is_atomic: bool) -> ToySession:
        return ToySession(disk, store, mode)

    def read(self, disk: Disk, store: str) -> Found | None:
        return ToySession(disk, store, "no_resync").recover()

    def real_disk(self) -> Disk:
        raise NotImplementedError("a toy lives in the model only")


def toy(mode: str) -> Subject:
    """The toy in one mode; only `good` has no hole."""
    return Subject("toy", mode, Toy())
