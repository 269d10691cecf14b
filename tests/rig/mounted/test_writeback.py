"""Plans of early writes: drawn the same each time, possible, and unlike each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from powercut.filesystem.ops import Create, Fsync, Mark, Mkdir, Op, Rename, Write
from powercut_rig import WriteBack, default_plan, drawn_plan
from powercut_rig.mounted.op_runner import LocalOpRunner, ProgramRunner

OPS: list[Op] = [
    Mkdir("/d"),
    Create("/d/f"),
    Write("/d/f", 0, b"x" * 20_000),
    Create("/d/g"),
    Write("/d/g", 0, b"y" * 100),
    Rename("/d", "/e"),
    Mark("acknowledged"),
    Fsync("/e/f"),
    Write("/e/f", 20_000, b"z" * 9_000),
]


def test_a_plan_is_drawn_the_same_each_time_and_others_differ() -> None:
    plans = [drawn_plan(OPS, number) for number in range(20)]

    assert plans == [drawn_plan(OPS, number) for number in range(20)]
    assert plans[0] == default_plan(OPS)
    assert plans[1] == ()
    assert len(set(plans)) > 15


def test_drawn_plans_hold_every_kind_of_early_write() -> None:
    every = [item for number in range(2, 60) for item in drawn_plan(OPS, number)]

    assert {item.kind for item in every} == {"data", "commit", "syncfs"}
    assert any(item.kind == "data" and item.offset_bytes for item in every)
    assert any(item.kind == "data" and not item.length_bytes for item in every)
    assert not any(item.after_op == 6 for item in every)  # nothing happens in a mark


@pytest.mark.parametrize("number", range(2, 12))
def test_what_a_drawn_plan_names_is_there_at_that_moment(tmp_path: Path, number: int) -> None:
    plan = [item for item in drawn_plan(OPS, number) if item.kind != "syncfs"]

    ProgramRunner(LocalOpRunner(str(tmp_path), os.utime), lambda *mark: None).run(OPS, plan)


def test_a_write_back_of_data_needs_a_path_and_the_others_take_none() -> None:
    with pytest.raises(ValueError, match="`data` needs a path"):
        WriteBack(0, "data")
    with pytest.raises(ValueError, match="the other kinds take none"):
        WriteBack(0, "commit", "/f")
