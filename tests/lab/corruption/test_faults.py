"""The faults do what they are named for, and only that."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from powercut_lab.corruption.changes import Checkpoint, draw_file, faults_at_rest, nothing
from powercut_lab.corruption.faults import (
    BLOCK_BYTES,
    duplicate_block,
    flip_bits,
    no_fault,
    truncation,
    zero_range,
)


def drawn_from(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


DATA = st.binary(min_size=1, max_size=3000)
SEEDS = st.integers(0, 1000)


@given(DATA, SEEDS)
def test_a_flip_changes_one_bit_of_a_small_file(data: bytes, seed: int) -> None:
    damage = flip_bits(data, drawn_from(seed))

    changed = [at for at in range(len(data)) if data[at] != damage.data[at]]
    assert changed == [damage.offset]
    assert (data[changed[0]] ^ damage.data[changed[0]]).bit_count() == 1


def test_a_file_of_a_megabyte_gets_five_flips() -> None:
    data = bytes(1_000_000)

    damage = flip_bits(data, drawn_from(1))

    assert sum(byte.bit_count() for byte in damage.data) == 5


@given(DATA, SEEDS, st.sampled_from([0.5, 0.7]))
def test_a_truncation_keeps_the_beginning(data: bytes, seed: int, kept: float) -> None:
    damage = truncation(kept)(data, drawn_from(seed))

    assert data.startswith(damage.data)
    assert len(damage.data) == int(len(data) * kept) == damage.offset
    assert damage.offset + damage.length == len(data)


@given(DATA, SEEDS)
def test_a_zero_range_is_a_hundredth_and_ends_with_the_file(data: bytes, seed: int) -> None:
    damage = zero_range(data, drawn_from(seed))

    last = damage.offset + damage.length
    assert damage.data[damage.offset : last] == bytes(damage.length)
    assert damage.data[: damage.offset] == data[: damage.offset]
    assert damage.data[last:] == data[last:]
    assert damage.length == min(max(1, len(data) // 100), len(data) - damage.offset)


@given(SEEDS, st.integers(1, 5 * BLOCK_BYTES))
def test_a_duplicated_block_is_another_one_of_the_file(seed: int, size: int) -> None:
    data = drawn_from(seed).randbytes(size)

    damage = duplicate_block(data, drawn_from(seed))

    assert len(damage.data) == len(data)
    if size <= BLOCK_BYTES:
        assert damage.data == data
    else:
        copied = damage.data[damage.offset : damage.offset + damage.length]
        assert damage.data != data
        assert data.index(copied) % BLOCK_BYTES == 0
        assert damage.data[: damage.offset] == data[: damage.offset]


def checkpoint() -> Checkpoint:
    parts = {"a": b"aaaa" * 3000, "b": b"bb" * 2000}
    return Checkpoint(
        parts,
        {"MANIFEST": b"of these"},
        {name: b"old " + data for name, data in parts.items()},
        {"MANIFEST": b"of older"},
    )


def test_every_fault_at_rest_names_what_it_changes() -> None:
    faults = faults_at_rest(0.5)
    found = {
        name: {file for seed in range(30) for file in fault(checkpoint(), drawn_from(seed)).files}
        for name, fault in faults.items()
    }

    assert found.pop("stale manifest") == found.pop("flip in the manifest") == {"MANIFEST"}
    assert found.pop("swapped parts") == found.pop("missing part") == {"a", "b"}
    assert set(found) == {"bit flip", "truncation", "zero range", "duplicated block"}
    assert set().union(*found.values()) == {"a", "b"}


def test_an_injection_that_changes_no_byte_is_not_effective() -> None:
    zeros = Checkpoint({"a": bytes(5000)}, {"M": b"m"}, {"a": bytes(5000)}, {"M": b"m"})
    effective = {
        name: fault(zeros, drawn_from(2)).is_effective(zeros)
        for name, fault in faults_at_rest(0.7).items()
    }

    assert {name for name, changed in effective.items() if not changed} == {
        "zero range",
        "duplicated block",
        "swapped parts",
        "stale manifest",
    }
    assert not nothing(zeros, drawn_from(1)).is_effective(zeros)
    assert no_fault(b"x", drawn_from(1)).data == b"x"


def test_a_file_is_drawn_by_its_size() -> None:
    draw = drawn_from(4)

    drawn = [draw_file({"big": bytes(990), "small": bytes(10)}, draw) for _ in range(1000)]

    assert 970 < drawn.count("big") < 1000
