"""The model's power cuts: verdicts with their bounds, and the story of a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from powercut_lab.crash.model_states import BOUNDS, PROFILES, STORIES, model_units
from powercut_lab.crash.power_tables import model_cell, story_lines
from powercut_lab.crash.tables import MODEL, PROTOCOLS, STORY
from powercut_lab.result_folder import check_row
from powercut_lab.study import Row, WorkUnit

NOWHERE = Path("/nonexistent")


def unit(text: str) -> WorkUnit:
    return next(each for each in model_units("quick") if text in each.key)


def verdicts(rows: list[Row]) -> dict[str, str]:
    return {str(row[2]): str(row[3]) for row in rows}


@pytest.mark.parametrize(
    ("question", "durable"),
    [
        ("model lastgood:atomic_dirsync posix-minimal", "holds"),
        ("model lastgood:atomic_dirsync ext4-ordered", "holds"),
        ("model lastgood:atomic_nodirsync ext4-ordered", "fails"),
        ("model paper:atomic_nodirsync xfs", "fails"),
        ("model paper:atomic_dirsync xfs", "holds"),
        ("model paper:atomic_dirsync posix-minimal", "fails"),
    ],
)
def test_the_verdict_on_durability(question: str, durable: str) -> None:
    rows = list(unit(question).work(NOWHERE))

    assert verdicts(rows)["P3"] == durable
    for row in rows:
        check_row(MODEL, row)
        assert row[6] >= row[7] > 0  # type: ignore[operator]
        assert bool(row[9]) == (row[3] == "fails")


def test_the_rows_are_equal_again_and_for_any_seed() -> None:
    question = unit("model lastgood:atomic_nodirsync xfs")

    assert list(question.work(NOWHERE)) == list(question.work(NOWHERE))


@pytest.mark.parametrize("size", ["quick", "default", "full"])
def test_each_protocol_is_asked_under_each_profile(size: str) -> None:
    keys = [each.key for each in model_units(size) if each.table is MODEL]  # type: ignore[arg-type]

    assert len(keys) == len(set(keys)) == len(PROTOCOLS) * (5 if size == "quick" else len(PROFILES))
    assert BOUNDS["full"][1].states > BOUNDS["quick"][0].states


def test_the_papers_protocol_loses_a_group_whose_directory_nobody_synced() -> None:
    rows = list(unit("story paper:atomic_dirsync").work(NOWHERE))
    lines = list(story_lines([dict(zip(STORY.columns, row, strict=True)) for row in rows]))

    assert len(STORIES) == 3
    assert "fsync epoch_0001" in lines
    returned = lines.index("Save 1 returns.")
    assert lines[returned + 1 :] == [
        "The power fails.",
        "Lost: the name epoch_0001 appears.",
        "Recovery returned nothing; save 1 was acknowledged.",
        "Each of these alone, before the save returns, would have kept it: fsync of /ckpt/run.",
    ]


def test_a_cell_names_the_worst_first() -> None:
    def row(name: str, verdict: str) -> dict[str, str | int]:
        return {
            "protocol": "a:b",
            "profile": "p",
            "property": name,
            "verdict": verdict,
            "represented": 1200,
        }

    assert model_cell([row("P1", "holds")], "a:b", "p") == "holds (1,200)"
    mixed = [row("P1", "not refuted"), row("P2", "fails"), row("P3", "fails"), row("P4", "holds")]
    assert model_cell(mixed, "a:b", "p") == "fails P2 P3, not refuted P1 (1,200)"
    assert model_cell(mixed, "a:b", "other") == "not run"
