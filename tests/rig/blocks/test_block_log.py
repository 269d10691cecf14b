from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powercut_rig import (
    PREFIXES_ONLY,
    BlockLog,
    Bounds,
    Flush,
    Mark,
    Progress,
    Recipe,
    Torn,
    Write,
    crash_images,
)
from powercut_rig.blocks.block_log import CHUNK_BYTES, LogRecord, Replay
from powercut_rig.blocks.crash_images import spread_evenly

SIZE_BYTES = 8 * CHUNK_BYTES
SECTOR = 512


def write(sector: int, sectors: int, byte: int) -> Write:
    return Write(sector * SECTOR, bytes([byte]) * (sectors * SECTOR))


writes = st.builds(write, st.integers(0, 39), st.integers(1, 24), st.integers(0, 3))


@st.composite
def logs(draw: st.DrawFn) -> BlockLog:
    records: list[LogRecord] = []
    op = 0
    for kind in draw(st.lists(st.sampled_from("wwwfbe"), max_size=16)):
        if kind == "w":
            records.append(draw(writes))
        elif kind == "f":
            records.append(Flush())
        else:
            records += [Mark("op", op, "begin")] if kind == "b" else [Mark("op", op, "end")]
            op += kind == "e"
    base = draw(st.dictionaries(st.integers(0, 7), st.just(b"\1" * CHUNK_BYTES), max_size=3))
    return BlockLog(SIZE_BYTES, base, tuple(records))


def flat_base(log: BlockLog) -> bytearray:
    disk = bytearray(log.size_bytes)
    for chunk, data in log.base.items():
        disk[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = data
    return disk


def by_hand(log: BlockLog, recipe: Recipe) -> bytes:
    """The disk after a recipe, by the plainest code there is."""
    disk = flat_base(log)
    tears = {tear.index: tear for tear in recipe.torn}
    for index, record in enumerate(log.records[: recipe.position]):
        if not isinstance(record, Write) or index in recipe.dropped:
            continue
        start, stop = 0, len(record.data)
        if index in tears:
            start, stop = tears[index].start_bytes, tears[index].stop_bytes
        disk[record.offset_bytes + start : record.offset_bytes + stop] = record.data[start:stop]
    return bytes(disk)


def replayed(log: BlockLog, replay: Replay, recipe: Recipe) -> bytes:
    disk = flat_base(log)
    for chunk, data in replay.content(recipe).chunks():
        disk[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = data
    return bytes(disk)


@given(logs())
def test_each_image_is_what_applying_its_recipe_by_hand_gives(log: BlockLog) -> None:
    replay = Replay(log)
    for image in crash_images(log).images:
        assert replayed(log, replay, image.recipe) == by_hand(log, image.recipe)


@given(logs())
def test_going_back_to_an_earlier_recipe_gives_the_same_content_again(log: BlockLog) -> None:
    replay = Replay(log)
    images = crash_images(log).images
    for image in (*images, *reversed(images)):
        assert replay.content(image.recipe).fingerprint == image.fingerprint


@given(logs())
def test_each_content_is_listed_once_and_no_content_is_lost_by_merging(log: BlockLog) -> None:
    found = crash_images(log)
    contents = [by_hand(log, image.recipe) for image in found.images]
    assert len(set(contents)) == len(contents)
    assert sum(image.recipes for image in found.images) == found.considered
    assert found.merged == found.considered - len(found.images)


@given(logs())
def test_no_recipe_loses_a_write_from_before_the_last_completed_flush(log: BlockLog) -> None:
    for image in crash_images(log).images:
        lost = [*image.recipe.dropped, *(tear.index for tear in image.recipe.torn)]
        for index in lost:
            between = log.records[index : image.recipe.position]
            assert isinstance(log.records[index], Write)
            assert not any(isinstance(record, Flush) for record in between)


@given(logs())
def test_the_prefixes_are_one_for_each_write_and_the_untouched_base(log: BlockLog) -> None:
    found = crash_images(log, PREFIXES_ONLY)
    assert found.considered == found.prefixes == log.writes + 1
    assert all(image.recipe.is_prefix for image in found.images)
    distinct = {by_hand(log, Recipe(position)) for position in range(len(log.records) + 1)}
    assert {by_hand(log, image.recipe) for image in found.images} == distinct


@given(logs())
def test_kernel_moments_are_just_those_of_the_prefixes(log: BlockLog) -> None:
    expected: dict[bytes, set[Progress]] = {}
    for position in range(len(log.records) + 1):
        content = by_hand(log, Recipe(position))
        expected.setdefault(content, set()).add(log.progress_at(position))
    for image in crash_images(log).images:
        kernel = {m.progress for m in image.moments if m.crash_class == "kernel"}
        assert kernel == expected.get(by_hand(log, image.recipe), set())


@given(logs())
def test_the_same_log_gives_the_same_images_in_the_same_order(log: BlockLog) -> None:
    assert crash_images(log) == crash_images(log)


@given(logs(), st.sampled_from([512, 4096]))
def test_a_write_tears_only_between_units_of_the_drive(log: BlockLog, unit_bytes: int) -> None:
    for image in crash_images(log, Bounds(atomic_unit_bytes=unit_bytes)).images:
        for tear in image.recipe.torn:
            record = log.records[tear.index]
            assert isinstance(record, Write)
            for cut in (tear.start_bytes, tear.stop_bytes):
                at_an_end = cut in (0, len(record.data))
                assert at_an_end or (record.offset_bytes + cut) % unit_bytes == 0


def test_drops_pairs_and_tears_do_occur() -> None:
    records = (write(0, 8, 1), write(8, 16, 2), write(24, 8, 3), write(32, 8, 4))
    recipes = [i.recipe for i in crash_images(BlockLog(SIZE_BYTES, {}, records)).images]
    assert Recipe(3, (0,)) in recipes
    assert Recipe(4, (0, 1)) in recipes
    assert Recipe(4, (0, 1, 2)) in recipes
    assert Recipe(2, (), (Torn(1, 0, 512),)) in recipes


def test_a_loss_is_not_dated_after_the_flush_that_forbids_it() -> None:
    records = (
        Mark("fsync", 0, "begin"),
        write(0, 8, 1),
        write(8, 8, 2),
        Flush(),
        Mark("fsync", 0, "end"),
    )
    images = crash_images(BlockLog(SIZE_BYTES, {}, records)).images
    lost = next(image for image in images if image.recipe.dropped == (1,))
    assert (lost.ops_completed, lost.ops_begun) == (0, 1)
    whole = next(image for image in images if image.recipe == Recipe(3))
    assert whole.ops_completed == 1


def test_a_recipe_that_loses_flushed_data_is_refused() -> None:
    log = BlockLog(SIZE_BYTES, {}, (write(0, 8, 1), Flush(), write(8, 8, 2)))
    with pytest.raises(ValueError, match="loses record 0; only writes from 2"):
        Replay(log).content(Recipe(3, (0,)))


def test_a_write_outside_of_the_disk_is_refused() -> None:
    with pytest.raises(ValueError, match="Record 0 writes 512 B"):
        BlockLog(SIZE_BYTES, {}, (Write(SIZE_BYTES, b"x" * 512),))


def test_a_bound_that_means_nothing_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="singles = -1"):
        Bounds(singles=-1)
    with pytest.raises(ValueError, match="atomic_unit_bytes = 1000"):
        Bounds(atomic_unit_bytes=1000)


@given(st.lists(st.integers(), max_size=30), st.integers(0, 12))
def test_spread_keeps_order_and_both_ends(items: list[int], limit: int) -> None:
    chosen = list(spread_evenly(items, limit))
    assert len(chosen) == min(limit, len(items))
    if limit > 1 and items:
        assert (chosen[0], chosen[-1]) == (items[0], items[-1])
    places = iter(items)
    assert all(item in places for item in chosen)


def test_a_write_does_not_tear_inside_of_what_is_written_whole() -> None:
    log = BlockLog(1 << 20, {}, (Write(0, bytes(range(256)) * 16),))
    found = crash_images(log, Bounds(tears=64, whole=((1024, 2048),)))
    cuts = {
        place
        for image in found.images
        for tear in image.recipe.torn
        for place in (tear.start_bytes, tear.stop_bytes)
    }
    assert cuts == {0, 512, 1024, 2048, 2560, 3072, 3584, 4096}
    assert found.possible["torn"] == 12
