"""Part 3: every power-loss state of the model, within a stated bound; and how a group is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from attrs import evolve

from powercut.checker.check import CheckEffort, CheckQuestion, check, trace_of
from powercut.checker.exhaustive import DEEP, Bound
from powercut.filesystem import ops
from powercut.profile import load_profile
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.subject import load_subject
from powercut.simulation.world import Ack, Begin, CrashStep, Perform
from powercut.trace.explain import Explanation, explain
from powercut.trace.trace_file import Trace
from powercut_lab.crash.tables import MODEL, PROTOCOLS, STORY
from powercut_lab.study import Row, Size, WorkUnit

QUICK_PROFILES: Final = ("posix-minimal", "ext4-ordered", "xfs", "btrfs", "apfs")
PROFILES: Final = (
    *QUICK_PROFILES, "ext4-writeback", "ext4-fast-commit", "f2fs-posix", "apfs-linux",
    "lying-drive",
)  # fmt: skip

SMALL: Final = Bound(saves=1, parts=1, pieces=1)
"""A save, a recovery and a save of one part: short enough to be looked at whole in most cases."""

BOUNDS: Final[Mapping[Size, tuple[Bound, ...]]] = {
    "quick": (evolve(SMALL, states=16_000, runs=450),),
    "default": (
        SMALL,
        Bound(parts=1, pieces=1, states=100_000, runs=2_000),
        evolve(DEEP, states=100_000, runs=2_000),
    ),
    "full": (SMALL, Bound(), DEEP),
}
"""The bound of a search: it is cut off, and says so, at so many states or recoveries."""

STORIES: Final = (
    ("paper:unsafe", "ext4-ordered"),
    ("paper:atomic_nodirsync", "ext4-ordered"),
    ("paper:atomic_dirsync", "posix-minimal"),
)
"""The losses that are told: each mode of the paper's under a profile where it loses a group."""

_STORY_BOUND: Final = Bound(parts=1, pieces=1, states=20_000, runs=600)
_SECONDS: Final[Mapping[Size, float]] = {"quick": 0.7, "default": 6.0, "full": 25.0}


def model_units(size: Size) -> Iterator[WorkUnit]:
    """A unit for each protocol and profile, then those that tell how a group is lost.

    The model has no dice: the seed changes nothing.
    """
    profiles = QUICK_PROFILES if size == "quick" else PROFILES
    for label in PROTOCOLS:
        for profile in profiles:
            work = partial(_verdicts, label, profile, BOUNDS[size])
            yield WorkUnit(f"model {label} {profile}, {size} bound", MODEL, work, _SECONDS[size])
    for label, profile in STORIES:
        yield WorkUnit(f"story {label} {profile}", STORY, partial(_story, label, profile), 1.0)


def _question(label: str, profile: str, properties: tuple[str, ...]) -> CheckQuestion:
    return CheckQuestion(load_subject(label), load_profile(profile), "power", properties)


def _verdicts(label: str, profile: str, bounds: Sequence[Bound], _folder: Path) -> Iterator[Row]:
    question = _question(label, profile, OF_CRASHES)
    report = check(question, CheckEffort("enumerated", tuple(bounds)))
    for name, verdict in report.properties.items():
        example = verdict.counterexample
        yield (
            label, profile, name, verdict.verdict, " ".join(verdict.unknown_rules),
            int(verdict.exhaustive), verdict.represented, verdict.run, bounds_in_words(bounds),
            example.because if example else "",
        )  # fmt: skip


def bounds_in_words(bounds: Sequence[Bound]) -> str:
    """The bounds of a search, as text."""
    return "; ".join(
        f"saves {b.saves}, crashes {b.crashes}, parts {b.parts}, pieces of a write {b.pieces}, "
        f"states at most {b.states}, recoveries at most {b.runs}"
        for b in bounds
    )


def _story(label: str, profile: str, _folder: Path) -> Iterator[Row]:
    question = _question(label, profile, ("P3",))
    verdict = check(question, CheckEffort("enumerated", (_STORY_BOUND,))).properties["P3"]
    if verdict.counterexample is None:
        yield label, profile, "P3", 1, "verdict", verdict.verdict
        return
    trace = trace_of(question, verdict)
    lines = story_lines(trace, explain(trace, label))
    for number, (what, text) in enumerate(lines, start=1):
        yield label, profile, "P3", number, what, text


def story_lines(trace: Trace, explained: Explanation) -> Iterator[tuple[str, str]]:
    """The lines of a counterexample: what each is, and its text."""
    for step in trace.steps:
        match step:
            case Begin(number=number):
                yield "save", f"Save {number} begins."
            case Perform(op=op):
                yield "call", op_in_words(op)
            case Ack(number=number):
                yield "acknowledged", f"Save {number} returns."
            case CrashStep():
                yield "crash", f"The {explained.crash_class} fails."
    for fate in explained.fates:
        if fate.fate not in ("durable", "persisted"):
            yield "lost", f"{fate.what}: {fate.fate}"
    yield "recovery", explained.because
    for sync in explained.forbidding_syncs:
        yield "remedy", sync


def op_in_words(op: ops.Op) -> str:
    """A call with its paths, as a program's trace would show it."""
    name = type(op).__name__.lower()
    paths = [getattr(op, each) for each in ("path", "src", "dst") if hasattr(op, each)]
    return " ".join([name, *paths])
