"""The section of the report says what its rows say."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from matplotlib.figure import Figure as Canvas

from powercut_lab.corruption.experiment import EXPERIMENT
from powercut_lab.corruption.paper_files import CRASHES
from powercut_lab.corruption.paper_values import EPOCHS_SAVED, SEEDS, TABLE_4, UNSAFE_RUNS
from powercut_lab.corruption.tally import missed_alone, with_interval
from powercut_lab.statistics import share
from powercut_lab.study import Figure, ReportTable, Section
from tests.lab.corruption.rows import injection, paper_file

FILES = [
    *(paper_file("none") for _ in range(10)),
    *(paper_file("bitflip", detected=1, digest_mismatch=1, file_sha_mismatch=1) for _ in range(7)),
    *(paper_file("bitflip", detected=1, load_error=1, file_sha_mismatch=1) for _ in range(2)),
    paper_file("bitflip", detected=1, file_sha_mismatch=1),
    paper_file("zerorange", effective=0, seed=7, epoch=111, offset=73434, length=3),
    paper_file("zerorange", detected=1, digest_mismatch=1, file_sha_mismatch=1),
    paper_file("truncate", detected=1, load_error=1, file_sha_mismatch=1),
    paper_file("none", "early", effective=1, detected=1, load_error=1),
    *(paper_file("none", "mid") for _ in range(20)),
    paper_file("none", "mid", effective=1, detected=1, load_error=1),
]
INJECTIONS = [
    injection("lastgood+record", "unsafe", "none", 40),
    injection(
        "lastgood+record", "unsafe", "bit flip", 30,
        digest=1, file_hash=1, chunk=1, found=1, outcome="older",
    ),
    injection(
        "lastgood+record", "unsafe", "bit flip", 10,
        load=1, file_hash=1, chunk=1, found=1, outcome="older",
    ),
    injection("lastgood+record", "unsafe", "zero range", 2, effective=0, where="rng.json: 1"),
    injection(
        "paper", "unsafe", "bit flip", 5, moment="before the digest", digest=1, chunk=-1,
        outcome="damaged bytes",
    ),
]  # fmt: skip


def section(**data: Any) -> Section:
    return EXPERIMENT.section({"corruption_paper_files": (), "corruption_injections": (), **data})


def table(found: Section, name: str) -> ReportTable:
    (one,) = (each for each in found.items if isinstance(each, ReportTable) and each.name == name)
    return one


@pytest.fixture(scope="module")
def whole() -> Section:
    return section(corruption_paper_files=FILES, corruption_injections=INJECTIONS)


def test_no_rows_give_an_empty_section() -> None:
    assert section().items == ()
    assert section().findings == ()


def test_a_run_that_was_cut_off_gives_what_there_is() -> None:
    cut_off = section(corruption_paper_files=FILES[:3], corruption_injections=INJECTIONS[:1])

    assert table(cut_off, "table-4").rows[1][1:3] == ("0", "—")
    assert [each.name for each in cut_off.items if isinstance(each, Figure)] == ["corruption-rate"]
    assert table(cut_off, "corruption-by-mode").rows[0][1] == "—"


def test_table_4_counts_what_changed_a_byte_and_keeps_the_papers_values_beside(
    whole: Section,
) -> None:
    found = table(whole, "table-4")
    rows = {row[0]: row[1:] for row in found.rows}

    assert rows["bitflip"][:5] == ("10", with_interval(10, 10), "2", "7", "10")
    assert rows["bitflip"][5:] == ("400/400", "7", "387", "400")
    assert rows["zerorange"][0] == "1"
    assert rows["zerorange, no byte changed"][:2] == ("1", with_interval(0, 1))
    assert rows["none"][:2] == ("10", with_interval(0, 10))
    assert "torch 2.99.0 here, torch 2.8.0 in the paper" in found.caption
    (note,) = found.notes
    assert note.startswith(
        "No-op: zerorange with seed 7, epoch 111, offset 73434, length 3 of 73437"
    )


def test_the_printed_values_add_up_as_in_the_paper() -> None:
    assert {row.files for row in TABLE_4.values()} == {400}
    assert sum(row.files for row in TABLE_4.values()) == 1600
    assert len(SEEDS) * len(EPOCHS_SAVED) == 400
    for crash, last in CRASHES.items():
        files = len(SEEDS) * sum(epoch <= last for epoch in EPOCHS_SAVED)
        assert UNSAFE_RUNS[crash] == (len(SEEDS), files)


def test_the_findings_are_counted(whole: Section) -> None:
    said = " ".join(whole.findings)

    assert "Of 10 single-bit flips in files of torch.save, 8 loaded without any error" in said
    assert "7 with wrong weights, 1 with all weights intact" in said
    assert "1 of 2 zero ranges changed no byte; the guard detected 1 of the other 1" in said
    assert "Of 40 effective injections at rest or before the write, 0 led" in said
    assert "5 of 5 such groups were handed out as valid" in said
    assert "False positives among controls: 0/40" in said


def test_what_a_layer_misses_alone_has_its_interval(whole: Section) -> None:
    found = table(whole, "missed-by-layer-group-of-lastgood")
    row = dict(zip(found.columns, found.rows[0], strict=True))
    interval = share(30, 40)

    assert row["fault"] == "bit flip, at rest"
    assert row["load error alone"].startswith("30/40: 75.0 %")
    assert f"{100 * interval.low:.1f}" in row["load error alone"]
    # A digest can be had of what loads: what does not load is noticed as well.
    assert row["tensor digest alone"].startswith("0/40")
    assert row["manifest alone"].startswith("40/40")


def test_a_layer_that_is_not_there_is_not_counted(whole: Section) -> None:
    found = table(whole, "missed-by-layer-group-of-the-paper")

    assert found.rows[0][-1] == "—"
    assert missed_alone([injection("paper", "unsafe", "bit flip", 5, chunk=-1)], "chunk") is None


def test_no_ops_have_a_row_of_their_own(whole: Section) -> None:
    noticed = table(whole, "noticed-by-layer-group-of-lastgood")
    listed = table(whole, "corruption-no-ops")

    assert [row[:2] for row in noticed.rows] == [
        ("bit flip, at rest", "40"),
        ("zero range, at rest", "0"),
        ("zero range, at rest, no byte changed", "2"),
    ]
    assert listed.rows == (("lastgood+record:unsafe", "zero range, at rest", "rng.json: 1", "2"),)


def test_figures_are_drawn_and_say_their_numbers(whole: Section) -> None:
    figures = {each.name: each for each in whole.items if isinstance(each, Figure)}

    for figure in figures.values():
        canvas = Canvas(figsize=(figure.width_in, figure.height_in), layout="constrained")
        figure.draw(canvas)
        canvas.savefig(BytesIO(), format="svg")
    assert "unsafe mid: 1 of 21" in figures["corruption-rate"].text
    assert "load error 30 of 40" in figures["missed-bit-flips"].text


def test_every_table_has_as_many_cells_as_columns(whole: Section) -> None:
    tables = [each for each in whole.items if isinstance(each, ReportTable)]

    assert len(tables) > 5
    for each in tables:
        assert {len(row) for row in each.rows} == {len(each.columns)}
    assert len({each.name for each in whole.items}) == len(whole.items)
