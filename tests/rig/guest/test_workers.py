"""Workers that stand by between jobs: they need no root, and keep what they have started."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from powercut_rig.errors import RigError
from powercut_rig.system.deadline import DeadlineError
from powercut_rig.system.worker import (
    Worker,
    at_end,
    inside_worker,
    outer_namespace_fd,
    private_folder,
    report_alive,
    report_progress,
    run_without_mounts,
)
from powercut_rig.system.worker_pool import Job, run_jobs

LANE = "lane"


def alive() -> int:
    report_alive()
    report_alive()
    return os.getpid()


def pid() -> int:
    report_progress("here")
    return os.getpid()


def leave(path: str) -> int:
    at_end(partial(Path(path).write_text, "over"))
    return pid()


def deadline_passes() -> None:
    raise DeadlineError("not done")


def test_jobs_of_a_lane_share_workers_and_others_have_their_own() -> None:
    heard: list[object] = []
    jobs = [Job(str(n), pid, LANE) for n in range(4)] + [Job("o", pid, "other")]
    outcomes = list(run_jobs(jobs, 1, on_progress=lambda job, value: heard.append(value)))

    pids = {outcome.job.lane: outcome.result for outcome in outcomes}
    assert [outcome.result for outcome in outcomes] == [pids[LANE]] * 4 + [pids["other"]]
    assert len({*pids.values(), os.getpid()}) == 3
    assert heard == ["here"] * 5


def test_two_at_a_time_are_two_workers() -> None:
    outcomes = list(run_jobs([Job(str(n), pid, LANE) for n in range(6)], 2))
    assert len({outcome.result for outcome in outcomes}) == 2


def test_a_job_that_fails_leaves_its_worker_to_the_next_one() -> None:
    jobs = [Job("0", partial(int, "x"), LANE), Job("1", deadline_passes, LANE), Job("2", pid, LANE)]
    first, second, third = run_jobs(jobs, 1)

    assert isinstance(first.error, ValueError)
    assert isinstance(second.error, RigError)
    assert third.error is None
    assert third.result != os.getpid()


def test_a_worker_that_dies_or_hangs_is_replaced() -> None:
    jobs = [
        Job("dies", partial(os._exit, 3), LANE),
        Job("hangs", partial(time.sleep, 600), LANE),
        Job("works", pid, LANE),
    ]
    dead, hung, works = run_jobs(jobs, 1, silence_s=0.5)

    assert "died before it answered" in str(dead.error)
    assert "nothing heard" in str(hung.error)
    assert works.error is None


def test_a_sign_of_life_is_neither_progress_nor_a_result() -> None:
    heard: list[object] = []
    jobs = [Job("slow", alive, LANE), Job("next", alive, LANE)]
    outcomes = list(run_jobs(jobs, 1, on_progress=lambda job, value: heard.append(value)))

    assert len({outcome.result for outcome in outcomes} - {None}) == 1
    assert heard == []


def test_what_a_worker_has_to_do_at_its_end_is_done(tmp_path: Path) -> None:
    path = tmp_path / "note"
    (outcome,) = run_jobs([Job("0", partial(leave, str(path)), LANE)], 1)

    assert outcome.error is None
    assert path.read_text() == "over"
    with pytest.raises(ProcessLookupError):
        os.kill(outcome.result, 0)


def test_it_is_done_after_an_error_too(tmp_path: Path) -> None:
    path = tmp_path / "note"

    def fail() -> None:
        leave(str(path))
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        run_without_mounts(fail)
    assert path.read_text() == "over"


def test_outside_of_a_worker_there_is_no_end_to_wait_for() -> None:
    with pytest.raises(RigError, match="outside of its worker"):
        at_end(int)


def test_a_worker_without_mounts_refuses_to_mount() -> None:
    def try_it() -> bool:
        with pytest.raises(RigError, match="outside of its worker"):
            outer_namespace_fd()
        with pytest.raises(RigError, match="outside of its worker"), private_folder():
            pass
        return inside_worker()

    assert run_without_mounts(try_it)


def test_work_for_a_worker_that_is_gone_is_an_error() -> None:
    worker = Worker(mounts=False)
    os.kill(worker.pid, 9)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(RigError, match="died before it could be given"):
        worker.give(pid)
    worker.end(patience_s=5)
