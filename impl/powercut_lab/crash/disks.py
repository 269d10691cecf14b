"""Part 4: power cuts on real disks, by the rig: the crash images of two saves, each recovered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut.checker.exhaustive import parts_of
from powercut.crash.space import Crash
from powercut.simulation.world import CrashStep, SaveLive, Step
from powercut.trace.trace_file import Trace
from powercut_lab.crash.tables import DISKS, PROTOCOLS
from powercut_lab.errors import LabError
from powercut_lab.study import Missing, Row, Size, WorkUnit
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest.prepare import prepared
from powercut_rig.judge.judge import JudgeEffort, compare_in_worker
from powercut_rig.judge.result import Comparison
from powercut_rig.macos import APFS
from powercut_rig.macos.experiments.compare import compare_on_mac
from powercut_rig.macos.requirements import missing_for_mac
from powercut_rig.macos.session import session
from powercut_rig.rigs import what_is_missing
from powercut_rig.system.worker import run_in_worker, run_without_mounts

KERNEL_DISKS: Final = ("ext4", "xfs", "btrfs")
GUEST_DISK: Final = "apfs-linux"

_SAVES: Final = 2
_PARTS: Final = 2
_IMAGES_A_SECOND: Final = 15
_START_S: Final = 1.0


@frozen
class DiskEffort:
    """So many recordings, each with another plan of early writes; at most so many images each."""

    recordings: int
    images: int


Crasher = Callable[[str, str, DiskEffort], Comparison]
"""Records two saves of a protocol on a file system, and recovers from their crash images."""

EFFORTS: Final[Mapping[Size, DiskEffort]] = {
    "quick": DiskEffort(1, 12),
    "default": DiskEffort(2, 100),
    "full": DiskEffort(4, 250),
}
_GUEST_EFFORT: Final = DiskEffort(1, 60)

ON_MAC: Final = f"{APFS}, kernel crash"
"""Its name in the table: a clone of a disk image is what a kernel crash leaves, no power cut."""


def disk_units(size: Size) -> tuple[list[WorkUnit], list[Missing]]:
    """A unit for each protocol and file system that can be recorded here; and what cannot."""
    units: list[WorkUnit] = []
    missing: list[Missing] = []
    asked: dict[str, tuple[list[str], Crasher, DiskEffort]]
    asked = {fs: (what_is_missing(fs), _on_linux, EFFORTS[size]) for fs in KERNEL_DISKS}
    if size == "full":
        asked[GUEST_DISK] = (what_is_missing(GUEST_DISK), _in_guest, _GUEST_EFFORT)
    else:
        reason = "A guest takes minutes; it runs with --full only."
        part, remedy = f"power cuts on {GUEST_DISK}", "Run it with --full."
        missing.append(Missing(part, reason, remedy, _prefix(GUEST_DISK)))
    asked[ON_MAC] = (missing_for_mac(), _on_mac, EFFORTS[size])
    for fs, (reasons, crash, effort) in asked.items():
        if reasons:
            missing.append(_lack(fs, reasons))
        else:
            units += list(_units(fs, crash, effort))
    return units, missing


def _lack(fs: str, reasons: list[str]) -> Missing:
    if fs == ON_MAC:
        remedy = "On a Mac: powercut experiment crash --only disks; no root is needed."
        part = "kernel crashes on APFS by Apple's driver"
        return Missing(part, " ".join(reasons), remedy, _prefix(fs))
    remedy = "powercut doctor says what the rig needs; the kernel's own file systems need root."
    return Missing(f"power cuts on {fs}", " ".join(reasons), remedy, _prefix(fs))


def _prefix(fs: str) -> str:
    """The beginning of the keys of a file system's units."""
    return f"disks, {fs}:"


def _units(fs: str, crash: Crasher, effort: DiskEffort) -> Iterator[WorkUnit]:
    for label in PROTOCOLS:
        estimate_s = _START_S + effort.recordings * effort.images / _IMAGES_A_SECOND
        key = f"{_prefix(fs)} {label}, {effort.recordings} x {effort.images}"
        yield WorkUnit(key, DISKS, partial(_work, label, fs, crash, effort), estimate_s)


def _work(label: str, fs: str, crash: Crasher, effort: DiskEffort, _folder: Path) -> Iterator[Row]:
    found = crash(label, fs, effort)
    if found.errors:
        raise LabError("; ".join(found.errors))
    yield (
        label, fs, len(found.plans), found.images, len(found.trees), found.violations["P3"],
        found.violations["P1"], found.outside, found.refused, found.hung, found.disagreeing,
    )  # fmt: skip


def two_saves(label: str, profile: str) -> Trace:
    """Two saves of a protocol, then a power cut.

    No property is promised: what a mode loses is counted, and is no error of the comparison.
    """
    saves = (SaveLive(number, parts_of(number, _PARTS)) for number in range(1, _SAVES + 1))
    steps: tuple[Step, ...] = (*saves, CrashStep(Crash("power")))
    return Trace("regression", profile, "P3", "fails", steps, label)


def _effort(effort: DiskEffort) -> JudgeEffort:
    return JudgeEffort(limit=effort.images, again=0, fsck_every=0, coverage=False)


def _on_linux(label: str, fs: str, effort: DiskEffort) -> Comparison:
    trace, plans = two_saves(label, FILE_SYSTEMS[fs].profile), tuple(range(effort.recordings))
    judged = _effort(effort)
    return run_in_worker(compare_in_worker, trace, label, fs, plans=plans, effort=judged)


def _in_guest(label: str, fs: str, effort: DiskEffort) -> Comparison:
    prepared()
    trace, plans = two_saves(label, FILE_SYSTEMS[fs].profile), tuple(range(effort.recordings))
    judged = _effort(effort)
    return run_without_mounts(compare_in_worker, trace, label, fs, plans=plans, effort=judged)


def _on_mac(label: str, _fs: str, effort: DiskEffort) -> Comparison:
    with session() as rig:
        found = compare_on_mac(
            rig, [(label, two_saves(label, APFS))], recordings=effort.recordings,
            effort=_effort(effort), on_progress=lambda _line: None,
        )  # fmt: skip
    return found[0]
