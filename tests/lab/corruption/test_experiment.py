"""The plan: amounts, what is missing, and a run through the runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from powercut_lab.corruption import experiment as module
from powercut_lab.corruption.experiment import COUNTS, EXPERIMENT
from powercut_lab.result_folder import ResultFolder
from powercut_lab.runner import Request, Runner, check_keys
from powercut_lab.study import SIZES, Size


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without PyTorch and without a rig."""
    monkeypatch.setattr(module, "has_torch", lambda: False)
    monkeypatch.setattr(module, "why_missing", lambda: ["Mounting needs root."])


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with both."""
    monkeypatch.setattr(module, "has_torch", lambda: True)
    monkeypatch.setattr(module, "formats", lambda: ("npz", "safetensors", "pt"))
    monkeypatch.setattr(module, "why_missing", list)


def test_the_amounts_are_the_papers() -> None:
    assert COUNTS == {"quick": 40, "default": 400, "full": 400}


@pytest.mark.usefixtures("bare")
def test_what_is_missing_has_a_reason_and_a_remedy() -> None:
    plan = EXPERIMENT.plan("quick", 1)

    assert [each.part for each in plan.missing] == [
        "table 4 and files of PyTorch",
        "unreadable blocks (btrfs)",
    ]
    assert all(each.reason and each.remedy for each in plan.missing)
    assert not any(unit.key.startswith(("table-4", "unreadable")) for unit in plan.units)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("size", SIZES)
def test_a_full_machine_runs_everything(size: Size) -> None:
    plan = EXPERIMENT.plan(size, 1)
    keys = {unit.key for unit in plan.units}
    check_keys([plan.units])

    assert plan.missing == ()
    assert {"table-4", "files/npz", "files/safetensors", "files/pt"} <= keys
    assert {"unreadable/single-file:pt", "unreadable/paper:atomic_dirsync"} <= keys
    assert len([key for key in keys if key.startswith("groups/")]) == 10 * 3
    assert (len(keys) > 40) == (size != "quick")


@pytest.mark.usefixtures("bare")
def test_the_same_seed_gives_equal_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COUNTS, "quick", 2)
    only = ("groups/paper:unsafe", "files/safetensors", "rename:atomic_dirsync/at-rest")
    sections = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = ResultFolder.open(tmp_path / name)
        done = Runner(folder).run(Request([EXPERIMENT], "quick", seed, only))
        assert done.failed == ()
        rows = {table.name: folder.rows(table) for table in EXPERIMENT.tables}
        sections.append((rows, EXPERIMENT.section(rows)))

    (rows, section), (again, same), (other, _) = sections
    assert rows == again
    assert rows != other
    assert section.findings == same.findings
    assert section.items[0] == same.items[0]
