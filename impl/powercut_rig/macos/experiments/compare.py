"""Traces on a Mac's APFS, held against the model by the same judgement as on every other rig."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import evolve, frozen

from powercut.filesystem.ops import Barrier, Create, Fsync, Fullsync, Link, Op, Tmpfile, Write
from powercut.profile import profile_named
from powercut.trace.trace_file import Trace
from powercut_rig.campaigns.random_programs import program_trace, random_program, saves_trace
from powercut_rig.errors import RigError
from powercut_rig.judge.judge import JudgeEffort, compare_trace
from powercut_rig.judge.result import Comparison
from powercut_rig.macos import APFS
from powercut_rig.macos.clone_recorder import count_in_file
from powercut_rig.macos.rig import MacRig
from powercut_rig.macos.session import own_folder

MODES: Final = ("atomic_nodirsync", "atomic_dirsync", "atomic_fullsync")
MAC_EFFORT: Final = JudgeEffort(again=1, again_limit=12, fsck_every=10, coverage=False)
"""What is done for each recording where nobody says otherwise: an attach costs a second."""

_MARKED: Final[tuple[Op, ...]] = (Create("/a"), Write("/a", 0, b"old"))
_BLANK_BYTES: Final = 8 << 20
_BLOCK: Final = b"powercut wrote this block and synced nothing.".ljust(4096, b".")
_BLOCK_AT: Final = 1 << 20
_PROGRAMS: Final = 4
_PROGRAM_OPS: Final = 12
_PROMISED: Final = "P1"
"""All that every mode promises on every Mac: what comes back is whole. The rest is counted."""


def own_traces() -> list[tuple[str, Trace]]:
    """The traces for a run that names none: saves in each mode, and random programs of file ops.

    In the programs every file sync is in turn an fsync, an F_BARRIERFSYNC and an F_FULLFSYNC.
    """
    saves = [
        (
            f"saves of lastgood:{mode}",
            evolve(saves_trace(number, f"lastgood:{mode}", APFS), property=_PROMISED),
        )
        for number, mode in enumerate(MODES, start=1)
    ]
    drawn = itertools.islice(mac_programs(), _PROGRAMS)
    return [
        *saves,
        *((f"program {number}", program_trace(program, APFS)) for number, program in drawn),
    ]


def mac_programs() -> Iterator[tuple[int, tuple[Op, ...]]]:
    """Random programs that macOS can run, each with its number."""
    for number in itertools.count():
        program = random_program(number, _PROGRAM_OPS)
        if not any(isinstance(op, Tmpfile) or _links_a_handle(op) for op in program):
            yield number, _with_every_sync(program)


@frozen
class Calibration:
    """Facts about this Mac's images, found before anything is judged by them.

    `effort` is what to go on with.  `plain_writes_land`: a write to an image's device is in the
    clone that follows, though nothing was synced.  Where it is not, or was not seen, a tree that
    lacks something may lack it in the cache of the image's driver: it strikes no rule.
    """

    effort: JudgeEffort
    plain_writes_land: bool
    notes: tuple[str, ...] = ()


def calibrate(rig: MacRig, effort: JudgeEffort) -> Calibration:
    """Find out whether the clones of this Mac can be believed, and how far.

    A file that F_FULLFSYNC has returned for, and its name after a sync of the volume, must be in
    the clone that follows: RigError where they are not, for then the image's driver keeps back
    what it is given, and no clone means anything.  F_FULLFSYNC may also empty the driver's own
    cache, which fsync does not: so a plain write to a device is looked for as well.  Where
    fsck_apfs cannot look at a fresh image, the effort comes back without it.
    """
    notes = []
    with own_folder(rig, "calibration") as own:
        log = own.record((Write("/a", 0, b"new"), Fullsync("/a")), setup=_MARKED, writeback=())
        newest = log.found.images[-1]
        seen = own.tree(log, newest.recipe)
        if seen.plain != {"a": b"new"}:
            raise RigError(
                f"A clone shows {seen.in_one_line or 'nothing'} after F_FULLFSYNC of a file "
                "that holds b'new': on this Mac an image file does not hold what its volume was "
                "told to write, so clones of it mean nothing. Nothing was concluded."
            )
        if effort.fsck_every:
            try:
                report = own.disks.fsck(log.clones[newest.recipe.position])
                if not report.clean:
                    notes.append(
                        f"fsck_apfs complains of a fresh image: {report.output.strip()[-300:]}"
                    )
            except RigError as error:
                effort = evolve(effort, fsck_every=0)
                notes.append(f"fsck was not asked: {error}")
        kept_back = _keeps_back(own)
    if kept_back:
        notes.append(
            f"{kept_back} So a tree that lacks something may lack it in the cache of the image's "
            "driver: no rule is struck on this Mac, and a tree outside the model proves nothing."
        )
    return Calibration(effort, not kept_back, tuple(notes))


def _keeps_back(rig: MacRig) -> str:
    """The reason why a plain write may not reach the image file; "" where it does."""
    image, clone = rig.folder / "plain.dmg", rig.folder / "plain-clone.dmg"
    try:
        rig.disks.create_blank(image, _BLANK_BYTES)
        with rig.disks.attached(image, None, writable=True) as found:
            fd = rig.calls.open_device(found.device)
            try:  # the device stays open: its last close might flush it
                os.pwrite(fd, _BLOCK, _BLOCK_AT)
                rig.clone(image, clone)
            finally:
                os.close(fd)
    except (RigError, OSError) as error:
        return (
            f"It could not be tried whether a write without a sync reaches an image file: {error}."
        )
    if count_in_file(clone, _BLOCK):
        return ""
    return "A block that was written to the device of an image is not in the clone that follows."


def compare_on_mac(
    rig: MacRig,
    traces: Sequence[tuple[str, Trace]],
    recordings: int,
    effort: JudgeEffort,
    *,
    profile: str | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Comparison]:
    """A comparison for each trace, each over so many recordings.

    A trace that cannot be run to its end is an error of its comparison; the others go on.
    """
    results = []
    held_against = profile_named(profile or APFS)
    for number, (where, trace) in enumerate(traces):
        result = Comparison(
            where, APFS, held_against.name, trace.subject, trace.property, trace.verdict
        )
        for plan in range(recordings):
            on_progress(f"{where}: recording {plan + 1} of {recordings}")
            try:
                with own_folder(rig, f"trace-{number}-{plan}") as own:
                    result.add(
                        compare_trace(
                            own, trace, where, APFS, held_against, plans=(plan,), effort=effort
                        )
                    )
            except (RigError, OSError) as error:
                result.errors.append(str(error))
        results.append(result)
    return results


def _links_a_handle(op: Op) -> bool:
    return isinstance(op, Link) and op.src.startswith("@")


def _with_every_sync(program: Sequence[Op]) -> tuple[Op, ...]:
    """The program with its file syncs replaced in turn: fsync, barrier, full."""
    kinds = itertools.cycle((Fsync, Barrier, Fullsync))
    return tuple(next(kinds)(op.path) if isinstance(op, Fsync) else op for op in program)
