"""A run of a process on a disk is judged by what it said: parts, and the generation of a group."""

from __future__ import annotations

import pytest

from powercut.checker.exhaustive import parts_of
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.simulation.model_disk import ModelDisk
from powercut.simulation.oracle import Oracle
from powercut.simulation.subject import Subject, load_subject
from powercut_rig.judge.process_script import PARTS, ProcessRun, judge_run, run_script
from powercut_rig.judge.recovery_answer import recover
from tests.harness.toys import toy

PROFILE = load_profile("ext4-ordered")
SAVED = Oracle().begin(1, parts_of(1, PARTS)).acknowledge(1, 1)


def run_after_a_save(subject: Subject) -> ProcessRun:
    """The process that comes after one that saved and died."""
    disk = ModelDisk(State())
    subject.open(disk, PROFILE).save(1, parts_of(1, PARTS))
    return run_script(subject, PROFILE, ModelDisk(disk.state), 2, lambda *_: None)


@pytest.mark.parametrize(
    ("subject", "broken"),
    [(load_subject("lastgood:atomic_dirsync"), []), (toy("other_generation"), ["P1", "P1"])],
)
def test_a_recovery_that_reports_another_generation_is_refuted(
    subject: Subject, broken: list[str]
) -> None:
    found = judge_run(run_after_a_save(subject), SAVED)

    assert [violation.property for violation in found if violation.property == "P1"] == broken


def test_two_recoveries_that_report_other_generations_do_not_agree() -> None:
    disk = ModelDisk(State())
    toy("good").open(disk, PROFILE).save(1, parts_of(1, PARTS))
    good, other = (
        recover(toy(mode), PROFILE, ModelDisk(disk.state)) for mode in ("good", "other_generation")
    )

    assert (good.parts, good.generation, other.generation) == (other.parts, 1, 2)
    assert good != other
