"""Known-bad toy protocols: enumeration and sampling find each hole, by its property."""

from __future__ import annotations

import pytest

from powercut.enumerate import Bound, breaks, enumerate_verdicts
from powercut.oracle import PROPERTIES
from powercut.profile import load_profile
from powercut.stateful import sample_verdicts
from powercut.world import CrashStep, Perform
from tests.harness.toys import toy

POSIX = load_profile("posix-minimal")
ALL = tuple(PROPERTIES)
BOUND = Bound(saves=2, crashes=2, parts=1, pieces=2)

HOLES = [
    ("no_store_sync", "P2"),
    ("no_file_sync", "P3"),
    ("no_dir_sync", "P3"),
    ("no_resync", "P4"),
    ("no_check", "P1"),
    ("dies_on_leftovers", "P2"),
]


def test_a_toy_without_a_hole_holds_everywhere() -> None:
    enumerated = enumerate_verdicts(toy("good"), POSIX, "power", ALL, BOUND)
    sampled = sample_verdicts(toy("good"), POSIX, "power", ALL, 50)

    assert {v.verdict for v in enumerated.values()} == {"holds"}
    assert {v.verdict for v in sampled.values()} == {"holds"}
    assert all(v.exhaustive for v in enumerated.values())
    assert not any(v.exhaustive for v in sampled.values())


@pytest.mark.parametrize(("mode", "broken"), HOLES)
def test_enumeration_finds_the_hole(mode: str, broken: str) -> None:
    verdict = enumerate_verdicts(toy(mode), POSIX, "power", ALL, BOUND)[broken]

    assert verdict.verdict == "fails"
    assert verdict.counterexample is not None
    assert breaks(verdict.counterexample.steps, broken, POSIX, toy(mode))


@pytest.mark.parametrize(("mode", "broken"), HOLES)
def test_sampling_finds_the_hole_and_shrinks_it(mode: str, broken: str) -> None:
    verdict = sample_verdicts(toy(mode), POSIX, "power", (broken,), 300)[broken]

    assert verdict.verdict == "fails"
    assert verdict.counterexample is not None
    steps = verdict.counterexample.steps
    assert breaks(steps, broken, POSIX, toy(mode))
    assert sum(isinstance(step, Perform) for step in steps) <= 12
    lost = [name for s in steps if isinstance(s, CrashStep) for name in s.crash.lost]
    assert len(lost) <= 2


def test_the_same_question_gives_the_same_answer_twice() -> None:
    first = sample_verdicts(toy("no_dir_sync"), POSIX, "power", ("P3",), 100)
    second = sample_verdicts(toy("no_dir_sync"), POSIX, "power", ("P3",), 100)

    assert first == second
