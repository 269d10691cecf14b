"""One trial: a process goes on with a store and dies; the next one must find what was promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, frozen

from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import STORE, Recovered, Subject
from powercut_lab.crash.children import ChildEnd, Say
from powercut_lab.crash.dying_disk import Death, DyingDisk
from powercut_lab.crash.groups import GroupMaker, paper_group
from powercut_lab.crash.scan import scan_for
from powercut_rig.mounted.rooted_disk import RootedDisk

NOTHING: Final = -1
TORN: Final = -2
FAILED: Final = -3


@frozen
class Protocol:
    """A protocol in one mode on a real disk, and the groups that it saves."""

    subject: Subject
    group: GroupMaker = paper_group

    def number_of(self, found: Recovered | None, seed: int, newest: int) -> int:
        """The number of the group that was handed out, byte for byte: NOTHING, or TORN for none."""
        if found is None:
            return NOTHING
        parts = dict(found.parts)
        for number in range(newest, -1, -1):
            if parts == self.group(seed, number):
                is_named = getattr(found, "step", number) == number
                return number if is_named else TORN
        return TORN

    def read(self, root: str, seed: int, newest: int) -> int:
        """The number of the group that a reader of this store gets; FAILED for an error."""
        disk = RootedDisk(self.subject.protocol.real_disk(), root)
        try:
            found = self.subject.protocol.read(disk, STORE)
        except Exception:
            return FAILED
        return self.number_of(found, seed, newest)

    def goes_on(self, root: str, seed: int, upto: int, death: Death | None, say: Say) -> None:
        """A training process: it recovers, saves what follows up to group `upto`, and closes.

        It dies in the last save, or behind it.  What is acknowledged is said at once.
        """
        disk = DyingDisk(self.subject.protocol.real_disk(), root, death)
        self.process(disk, STORE, seed, upto, say, arm=disk.arm)
        say({"met": disk.met, "calls": disk.calls})

    def process(
        self,
        disk: SubjectDisk,
        store: str,
        seed: int,
        upto: int,
        say: Say,
        *,
        arm: Callable[[], None] = lambda: None,
    ) -> None:
        """The same on any disk; `arm` is called before the last save."""
        session = self.subject.protocol.open(disk, store, self.subject.mode, True)
        number = self.number_of(session.recover(), seed, upto)
        say({"recovered": number})
        if number < NOTHING:
            return
        for each in range(number + 1, upto + 1):
            if each == upto:
                arm()
            session.save(each, self.group(seed, each))
            say({"saved": each})
        session.close()


@frozen
class Judged:
    """The outcome of one trial.

    `acknowledged` is the newest group that the process was told is saved, `found` the one that a
    reader gets afterwards.  `reason` is the scan's on the group in flight.
    """

    died: bool
    acknowledged: int
    in_flight: int
    found: int
    reason: str

    @property
    def kept(self) -> bool:
        """The newest acknowledged group was returned, or a newer one."""
        return self.found >= self.acknowledged

    @property
    def returned(self) -> bool:
        """Some group was handed out."""
        return self.found not in (NOTHING, FAILED)

    @property
    def whole(self) -> bool:
        """The group that was handed out is whole, byte for byte."""
        return self.found >= 0


def acknowledged_of(end: ChildEnd, before: int) -> int:
    """The newest group that was acknowledged, by this process or before it."""
    return max([before, *(int(said["saved"]) for said in end.said if "saved" in said)])


def recovered_of(end: ChildEnd) -> int:
    """The group that the process itself had recovered; FAILED where that raised an error."""
    return next((int(said["recovered"]) for said in end.said if "recovered" in said), FAILED)


def judge(
    protocol: Protocol, root: str, seed: int, in_flight: int, end: ChildEnd, before: int
) -> Judged:
    """Judge what a process left: `before` was acknowledged before it began. Changes nothing."""
    acknowledged = acknowledged_of(end, before)
    found = protocol.read(root, seed, in_flight)
    reason = scan_for(protocol.subject.name)(root, in_flight)
    return Judged(end.killed, acknowledged, in_flight, found, reason)


@define
class Counts:
    """Trials of one kind: how many, and in how many each thing was so."""

    trials: int = 0
    died: int = 0
    returned: int = 0
    whole: int = 0
    kept: int = 0
    in_flight_ok: int = 0
    next_kept: int = 0

    def add(self, judged: Judged, next_kept: bool) -> None:
        """Count one trial; `next_kept`: the next writing process recovered what was owed."""
        self.trials += 1
        self.died += judged.died
        self.returned += judged.returned
        self.whole += judged.whole
        self.kept += judged.kept
        self.in_flight_ok += judged.found == judged.in_flight
        self.next_kept += next_kept

    @property
    def cells(self) -> tuple[int, ...]:
        """The counts in the order of `COUNTED`."""
        return (
            self.trials, self.died, self.returned, self.whole, self.kept, self.in_flight_ok,
            self.next_kept,
        )  # fmt: skip


COUNTED: Final = ("trials", "died", "returned", "whole", "kept", "in_flight_ok", "next_kept")
