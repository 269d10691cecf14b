"""Lines in the format that fs_usage(1) documents; they were made by hand, not on a Mac."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from powercut_lab.observe.fs_usage import parse_line, spans_of
from powercut_lab.observe.layers import LATER
from powercut_lab.observe.mac_recording import join_usage
from tests.lab.observe.told import TOLD

LINES = """\
TIMESTAMP  CALL            FILE DESCRIPTOR  BYTE COUNT  PATHNAME   TIME INTERVAL(W)  PROCESS NAME
10:00:00.000050  open              F=5        (_WCE__)  /private/tmp/s/g/a.bin   0.000020   python3.12.77
10:00:00.000200  write             F=5    B=0x20000                               0.000100   python3.12.77
10:00:00.000450    WrData[AT2]     D=0x00a886d2  B=0x20000  /dev/disk3s5  /private/tmp/s/g/a.bin 0.000150 W python3.12.77
10:00:00.000460  write             F=9    B=0x10                                  0.000010   mds.4
10:00:00.000500  fsync             F=5                                            0.000290 W python3.12.77
10:00:00.000590  IOCTL             <DKIOCSYNCHRONIZECACHE>  /dev/disk3            0.000070 W kernel_task.9
10:00:00.000600  fcntl             F=6   <FULLFSYNC>                              0.000095 W python3.12.77
10:00:00.000610  fcntl             F=6   <GETFL>                                  0.000001   python3.12.77
10:00:00.000700  rename                                 /private/tmp/s/g          0.000030   python3.12.77
10:00:00.000710  mkdir             [ 17]                /private/tmp/s            0.000003   python3.12.77
10:00:00.000720  fsync             F=5
10:00:00.001500    WrMeta[A]       D=0x10  B=0x1000  /dev/disk3s5                 0.000100   kernel_task.9
10:00:00.001590  IOCTL             <DKIOCSYNCHRONIZECACHE>  /dev/disk3            0.000070 W kernel_task.9
""".splitlines()  # noqa: E501
TEN_S = 10 * 3600.0


def test_calls_of_the_command_and_what_reached_the_disks_are_kept() -> None:
    found = [(s.look, s.name, s.begin, s.end, s.bytes) for s in spans_of(LINES, "python", TEN_S)]

    assert found == [
        ("call", "open a.bin", 30, 50, 0),
        ("call", "write", 100, 200, 0x20000),
        ("write", "WrData[AT2] block 11044562", 300, 450, 0x20000),
        ("sync", "fsync", 210, 500, 0),
        ("flush", "flush", 520, 590, 0),
        ("sync", "F_FULLFSYNC", 505, 600, 0),
        ("call", "rename g", 670, 700, 0),
        ("call", "mkdir s", 707, 710, 0),
        ("write", "WrMeta[A] block 16", 1400, 1500, 0x1000),
        ("flush", "flush", 1520, 1590, 0),
    ]


def test_a_line_tells_when_it_ended_how_long_it_took_and_that_it_waited() -> None:
    event = parse_line(LINES[5])

    assert event is not None
    assert (event.name, event.took_s, event.waited) == ("fsync", 0.00029, True)
    assert event.command == "python3.12"
    assert event.end_s == pytest.approx(TEN_S + 0.0005)


@pytest.mark.parametrize("line", [LINES[0], LINES[11], "", "fs_usage: no such thing"])
def test_a_heading_and_a_line_that_was_cut_off_are_no_events(line: str) -> None:
    assert parse_line(line) is None


@given(st.text(max_size=120))
def test_whatever_a_line_holds_it_is_an_event_or_none(line: str) -> None:
    assert list(spans_of([line], "python", 0)) == [] or parse_line(line) is not None


@given(st.sampled_from(LINES), st.integers(0, 160))
def test_a_line_that_ends_anywhere_is_no_other_event(line: str, end: int) -> None:
    whole, part = parse_line(line), parse_line(line[:end])

    assert part is None or whole is None or (part.name, part.took_s) == (whole.name, whole.took_s)


def test_midnight_is_no_day_back() -> None:
    line = "00:00:00.500000  fsync             F=5    0.100000 W python3.12.77"
    (span,) = spans_of([line], "python", 86_399.5)

    assert (span.begin, span.end) == (900_000, 1_000_000)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """fs_usage prints local time."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_the_steps_of_the_save_and_the_lines_are_on_one_clock() -> None:
    spans = join_usage(evolve(TOLD, wall_begin_s=86_400 * 3 + TEN_S), LINES)
    names = {span.id: span.name for span in spans}

    assert [
        (f.begin, names.get(f.belongs_to, f.belongs_to)) for f in spans if f.look == "flush"
    ] == [
        (520, "F_FULLFSYNC"),
        (1520, LATER),
    ]
    assert {s.lane for s in spans} == {"phases", "calls", "writes and flushes"}
    fsync = next(s for s in spans if s.name == "fsync")
    assert names[fsync.belongs_to] == "sync parts"
