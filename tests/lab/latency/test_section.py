"""The report follows the rows."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from powercut_lab.latency import disks, tables
from powercut_lab.latency.experiment import EXPERIMENT
from powercut_lab.latency.findings import all_findings
from powercut_lab.latency.paper_values import TABLE_1_S, TABLE_2_PERCENT
from powercut_lab.latency.summary import Summary, share_of_training
from powercut_lab.statistics import quantile_ratio
from powercut_lab.study import Data, Figure, ReportTable, Section
from tests.lab.latency.rows import data_of, usual

ALL_DISKS = tuple(disk.name for disk in disks.DISKS)


def table_of(section: Section, name: str) -> ReportTable:
    (found,) = [each for each in section.items if each.name == name]
    assert isinstance(found, ReportTable)
    return found


def conclusions(data: Data) -> str:
    found = all_findings(Summary.of(data))[-1]
    assert found.startswith("The paper's conclusions here: ")
    return found


def test_a_run_without_rows_gives_a_section_without_items() -> None:
    empty: Data = {}
    for data in (empty, {tables.SAMPLES.name: [], tables.PROCESSES.name: []}):
        section = EXPERIMENT.section(data)
        assert section.items == ()
        assert section.findings == ()


@pytest.mark.parametrize("missing", ["lastgood:unsafe", "paper:unsafe", "paper:atomic_dirsync"])
def test_a_run_that_was_cut_off_gives_what_there_is(missing: str) -> None:
    data = data_of(("own disk", "xfs"), ("paper", "1 MiB"), 3)
    rows = [row for row in data[tables.SAMPLES.name] if row["way"] != missing]
    for kept in (rows[:1], rows[:9], rows[:29]):
        section = EXPERIMENT.section({tables.SAMPLES.name: kept})
        assert section.items
        assert section.findings
        for item in section.items:
            if isinstance(item, Figure):
                item.draw(Canvas())


def test_every_table_has_as_many_cells_as_columns_and_names_are_unique() -> None:
    section = EXPERIMENT.section(data_of(ALL_DISKS[::3] + ALL_DISKS[-1:], tuple(tables.BY_NAME), 3))
    names = [item.name for item in section.items]
    assert len(set(names)) == len(names)
    for item in section.items:
        if isinstance(item, ReportTable):
            assert item.rows
            assert {len(row) for row in item.rows} == {len(item.columns)}


def test_every_figure_is_drawn_with_labels_on_its_axes() -> None:
    section = EXPERIMENT.section(data_of(ALL_DISKS[::2], ("paper", "16 MiB"), 4))
    figures = [item for item in section.items if isinstance(item, Figure)]
    assert [each.name for each in figures] == ["latency-cdf", "latency-phases", "latency-share"]
    for each in figures:
        canvas = Canvas(figsize=(each.width_in, each.height_in))
        FigureCanvasSVG(canvas)
        each.draw(canvas)
        canvas.draw_without_rendering()
        assert len(canvas.axes) >= 1
        assert all(axis.get_xlabel() for axis in canvas.axes)
        assert set(each.data) <= {table.name for table in EXPERIMENT.tables}
        assert each.text


def test_the_cdf_ends_at_the_slowest_save_of_each_mode() -> None:
    data = data_of(("own disk",), ("paper",), 9)
    figure = next(i for i in EXPERIMENT.section(data).items if i.name == "latency-cdf")
    assert isinstance(figure, Figure)
    canvas = Canvas()
    figure.draw(canvas)
    rows = data[tables.SAMPLES.name]
    for line in canvas.axes[0].get_lines():
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        walls = [
            sum(int(row[name]) for name in row if name.endswith("_us"))
            for row in rows
            if row["way"] == line.get_label()
        ]
        assert x[-1] == max(walls) / 1000
        assert y[-1] == 1.0
        assert len(x) == 9


def test_the_printed_values_stand_beside_the_row_that_repeats_them() -> None:
    section = EXPERIMENT.section(data_of(("own disk",), ("paper",), 5))
    rows = {row[0]: row for row in table_of(section, "latency-p50").rows}
    for mode, printed in TABLE_1_S.items():
        row = rows[f"paper:{mode}, process time / 40 (biased)"]
        assert float(row[1]) == pytest.approx(1000 * printed[0], rel=0.01)
        assert row[2] != "–"  # noqa: RUF001
    overhead = {row[0]: row for row in table_of(section, "latency-overhead").rows}
    row = overhead["paper:atomic_dirsync, process time / 40 (biased), p99"]
    assert row[1] == f"+{TABLE_2_PERCENT['atomic_dirsync'][2]}"


def test_the_quantiles_of_a_table_are_those_of_the_rows() -> None:
    data = data_of(("xfs",), ("paper",), 41)
    cell = {row[0]: row[2] for row in table_of(EXPERIMENT.section(data), "latency-p90").rows}
    walls = [
        sum(int(row[name]) for name in row if name.endswith("_us"))
        for row in data[tables.SAMPLES.name]
        if row["way"] == "lastgood:atomic_dirsync"
    ]
    value, low, high = map(float, re.findall(r"[\d.]+", cell["lastgood:atomic_dirsync"]))
    assert value == pytest.approx(np.quantile(walls, 0.9) / 1000, rel=0.01)
    assert low <= value <= high


def test_the_phases_of_a_row_of_the_report_add_up_to_the_mean_save() -> None:
    section = EXPERIMENT.section(data_of(("own disk",), ("paper",), 20))
    for row in table_of(section, "latency-phase-means").rows:
        *phases, whole = map(float, row[1:])
        assert sum(phases) == pytest.approx(whole, abs=0.05)


def test_overheads_are_of_rounds_that_both_have() -> None:
    data = data_of(("xfs",), ("paper",), 12)
    rows = [
        row
        for row in data[tables.SAMPLES.name]
        if not (row["way"] == "paper:unsafe" and int(row["round"]) < 5)
    ]
    # A round that only one of the two has must not count, whatever is in it.
    rows = [
        {**row, "fsync_us": 10**9}
        if int(row["round"]) < 5 and row["way"] == "paper:atomic_dirsync"
        else row
        for row in rows
    ]
    found = Summary.of({tables.SAMPLES.name: rows}).paired(
        "xfs", "paper", "paper:atomic_dirsync", "paper:unsafe"
    )
    assert found is not None
    assert found.ratio.high < 100


def flat(dice: random.Random, way: str) -> tuple[int, int, int, int, int, int]:
    """Every mode takes the same time, with noise: no conclusion about costs can stand."""
    del way
    return 300, dice.randrange(300, 400), 0, 0, 0, 200


def as_printed(dice: random.Random, way: str) -> tuple[int, int, int, int, int, int]:
    """The overheads that the paper prints, around their medians."""
    mode = way.partition(":")[2]
    more = {"atomic_nodirsync": 0.565, "atomic_dirsync": 0.842}.get(mode, 0.0)
    base = dice.randrange(9_000, 11_000)
    return base, 0, round(base * more), 0, 0, 0


def test_the_verdicts_follow_the_rows() -> None:
    where = ("own disk", "xfs")
    cost = "syncing each file costs more than not to"
    printed = r"cost \+56.5 % and \+84.2 % at the median"
    ordinary = "ordinary production, as it is cheaper"
    text = conclusions(data_of(where, ("paper",), 60, usual))
    assert re.search(f"{cost} stands:", text)
    assert re.search(f"{printed} does not stand:", text)
    assert re.search(f"{ordinary} does not stand:", text)
    text = conclusions(data_of(where, ("paper",), 60, flat))
    assert re.search(f"{cost} does not stand:", text)
    text = conclusions(data_of(where, ("paper",), 60, as_printed))
    assert re.search(f"{printed} stands:", text)

    def slow_dirs(dice: random.Random, way: str) -> tuple[int, int, int, int, int, int]:
        more = 2_000_000 if way.endswith("atomic_dirsync") else 0
        return (*usual(dice, way)[:4], more, 100)

    text = conclusions(data_of(where, ("paper",), 60, slow_dirs))
    assert re.search(f"{ordinary} stands:", text)


def test_a_conclusion_that_stands_on_one_disk_alone_names_it() -> None:
    samples = tables.SAMPLES.name
    data = {
        samples: [
            *data_of(("own disk",), ("paper",), 30, usual)[samples],
            *data_of(("btrfs",), ("paper",), 30, flat)[samples],
        ]
    }
    assert "stands on own disk and not on btrfs" in conclusions(data)


def test_memory_has_no_say_in_what_syncs_cost() -> None:
    assert "tmpfs" not in conclusions(data_of(("own disk", "tmpfs"), ("paper",), 20))


def test_flushes_are_counted_by_what_one_took() -> None:
    def model(dice: random.Random, way: str) -> tuple[int, int, int, int, int, int]:
        del dice
        flushes = {"paper:atomic_dirsync": 12, "lastgood:atomic_dirsync": 9}.get(way, 1)
        return 10, 10, 5000 * (flushes - 1), 0, 5000, 10

    section = EXPERIMENT.section(data_of((disks.DELAYED.name,), ("paper",), 5, model))
    rows = {row[0]: row[2] for row in table_of(section, "latency-flushes").rows}
    assert rows["paper:atomic_dirsync"] == "12.0"
    assert rows["lastgood:atomic_dirsync"] == "9.0"


def test_a_ratio_of_quantiles_follows_a_factor_and_keeps_rounds_together() -> None:
    dice = random.Random(5)  # noqa: S311 - samples, no secrets
    base = [dice.lognormvariate(0, 2) for _ in range(50)]
    for at in (0.5, 0.9, 0.99):
        found = quantile_ratio(base, [3 * each for each in base], at)
        assert (found.value, found.low, found.high) == pytest.approx((3, 3, 3))
    for wrong in (([], []), ([0.0, 0.0], [1.0, 1.0])):
        with pytest.raises(ValueError, match="no ratio"):
            quantile_ratio(*wrong, 0.5)


def test_the_share_of_training_is_of_all_time() -> None:
    assert share_of_training(1e6, 1.0) == 0.5
    assert share_of_training(1e6, 99.0) == 0.01


def test_the_same_rows_give_the_same_section() -> None:
    data = data_of(("own disk",), ("paper",), 20)
    first, second = EXPERIMENT.section(data), EXPERIMENT.section(data)
    assert first.findings == second.findings
    tables_of = [[i for i in each.items if isinstance(i, ReportTable)] for each in (first, second)]
    assert tables_of[0] == tables_of[1]
