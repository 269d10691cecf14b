"""Several workers at a time, each with a deadline between two signs of life."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from attrs import define, field, frozen

from powercut_rig.errors import RigError
from powercut_rig.system.worker import Worker

SILENCE_S: Final = 120.0
"""How long a worker may say nothing before it counts as hung."""

_UNWIND_S: Final = 10.0


@frozen
class Job:
    """A piece of work for one worker, under a name.

    Jobs of one `lane` share workers, which stand by between them and keep what they have started;
    they have no mounts of their own, and their work must pickle.
    """

    name: str
    work: Callable[[], object]
    lane: str = ""


@frozen
class JobOutcome:
    """The end of a job: its result, or the error that it ended in."""

    job: Job
    result: Any
    error: Exception | None = None

    @property
    def why(self) -> str:
        """The error in a line; empty where there is none."""
        return "" if self.error is None else f"{type(self.error).__name__}: {self.error}"


@define
class _Running:
    job: Job
    worker: Worker
    last: Any
    heard: float
    outcome: JobOutcome | None = field(default=None)
    stands_by: bool = False


def run_jobs(
    jobs: Iterable[Job],
    parallel: int,
    *,
    silence_s: float = SILENCE_S,
    on_progress: Callable[[Job, Any], None] = lambda _job, _value: None,
) -> Iterator[JobOutcome]:
    """The outcome of each job as it comes, at most `parallel` of them at a time.

    A job whose worker dies, or says nothing for `silence_s`, ends in a RigError that names what
    it said last; the others go on.  Ctrl-C, and closing this iterator, ends all workers.
    """
    waiting = iter(jobs)
    running: list[_Running] = []
    idle: list[tuple[str, Worker]] = []
    try:
        while True:
            while len(running) < parallel and (job := next(waiting, None)) is not None:
                running.append(_Running(job, _worker_for(job, idle), None, time.monotonic()))
            if not running:
                return
            _listen(running, silence_s, on_progress)
            for each in [each for each in running if each.outcome is not None]:
                running.remove(each)
                if each.stands_by:
                    idle.append((each.job.lane, each.worker))
                if each.outcome is not None:
                    yield each.outcome
    except KeyboardInterrupt:
        _end_all(running, interrupt=True)
        raise
    finally:
        _end_all(running, interrupt=False)
        for _, worker in idle:
            worker.end(patience_s=_UNWIND_S)


def _worker_for(job: Job, idle: list[tuple[str, Worker]]) -> Worker:
    """A worker that does the job: a new one, or for a lane one that stands by."""
    if not job.lane:
        return Worker(job.work)
    place = next((at for at, (lane, _) in enumerate(idle) if lane == job.lane), None)
    worker = Worker(mounts=False) if place is None else idle.pop(place)[1]
    worker.give(job.work)
    return worker


def _listen(
    running: list[_Running], silence_s: float, on_progress: Callable[[Job, Any], None]
) -> None:
    """Hear the workers until one has something to say; take note of those that are done."""
    now = time.monotonic()
    patience_s = max(0.0, min(each.heard + silence_s - now for each in running))
    ready, _, _ = select.select([each.worker.fd for each in running], [], [], patience_s)
    now = time.monotonic()
    for each in running:
        if each.worker.fd in ready:
            each.heard = now
            _hear(each, on_progress)
        elif now - each.heard >= silence_s:
            said = f"; it was at: {each.last}" if each.last else ""
            why = f"{each.job.name}: nothing heard for {silence_s:.0f} s, killed{said}"
            each.outcome = JobOutcome(each.job, None, RigError(why))
            each.worker.end()


def _hear(each: _Running, on_progress: Callable[[Job, Any], None]) -> None:
    try:
        messages = each.worker.read()
    except RigError as error:
        each.outcome = JobOutcome(each.job, None, error)
        each.worker.end(patience_s=_UNWIND_S)
        return
    for message in messages:
        if message.kind == "alive":
            continue
        if message.kind == "progress":
            each.last = message.value
            on_progress(each.job, message.value)
            continue
        try:
            each.outcome = JobOutcome(each.job, message.unpack())
        except Exception as error:  # the job's own error, for whoever runs the jobs to judge
            each.outcome = JobOutcome(each.job, None, error)
        if each.job.lane:
            each.stands_by = True
        else:
            each.worker.end(patience_s=_UNWIND_S)


def _end_all(running: list[_Running], *, interrupt: bool) -> None:
    while running:
        each = running.pop()
        if each.outcome is None:
            with contextlib.suppress(OSError):
                each.worker.end(interrupt=interrupt)
