"""The section is made of rows alone, of however few; and a loss in the rows is said."""

from __future__ import annotations

import sys

import pytest

from powercut_lab.crash import disks, experiment
from powercut_lab.crash.crash_points import AFTER_MODEL, NO_CRASH, SHORT_COMMITTED
from powercut_lab.crash.disks import KERNEL_DISKS, ON_MAC, disk_units
from powercut_lab.crash.experiment import EXPERIMENT
from powercut_lab.crash.summaries import as_share
from powercut_lab.crash.tables import TABLES
from powercut_lab.runner import check_keys
from powercut_lab.study import Cell, Data, Figure, Missing, ReportTable


def row(table: int, *cells: Cell) -> dict[str, Cell]:
    return dict(zip(TABLES[table].columns, cells, strict=True))


def data(*rows: tuple[int, dict[str, Cell]]) -> Data:
    return {
        table.name: [each for number, each in rows if TABLES[number] is table] for table in TABLES
    }


def hook(
    point: str, reason: str, *counts: int, protocol: str = "paper:unsafe"
) -> tuple[int, dict[str, Cell]]:
    return 0, row(0, protocol, point, "here", 0, reason, *counts)


WHOLE = data(
    hook(NO_CRASH, "valid", 10, 0, 10, 10, 10, 10, 10),
    hook(AFTER_MODEL, "no_commit", 10, 10, 10, 10, 9, 0, 10),
    hook(SHORT_COMMITTED, "size_mismatch:model.bin", 10, 0, 10, 10, 0, 0, 0),
    hook(AFTER_MODEL, "no_commit", 4, 4, 4, 4, 4, 0, 4, protocol="lastgood:unsafe"),
    (1, row(1, "paper:unsafe", "disk call", "write", 5, 5, 5, 4, 4, 0, 4)),
    (2, row(2, "paper:unsafe", "xfs", "P3", "fails", "", 0, 99, 9, "saves 1", "nothing")),
    (2, row(2, "paper:unsafe", "btrfs", "P3", "holds", "", 1, 98, 9, "saves 1", "")),
    (2, row(2, "paper:unsafe", "btrfs", "P4", "fails", "", 0, 98, 9, "saves 1", "nothing")),
    (2, row(2, "paper:unsafe", "xfs", "P4", "fails", "", 0, 98, 9, "saves 1", "nothing")),
    (3, row(3, "paper:unsafe", "xfs", "P3", 1, "call", "mkdir /ckpt/run/a")),
    (3, row(3, "paper:unsafe", "xfs", "P3", 2, "lost", "the name /ckpt/run/a appears: lost")),
    (3, row(3, "paper:unsafe", "xfs", "P3", 3, "remedy", "fsync of /ckpt/run")),
    (4, row(4, "paper:unsafe", "ext4", 1, 40, 9, 12, 1, 0, 0, 0, 0)),
    (4, row(4, "paper:unsafe", "xfs", 1, 40, 9, 0, 0, 0, 0, 0, 0)),
)


def test_without_rows_there_is_nothing_to_say() -> None:
    for empty in ({}, data()):
        section = EXPERIMENT.section(empty)
        assert (section.findings, section.items) == ((), ())


@pytest.mark.parametrize("table", TABLES)
def test_a_part_alone_is_shown_alone(table: object) -> None:
    part = {each.name: rows for each in TABLES if (rows := WHOLE[each.name]) and each is table}

    assert EXPERIMENT.section(part).items


def test_losses_in_the_rows_are_said() -> None:
    said = " ".join(EXPERIMENT.section(WHOLE).findings)

    assert (
        f"paper:unsafe lost an acknowledged group to a killed process: {as_share(1, 10)}." in said
    )
    assert "5 deaths; 1 lost an acknowledged group, 1 had a torn group handed out" in said
    assert "“no acknowledged group is lost” fails under xfs; holds under btrfs." in said
    assert "keeps what it acknowledged under btrfs, and yet" in said
    assert "lost: the name a appears; fsync of /ckpt/run before the save returns" in said
    assert "12 of 80 lost an acknowledged group (ext4); 1 handed out something torn." in said


def test_tables_are_whole_and_the_papers_values_stand_beside_ours() -> None:
    items = EXPERIMENT.section(WHOLE).items
    tables = {each.name: each for each in items if isinstance(each, ReportTable)}

    for table in tables.values():
        assert {len(line) for line in table.rows} == {len(table.columns)}
    lines = tables["crash-points-paper"].rows
    short = next(line for line in lines if line[0] == f"unsafe, {SHORT_COMMITTED}")
    assert short[-1].startswith("0/400")
    assert short[2] == as_share(0, 10) == "0/10 [0.0, 27.8]"  # the paper's interval, too
    assert len({each.name for each in items if isinstance(each, ReportTable)}) == len(tables)


def test_figures_are_drawn_from_rows() -> None:
    figures = [each for each in EXPERIMENT.section(WHOLE).items if isinstance(each, Figure)]
    matplotlib_figure = pytest.importorskip("matplotlib.figure")

    assert [figure.name for figure in figures] == ["crash-ok-rate", "crash-why-rejected"]
    for figure in figures:
        drawn = matplotlib_figure.Figure(figsize=(figure.width_in, figure.height_in))
        figure.draw(drawn)
        assert all(axes.has_data() for axes in drawn.axes)
        assert set(figure.data) <= {table.name for table in TABLES}
        assert figure.text


def test_a_plan_has_each_part_and_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "what_is_missing", lambda fs: [f"No {fs} here."])
    monkeypatch.setattr(disks, "missing_for_mac", lambda: ["This is no Mac."])
    untraced = Missing("SIGKILL at every system call", "It is refused.", "Another machine.")
    monkeypatch.setattr(experiment, "why_no_system_calls", lambda: untraced)
    plan = EXPERIMENT.plan("quick", 0)

    check_keys([plan.units])
    assert {unit.key.split(" ")[0] for unit in plan.units} == {"hooks", "kills", "model", "story"}
    assert not any("system call" in unit.key for unit in plan.units)
    assert plan.estimate_s < 60
    reasons = {missing.reason for missing in plan.missing}
    assert {
        "It is refused.",
        "This is no Mac.",
        *(f"No {fs} here." for fs in KERNEL_DISKS),
    } <= reasons


def test_a_mac_runs_its_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "what_is_missing", lambda fs: [f"No {fs} here."])
    monkeypatch.setattr(disks, "missing_for_mac", list)
    units, missing = disk_units("full")

    assert units
    assert all(ON_MAC in unit.key for unit in units)
    assert not any("Apple" in each.part for each in missing)


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
def test_elsewhere_the_command_for_a_mac_is_named() -> None:
    _, missing = disk_units("quick")

    assert any("On a Mac: powercut experiment crash" in each.remedy for each in missing)
