"""Known-bad toy protocols: enumeration and sampling find each hole, by its property."""

from __future__ import annotations

import pytest
from attrs import frozen

from powercut.checker.exhaustive import DAMAGED, Bound, breaks, enumerate_verdicts
from powercut.checker.random_search import sample_verdicts
from powercut.profile import load_profile
from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.oracle import OF_CRASHES, PROPERTIES
from powercut.simulation.subject import Subject
from powercut.simulation.world import CrashStep, Perform
from tests.harness.toys import Found, Toy, ToySession, toy

POSIX = load_profile("posix-minimal")
ALL = OF_CRASHES
BOUNDS = (Bound(saves=2, crashes=1, parts=1, pieces=2), Bound(1, 2, 1, 1))

NOT_TRIED = (
    "no crash left a part that a recovery read with the right size and wrong bytes: "
    "nothing tried the digest check"
)

HOLES = [
    ("no_store_sync", "P2"),
    ("no_file_sync", "P3"),
    ("no_dir_sync", "P3"),
    ("no_resync", "P4"),
    ("no_check", "P1"),
    ("dies_on_leftovers", "P2"),
    ("garbage", "P1"),
    ("garbage", "P3"),
    ("loses_all_and_raises", "P3"),
    ("loses_all_and_raises", "P5"),
    ("one_generation", "P5"),
    ("other_generation", "P1"),
    ("refuses_every_save", "P5"),
    ("sloppy_after_recovery", "P3"),
    ("sloppy_in_an_old_store", "P3"),
    ("writing_reader", "P4"),
]


def test_a_toy_without_a_hole_holds_everywhere() -> None:
    enumerated = enumerate_verdicts(toy("good"), POSIX, "power", ALL, *BOUNDS)
    sampled = sample_verdicts(toy("good"), POSIX, "power", ALL, 50)

    assert {v.verdict for v in enumerated.values()} == {"holds"}
    assert {v.verdict for v in sampled.values()} == {"not refuted"}
    assert all(v.exhaustive for v in enumerated.values())
    assert not any(v.exhaustive for v in sampled.values())
    assert {v.missed for v in enumerated.values()} == {()}


def test_promises_to_nobody_are_told_from_promises_that_were_kept() -> None:
    """A toy whose every save fails owes nobody anything: all but P5 hold, of nothing."""
    mute = toy("refuses_every_save")
    nobody = {
        "P1": ("no recovery returned a group", NOT_TRIED),
        **dict.fromkeys(("P2", "P3", "P4"), ("no save was acknowledged",)),
        "P7": ("no group was at rest to go bad",),
    }
    enumerated = enumerate_verdicts(mute, POSIX, "power", tuple(PROPERTIES), *BOUNDS, DAMAGED)
    sampled = sample_verdicts(mute, POSIX, "power", tuple(nobody), 20, damages=True)

    assert {name: v.verdict for name, v in enumerated.items()} == {
        **dict.fromkeys(nobody, "holds"),
        "P5": "fails",
    }
    assert {name: v.missed for name, v in enumerated.items()} == {**nobody, "P5": ()}
    assert {name: v.missed for name, v in sampled.items()} == nobody


@pytest.mark.parametrize(("mode", "broken"), HOLES)
def test_enumeration_finds_the_hole(mode: str, broken: str) -> None:
    verdict = enumerate_verdicts(toy(mode), POSIX, "power", ALL, *BOUNDS)[broken]

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


def crashes_seen(disk: SubjectDisk) -> list[str]:
    """One mark for the first start, one for each crash of the machine since."""
    return [name for name in disk.names("/") if name.startswith("crash")]


class Forgetful(ToySession):
    """A recovery that finds nothing once the machine has crashed three times."""

    def __init__(self, disk: SubjectDisk, store: str, mode: str) -> None:
        if disk.kind("/v/up") == "missing":  # never synced, so a machine crash can take it
            disk.mkdir(f"/crash{len(crashes_seen(disk))}")
            if disk.kind("/v") == "missing":
                disk.mkdir("/v")
            disk.fsync_dir("/")
            disk.mkdir("/v/up")
        super().__init__(disk, store, mode)

    def recover(self) -> Found | None:
        found = super().recover()
        return None if len(crashes_seen(self.disk)) > 3 else found


@frozen
class ForgetfulToy(Toy):
    def open(self, disk: SubjectDisk, store: str, mode: str, rename_is_atomic: bool) -> ToySession:
        return Forgetful(disk, store, mode)


@pytest.mark.parametrize(("crashes", "verdict"), [(2, "holds"), (3, "fails")])
def test_a_hole_that_opens_at_the_third_crash_needs_three(crashes: int, verdict: str) -> None:
    subject = Subject("toy", "good", ForgetfulToy())
    bound = Bound(saves=1, crashes=crashes, parts=1, pieces=1)

    assert enumerate_verdicts(subject, POSIX, "power", ("P4",), bound)["P4"].verdict == verdict
