"""The layers of a save on one clock: what is a phase, what belongs to what, what came later."""

from __future__ import annotations

from powercut_lab.observe.layers import LATER, join_layers, phases, seam_calls
from tests.lab.observe.told import CALLS, REQUESTS, STORE, TOLD

SPANS = join_layers(TOLD, CALLS, REQUESTS, STORE)


def test_steps_of_one_kind_that_follow_each_other_are_one_phase() -> None:
    assert [(p.name, p.begin, p.end) for p in phases(TOLD)] == [
        ("write parts", 10, 200),
        ("sync parts", 200, 600),
        ("write MANIFEST", 610, 640),
        ("sync MANIFEST", 640, 700),
        ("sync dir: group", 710, 720),
        ("sync dir: store", 730, 900),
    ]


def test_calls_outside_of_the_save_are_left_out_and_files_go_by_their_parts() -> None:
    calls = [span.name for span in SPANS if span.lane == "calls"]

    assert calls == [
        "write a.bin", "fsync a.bin", "fsync b.bin", "rename a.bin", "fsync group", "fsync store",
    ]  # fmt: skip


def test_each_flush_is_given_to_the_sync_it_came_in_and_what_came_after_the_save_is_later() -> None:
    names = {span.id: span.name for span in SPANS}
    owners = [
        (span.begin, names.get(span.belongs_to, span.belongs_to))
        for span in SPANS
        if span.look == "flush"
    ]

    assert owners == [
        (400, "fsync a.bin"),
        (401, "fsync a.bin"),
        (550, "fsync b.bin"),
        (850, "fsync store"),
        (1600, LATER),
    ]


def test_requests_from_before_the_save_and_after_the_last_sync_are_not_its_own() -> None:
    assert [s.begin for s in SPANS if s.look == "write"] == [70, 300, 800, 1500]
    assert not next(s for s in SPANS if s.look == "write").belongs_to


def test_without_system_calls_the_steps_stand_in() -> None:
    spans = join_layers(TOLD, None, (), STORE)
    syncs = [span.name for span in spans if span.look == "sync"]

    assert len([s for s in spans if s.lane == "calls"]) == len(TOLD.steps)
    assert syncs == [
        "fsync a.bin", "fsync b.bin", "fsync MANIFEST", "fsync_dir group", "fsync_dir store",
    ]  # fmt: skip
    assert next(seam_calls(TOLD)).name == "mkdir group"
