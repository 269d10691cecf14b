"""The commonest protocol there is: write a new file, sync it, rename it over the old, sync the way.

It is no library's: it stands here so that a profile that refutes it has to say why.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Subject
from tests.harness.toys import Found

HOLES = ("no_file_sync", "no_directory_sync")


class ReplacingSession:
    """One name, `live`, which means the newest save; the generation stands in its first bytes."""

    def __init__(self, disk: SubjectDisk, store: str, mode: str) -> None:
        self.disk, self.store, self.mode = disk, store, mode
        for path in ("/ckpt", store):
            if disk.kind(path) == "missing":
                disk.mkdir(path)
        self._sync_way()

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        found = read(self.disk, self.store)
        number = 1 + (found.generation if found else 0)
        new = f"{self.store}/new"
        if self.disk.kind(new) == "file":
            self.disk.unlink(new)
        self.disk.create(new)
        self.disk.write(new, b":".join([b"%d" % number, *parts.values()]))
        if self.mode != "no_file_sync":
            self.disk.fsync(new)
        self.disk.close(new)
        self.disk.rename(new, f"{self.store}/live")
        if self.mode != "no_directory_sync":
            self._sync_way()
        return number

    def recover(self) -> Found | None:
        found = read(self.disk, self.store)
        if found is not None:
            self.disk.fsync(f"{self.store}/live")
            self._sync_way()
        return found

    def _sync_way(self) -> None:
        """The directory and those above it."""
        for path in (self.store, "/ckpt", "/"):
            self.disk.fsync_dir(path)

    def close(self) -> None:
        """Nothing is held."""


def read(disk: SubjectDisk, store: str) -> Found | None:
    """What `live` holds; None where it is not there, or no save."""
    live = f"{store}/live"
    if disk.kind(live) != "file":
        return None
    number, *values = disk.read(live, 1000).split(b":")
    parts = {f"part{n}": value for n, value in enumerate(values, start=1)}
    return Found(int(number), parts) if number.isdigit() else None


@frozen
class Replacing:
    mode: str = "good"
    modes: tuple[str, ...] = ("good", *HOLES)

    def open(
        self, disk: SubjectDisk, store: str, mode: str, rename_is_atomic: bool
    ) -> ReplacingSession:
        return ReplacingSession(disk, store, mode)

    def read(self, disk: SubjectDisk, store: str) -> Found | None:
        return read(disk, store)

    def real_disk(self) -> SubjectDisk:
        raise NotImplementedError("a toy lives in the model only")


def replacing(mode: str = "good") -> Subject:
    """The protocol in one mode; only `good` has no hole."""
    return Subject("replacing", mode, Replacing(mode))
