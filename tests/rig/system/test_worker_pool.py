"""Workers side by side: all answer, and one that dies or hangs does not stop the others."""

from __future__ import annotations

import os
import time

import pytest

from powercut_rig import RigError
from powercut_rig.system.deadline import DeadlineError, deadline
from powercut_rig.system.worker import report_progress
from powercut_rig.system.worker_pool import Job, run_jobs

pytestmark = pytest.mark.rig


def test_each_job_answers_and_is_heard() -> None:
    heard = []

    def work(number: int) -> int:
        report_progress(number)
        return number * number

    jobs = [Job(f"job {n}", lambda n=n: work(n)) for n in range(5)]  # type: ignore[misc]
    outcomes = list(run_jobs(jobs, 2, on_progress=lambda job, value: heard.append(value)))

    assert sorted(outcome.result for outcome in outcomes) == [0, 1, 4, 9, 16]
    assert sorted(heard) == list(range(5))


def test_a_job_that_dies_or_fails_is_told_and_the_others_go_on() -> None:
    jobs = [
        Job("dies", lambda: os._exit(3)),
        Job("fails", lambda: int("x")),
        Job("works", lambda: 7),
    ]

    outcomes = {outcome.job.name: outcome for outcome in run_jobs(jobs, 2)}

    assert "died before it answered" in str(outcomes["dies"].error)
    assert isinstance(outcomes["fails"].error, ValueError)
    assert outcomes["works"].result == 7


def test_a_job_that_falls_silent_is_killed_and_says_where_it_was() -> None:
    def hang() -> None:
        report_progress("image 12")
        time.sleep(600)

    (outcome,) = run_jobs([Job("hangs", hang)], 1, silence_s=0.3)

    assert isinstance(outcome.error, RigError)
    assert "it was at: image 12" in str(outcome.error)


def test_closing_the_iterator_ends_the_workers() -> None:
    pids: list[int] = []

    def hang() -> None:
        report_progress(os.getpid())
        time.sleep(600)

    jobs = [Job("hangs", hang), Job("works", lambda: 1)]
    outcomes = run_jobs(jobs, 2, on_progress=lambda job, value: pids.append(value))
    assert next(outcomes).job.name == "works"
    outcomes.close()  # type: ignore[attr-defined]

    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_work_that_takes_too_long_is_broken_off_even_where_errors_are_caught() -> None:
    def stubborn() -> None:
        while True:
            try:
                time.sleep(600)
            except Exception:  # noqa: S112 - what a recovery that catches all would do
                continue

    with pytest.raises(DeadlineError, match=r"not done after 0\.05 s"), deadline(0.05):
        stubborn()
