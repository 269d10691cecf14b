"""Many recordings at once: traces times file systems times write-back plans, over all cores."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import define, field, frozen

from powercut.trace.trace_file import Trace
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.judge import JudgeEffort, compare_in_worker
from powercut_rig.judge.result import Comparison
from powercut_rig.system.worker_pool import Job, run_jobs

PLANS_PER_JOB = 4


@frozen
class CampaignProgress:
    """The progress of a campaign: images so far, jobs done and in all, and the name of a job."""

    images: int
    jobs_done: int
    jobs: int
    what: str

    def __str__(self) -> str:
        return f"{self.images} images, {self.jobs_done} of {self.jobs} {self.what} judged"


@define
class ProgressCounter:
    """Counts the images of jobs that run, and the jobs that are done, and tells of each change."""

    jobs: int
    what: str
    tell: Callable[[CampaignProgress], None]
    _done: int = 0
    _images: int = 0
    _last: dict[int, int] = field(factory=dict)

    def heard(self, job: Job, images: int) -> None:
        """Take note of the images that a job has judged so far; it may count anew at times."""
        before = self._last.get(id(job), 0)
        self._images += images - before if images >= before else images
        self._last[id(job)] = images
        self._tell()

    def job_done(self) -> None:
        """Take note of a job that is done."""
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        self.tell(CampaignProgress(self._images, self._done, self.jobs, self.what))


WORKERS_PER_CORE: Final = 2
"""A worker waits for most of a mount and an unmount: for grace periods of the kernel's RCU."""


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def workers_for(file_systems: Iterable[str]) -> int:
    """The number of workers that run at a time by default.

    One a core where a guest is among the disks: a guest computes all the time.
    """
    guests = any(FILE_SYSTEMS[name].in_guest for name in file_systems)
    return cores() * (1 if guests else WORKERS_PER_CORE)


def lane_of(fs: str) -> str:
    """The pool's lane for a file system: those in guests share workers, which keep the guests."""
    return "guest" if FILE_SYSTEMS[fs].in_guest else ""


def run_campaign(
    traces: Sequence[tuple[str, Trace]],
    file_systems: Sequence[str],
    recordings: int,
    effort: JudgeEffort,
    *,
    profile: str | None = None,
    parallel: int | None = None,
    on_progress: Callable[[CampaignProgress], None] = lambda _progress: None,
) -> list[Comparison]:
    """A comparison for each trace on each file system, each over so many recordings.

    A job that dies, hangs or cannot run is an error of its comparison; the others go on.
    """
    results: dict[str, Comparison] = {}
    jobs: list[Job] = []
    for where, trace in traces:
        for fs in file_systems:
            name = f"{where} on {fs}"
            results[name] = Comparison(
                where, fs, profile or FILE_SYSTEMS[fs].profile, trace.subject, trace.property,
                trace.verdict,
            )  # fmt: skip
            for first in range(0, recordings, PLANS_PER_JOB):
                plans = tuple(range(first, min(first + PLANS_PER_JOB, recordings)))
                work = functools.partial(
                    compare_in_worker, trace, where, fs,
                    profile_name=profile, plans=plans, effort=effort,
                )  # fmt: skip
                jobs.append(Job(name, work, lane_of(fs)))
    counter = ProgressCounter(len(jobs), "recordings", on_progress)
    parallel = parallel or workers_for(file_systems)
    for outcome in run_jobs(jobs, parallel, on_progress=counter.heard):
        result = results[outcome.job.name]
        if outcome.error is not None:
            result.errors.append(outcome.why)
        else:
            result.add(outcome.result)
        counter.job_done()
    return list(results.values())
