"""The words of the section, from rows alone."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from powercut.report.timeline_csv import to_rows
from powercut_lab.observe.experiment import EXPERIMENT
from powercut_lab.observe.layers import join_layers
from powercut_lab.observe.saves import EVENTS
from powercut_lab.result_folder import check_row
from powercut_lab.study import Cell, Data, Picture, ReportTable, Section
from tests.lab.observe.told import CALLS, REQUESTS, STORE, TOLD, flush, write

Rows = list[dict[str, Cell]]


def rows(fs: str, protocol: str, mode: str, run: int = 1, **more: object) -> Rows:
    """The rows of a save; `requests` and `calls` replace those of the example."""
    given = {"calls": CALLS, "requests": REQUESTS, **more}
    spans = join_layers(TOLD, given["calls"], given["requests"], STORE)  # type: ignore[arg-type]
    source = "seam" if given["calls"] is None else "ptrace"
    found = [(fs, protocol, mode, run, source, *row) for row in to_rows(spans)]
    for row in found:
        check_row(EVENTS, row)
    return [dict(zip(EVENTS.columns, row, strict=True)) for row in found]


def section(*some: Rows) -> Section:
    data: Data = {EVENTS.name: [row for each in some for row in each]}
    return EXPERIMENT.section(data)


def table(found: Section, name: str) -> ReportTable:
    (one,) = [i for i in found.items if isinstance(i, ReportTable) and i.name == name]
    return one


def pictures(found: Section) -> list[str]:
    return [item.name for item in found.items if isinstance(item, Picture)]


def test_the_table_says_which_flush_belongs_to_which_sync() -> None:
    found = table(section(rows("ext4", "lastgood", "atomic_dirsync")),
                  "syncs-ext4-lastgood-atomic_dirsync")  # fmt: skip

    assert [row[:5] for row in found.rows] == [
        ("S2 fsync a.bin", "sync parts", "F1, F2", "1", "8"),
        ("S3 fsync b.bin", "sync parts", "F3", "0", "0"),
        ("S5 fsync group", "sync dir: group", "none", "0", "0"),
        ("S6 fsync store", "sync dir: store", "F4", "1", "4"),
    ]
    assert [row[5] for row in found.rows] == ["280", "80", "8", "150"]


def test_findings_count_flushes_and_name_the_syncs_that_had_none() -> None:
    more = (*REQUESTS, flush(860))
    found = section(
        rows("ext4", "lastgood", "atomic_dirsync", 1),
        rows("ext4", "lastgood", "atomic_dirsync", 2, requests=more),
        rows("ext4", "lastgood", "unsafe", requests=[write(1500, 2048), flush(1501)]),
    )
    said = " ".join(found.findings)

    assert "4 to 5 with lastgood:atomic_dirsync, 0 with lastgood:unsafe" in said
    assert "issued no flush in any run: fsync group." in said
    assert "lastgood:unsafe returns when nothing was flushed and 2 KiB are still" in said


def test_a_sync_that_flushes_in_one_run_is_not_called_idle() -> None:
    found = section(
        rows("ext4", "lastgood", "atomic_dirsync", 1),
        rows("ext4", "lastgood", "atomic_dirsync", 2, requests=(*REQUESTS, flush(715))),
    )

    assert not any("no flush in any run" in each for each in found.findings)


def test_the_summary_has_a_row_for_each_mode_with_the_range_of_its_runs() -> None:
    found = section(
        rows("xfs", "paper", "atomic_dirsync", 1),
        rows("xfs", "paper", "atomic_dirsync", 2, requests=[flush(300), flush(95)]),
    )
    summary = table(found, "observe-flushes")
    row = dict(zip(summary.columns, summary.rows[0], strict=True))

    assert row["file system and mode"] == "xfs paper:atomic_dirsync"
    assert (row["sync calls"], row["flushes"], row["runs"]) == ("4", "2 to 4", "2")
    assert row["flushes outside a sync"] == "0 to 1"
    assert row["KiB left for later"] == "0 to 2"


def test_the_default_is_drawn_on_each_file_system_and_a_few_more_on_the_first() -> None:
    found = section(
        *(
            rows(fs, *subject)
            for fs in ("ext4", "xfs")
            for subject in (
                ("lastgood", "atomic_dirsync"), ("lastgood", "unsafe"), ("paper", "unsafe"),
            )
        )
    )  # fmt: skip

    assert pictures(found) == [
        "timeline-ext4-lastgood-atomic_dirsync",
        "timeline-ext4-lastgood-unsafe",
        "timeline-xfs-lastgood-atomic_dirsync",
    ]
    for item in found.items:
        if isinstance(item, Picture):
            ET.fromstring(item.svg)  # noqa: S314 - our own text
            assert "F1, F2" in item.text


def test_without_a_disk_phases_and_calls_are_drawn_and_nothing_is_said_of_flushes() -> None:
    found = section(rows("tmpfs", "lastgood", "atomic_dirsync", calls=None, requests=()))
    summary = table(found, "observe-flushes")

    assert pictures(found) == ["timeline-tmpfs-lastgood-atomic_dirsync"]
    assert dict(zip(summary.columns, summary.rows[0], strict=True))["flushes"] == "not seen"
    assert any("were not recorded here" in each for each in found.findings)
    assert not any("has issued" in each for each in found.findings)
    assert any("could not be traced" in note for note in summary.notes)
    assert not [i for i in found.items if i.name.startswith("syncs-")]


def test_of_no_rows_the_section_says_so() -> None:
    found = EXPERIMENT.section({})

    assert found.items == ()
    assert found.findings == ("No save has been observed yet.",)
