"""A timeline: which flush belongs to which sync, and the rows that say so."""

from __future__ import annotations

import csv
import io

import pytest
from attrs import evolve
from hypothesis import given

from powercut.report.timeline import (
    REQUESTS,
    Timeline,
    TimelineSpan,
    costs_of_syncs,
    joined,
    numbered,
)
from powercut.report.timeline_csv import COLUMNS, from_row, to_csv, to_rows
from tests.model.report.spans import TIMELINES, a_save


def test_a_flush_belongs_to_the_sync_that_ran_when_it_came() -> None:
    costs = costs_of_syncs(a_save())

    assert [(c.sync.name, [f.id for f in c.flushes], c.bytes) for c in costs] == [
        ("fsync model.bin", ["F1", "F2"], 8192),
        ("fsync optim.bin", ["F3"], 0),
        ("fsync group", [], 0),
    ]


def test_a_write_that_no_sync_waited_for_belongs_to_none() -> None:
    early = next(span for span in a_save().spans if span.look == "write")

    assert (early.begin, early.belongs_to) == (60, "")


def test_a_call_belongs_to_the_phase_in_which_it_began() -> None:
    owners = {s.name: s.belongs_to for s in a_save().spans if s.lane == "calls"}

    assert owners["write model.bin"] == "P1"
    assert owners["fsync group"] == "P2"


def test_of_two_syncs_at_once_the_last_begun_is_the_owner() -> None:
    spans = joined(
        numbered(
            [
                TimelineSpan("", "calls", "sync", "syncfs", 0, 100),
                TimelineSpan("", "calls", "sync", "fsync", 10, 50),
                TimelineSpan("", "disk", "flush", "flush", 20, 20),
                TimelineSpan("", "disk", "flush", "flush", 60, 60),
            ]
        )
    )

    assert [s.belongs_to for s in spans if s.look == "flush"] == ["S2", "S1"]


@given(TIMELINES)
def test_no_request_belongs_to_a_sync_that_did_not_run_then(timeline: Timeline) -> None:
    syncs = {span.id: span for span in timeline.spans if span.look == "sync"}
    for span in timeline.spans:
        if span.look in REQUESTS:
            running = [s for s in syncs.values() if s.begin <= span.begin <= s.end]
            assert bool(running) == bool(span.belongs_to)
            assert not running or syncs[span.belongs_to] in running


@given(TIMELINES)
def test_every_flush_of_a_sync_is_counted_once(timeline: Timeline) -> None:
    counted = [flush.id for cost in costs_of_syncs(timeline) for flush in cost.flushes]
    owned = [s.id for s in timeline.spans if s.look == "flush" and s.belongs_to]

    assert sorted(counted) == sorted(owned)


@given(TIMELINES)
def test_rows_give_the_spans_back(timeline: Timeline) -> None:
    rows = to_rows(timeline.spans)

    assert tuple(from_row(dict(zip(COLUMNS, row, strict=True))) for row in rows) == timeline.spans


@given(TIMELINES)
def test_the_csv_has_a_line_for_each_span_in_order_of_time(timeline: Timeline) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(timeline), newline="")))

    assert sorted(line["id"] for line in lines) == sorted(span.id for span in timeline.spans)
    begins = [float(line["begin_us"]) for line in lines]
    assert begins == sorted(begins)


def test_the_csv_of_a_log_names_records_not_microseconds() -> None:
    heading = to_csv(evolve(a_save(), unit="record")).partition("\n")[0]

    assert '"begin_record","end_record"' in heading
    assert "_us" not in heading


@pytest.mark.parametrize(
    "span",
    [
        TimelineSpan("S1", "calls", "sync", "fsync", 2, 1),
        TimelineSpan("S1", "cellar", "sync", "fsync", 1, 2),
    ],
)
def test_a_span_that_cannot_be_is_refused(span: TimelineSpan) -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        Timeline("t", ("calls",), (span,))


def test_two_spans_with_one_id_are_refused() -> None:
    span = TimelineSpan("S1", "calls", "sync", "fsync", 0, 1)
    with pytest.raises(ValueError, match="one id"):
        Timeline("t", ("calls",), (span, span))


def test_a_row_of_an_unknown_kind_is_refused() -> None:
    row = dict(zip(COLUMNS, to_rows(a_save().spans)[0], strict=True))
    with pytest.raises(ValueError, match="'nap'"):
        from_row({**row, "kind": "nap"})
