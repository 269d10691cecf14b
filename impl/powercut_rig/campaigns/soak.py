"""A soak: random programs and saves, recorded and judged until so many images have been seen.

Workloads are numbered; each is recorded on each file system with a few plans of early writes.
A random program that leaves something outside the model, or a disk that does not mount, is made
smaller on the disk itself, and becomes a trace that `powercut compare` runs again.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from attrs import define, evolve, field, frozen

from powercut.filesystem.ops import Fsync, Op
from powercut.filesystem.state import State
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.world import Perform
from powercut.trace.trace_file import Trace, render_trace
from powercut_rig.campaigns.campaign import lane_of
from powercut_rig.campaigns.random_programs import program_trace, random_program, saves_trace
from powercut_rig.errors import RigError
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.judge import EARLY_WRITES, OWN_PLAN, JudgeEffort, compare_in_worker
from powercut_rig.judge.result import OUTSIDE, REFUSED, Comparison
from powercut_rig.mounted.writeback import WriteBack, drawn_plan, plan_text
from powercut_rig.system.worker import inside_worker, run_in_worker, run_without_mounts
from powercut_rig.system.worker_pool import Job, run_jobs

_P = ParamSpec("_P")
_T = TypeVar("_T")

SUBJECTS: Final = (
    "lastgood:atomic_dirsync",
    "lastgood+keep1:atomic_dirsync",
    "lastgood+repair:atomic_dirsync",
)
"""Whose saves are judged, in turn: one that only saves, one that prunes, one that repairs."""

PLANS: Final = 3
SOAK_EFFORT: Final = JudgeEffort(limit=150, again=1, again_limit=30, fsck_every=100, coverage=False)
"""What is done for each recording of a soak."""

_GUEST_TRIALS: Final = 15
_GUEST_LIMIT: Final = 80
"""In a guest an image takes ten times as long: fewer smaller programs, fewer images of each."""

_SHRINK_EFFORT: Final = JudgeEffort(again=0, fsck_every=0, coverage=False)


@frozen
class SoakWorkload:
    """One numbered workload on one file system."""

    number: int
    fs: str

    @property
    def name(self) -> str:
        """Its name in a report."""
        return f"{'saves' if self.is_save else 'program'} {self.number}"

    @property
    def is_save(self) -> bool:
        """Every second workload saves groups; the others are random programs."""
        return self.number % 2 == 0

    @property
    def plans(self) -> tuple[int, ...]:
        """The numbers of its write-back plans; other workloads have others."""
        return tuple(range(self.number * PLANS, (self.number + 1) * PLANS))

    def trace(self) -> Trace:
        """The workload as a trace."""
        profile = FILE_SYSTEMS[self.fs].profile
        if self.is_save:
            return saves_trace(self.number, SUBJECTS[self.number // 2 % len(SUBJECTS)], profile)
        program = random_program(self.number, 6 + self.number % 9, FILE_SYSTEMS[self.fs].lacks)
        return program_trace(program, profile)

    def compare(self, effort: JudgeEffort) -> Comparison:
        """Record and judge it. In a worker."""
        promised = OF_CRASHES if self.is_save else ()
        return compare_in_worker(
            self.trace(), self.name, self.fs, plans=self.plans, promised=promised, effort=effort
        )


@define
class SoakResult:
    """The result of a soak so far: one sum for each file system, and all that went wrong.

    Its workloads are those from number `first` to before `next`; `under_way` counts the images of
    those that are being judged, and that an interrupt loses.
    """

    first: int = 0
    sums: dict[str, Comparison] = field(factory=dict)
    wrong: list[tuple[SoakWorkload, Comparison]] = field(factory=list)
    workloads: int = 0
    next: int = field(init=False)
    under_way: dict[str, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.next = self.first

    @property
    def in_words(self) -> str:
        """The result in a line."""
        outside = sum(each.outside for each in self.sums.values())
        refused = sum(each.refused for each in self.sums.values())
        last = max(self.first, self.next - 1)
        return (
            f"{self.workloads} workloads numbered {self.first} to {last}, "
            f"{outside} images outside the model, {refused} that do not mount, "
            f"{len(self.wrong)} workloads wrong"
        )

    @property
    def images(self) -> int:
        """All images so far."""
        return sum(each.images + each.second_images for each in self.sums.values())

    @property
    def images_so_far(self) -> int:
        """The same, with those of workloads that are under way."""
        return self.images + sum(self.under_way.values())

    @property
    def agrees(self) -> bool:
        """Nothing went wrong."""
        return not self.wrong

    def take(self, workload: SoakWorkload, result: Comparison) -> None:
        """Count one workload's result."""
        fs = workload.fs
        if fs not in self.sums:
            self.sums[fs] = Comparison("soak", fs, result.profile, SUBJECTS[0], "P3", "holds")
        self.sums[fs].add(evolve(result, plans=set(), timeline=None))
        self.workloads += 1
        if not result.agrees:
            self.wrong.append((workload, result))


def soak(
    file_systems: Sequence[str],
    images: int,
    found: SoakResult | None = None,
    *,
    workloads: int | None = None,
    parallel: int,
    effort: JudgeEffort = SOAK_EFFORT,
    on_progress: Callable[[SoakResult], None] = lambda _soaked: None,
) -> SoakResult:
    """Judge workloads from number `found.first` on, until `images` images have been mounted.

    Or until all of `workloads` numbers have been, if that comes first.  What comes is counted in
    `found`, so that it is there after Ctrl-C as well; it is the answer, too.
    """
    found = SoakResult() if found is None else found
    first = found.first
    todo: dict[str, SoakWorkload] = {}

    def jobs() -> Iterator[Job]:
        numbers = itertools.count(first) if workloads is None else range(first, first + workloads)
        for number in numbers:
            for fs in file_systems:
                if found.images >= images:
                    return
                found.next = number + 1
                workload = SoakWorkload(number, fs)
                name = f"{workload.name} on {fs}"
                todo[name] = workload
                yield Job(name, functools.partial(workload.compare, effort), lane_of(fs))

    def heard(job: Job, images: int) -> None:
        found.under_way[job.name] = images
        on_progress(found)

    for outcome in run_jobs(jobs(), parallel, on_progress=heard):
        workload = todo.pop(outcome.job.name)
        found.under_way.pop(outcome.job.name, None)
        result = outcome.result
        if outcome.error is not None:
            profile = FILE_SYSTEMS[workload.fs].profile
            result = Comparison(workload.name, workload.fs, profile, None, "P1", "holds")
            result.errors.append(outcome.why)
        found.take(workload, result)
        on_progress(found)
    return found


def counterexample_in_worker(workload: SoakWorkload, result: Comparison) -> Trace:
    """The same, with what it records in a worker; one for all, and fewer, where guests are kept.

    Where a smaller one cannot be looked for, it is the workload as it is.
    """
    try:
        if FILE_SYSTEMS[workload.fs].in_guest:
            return run_without_mounts(counterexample, workload, result, _GUEST_TRIALS)
        return counterexample(workload, result)
    except RigError:
        return _as_it_is(workload)


def counterexample(workload: SoakWorkload, result: Comparison, budget: int = 60) -> Trace:
    """The workload as a trace; a random program as small as it still leaves the model.

    Or as small as it still leaves a disk that does not mount, where nothing else is wrong.  Each
    smaller program is recorded and judged anew, at most `budget` of them.
    """
    kind = OUTSIDE if result.outside else REFUSED
    finding = next((each for each in result.findings if each.kind == kind), None)
    if workload.is_save or finding is None:
        return _as_it_is(workload)
    program = [step.op for step in workload.trace().steps if isinstance(step, Perform)]
    early = list(drawn_plan(program, finding.plan))

    in_guest = FILE_SYSTEMS[workload.fs].in_guest
    effort = evolve(_SHRINK_EFFORT, limit=_GUEST_LIMIT if in_guest else None)

    def wrong(program: Sequence[Op], early: Sequence[WriteBack]) -> bool:
        trial = _trial(workload.fs, program, early)
        run = _here if inside_worker() else run_in_worker
        found = run(
            compare_in_worker, trial, "a smaller program", workload.fs, plans=(OWN_PLAN,),
            effort=effort,
        )  # fmt: skip
        return (found.outside if kind == OUTSIDE else found.refused) > 0

    program, early = shrink(program, early, wrong, budget)
    return _trial(workload.fs, program, early)


def _as_it_is(workload: SoakWorkload) -> Trace:
    return evolve(workload.trace(), origin={"by": "powercut soak", "fs": workload.fs})


def _here(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call it in this worker."""
    return function(*args, **kwargs)


def _trial(fs: str, program: Sequence[Op], early: Sequence[WriteBack]) -> Trace:
    origin = {"by": "powercut soak", "fs": fs, EARLY_WRITES: plan_text(early)}
    return program_trace(program, FILE_SYSTEMS[fs].profile, **origin)


Wrong = Callable[[Sequence[Op], Sequence[WriteBack]], bool]


def shrink(
    program: Sequence[Op], early: Sequence[WriteBack], wrong: Wrong, budget: int
) -> tuple[list[Op], list[WriteBack]]:
    """Leave out ops and early writes one by one, as long as what is left is still `wrong`."""
    program, early = list(program), list(early)
    changed = True
    while changed and budget > 0:
        changed = False
        for smaller in _smaller(program, early):
            if budget <= 0:
                break
            budget -= 1
            if wrong(*smaller):
                program, early = smaller
                changed = True
                break
    return program, early


def _smaller(
    program: list[Op], early: list[WriteBack]
) -> Iterator[tuple[list[Op], list[WriteBack]]]:
    """Programs with one op, one early write or all early writes less that can run."""
    if early:
        yield program, []
    for index in reversed(range(len(program))):
        fewer = program[:index] + program[index + 1 :]
        moved = [evolve(each, after_op=each.after_op - (each.after_op >= index)) for each in early]
        if fewer and can_run(fewer, moved):
            yield fewer, moved
    for index in reversed(range(len(early))):
        yield program, early[:index] + early[index + 1 :]


def can_run(program: Sequence[Op], early: Sequence[WriteBack]) -> bool:
    """Every op succeeds, and each early write finds its file."""
    state = State()
    states = [state]
    try:
        for number, op in enumerate(program):
            state = state.perform(op, str(number))
            states.append(state)
        for each in early:
            if each.path:
                states[each.after_op + 1].perform(Fsync(each.path), "early")
    except OSError:
        return False
    return True


def write_counterexamples(found: SoakResult, folder: Path) -> list[Path]:
    """A trace for each workload that went wrong, at most ten; their paths."""
    written = []
    for workload, result in found.wrong[:10]:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"soak-{workload.name.replace(' ', '-')}-{workload.fs}.toml"
        path.write_text(render_trace(counterexample_in_worker(workload, result)))
        written.append(path)
    return written
