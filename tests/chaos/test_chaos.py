"""What `make chaos` stands on: the training run resumes, and a report is read rightly."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood import Store
from tests.chaos.__main__ import SUBJECTS, command_for, judged
from tests.chaos.training import EVERY, Attempts, InPlace, Keeper, Saves, fresh, parts_of, train


@pytest.mark.parametrize("make", [Saves, Attempts])
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(
    tmp_path: Path, make: type[Saves], capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path / "whole") as store:
        whole = train(make(store), 3 * EVERY)
    with Store(tmp_path / "halves") as store:
        # Two steps more than the last checkpoint: they are done again.
        train(make(store), EVERY + 2)
        resumed = train(make(store), 3 * EVERY)

    assert parts_of(resumed) == parts_of(whole) != parts_of(fresh())
    assert capsys.readouterr().out.splitlines()[-1] == f"resumed from step {EVERY}"


def test_the_habit_that_overwrites_resumes_too_where_nobody_kills_it(tmp_path: Path) -> None:
    keeper: Keeper = InPlace(tmp_path)
    train(keeper, EVERY)

    assert parts_of(train(keeper, 2 * EVERY)) == parts_of(train(Nowhere(), 2 * EVERY))


class Nowhere:
    """Keeps nothing."""

    def save(self, step: int, parts: object) -> None: ...

    def newest(self) -> None:
        return None


def test_a_report_counts_its_runs_and_names_those_that_failed(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuite tests="2"><testcase name="#1 open"/>'
        '<testcase name="#2 open"><failure message="HARD_FAIL: raised"/></testcase></testsuite>'
    )

    assert judged(report) == (2, ["#2 open: HARD_FAIL: raised"])


def test_work_that_was_lost_counts_where_the_checkpoints_stay(tmp_path: Path) -> None:
    with_them = [each.how for each in SUBJECTS if each.checkpoints is not None]
    commands = {each.how: command_for(each, tmp_path, 1) for each in SUBJECTS}

    assert with_them == [how for how, line in commands.items() if "--checkpoint-glob" in line]
    assert {"save", "attempt"} == set(with_them)
