"""A recording as a timeline: ops and requests in the log's order, and what a crash undid."""

from __future__ import annotations

from powercut_rig import BlockLog, Flush, Mark, Recipe, Write
from powercut_rig.blocks.block_log import Torn
from powercut_rig.blocks.timeline import timeline_of, with_crash

LOG = BlockLog(
    1 << 20,
    {},
    (
        Write(0, b"0" * 512),
        Mark("write", 0, "begin"),
        Mark("write", 0, "end"),
        Mark("fsync", 1, "begin"),
        Write(4096, b"1" * 4096),
        Write(8192, b"2" * 4096),
        Flush(),
        Mark("fsync", 1, "end"),
        Mark("a note", 2, "note"),
        Write(0, b"3" * 512),
    ),
)


def test_a_request_between_the_marks_of_a_sync_belongs_to_it() -> None:
    spans = timeline_of(LOG, "t").spans
    names = {span.id: span.name for span in spans}

    assert [(s.look, s.begin, s.end) for s in spans if s.lane == "ops"] == [
        ("call", 1, 2),
        ("sync", 3, 7),
    ]
    assert [(s.look, s.begin, names.get(s.belongs_to, "")) for s in spans if s.lane != "ops"] == [
        ("write", 0, ""),
        ("write", 4, "fsync"),
        ("write", 5, "fsync"),
        ("flush", 6, "fsync"),
        ("write", 9, ""),
    ]


def test_a_crash_splits_writes_into_landed_lost_torn_and_not_issued_yet() -> None:
    crashed = with_crash(timeline_of(LOG, "t"), Recipe(5, (0,), (Torn(4, 0, 512),)))
    looks = {span.begin: span.look for span in crashed.spans if span.lane != "ops"}

    assert looks == {0: "lost", 4: "torn", 5: "after", 6: "flush", 9: "after"}
    assert crashed.cut is not None
    assert 4 < crashed.cut.at < 5


def test_two_recordings_are_equal_whatever_the_clock_said() -> None:
    assert Write(0, b"x", 5) == Write(0, b"x", 9)
    assert hash(Flush(5)) == hash(Flush())
    assert Mark("fsync", 1, "end", 3) == Mark("fsync", 1, "end")
    assert Write(0, b"x") != Write(0, b"y")
