"""Every way of saving and of looking after a store owes the same as the plain one.

Parts one after the other, parts by foreign code, repairs in place of recoveries, recoveries that
report on what they set aside, and the mode that ends with a full sync: each is driven by the model
through its own subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

import lastgood.writer.saver as saving
from lastgood.protocol.plan import plan_seal
from lastgood.protocol.steps import Step, SyncFile, Together
from powercut.checker.check import CheckEffort, CheckQuestion, check
from powercut.checker.exhaustive import Bound
from powercut.profile import load_profile
from powercut.simulation.subject import load_subject
from tests.harness.verdicts import ALL, UNBROKEN, broken_by, verdicts_of

SOAK = settings.get_current_profile_name() == "soak"
ONCE = Bound(saves=1, crashes=1, parts=2, pieces=1, runs=3_000 if SOAK else 150)
TWICE = Bound(saves=1, crashes=2, parts=1, pieces=1, runs=3_000 if SOAK else 100)
LEAST = Bound(saves=1, crashes=1, parts=1, pieces=1, runs=300)
WAYS = (
    "lastgood+apart",
    "lastgood+attempt",
    "lastgood+repair",
    "lastgood+chunked",
    "lastgood+report",
)


@pytest.mark.parametrize(
    "profile",
    [
        "posix-minimal",
        pytest.param("posix-atomic-rename", marks=pytest.mark.thorough),
        "ext4-ordered",
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_keeps_every_promise_after_a_power_cut(way: str, profile: str) -> None:
    assert broken_by(f"{way}:atomic_dirsync", profile, "power", ONCE, TWICE) == {}


@pytest.mark.parametrize("way", ["lastgood+keep1", "lastgood+record", "lastgood+rename"])
def test_the_strongest_mode_is_no_weaker_where_fsync_flushes(way: str) -> None:
    profile = "posix-minimal" if way != "lastgood+rename" else "posix-atomic-rename"

    assert broken_by(f"{way}:atomic_fullsync", profile, "power", ONCE) == {}


@pytest.mark.parametrize(
    ("way", "mode"),
    [
        ("lastgood+attempt", "unsafe"),
        ("lastgood+keep1", "unsafe"),
        ("lastgood+repair", "atomic_nodirsync"),
        ("lastgood+keep1", "atomic_nodirsync"),
    ],
)
def test_every_way_survives_a_killed_process_in_the_weak_modes(way: str, mode: str) -> None:
    assert broken_by(f"{way}:{mode}", "posix-minimal", "process", ONCE, TWICE) == {}


JOURNALS = ("xfs", "btrfs", "ext4-fast-commit")
OTHERS = ("f2fs-posix", "f2fs-strict", "ext4-writeback", "ext4-journal", "ext4-ordered-nodelalloc")


@pytest.mark.parametrize("profile", [*JOURNALS, *(OTHERS if SOAK else ())])
def test_retention_holds_on_every_file_system_that_the_docs_name(profile: str) -> None:
    assert broken_by("lastgood+keep1:atomic_dirsync", profile, "power", TWICE) == {}


def on_a_mac(label: str, crash_class: str) -> dict[str, str]:
    question = CheckQuestion(load_subject(label), load_profile("apfs"), crash_class, ALL)
    report = check(question, CheckEffort(method="enumerated", bounds=(LEAST,)))
    return {name: verdict.verdict for name, verdict in report.properties.items()}


@pytest.mark.parametrize("way", ["lastgood", "lastgood+record", "lastgood+keep1"])
def test_on_a_mac_a_full_sync_leaves_only_what_nobody_has_measured(way: str) -> None:
    """One full sync, at the end, is as good as one of everything: nothing fails."""
    found = on_a_mac(f"{way}:atomic_fullsync", "power")

    assert {found["P1"], found["P5"]} <= set(UNBROKEN)
    assert {found["P2"], found["P3"]} == {"unknown"}


def test_on_a_mac_a_plain_fsync_loses_to_a_power_cut() -> None:
    assert on_a_mac("lastgood:atomic_dirsync", "power")["P3"] == "fails"
    assert on_a_mac("lastgood:atomic_dirsync", "kernel")["P3"] == "unknown"


def test_an_attempt_whose_files_are_not_synced_is_refuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unsynced(*arguments: Any) -> Iterator[Step]:
        for step in plan_seal(*arguments):
            if isinstance(step, Together):
                kept = (
                    tuple(each for each in branch if not isinstance(each, SyncFile))
                    for branch in step.branches
                )
                yield Together(tuple(kept))
            else:
                yield step

    monkeypatch.setattr(saving, "plan_seal", unsynced)
    label = "lastgood+attempt:atomic_dirsync"

    assert verdicts_of(label, "posix-minimal", "power", LEAST, of=("P3",)) == {"P3": "fails"}
