"""Toy subjects: tiny protocols with known holes, so that the net is tested without lastgood."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Subject

UNREAD = b"?"


@frozen
class Found:
    generation: int
    parts: Mapping[str, bytes]
    passed_over: Mapping[str, str] = field(factory=dict)


class ToySession:
    """One file for each save, `s1`, `s2`, ...; the newest that ends in a full stop wins.

    A byte that has all its bits flipped is no ASCII any more.
    """

    def __init__(self, disk: SubjectDisk, store: str, mode: str) -> None:
        self.disk, self.store, self.mode = disk, store, mode
        self.saves = 0
        self.passed_over: dict[str, str] = {}
        self.syncs = mode != "sloppy_in_an_old_store" or disk.kind(store) == "missing"
        for path in ("/ckpt", store):
            if disk.kind(path) == "missing":
                disk.mkdir(path)
        if mode != "no_store_sync":
            disk.fsync_dir("/")
            disk.fsync_dir("/ckpt")

    def _numbers(self) -> list[int]:
        return sorted((int(n[1:]) for n in self.disk.names(self.store)), reverse=True)

    def _sync(self, path: str) -> None:
        """A file or a directory, where this mode has not stopped syncing."""
        if self.syncs and self.disk.kind(path) == "dir":
            self.disk.fsync_dir(path)
        elif self.syncs:
            self.disk.fsync(path)

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        if self.mode == "refuses_every_save":
            raise RuntimeError("no save of this toy returns")
        self.saves += 1
        if self.mode == "loses_all_and_raises" and self.saves == 2:
            raise RuntimeError("the second save of a process")
        number = 1 + max(self._numbers(), default=0)
        path = f"{self.store}/s{number}"
        self.disk.create(path)
        self.disk.write(path, b",".join(parts.values()) + b".")
        if self.mode not in ("no_file_sync", "loses_all_and_raises"):
            self._sync(path)
        self.disk.close(path)
        if self.mode != "no_dir_sync":
            self._sync(self.store)
        return 1 if self.mode == "one_generation" else number

    def recover(self) -> Found | None:
        if self.mode == "garbage":
            return Found(1, {"part1": b"garbage"})
        found = self.read(resync=self.mode != "no_resync")
        if self.mode == "sloppy_after_recovery" and found is not None:
            self.syncs = False
        return found

    def read(self, *, resync: bool) -> Found | None:
        self.passed_over = {}
        for number in self._numbers():
            path = f"{self.store}/s{number}"
            data = self._content(path)
            whole = data.endswith(b".") and b"\0" not in data and b"\xdb" not in data
            if (whole and (data.isascii() or self.mode == "no_digest")) or self.mode == "no_check":
                if resync:
                    self._sync(path)
                    self._sync(self.store)
                if self.mode == "dies_on_leftovers" and number != self._numbers()[0]:
                    raise RuntimeError("a leftover")
                values = data.rstrip(b".").split(b",")
                parts = {f"part{i}": v for i, v in enumerate(values, start=1)}
                told = number + (self.mode == "other_generation")
                return Found(told, parts, self.passed_over)
            if self.mode != "hides_damage":
                self.passed_over[f"s{number}"] = "damaged"
            if self.mode == "gives_up_at_damage" and data == UNREAD:
                return None
            if self.mode == "clears_up_after_damage" and data == UNREAD and resync:
                for older in range(1, number):
                    self.disk.unlink(f"{self.store}/s{older}")
        return None

    def _content(self, path: str) -> bytes:
        """What is there; UNREAD where it cannot be read."""
        try:
            return self.disk.read(path, 1000)
        except OSError:
            if self.mode == "dies_of_damage":
                raise
            if self.mode == "moves_the_unreadable":
                self.disk.rename(path, f"/ckpt/{path[-2:]}")
            return UNREAD

    def close(self) -> None:
        """Nothing is held."""


class ToyReader(ToySession):
    """A reader: it makes nothing; a reader that writes is one of the holes."""

    def __init__(self, disk: SubjectDisk, store: str, mode: str) -> None:
        self.disk, self.store, self.mode, self.syncs = disk, store, mode, True
        self.passed_over = {}


@frozen
class Toy:
    mode: str = "good"
    modes: tuple[str, ...] = (
        "good",
        "no_store_sync",
        "no_file_sync",
        "no_dir_sync",
        "no_resync",
        "no_check",
        "dies_on_leftovers",
        "garbage",
        "loses_all_and_raises",
        "one_generation",
        "other_generation",
        "refuses_every_save",
        "sloppy_after_recovery",
        "sloppy_in_an_old_store",
        "writing_reader",
        "no_digest",
        "hides_damage",
        "gives_up_at_damage",
        "dies_of_damage",
        "moves_the_unreadable",
        "clears_up_after_damage",
    )

    def open(self, disk: SubjectDisk, store: str, mode: str, rename_is_atomic: bool) -> ToySession:
        return ToySession(disk, store, mode)

    def read(self, disk: SubjectDisk, store: str) -> Found | None:
        if disk.kind(store) == "missing":
            return None
        mode = "good" if self.mode == "moves_the_unreadable" else self.mode
        return ToyReader(disk, store, mode).read(resync=self.mode == "writing_reader")

    def real_disk(self) -> SubjectDisk:
        raise NotImplementedError("a toy lives in the model only")


def toy(mode: str) -> Subject:
    """The toy in one mode; only `good` has no hole."""
    return Subject("toy", mode, Toy(mode))
