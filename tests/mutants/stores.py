"""Stores in which one process saves without any sync, and another at full strength."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from lastgood.backends.interface import Disk
from lastgood.crashtest.subjects import (
    RECORD,
    LastgoodSession,
    PruningSession,
    RecoveredGroup,
)
from lastgood.protocol.plan import Mode
from powercut.simulation.subject import Subject


class UnsafeSaves(LastgoodSession):
    """Saves without any sync, and recovers at full strength."""

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        saver = self._writer.saver
        saver.options = evolve(saver.options, mode="unsafe")
        return super().save(step, parts)


@frozen
class Upgraded:
    """A store that a process with unsafe saves began; those after it save at full strength."""

    modes: tuple[str, ...] = ("upgraded",)

    def open(self, disk: Disk, store: str, mode: str, rename_is_atomic: bool) -> LastgoodSession:
        session = UnsafeSaves if disk.kind(store) == "missing" else LastgoodSession
        return session(disk, store, "atomic_dirsync", "record")

    def read(self, disk: Disk, store: str) -> RecoveredGroup | None:
        return RECORD.read(disk, store)

    def real_disk(self) -> Disk:
        return RECORD.real_disk()


@frozen
class Downgraded(Upgraded):
    """A store of one group, which once it has that is saved to without any sync."""

    modes: tuple[str, ...] = ("downgraded",)
    keeps: int = 1

    def open(self, disk: Disk, store: str, mode: str, rename_is_atomic: bool) -> LastgoodSession:
        mode_now: Mode = "atomic_dirsync" if self.read(disk, store) is None else "unsafe"
        return PruningSession(disk, store, mode_now, "record")


UPGRADED = Subject("upgraded", "upgraded", Upgraded())
DOWNGRADED = Subject("downgraded", "downgraded", Downgraded())
