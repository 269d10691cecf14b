"""P7: lastgood reports damage at rest and falls back, and each way of not doing so is refuted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

import lastgood.crashtest.subjects as subjects
import lastgood.recovery.clearing as clearing
import lastgood.recovery.recovery as recovery
from lastgood.backends.interface import Disk
from lastgood.crashtest.subjects import LastgoodSession
from lastgood.errors import StorageError
from lastgood.parts.verify import RejectedError
from lastgood.recovery.recovery import Group, Scan
from powercut.checker.exhaustive import DAMAGED, Bound, breaks, enumerate_verdicts
from powercut.checker.random_search import sample_verdicts
from powercut.profile import load_profile, profile_names
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.subject import STORE, load_subject
from tests.harness.toys import toy
from tests.harness.verdicts import broken_by, verdicts_of

ALL = tuple(PROPERTIES)
POSIX = load_profile("posix-minimal")
SMALL = evolve(DAMAGED, saves=2, runs=150)
HOLDS = dict.fromkeys(ALL, "holds")

HOLES = [
    ("no_digest", "P1"),
    ("no_digest", "P7"),
    ("hides_damage", "P7"),
    ("gives_up_at_damage", "P2"),
    ("gives_up_at_damage", "P7"),
    ("dies_of_damage", "P3"),
    ("dies_of_damage", "P7"),
    ("moves_the_unreadable", "P7"),
    ("clears_up_after_damage", "P7"),
]
"""Ways of meeting damage, and a property that each breaks."""


def test_a_toy_that_reports_damage_and_falls_back_holds_everywhere() -> None:
    enumerated = enumerate_verdicts(toy("good"), POSIX, "power", ALL, DAMAGED)
    sampled = sample_verdicts(toy("good"), POSIX, "power", ALL, 50, damages=True)

    assert {name: v.verdict for name, v in enumerated.items()} == HOLDS
    assert {v.verdict for v in sampled.values()} == {"not refuted"}
    assert all(v.exhaustive for v in enumerated.values())


@pytest.mark.parametrize(("mode", "broken"), HOLES)
def test_enumeration_finds_the_hole(mode: str, broken: str) -> None:
    verdict = enumerate_verdicts(toy(mode), POSIX, "power", (broken,), DAMAGED)[broken]

    assert verdict.verdict == "fails"
    assert verdict.counterexample is not None
    assert breaks(verdict.counterexample.steps, broken, POSIX, toy(mode))


@pytest.mark.parametrize("mode", sorted({mode for mode, _ in HOLES}))
def test_no_hole_shows_without_damage(mode: str) -> None:
    found = enumerate_verdicts(toy(mode), POSIX, "power", ALL[:-1], Bound(2, 1, 1, 2))

    assert {v.verdict for v in found.values()} == {"holds"}


@pytest.mark.parametrize(("mode", "broken"), [hole for hole in HOLES if hole[1] == "P7"])
def test_sampling_finds_the_hole(mode: str, broken: str) -> None:
    verdict = sample_verdicts(toy(mode), POSIX, "power", (broken,), 200, damages=True)[broken]

    assert verdict.verdict == "fails"


def test_p7_is_not_answered_where_nothing_goes_bad() -> None:
    with pytest.raises(ValueError, match="P7 speaks of damage"):
        enumerate_verdicts(toy("good"), POSIX, "power", ("P7",), Bound())
    with pytest.raises(ValueError, match="P7 speaks of damage"):
        sample_verdicts(toy("good"), POSIX, "power", ("P7",), 1)


@pytest.mark.parametrize(
    ("label", "profile", "crash_class"),
    [
        ("lastgood:atomic_dirsync", "posix-minimal", "power"),
        ("lastgood:atomic_dirsync", "ext4-ordered", "power"),
        ("lastgood+chunked:atomic_dirsync", "posix-minimal", "power"),
        ("lastgood+repair:atomic_dirsync", "posix-minimal", "power"),
        ("lastgood+keep1:atomic_dirsync", "posix-minimal", "power"),
        ("lastgood:unsafe", "posix-minimal", "process"),
    ],
)
def test_lastgood_keeps_every_promise_where_something_goes_bad(
    label: str, profile: str, crash_class: str
) -> None:
    found = enumerate_verdicts(
        load_subject(label), load_profile(profile), crash_class, ALL, DAMAGED
    )

    assert {name: v.verdict for name, v in found.items()} == HOLDS
    assert all(v.exhaustive for v in found.values())


@pytest.mark.parametrize("mode", ["unsafe", "atomic_nodirsync"])
def test_a_weak_mode_reports_damage_too_and_hands_none_out(mode: str) -> None:
    bound = evolve(DAMAGED, runs=300)
    found = verdicts_of(f"lastgood:{mode}", POSIX.name, "power", bound, of=("P1", "P5", "P7"))

    assert found == dict.fromkeys(("P1", "P5", "P7"), "not refuted")  # cut off


@pytest.mark.thorough
@pytest.mark.parametrize("profile", profile_names())
def test_p7_holds_on_every_file_system(profile: str) -> None:
    # On the weakest of them the search is cut off.
    asked = ("P1", "P5", "P7")
    assert broken_by("lastgood:atomic_dirsync", profile, "power", DAMAGED, of=asked) == {}


def test_a_store_that_prunes_with_memory_keeps_every_promise_too() -> None:
    """Four saves, so that the last one gives the first up, and the next one the second."""
    bound = evolve(DAMAGED, saves=4, crashes=0)

    assert verdicts_of("lastgood+remembers:atomic_dirsync", POSIX.name, "power", bound, of=ALL) == (
        HOLDS
    )


def test_the_paper_reports_nothing_and_stops_at_what_it_cannot_read() -> None:
    found = verdicts_of("paper:atomic_dirsync", POSIX.name, "process", DAMAGED, of=ALL)

    assert {name for name, verdict in found.items() if verdict == "fails"} == {
        "P2", "P3", "P5", "P7"
    }  # fmt: skip


def why_p7_fails() -> str:
    """The first counterexample of lastgood as it is now, in words."""
    subject = load_subject("lastgood:atomic_dirsync")
    verdict = enumerate_verdicts(subject, POSIX, "power", ("P7",), SMALL)["P7"]
    return "" if verdict.counterexample is None else verdict.counterexample.because


def hides_what_it_passed_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subjects, "_reasons", lambda _scan: {})


def moves_what_it_cannot_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clearing, "stays", lambda _rejection: False)


def compares_no_digest(patch: pytest.MonkeyPatch) -> None:
    def mutant(*arguments: Any) -> None:
        try:
            check_parts(*arguments)
        except RejectedError as rejected:
            if not rejected.reason.startswith("sha_mismatch"):
                raise

    def read(disk: Disk, group: Group, path: str) -> bytes:
        return disk.read(f"{group.path}/{path}", 99)

    check_parts = recovery.check_parts
    patch.setattr(recovery, "check_parts", mutant)
    patch.setattr(subjects, "read_part", read)


def fails_where_something_is_rejected(patch: pytest.MonkeyPatch) -> None:
    def mutant(disk: Disk, store: str, scan: Scan) -> Any:
        if scan.rejected:
            raise StorageError("something was rejected")
        return handed_out(disk, store, scan)

    handed_out = subjects._handed_out
    patch.setattr(subjects, "_handed_out", mutant)


def falls_back_to_nothing(patch: pytest.MonkeyPatch) -> None:
    def mutant(disk: Disk, store: str, scan: Scan) -> Any:
        return None if scan.rejected else handed_out(disk, store, scan)

    handed_out = subjects._handed_out
    patch.setattr(subjects, "_handed_out", mutant)


def clears_up_after_handing_out(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: LastgoodSession) -> Any:
        found = recover(self)
        if self.passed_over and found is not None:
            name = f"gen-{found.generation:08}-step-{found.step:08}"
            self._writer.disk.unlink(f"{STORE}/{name}/part1")
        return found

    recover = LastgoodSession.recover
    patch.setattr(LastgoodSession, "recover", mutant)


MUTANTS = [
    (hides_what_it_passed_over, "recovery did not report gen-"),
    (moves_what_it_cannot_read, "recovery moved /ckpt/run/gen-"),
    (compares_no_digest, "recovery handed out what no save wrote"),
    (fails_where_something_is_rejected, "recovery failed with StorageError"),
    (falls_back_to_nothing, "recovery returned nothing; save 1 is there, undamaged"),
    (clears_up_after_handing_out, "recovery changed gen-"),
]


def test_lastgood_as_it_is_has_no_counterexample() -> None:
    assert why_p7_fails() == ""


@pytest.mark.parametrize(
    ("mutate", "because"), MUTANTS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_recovery_is_refuted_that(
    mutate: Callable[[pytest.MonkeyPatch], None], because: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)

    assert why_p7_fails().startswith(because)
