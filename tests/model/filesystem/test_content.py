from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from powercut.filesystem.content import EMPTY, STALE, STALE_BYTE, ByteRun, Content, Fill, run_of

writes = st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=8)), max_size=6)


@given(writes=writes, size=st.integers(0, 30))
def test_a_content_reads_as_a_plain_buffer_would(
    writes: list[tuple[int, bytes]], size: int
) -> None:
    content, buffer = EMPTY, bytearray(64)
    for start, data in writes:
        content = content.overlay(run_of(start, data))
        buffer[start : start + len(data)] = data

    assert content.resize(size).read() == bytes(buffer[:size])


@given(writes=writes, cut=st.integers(0, 30))
def test_a_truncation_kills_what_was_behind_it(writes: list[tuple[int, bytes]], cut: int) -> None:
    content = EMPTY
    for start, data in writes:
        content = content.overlay(run_of(start, data))
    content = content.resize(30).truncate(cut).resize(30)

    assert content.read()[cut:] == bytes(30 - cut)


@given(first=writes, second=writes, size=st.integers(0, 30))
def test_contents_look_alike_exactly_when_they_read_alike(
    first: list[tuple[int, bytes]], second: list[tuple[int, bytes]], size: int
) -> None:
    def content(program: list[tuple[int, bytes]]) -> Content:
        made = EMPTY
        for start, data in program:
            made = made.overlay(run_of(start, data))
        return made.resize(size)

    one, other = content(first), content(second)

    assert (one.look() == other.look()) == (one.read() == other.read())


def test_a_short_fill_equals_its_bytes_and_a_long_one_stays_one_run() -> None:
    assert run_of(0, Fill(65, 3)) == run_of(0, b"AAA")
    assert run_of(0, Fill(65, 1 << 40)) == ByteRun(0, 1 << 40, 65)


def test_stale_bytes_show_only_where_nothing_was_written_and_are_told_from_real_ones() -> None:
    content = run_of(0, b"ab")
    stale = Content(4, (content,)).underlay(ByteRun(0, 4, STALE))
    real = Content(4).overlay(run_of(0, b"ab" + bytes([STALE_BYTE] * 2)))

    assert stale.read() == b"ab" + bytes([STALE_BYTE] * 2)
    assert stale.look() != real.look()
