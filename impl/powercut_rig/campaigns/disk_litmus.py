"""Published cases on real disks: a case is recorded, and each of its crash images is asked.

What somebody published of a file system, what its profile says, and what this kernel's disk showed
stand side by side.  A disk that shows what the profile rules out is a finding.  A published answer
that the disk contradicts is told, and is no finding: kernels differ.  What was not seen is not
thereby impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field, frozen

from powercut.crash.lazy_search import Decisions, LazySearch, PartialState
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.filesystem.ops import Barrier, Fullsync, Mark
from powercut.filesystem.state import State
from powercut.profile import Profile, load_profile
from powercut.published.cases import PublishedCase, PublishedResult
from powercut.published.conformance import answer, case_points, published_names
from powercut.published.predicates import MarkedState
from powercut.simulation.world import Perform
from powercut_rig.blocks.crash_images import Bounds, CrashImage, CrashMoment, crash_images
from powercut_rig.errors import ImageRefused, RigError
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.membership import Program, ProgramMembership
from powercut_rig.judge.recovery_answer import state_of
from powercut_rig.mounted.tree_reader import TreeSnapshot
from powercut_rig.mounted.writeback import drawn_plan
from powercut_rig.rigs import AnyImage, rig_for
from powercut_rig.system.worker import report_progress
from powercut_rig.system.worker_pool import Job, run_jobs

CASES_PER_JOB: Final = 8
IMAGES: Final = 60
PLANS: Final = (0, 1)

_BAD: Final = {"must": "violated", "reachable": "reachable"}
_NOT_ON_LINUX: Final = "F_FULLFSYNC and F_BARRIERFSYNC are macOS's; this disk has no such call"


@define
class DiskLitmusResult:
    """One case on one disk: what was asked, what its images answered, and what others say.

    `images` were mounted, `answers` of them showed what the question calls bad ("violated" for a
    must, "reachable" for a reachable), `example` is one such image.  `ours` is the answer of the
    file system's profile, and `outside` counts images whose tree it does not have.
    """

    case: str
    family: str
    fs: str
    kind: str
    ours: str = ""
    published: tuple[PublishedResult, ...] = ()
    images: int = 0
    answers: int = 0
    example: str = ""
    outside: int = 0
    undecided: int = 0
    refused: int = 0
    findings: list[str] = field(factory=list)
    not_run: str = ""

    @property
    def seen(self) -> str:
        """The answer of the disk, in the words of the question."""
        if self.not_run:
            return "not run"
        return _BAD[self.kind] if self.answers else f"not {_BAD[self.kind]} here"

    @property
    def agrees(self) -> bool:
        """The disk showed nothing that the profile rules out, and every image mounted."""
        ruled_out = self.answers and self.ours in ("holds", "unreachable")
        return not (ruled_out or self.outside or self.refused)

    def standing(self, published: PublishedResult) -> str:
        """The disk's word on a published answer: it cannot confirm that something never is."""
        says_bad = published.result in ("violated", "reachable", "allowed_by_model")
        says_good = published.result in ("holds", "not_found", "forbidden_by_model")
        if self.not_run or not (says_bad or says_good):
            return "not asked"
        if says_bad:
            return "seen" if self.answers else "not seen here"
        return "contradicted" if self.answers else "not contradicted"

    def to_json(self) -> dict[str, Any]:
        """The row as `powercut disk-litmus --json` prints it."""
        return {
            "id": self.case,
            "family": self.family,
            "fs": self.fs,
            "seen": self.seen,
            "ours": self.ours or None,
            "agrees": self.agrees,
            "images": self.images,
            "answers": self.answers,
            "example": self.example or None,
            "outside_model": self.outside,
            "undecided": self.undecided,
            "refused": self.refused,
            "published": [
                {
                    "name": each.name,
                    "result": each.result,
                    "evidence": each.evidence,
                    "standing": self.standing(each),
                }
                for each in self.published
            ],
            "findings": self.findings,
            "not_run": self.not_run or None,
        }


@frozen
class LitmusEffort:
    """The effort for a case on a disk: its write-back plans, and a bound on the images of each."""

    plans: tuple[int, ...] = PLANS
    images: int = IMAGES


def ask_disks(
    cases: Sequence[PublishedCase],
    file_systems: Sequence[str],
    probe: LitmusEffort,
    parallel: int,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> list[DiskLitmusResult]:
    """Every case on every disk, in that order; `on_progress` hears how many are done.

    A worker that dies or hangs leaves the reason as `not_run` on the cases that it had.
    """
    wanted: dict[str, list[PublishedCase]] = {}
    jobs = []
    for fs in file_systems:
        for start in range(0, len(cases), CASES_PER_JOB):
            name = f"cases from {start} on {fs}"
            wanted[name] = list(cases[start : start + CASES_PER_JOB])
            jobs.append(Job(name, partial(_ask_some, wanted[name], fs, probe)))
    rows: dict[tuple[str, str], DiskLitmusResult] = {}
    for outcome in run_jobs(jobs, parallel):
        fs = outcome.job.name.rpartition(" ")[2]
        found = outcome.result if outcome.error is None else []
        rows |= {(row.case, fs): row for row in found}
        for case in wanted[outcome.job.name]:
            rows.setdefault(
                (case.id, fs),
                DiskLitmusResult(
                    case.id, case.family, fs, case.kind, not_run=f"it failed: {outcome.error}"
                ),
            )
        on_progress(len(rows))
    return [rows[case.id, fs] for fs in file_systems for case in cases]


def _ask_some(
    cases: Sequence[PublishedCase], fs: str, probe: LitmusEffort
) -> list[DiskLitmusResult]:
    """The cases on one disk. In a worker."""
    rows = []
    for case in cases:
        rows.append(ask_disk(case, fs, probe))
        report_progress(case.id)
    return rows


def ask_disk(case: PublishedCase, fs: str, probe: LitmusEffort | None = None) -> DiskLitmusResult:
    """Record a case on a fresh file system and ask its crash images; call it in a worker."""
    probe = probe or LitmusEffort()
    entry = FILE_SYSTEMS[fs]
    names = {name for name, profile in published_names().items() if profile.name == entry.profile}
    published = tuple(each for each in case.published if each.name in names)
    row = DiskLitmusResult(
        case.id, case.family, fs, case.kind, published=published, not_run=case.not_run
    )
    if any(isinstance(op, Barrier | Fullsync) for op in (*case.setup, *case.program)):
        row.not_run = row.not_run or _NOT_ON_LINUX
    if row.not_run:
        return row
    profile = load_profile(entry.profile)
    try:
        points = case_points(case)
        row.ours = answer(case, profile, points)
        _Asking.of(case, row, profile).every_plan(probe)
    except (OSError, ValueError, RigError) as error:
        row.not_run = f"the disk does not run it: {error}"
    return row


@frozen
class _Asking:
    """One case, the row that it fills, and what the model says of its trees."""

    case: PublishedCase
    row: DiskLitmusResult
    profile: Profile
    membership: ProgramMembership

    @classmethod
    def of(cls, case: PublishedCase, row: DiskLitmusResult, profile: Profile) -> _Asking:
        """The same, with the model's state after the set-up, all of it durable."""
        state = State()
        for number, op in enumerate(case.setup, start=1):
            state = state.perform(op, f"s{number}")
        start = State.settled(state.view, state.next_inode, state.handles)
        steps = tuple(Perform(f"o{number}", op) for number, op in enumerate(case.program, 1))
        return cls(case, row, profile, ProgramMembership(Program(steps, profile, start)))

    def every_plan(self, probe: LitmusEffort) -> None:
        """Record with each plan of early writes, and ask the images of each recording."""
        entry, case = FILE_SYSTEMS[self.row.fs], self.case
        for plan in probe.plans:
            bounds = Bounds(seed=plan, atomic_unit_bytes=entry.atomic_unit_bytes, whole=entry.whole)
            with rig_for(self.row.fs) as rig:
                early = drawn_plan(case.program, plan)
                log = rig.record(case.program, setup=case.setup, writeback=early)
                chosen = self._in_question(crash_images(log, bounds).images, probe.images)
                for image, mounted in zip(chosen, rig.images(log, chosen), strict=True):
                    self._ask(plan, image, mounted)

    def _in_question(self, images: Sequence[CrashImage], most: int) -> list[CrashImage]:
        """The images with a moment that the case asks about, at most so many, evenly spread."""
        asked = [evolve(each, moments=moments) for each in images if (moments := self._when(each))]
        step = max(1, -(-len(asked) // most))
        return asked[:-1:step] + asked[-1:]

    def _when(self, image: CrashImage) -> tuple[CrashMoment, ...]:
        """The moments of an image that the case asks about."""
        wanted = ("kernel",) if self.case.crash_class == "kernel" else ("kernel", "power")
        return tuple(
            moment
            for moment in image.moments
            if moment.crash_class in wanted
            and (
                self.case.crash == "anywhere"
                or moment.progress.ops_completed == len(self.case.program)
            )
        )

    def _ask(self, plan: int, image: CrashImage, mounted: AnyImage) -> None:
        row = self.row
        row.images += 1
        try:
            snapshot = mounted.look()
        except (OSError, ImageRefused) as error:
            row.refused += 1
            row.findings.append(f"plan {plan}, {image.recipe}: cannot be read: {error}")
            return
        for moment in image.moments:
            done, begun = moment.progress.ops_completed, moment.progress.ops_begun
            has = self.membership.ask(snapshot, done, begun, moment.crash_class)
            row.undecided += has is None
            if has is False:
                row.outside += 1
                why = self.membership.why(snapshot, done, begun, moment.crash_class)
                row.findings.append(
                    f"plan {plan}, {image.recipe}, {done}/{begun}: {snapshot.in_one_line}\n  {why}"
                )
                break
        if any(self._is_bad(snapshot, moment) for moment in image.moments):
            row.answers += 1
            row.example = row.example or (
                f"plan {plan}, {image.recipe}: {snapshot.in_one_line or 'nothing'}"
            )

    def _is_bad(self, snapshot: TreeSnapshot, moment: CrashMoment) -> bool:
        """The image answers as the question calls bad, if the crash came at that moment."""
        predicate = self.case.predicate
        assert predicate is not None  # noqa: S101 - a case without one is not run
        done = self.case.program[: moment.progress.ops_completed]
        marks = frozenset(op.label for op in done if isinstance(op, Mark))
        holds = predicate(MarkedState(decided_state(snapshot, self.profile), marks))
        return holds == (self.case.kind == "reachable")


def decided_state(snapshot: TreeSnapshot, profile: Profile) -> PartialState:
    """A tree that was read, as predicates look at one: everything in it is decided."""
    space = CrashSpace.of(state_of(snapshot.tree, snapshot.links), profile, "power", no_cuts)
    return PartialState(LazySearch(space), Decisions(0, 0, 0))


def count_by_disk(rows: Sequence[DiskLitmusResult]) -> Mapping[str, Mapping[str, int]]:
    """For each disk: cases run and not, images, and what became of the published answers."""
    return {fs: dict(_counted([row for row in rows if row.fs == fs])) for fs in _disks(rows)}


def _disks(rows: Sequence[DiskLitmusResult]) -> Iterator[str]:
    yield from dict.fromkeys(row.fs for row in rows)


def _counted(rows: Sequence[DiskLitmusResult]) -> Iterator[tuple[str, int]]:
    run = [row for row in rows if not row.not_run]
    standings = [row.standing(each) for row in run for each in row.published]
    yield "cases", len(run)
    yield "not_run", len(rows) - len(run)
    yield "images", sum(row.images for row in run)
    yield "shown", sum(bool(row.answers) for row in run)
    for name in ("seen", "not seen here", "contradicted", "not contradicted"):
        yield name.replace(" ", "_"), standings.count(name)
    yield "outside_model", sum(row.outside for row in run)
    yield "undecided", sum(row.undecided for row in run)
    yield "disagree", sum(not row.agrees for row in run)
