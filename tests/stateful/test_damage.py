"""P7: lastgood reports damage at rest and falls back, and each way of not doing so is refuted."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

import lastgood.crashtest.subjects as subjects
import lastgood.writer.recoverer as recoverer
from lastgood.writer.writer import Writer
from powercut.checker.exhaustive import DAMAGED, Bound, breaks, enumerate_verdicts
from powercut.checker.random_search import sample_verdicts
from powercut.profile import load_profile
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.subject import load_subject
from tests.harness.toys import toy
from tests.harness.verdicts import verdicts_of

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
    assert {name: v.verdict for name, v in sampled.items()} == HOLDS
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


def p7_of_lastgood() -> str:
    return verdicts_of("lastgood:atomic_dirsync", POSIX.name, "power", SMALL, of=("P7",))["P7"]


def test_a_recovery_that_hides_what_it_passed_over_is_refuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subjects, "_reasons", lambda _scan: {})

    assert p7_of_lastgood() == "fails"


def test_a_recovery_that_moves_what_it_cannot_read_is_refuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recoverer, "stays", lambda _rejection: False)

    assert p7_of_lastgood() == "fails"


def test_a_recovery_that_moves_older_groups_along_is_refuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Writer.recover

    def mutant(self: Any, *arguments: Any) -> Any:
        scan = original(self, *arguments)
        if scan.rejected and scan.group is not None:
            older = scan.group.path
            self.disk.rename(older, f"{older}.old")
            self.disk.rename(f"{older}.old", f"{older}.kept")
        return scan

    monkeypatch.setattr(Writer, "recover", mutant)
    monkeypatch.setattr(subjects, "_handed_out", lambda *_: None)

    assert p7_of_lastgood() == "fails"
