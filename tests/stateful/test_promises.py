"""Each plan in each mode, after each crash: exactly the properties that it is known to break.

By enumeration within a small bound, and by the Hypothesis state machine on longer histories.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import settings

from powercut.checker.check import CheckEffort, CheckQuestion, check, write_traces
from powercut.checker.exhaustive import DAMAGED, DEEP, Bound, enumerate_verdicts
from powercut.checker.random_search import sample_verdicts
from powercut.profile import load_profile, profile_names
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.subject import load_subject

ALL = OF_CRASHES
SHALLOW = Bound(saves=1, crashes=1, parts=2, pieces=1, runs=150)
ONE_SAVE = Bound(saves=0, parts=1, pieces=1)
"""One save, which comes after a first recovery, and its crash: each set of what it leaves."""
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


@pytest.mark.parametrize("form", ["record", "rename"])
def test_where_a_drive_lies_the_digest_check_is_tried_and_integrity_holds(form: str) -> None:
    subject = load_subject(f"lastgood+{form}:atomic_dirsync")
    lying = load_profile("lying-drive")
    found = enumerate_verdicts(subject, lying, "power", ("P1", "P5"), ONE_SAVE)

    assert {v.verdict for v in found.values()} == {"holds"}
    assert all(v.exhaustive for v in found.values())
    assert found["P1"].missed == ()


def test_where_the_strongest_mode_is_promised_no_crash_tries_the_digest_check() -> None:
    """P1 says nothing of it there: whoever compares no digests keeps it as well."""
    subject = load_subject("lastgood:atomic_dirsync")
    others = [name for name in profile_names() if name != "lying-drive"]
    found = {
        name: enumerate_verdicts(subject, load_profile(name), "power", ("P1",), ONE_SAVE)["P1"]
        for name in others
    }

    assert {verdict.verdict for verdict in found.values()} == {"holds"}
    tried = {name for name, verdict in found.items() if not verdict.missed}
    assert tried == {"apfs", "f2fs-posix", "f2fs-strict"}


@pytest.mark.thorough
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mode", MODES)
def test_where_a_drive_lies_every_plan_keeps_integrity(plan: str, mode: str) -> None:
    # The paper's states are many more.
    bound = evolve(ONE_SAVE, parts=1 if plan == "paper" else 2, states=2_000_000)
    subject, lying = load_subject(f"{plan}:{mode}"), load_profile("lying-drive")
    found = enumerate_verdicts(subject, lying, "power", ("P1", "P2", "P3", "P5"), bound)

    assert {name: v.verdict for name, v in found.items()} == {
        **dict.fromkeys(("P1", "P5"), "holds"),
        **dict.fromkeys(("P2", "P3"), "fails"),
    }
    assert found["P1"].missed == ()


@pytest.mark.parametrize("plan", PLANS)
def test_where_bytes_go_bad_at_rest_the_digest_check_is_tried_and_integrity_holds(
    plan: str,
) -> None:
    subject, posix = load_subject(f"{plan}:atomic_dirsync"), load_profile("posix-minimal")
    found = enumerate_verdicts(subject, posix, "process", ("P1",), DAMAGED)["P1"]

    assert (found.verdict, found.exhaustive) == ("holds", True)
    (missed,) = found.missed
    assert missed.endswith("only damage at rest tried the digest check")


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
