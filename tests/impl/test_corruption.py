"""Groups at rest that were damaged: every effective damage is found, and no clean group accused.

An injection that changed nothing (zeros over zeros, a part swapped for its equal) is counted
apart. Long on request: the `soak` profile makes ten thousand of each.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

import lastgood
from lastgood.format.digests import Algorithm
from tests.impl.disks import Unsynced, open_store

SOAK = settings.get_current_profile_name() == "soak"
TRIALS = 10_000 if SOAK else 300
NEW, OLD = "gen-00000002-step-00000002", "gen-00000001-step-00000001"
REASONS = (
    "no_commit",
    "commit_manifest_mismatch",
    "manifest_error",
    "name_mismatch",
    "missing",
    "size_mismatch",
    "sha_mismatch",
    "digest_mismatch",
    "not_regular",
    "unsafe_path",
)

Harm = Callable[[Path, random.Random], None]


def content(step: int) -> dict[str, bytes]:
    """Three parts: one of noise, one with a long tail of zeros, one that two steps share."""
    noise = random.Random(step)  # noqa: S311
    return {
        "model.bin": noise.randbytes(9000),
        "optim/adam": noise.randbytes(4500) + bytes(4500),
        "rng.json": b'{"seed": 7}',
    }


def some_file(group: Path, dice: random.Random) -> Path:
    return dice.choice(sorted(path for path in group.rglob("*") if path.is_file()))


def flip_a_bit(group: Path, dice: random.Random) -> None:
    path = some_file(group, dice)
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def truncate(group: Path, dice: random.Random) -> None:
    path = some_file(group, dice)
    data = path.read_bytes()
    path.write_bytes(data[: dice.randrange(len(data))])


def zero_a_range(group: Path, dice: random.Random) -> None:
    path = some_file(group, dice)
    data = bytearray(path.read_bytes())
    start = dice.randrange(len(data))
    length = min(dice.randrange(1, 200), len(data) - start)
    data[start : start + length] = bytes(length)
    path.write_bytes(data)


def append(group: Path, dice: random.Random) -> None:
    path = some_file(group, dice)
    path.write_bytes(path.read_bytes() + dice.randbytes(dice.randrange(1, 9)))


def remove_a_file(group: Path, dice: random.Random) -> None:
    some_file(group, dice).unlink()


def swap_between_groups(group: Path, dice: random.Random) -> None:
    path = some_file(group, dice)
    other = group.parent / OLD / path.relative_to(group)
    path.write_bytes(other.read_bytes())


def swap_two_parts(group: Path, dice: random.Random) -> None:
    one, other = group / "model.bin", group / "rng.json"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def a_byte_range_of_the_other_group(group: Path, dice: random.Random) -> None:
    path = group / dice.choice(["model.bin", "optim/adam", "rng.json"])
    data = bytearray(path.read_bytes())
    other = (group.parent / OLD / path.relative_to(group)).read_bytes()
    start = dice.randrange(len(data))
    data[start : start + 64] = other[start : start + 64]
    path.write_bytes(data)


HARMS: list[Harm] = [
    flip_a_bit,
    truncate,
    zero_a_range,
    append,
    remove_a_file,
    swap_between_groups,
    swap_two_parts,
    a_byte_range_of_the_other_group,
]


def snapshot(group: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(group)): path.read_bytes()
        for path in group.rglob("*")
        if path.is_file()
    }


def read_a_range(reader: lastgood.Store, dice: random.Random) -> str:
    """Read some range of what a partial load chose, and say how that ended: never a wrong byte."""
    opened = reader.open_group()
    assert opened is not None
    part, expected = dice.choice(sorted(content(opened.step).items()))
    start = dice.randrange(len(expected))
    size = dice.randrange(len(expected) - start + 1)
    try:
        data = opened.read_range(part, start, size)
    except lastgood.IntegrityError as error:
        return "refused" if error.reason.startswith(REASONS) else f"refused for {error.reason}"
    assert data == expected[start : start + size]
    return "handed out" if opened.step == 2 else "fell back"


@pytest.mark.parametrize(
    ("digest", "chunk_bytes"),
    [("sha256", None), ("xxh3", None), ("sha256", 4096), ("xxh3", 4096)],
)
def test_every_effective_damage_is_told_and_fallen_back_from(
    tmp_path: Path, digest: Algorithm, chunk_bytes: int | None
) -> None:
    with open_store(
        tmp_path, disk=Unsynced(tmp_path), digest=digest, chunk_bytes=chunk_bytes
    ) as store:
        for step in (1, 2):
            store.save(step, content(step))
    root, group = tmp_path / "store", tmp_path / "store" / NEW
    clean = snapshot(group)
    dice = random.Random(20251123)  # noqa: S311
    reader = lastgood.open_read_only(root)
    no_ops: Counter[str] = Counter()
    told: Counter[str] = Counter()
    ranges: Counter[str] = Counter()
    while told.total() < TRIALS // 2:
        harm = HARMS[(told.total() + no_ops.total()) % len(HARMS)]
        harm(group, dice)
        ranges[read_a_range(reader, dice)] += 1
        loaded = reader.load_latest(hold=dice.choice(["nothing", "memory", "map"]))
        assert loaded is not None
        if snapshot(group) == clean:
            no_ops[harm.__name__] += 1
            assert (loaded.step, loaded.rejected) == (2, ())
            continue
        (rejection,) = loaded.rejected
        assert loaded.step == 1
        assert {name: bytes(loaded[name]) for name in loaded} == content(1)
        assert rejection.reason.startswith(REASONS)
        assert rejection.detail
        told[harm.__name__] += 1
        shutil.rmtree(group)
        for name, data in clean.items():
            (group / name).parent.mkdir(parents=True, exist_ok=True)
            (group / name).write_bytes(data)

    assert set(told) == {harm.__name__ for harm in HARMS}
    # Zeros over zeros and the shared part have been tried, and were not called damage.
    assert no_ops["zero_a_range"] > 0
    assert no_ops["swap_between_groups"] > 0
    # Ranges beside the damage are handed out, ranges in it are refused, and a group falls back.
    assert set(ranges) == {"handed out", "refused", "fell back"}
    assert ranges.total() == told.total() + no_ops.total()


@pytest.mark.parametrize("chunk_bytes", [None, 4096])
def test_no_clean_group_is_accused(tmp_path: Path, chunk_bytes: int | None) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path), chunk_bytes=chunk_bytes) as store:
        store.save(1, content(1))
        store.save(2, content(2))
    reader = lastgood.open_read_only(tmp_path / "store")
    for _ in range(TRIALS):
        loaded = reader.load_latest()
        assert loaded is not None
        assert (loaded.step, loaded.rejected) == (2, ())
