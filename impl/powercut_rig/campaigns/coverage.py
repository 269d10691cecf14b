"""Coverage: of all trees that the model has for a small workload, how many did a disk show.

The model's trees are those of a power cut at any moment of the program, data and sizes cut in two
at most.  Each has a reason: the plainest way in which a crash can leave it.  What was not seen is
counted by that reason, so that a report says what the recordings did not bring about.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, evolve, field

from powercut.crash.downsets import bits, subsets
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.events import Entry, Extent, Piece, Size
from powercut.filesystem.state import State
from powercut.profile import Profile, profile_named
from powercut_rig.blocks.crash_images import Bounds, spread_evenly
from powercut_rig.campaigns.campaign import CampaignProgress, ProgressCounter, lane_of, workers_for
from powercut_rig.campaigns.coverage_workloads import CoverageWorkload
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.judge import JudgeEffort, compare_trace
from powercut_rig.judge.membership import Program, TreeDigest, snapshot_of
from powercut_rig.judge.result import Comparison
from powercut_rig.judge.trace_case import prepare_case
from powercut_rig.mounted.writeback import Planner, drawn_plan, stepped_plan, stepped_plans
from powercut_rig.rigs import rig_for
from powercut_rig.system.worker_pool import Job, run_jobs

REASONS: Final = {
    "in order": "all up to some event landed, and nothing after it",
    "data late": "names or sizes landed and older data did not",
    "names out of order": "something landed and an older name or size did not",
    "torn": "a part of one write or of one growth landed",
    "stale": "bytes are read that were on the medium before",
}
"""Why a crash leaves a tree, the plainest reason first."""

WIDE_BOUNDS: Final = Bounds(singles=32, pairs=64, tears=64, older_tears=16, subsets=64)
"""Nearly every loss of an epoch of a small program."""

DRAWN_PLANS: Final = 4
STEPPED_MAX: Final = 12
"""Of a longer program's stepped plans so many are taken, evenly spread."""

LIMIT: Final = 120
"""Images of a recording; of one with wide bounds there are three times as many."""


CoverageLevel = str

LEVELS: Final[Mapping[CoverageLevel, str]] = {
    "drawn": f"{DRAWN_PLANS} drawn plans of early writes, bounded losses",
    "stepped": "besides, a plan for each moment at which something can be written early",
    "wide": "besides, nearly every mixture and tear of a flush epoch",
}
"""How much is done to see more; each level does all of the one before."""


@define
class Coverage:
    """The result of one workload on one disk.

    `seen_by` counts those seen once the work of each level was done.  `unseen` counts the model's
    trees that were not seen, by reason; `elsewhere` are trees that the model has too, with data cut
    at other places than in the list.
    """

    workload: str
    fs: str
    profile: str
    allowed: int = 0
    seen_by: Counter[CoverageLevel] = field(factory=Counter)
    elsewhere: int = 0
    unseen: Counter[str] = field(factory=Counter)
    recordings: int = 0
    comparison: Comparison | None = None
    errors: list[str] = field(factory=list)

    @property
    def seen(self) -> int:
        """The number of those that were seen in the end."""
        return max(self.seen_by.values(), default=0)

    @property
    def agrees(self) -> bool:
        """Nothing was seen that the model does not have, and nothing failed."""
        return not self.errors and (self.comparison is None or self.comparison.agrees)

    def to_json(self) -> dict[str, Any]:
        """As `powercut coverage --json` prints it."""
        result = self.comparison
        return {
            "workload": self.workload,
            "fs": self.fs,
            "profile": self.profile,
            "allowed": self.allowed,
            "seen": self.seen,
            "seen_by_level": dict(self.seen_by),
            "seen_cut_elsewhere": self.elsewhere,
            "unseen": {reason: self.unseen[reason] for reason in REASONS if self.unseen[reason]},
            "recordings": self.recordings,
            "images": result.images if result else 0,
            "agrees": self.agrees,
            "errors": [*self.errors, *(str(each) for each in (result.findings if result else ()))],
        }


def allowed_trees(program: Program) -> dict[TreeDigest, str]:
    """Every tree that a power cut at any moment of the program can leave, with its reason."""
    found: dict[TreeDigest, str] = {}
    rank = list(REASONS)
    for completed in range(len(program.steps) + 1):
        # With an op begun everything is allowed that was so before it: none of it has landed then.
        begun = min(completed + 1, len(program.steps))
        for state in program.states(completed, begun):
            for tree, reason in _trees_of(state, program.profile):
                if tree not in found or rank.index(reason) < rank.index(found[tree]):
                    found[tree] = reason
    return found


def _trees_of(state: State, profile: Profile) -> Iterator[tuple[TreeDigest, str]]:
    """Every tree that a power cut can leave of a state, with the reason."""
    space = CrashSpace.of(state, profile, "power", even_cuts(profile, 2))
    for landed in set(space.landed_sets()):
        for stale in subsets(space.exposed(landed)):
            tree = snapshot_of(space.materialise(landed, stale).base).digest
            yield tree, "stale" if stale else reason_of(space.pieces, landed)


def reason_of(pieces: Sequence[Piece], landed: int) -> str:
    """The reason of a crash that lands just these pieces, the oddest way first."""
    everything = (1 << len(pieces)) - 1
    there = {pieces[p].index for p in bits(landed)}
    lost = [pieces[p] for p in bits(everything & ~landed)]
    last = max(there, default=-1)
    if any(piece.index in there for piece in lost):
        return "torn"
    older = [piece.event for piece in lost if piece.index < last]
    if any(isinstance(event, Entry | Size) for event in older):
        return "names out of order"
    return "data late" if any(isinstance(event, Extent) for event in older) else "in order"


def _rounds(
    level: CoverageLevel, stepped: int, limit: int
) -> Iterator[tuple[CoverageLevel, Planner, Sequence[int], JudgeEffort]]:
    """The work of each level up to that one: planner, the numbers of its plans, and the effort."""
    base = JudgeEffort(limit, again=0, fsck_every=0, coverage=False)
    yield "drawn", drawn_plan, range(DRAWN_PLANS), base
    if level != "drawn":
        yield "stepped", stepped_plan, spread_evenly(range(stepped), STEPPED_MAX), base
    if level == "wide":
        yield "wide", drawn_plan, (0, 2), evolve(base, limit=3 * limit, bounds=WIDE_BOUNDS)


def measure_in_worker(
    workload: CoverageWorkload, fs: str, level: CoverageLevel, limit: int = LIMIT
) -> Coverage:
    """Record one workload as a level asks, and count. In a worker."""
    profile = profile_named(FILE_SYSTEMS[fs].profile)
    trace = workload.trace(profile.name)
    program = prepare_case(trace, workload.name, profile).program
    allowed = allowed_trees(program)
    moments = len(stepped_plans([step.op for step in program.steps]))
    row = Coverage(workload.name, fs, profile.name, len(allowed))
    with rig_for(fs) as rig:
        for name, planner, plans, effort in _rounds(level, moments, limit):
            more = compare_trace(
                rig, trace, workload.name, fs, profile, plans=plans, effort=effort.on(fs),
                planner=planner,
            )  # fmt: skip
            row.recordings += len(more.plans)
            if row.comparison is None:
                row.comparison = more
            else:
                row.comparison.add(more)
            row.seen_by[name] = len(row.comparison.seen & allowed.keys())
    seen = row.comparison.seen if row.comparison else set()
    row.elsewhere = len(seen - allowed.keys())
    row.unseen.update(reason for tree, reason in allowed.items() if tree not in seen)
    return row


def measure_coverage(
    workloads: Sequence[CoverageWorkload],
    file_systems: Sequence[str],
    level: CoverageLevel = "wide",
    *,
    limit: int = LIMIT,
    parallel: int | None = None,
    on_progress: Callable[[CampaignProgress], None] = lambda _progress: None,
) -> list[Coverage]:
    """The coverage of each workload on each disk, in the order asked for."""
    found: dict[str, Coverage] = {}
    jobs = []
    for fs in file_systems:
        for workload in workloads:
            name = f"{workload.name} on {fs}"
            found[name] = Coverage(workload.name, fs, FILE_SYSTEMS[fs].profile)
            work = functools.partial(measure_in_worker, workload, fs, level, limit)
            jobs.append(Job(name, work, lane_of(fs)))
    counter = ProgressCounter(len(jobs), "workloads", on_progress)
    parallel = parallel or workers_for(file_systems)
    for outcome in run_jobs(jobs, parallel, on_progress=counter.heard):
        if outcome.error is not None:
            found[outcome.job.name].errors.append(outcome.why)
        else:
            found[outcome.job.name] = outcome.result
        counter.job_done()
    return list(found.values())


def sum_by_disk(rows: Sequence[Coverage]) -> list[Coverage]:
    """One row for each disk: the sums over its workloads."""
    sums: dict[str, Coverage] = {}
    for row in rows:
        total = sums.setdefault(row.fs, Coverage("all", row.fs, row.profile))
        total.allowed += row.allowed
        total.seen_by.update(row.seen_by)
        total.recordings += row.recordings
        total.elsewhere += row.elsewhere
        total.unseen.update(row.unseen)
    return list(sums.values())
