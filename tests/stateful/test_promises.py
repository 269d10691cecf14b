"""Each plan in each mode, after each crash: exactly the properties that it is known to break.

By enumeration within a small bound, and by the Hypothesis state machine on longer histories.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from powercut.checker.check import CheckEffort, CheckQuestion, check, write_traces
from powercut.checker.exhaustive import DEEP, Bound, enumerate_verdicts
from powercut.checker.random_search import sample_verdicts
from powercut.profile import load_profile
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.subject import load_subject

ALL = OF_CRASHES
SHALLOW = Bound(saves=1, crashes=1, parts=2, pieces=1, runs=150)
TWICE = Bound(saves=1, crashes=2, parts=1, pieces=1)
PLANS = ("lastgood+record", "lastgood+rename", "paper")
MODES = ("unsafe", "atomic_nodirsync", "atomic_dirsync")
POSIX = ("posix-minimal", "posix-atomic-rename")
LOST = {"P2", "P3", "P4"}


def known_to_break(plan: str, mode: str, profile: str, crash_class: str) -> set[str]:
    """What docs/properties.md says, as data."""
    if crash_class == "process" or profile == "sequential":
        return set()
    if profile == "tmpfs" or mode == "unsafe":
        return LOST
    if mode == "atomic_nodirsync":
        # One journal makes the names durable with the last file, but not a rename after it.
        return LOST if profile in POSIX or plan != "lastgood+record" else set()
    if plan == "paper":
        # The directory above is never synced, and recovery never syncs what it found.
        return LOST if profile in POSIX else {"P4"}
    return set()


QUESTIONS = [
    (plan, mode, profile, crash_class)
    for plan in PLANS
    for mode in MODES
    for profile, crash_class in [
        *((p, "power") for p in (*POSIX, "ext4-ordered", "sequential", "tmpfs")),
        ("ext4-ordered", "kernel"),
        ("posix-minimal", "process"),
    ]
]


@pytest.mark.parametrize(("plan", "mode", "profile", "crash_class"), QUESTIONS)
def test_a_plan_breaks_exactly_what_it_is_known_to_break(
    plan: str, mode: str, profile: str, crash_class: str
) -> None:
    known = known_to_break(plan, mode, profile, crash_class)
    subject, where = load_subject(f"{plan}:{mode}"), load_profile(profile)

    broken = enumerate_verdicts(subject, where, crash_class, sorted(known), TWICE)
    others = sorted(set(ALL) - known)
    promised = enumerate_verdicts(subject, where, crash_class, others, SHALLOW)

    assert {v.verdict for v in broken.values()} <= {"fails"}
    assert {v.verdict for v in promised.values()} <= {"holds", "not refuted"}


@pytest.mark.parametrize("profile", ["posix-minimal", "ext4-ordered"])
@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param((Bound(saves=1), Bound(parts=1)), id="small"),
        pytest.param((Bound(), DEEP), id="whole", marks=pytest.mark.thorough),
    ],
)
def test_the_strongest_mode_holds_on_every_history_within_the_bound(
    profile: str, bounds: tuple[Bound, ...]
) -> None:
    subject = load_subject("lastgood:atomic_dirsync")
    verdicts = enumerate_verdicts(subject, load_profile(profile), "power", ALL, *bounds)

    assert {v.verdict for v in verdicts.values()} == {"holds"}
    assert all(v.exhaustive for v in verdicts.values())


SOAK = settings.get_current_profile_name() == "soak"
SAMPLED = CheckEffort("sampled", (Bound(),), examples=3_000 if SOAK else 12, random=SOAK)
TRACES = Path("powercut-traces")


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("crash_class", ["process", "kernel", "power"])
def test_sampled_histories_break_nothing_that_is_promised(
    plan: str, mode: str, crash_class: str
) -> None:
    promised = set(ALL) - known_to_break(plan, mode, "posix-minimal", crash_class)
    question = CheckQuestion(
        load_subject(f"{plan}:{mode}"),
        load_profile("posix-minimal"),
        crash_class,
        tuple(sorted(promised)),
    )

    report = write_traces(check(question, SAMPLED), question, TRACES)

    # What broke is shrunk, and its trace written, before this line fails.
    assert [f"powercut replay {v.trace}" for v in report.properties.values() if v.trace] == []


@pytest.mark.parametrize("plan", PLANS)
def test_sampling_finds_that_the_baseline_loses_an_acknowledged_group(plan: str) -> None:
    verdict = sample_verdicts(
        load_subject(f"{plan}:unsafe"), load_profile("ext4-ordered"), "power", ("P3",), 100
    )["P3"]

    assert verdict.verdict == "fails"
    assert not verdict.exhaustive


def test_a_rule_in_doubt_makes_the_answer_unknown_and_is_named() -> None:
    doubtful = load_profile("ext4-ordered")
    names_of_doubt = {claim.rule.id for claim in doubtful.unknown}
    question = CheckQuestion(load_subject("lastgood:unsafe"), doubtful, "power", ("P3",))

    report = check(question, CheckEffort(method="enumerated", bounds=(Bound(saves=1),)))

    assert names_of_doubt == {"namespace-in-order", "new-blocks-before-size"}
    assert report.properties["P3"].verdict == "fails"  # in doubt or not, nothing was synced
