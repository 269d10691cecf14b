"""Digests of chunks: what they find, what they say, what they cost, and what is refused of them."""

from __future__ import annotations

import hashlib
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

import lastgood.parts.part_reader as piecewise
import lastgood.parts.verify as verifying
import lastgood.writer.save_request as request_module
from lastgood import IntegrityError, UsageError, open_read_only
from lastgood.damage import Damaged, describe_damage, merge_ranges
from lastgood.format.chunks import ChunkHasher, Chunking, enlarge_to_fit, is_chunk_size
from lastgood.format.digests import Algorithm
from lastgood.format.manifest import decode, encode
from lastgood.parts.holding_reader import HOLDS, Hold
from lastgood.parts.part_writer import PartSource
from lastgood.parts.thread_pool import ParallelMap, new_parallel_map
from lastgood.protocol.executor import BIG_BYTES
from lastgood.recovery.recovery import Group, Rejection, examine
from tests.impl.disks import PARTS, Unsynced, names_in, open_store, tree

CHUNK = 4096
GROUP = "gen-00000001-step-00000001"
SIZES = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7, 6 * CHUNK])
ALGORITHMS: list[Algorithm] = ["sha256", "xxh3", "blake3"]


@pytest.fixture(autouse=True)
def small_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of two chunks and pieces that no chunk is a multiple of: small parts cross them all."""
    monkeypatch.setattr(verifying, "UNIT_BYTES", 2 * CHUNK)
    monkeypatch.setattr(piecewise, "PIECE_BYTES", 1000)


def noise(size_bytes: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size_bytes)  # noqa: S311


def saved(root: Path, parts: dict[str, bytes], **more: Any) -> Path:
    """The directory of a group that was saved with chunks."""
    options = {"chunk_bytes": CHUNK, "disk": Unsynced(root), **more}
    with open_store(root, **options) as store:
        store.save(1, parts)
    return root / "store" / GROUP


def verdicts(root: Path, parallel_map: ParallelMap = map) -> Group | Rejection:
    (group,) = open_read_only(root / "store").groups()
    return examine(
        Unsynced(root), str(root / "store"), group.name, parallel_map=parallel_map, surveys=True
    )


@pytest.mark.parametrize("chunk_bytes", [None, CHUNK])
@pytest.mark.parametrize(
    ("digest", "words"),
    [("sha256", "SHA-256"), ("blake3", "BLAKE3"), ("xxh3", "XXH3 (128 bits)")],
)
def test_damage_is_told_in_the_words_of_its_digest(
    tmp_path: Path, digest: Algorithm, words: str, chunk_bytes: int | None
) -> None:
    group = saved(tmp_path, {"model": bytes(3 * CHUNK)}, digest=digest, chunk_bytes=chunk_bytes)
    assert isinstance(verdicts(tmp_path), Group)
    (group / "model").write_bytes(bytes(3 * CHUNK - 1) + b"x")
    found = verdicts(tmp_path)

    assert isinstance(found, Rejection)
    assert f"has the {words} " in found.detail


@given(
    digest=st.sampled_from(ALGORITHMS),
    chunk_digest=st.sampled_from([None, *ALGORITHMS]),
    sizes=st.lists(SIZES, min_size=1, max_size=3),
    data=st.data(),
)
def test_what_was_saved_is_read_back_whole_and_by_any_range(
    digest: Algorithm, chunk_digest: Algorithm | None, sizes: list[int], data: st.DataObject
) -> None:
    parts = {f"part{n}": noise(size, n) for n, size in enumerate(sizes)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        group = saved(root, parts, digest=digest, chunk_digest=chunk_digest)
        manifest = decode((group / "MANIFEST").read_bytes())
        reader = open_read_only(root / "store")
        hold: Hold = data.draw(st.sampled_from(HOLDS))
        loaded, opened = reader.load(hold=hold), reader.open_group()

        assert encode(manifest) == (group / "MANIFEST").read_bytes()
        assert opened is not None
        assert {name: bytes(loaded[name]) for name in loaded} == parts
        assert {name: bytes(opened[name]) for name in opened} == parts
        for part in manifest.parts:
            kind = chunk_digest or digest
            assert part.chunks == "".join(
                chunk_digests(parts[part.path], kind) if part.size_bytes > CHUNK else ()
            )
        name = data.draw(st.sampled_from(sorted(parts)))
        start = data.draw(st.integers(0, len(parts[name])))
        size = data.draw(st.integers(0, len(parts[name]) - start))
        assert loaded.read_range(name, start, size) == parts[name][start : start + size]
        assert opened.read_range(name, start, size) == parts[name][start : start + size]
        assert opened.read_range(name, start) == parts[name][start:]


def chunk_digests(data: bytes, algorithm: str) -> Iterator[str]:
    """By another road: one call for each chunk."""
    from lastgood.format.digests import digest_of

    for start in range(0, len(data), CHUNK):
        yield digest_of(data[start : start + CHUNK], algorithm)


@given(
    size=SIZES.filter(bool),
    data=st.data(),
    hold=st.sampled_from(HOLDS),
    chunk_bytes=st.sampled_from([None, CHUNK, 2 * CHUNK]),
)
def test_a_changed_byte_is_found_by_every_read_that_covers_it_and_by_no_other(
    size: int, data: st.DataObject, hold: Hold, chunk_bytes: int | None
) -> None:
    parts = {"model": noise(size), "other": noise(3 * CHUNK, 1)}
    place = data.draw(st.integers(0, size - 1))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        path = saved(root, parts, chunk_bytes=chunk_bytes) / "model"
        changed = bytearray(parts["model"])
        changed[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed)
        reader = open_read_only(root / "store")
        opened = reader.open_group()
        start = data.draw(st.integers(0, size - 1))
        length = data.draw(st.integers(1, size - start))
        each = chunk_bytes if chunk_bytes is not None and size > chunk_bytes else size
        touched = start // each <= place // each <= (start + length - 1) // each

        assert reader.load_latest(hold=hold) is None
        assert opened is not None
        assert opened.read("other") == parts["other"]
        if not touched:
            assert opened.read_range("model", start, length) == parts["model"][start:][:length]
            return
        with pytest.raises(IntegrityError, match=r"No byte of the range.*older_than=1") as caught:
            opened.read_range("model", start, length)
        assert caught.value.reason == "sha_mismatch:model"
        if each == size:
            assert caught.value.damaged == ()
        else:
            (damaged,) = caught.value.damaged
            assert (damaged.part, damaged.chunk, damaged.chunks) == ("model", place // each, 1)
            assert damaged.offset_bytes <= place < damaged.offset_bytes + damaged.size_bytes
            assert f"chunk {place // each} of " in str(caught.value)
        with pytest.raises(IntegrityError):
            opened.read("model")


@given(
    size=SIZES,
    edits=st.lists(st.tuples(st.integers(0, 6 * CHUNK), st.binary(max_size=9)), max_size=4),
    cut=st.none() | st.integers(0, 6 * CHUNK + 20),
)
def test_chunks_and_whole_digests_give_one_verdict_and_all_that_is_damaged_is_told(
    size: int, edits: list[tuple[int, bytes]], cut: int | None
) -> None:
    before = noise(size)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        group = saved(root, {"model": before, "small": b"x"})
        now = bytearray(before)
        for place, data in edits:
            now[place : place + len(data)] = data[: max(0, len(now) - place)]
        now = now if cut is None else bytearray(now[:cut].ljust(cut, b"?"))
        (group / "model").write_bytes(now)
        by_chunks = verdicts(root)
        in_threads = verdicts(root, new_parallel_map(4))
        manifest = decode((group / "MANIFEST").read_bytes())
        parts = tuple(evolve(part, chunks="") for part in manifest.parts)
        (group / "MANIFEST").write_bytes(encode(evolve(manifest, parts=parts, chunking=None)))
        by_whole = verdicts(root)

    assert isinstance(by_chunks, Group) == isinstance(by_whole, Group) == (now == before)
    assert in_threads == by_chunks
    if isinstance(by_chunks, Group) or isinstance(by_whole, Group):
        return
    assert by_chunks.reason == by_whole.reason
    if len(before) > CHUNK:
        bad = {
            start
            for start in range(0, len(before), CHUNK)
            if now[start : start + CHUNK][: len(before) - start] != before[start : start + CHUNK]
        }
        told = {
            start
            for each in by_chunks.damaged
            if each.chunk is not None
            for start in range(each.offset_bytes, each.offset_bytes + each.size_bytes, CHUNK)
        }
        more = [each for each in by_chunks.damaged if each.chunk is None]
        assert told == bad
        assert [(each.offset_bytes, each.size_bytes) for each in more] == (
            [(len(before), len(now) - len(before))] if len(now) > len(before) else []
        )
    else:
        assert by_chunks.damaged == by_whole.damaged


def test_a_damaged_part_that_is_missing_is_damaged_as_a_whole(tmp_path: Path) -> None:
    group = saved(tmp_path, {"model": noise(5 * CHUNK), "gone": noise(3 * CHUNK), "s": b"s"})
    (group / "gone").unlink()
    (group / "s").unlink()
    answer = verdicts(tmp_path)

    assert isinstance(answer, Rejection)
    assert answer.reason == "missing:gone"
    assert answer.damaged == (
        Damaged("gone", "missing:gone", 0, 3 * CHUNK, 0, 3),
        Damaged("s", "missing:s", 0, 1),
    )


def test_ranges_that_follow_each_other_are_one_and_many_are_cut_short_for_people() -> None:
    one = [Damaged("a", "r", n * 10, 10, n, 1) for n in (0, 1, 3)]
    many = tuple(Damaged("a", "r", n * 20, 10, 2 * n, 1) for n in range(11))

    assert merge_ranges([*one, Damaged("b", "r", 40, 10, 4, 1), Damaged("c", "r", 0, 5)]) == (
        Damaged("a", "r", 0, 20, 0, 2),
        Damaged("a", "r", 30, 10, 3, 1),
        Damaged("b", "r", 40, 10, 4, 1),
        Damaged("c", "r", 0, 5),
    )
    assert describe_damage(merge_ranges(one)) == (
        "30 bytes are damaged in all: bytes 0 to 19 of 'a' (chunks 0 to 1), bytes 30 to 39 of 'a' "
        "(chunk 3)"
    )
    assert describe_damage(many).endswith("bytes 140 to 149 of 'a' (chunk 14) and 3 more ranges")


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("how", ["bytes", "chunks", "file", "attempt"])
def test_a_big_part_has_the_same_chunks_however_and_by_whomever_it_is_saved(
    tmp_path: Path, how: str, workers: int
) -> None:
    data = noise(64 << 10) * (BIG_BYTES // (64 << 10)) + b"tail"
    source = tmp_path / "source"
    source.write_bytes(data)
    whole: Any = data if how == "bytes" else source
    disk = Unsynced(tmp_path)
    with open_store(tmp_path, disk=disk, chunk_bytes=1 << 20, workers=workers) as store:
        if how == "attempt":
            with store.attempt(1) as attempt:
                (attempt.path / "model").write_bytes(data)
        else:
            pieces = (data[n : n + 99_999] for n in range(0, len(data), 99_999))
            store.save(1, {"model": pieces if how == "chunks" else whole})
        (part,) = store.groups()[0].manifest.parts

    cuts = range(0, len(data), 1 << 20)
    assert part.chunks == "".join(hashlib.sha256(data[n : n + (1 << 20)]).hexdigest() for n in cuts)
    assert part.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("now_bytes", [CHUNK - 1, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("said_bytes", [10, 2 * CHUNK])
def test_a_file_that_has_another_size_than_it_was_said_to_have_is_cut_as_it_is(
    tmp_path: Path, now_bytes: int, said_bytes: int
) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path), chunk_bytes=CHUNK) as store:
        assert store._writer is not None
        content = PartSource([noise(now_bytes)], "file", said_bytes)
        store._writer.save(1, {"model": content, "big": PartSource([noise(2 * CHUNK)])}, {})
        loaded = store.load_latest()

    assert loaded is not None
    assert loaded.read_range("model", 5) == noise(now_bytes)[5:]


def test_without_chunks_a_manifest_is_what_it_always_was(tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain", dict(PARTS), chunk_bytes=None)
    small = saved(tmp_path / "small", dict(PARTS), chunk_bytes=CHUNK)

    assert (small / "MANIFEST").read_bytes() == (plain / "MANIFEST").read_bytes()
    assert b"chunk" not in (plain / "MANIFEST").read_bytes()


@pytest.mark.parametrize("value", [0, -4096, 4095, 4097, 2048, 1 << 63, 4096.0, True, "4096"])
def test_a_size_that_no_chunk_has_is_refused_before_anything_is_made(
    tmp_path: Path, value: Any
) -> None:
    with pytest.raises(UsageError, match=r"chunk_bytes is .*power of two.*Nothing was changed"):
        open_store(tmp_path, chunk_bytes=value)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chunk_digest": "sha256"}, "chunk_bytes is not given"),
        ({"chunk_digest": "md5", "chunk_bytes": CHUNK}, "chunk_digest is 'md5', expected one of"),
    ],
)
def test_a_kind_of_digest_that_says_nothing_is_refused(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        open_store(tmp_path, **options)
    assert tree(tmp_path) == {}


@given(st.lists(st.integers(0, 2**63 - 1), max_size=5), st.integers(0, 10_000))
def test_chunks_are_doubled_until_their_digests_fit_and_no_further(
    sizes: list[int], room_bytes: int
) -> None:
    def needed(chunking: Chunking) -> int:
        return 64 * sum(-(-s // chunking.chunk_bytes) for s in sizes if s > chunking.chunk_bytes)

    found = enlarge_to_fit(Chunking(CHUNK, "sha256"), sizes, room_bytes)

    assert needed(found) <= room_bytes
    assert is_chunk_size(found.chunk_bytes) or not needed(found)
    if found.chunk_bytes > CHUNK:
        assert needed(Chunking(found.chunk_bytes // 2, "sha256")) > room_bytes


def test_a_manifest_without_room_takes_larger_chunks_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_module, "DIGESTS_LIMIT_BYTES", 3 * 64)
    with open_store(tmp_path, disk=Unsynced(tmp_path), chunk_bytes=CHUNK) as store:
        receipt = store.save(1, {"model": noise(6 * CHUNK), "other": noise(100)})
        with store.attempt(2) as attempt:
            (attempt.path / "model").write_bytes(noise(6 * CHUNK))
        second, first = store.groups()

    assert [g.manifest.chunking for g in (first, second)] == [Chunking(2 * CHUNK, "sha256")] * 2
    (note,) = receipt.notes
    assert note.startswith(f"chunks have {2 * CHUNK} bytes, not the {CHUNK} that were asked for")


@pytest.mark.parametrize("counts", [(4,), (2, 2)])
def test_parts_of_unknown_size_that_have_too_many_chunks_are_refused_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, ...]
) -> None:
    monkeypatch.setattr(request_module, "DIGESTS_LIMIT_BYTES", 3 * 64)
    with open_store(tmp_path, disk=Unsynced(tmp_path), chunk_bytes=CHUNK) as store:
        store.save(1, PARTS)
        parts = {f"p{n}": iter([noise(CHUNK)] * count) for n, count in enumerate(counts)}
        with pytest.raises(UsageError, match=r"room for 3 digests.*chunk_bytes=16384.*size is kno"):
            store.save(2, parts)
        assert names_in(tmp_path / "store") == [GROUP, "lock"]
        assert store.save(3, {"model": iter([noise(CHUNK)] * 3)}).step == 3


def test_memory_is_taken_for_a_range_and_not_for_its_chunk_or_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    size = 24 << 20
    saved(tmp_path, {"model": bytes(size)}, chunk_bytes=8 << 20, chunk_digest="xxh3")
    store = open_read_only(tmp_path / "store")
    opened = store.open_group()
    assert opened is not None
    tracemalloc.start()
    try:
        assert opened.read_range("model", size // 2, 3) == bytes(3)
        assert all(isinstance(answer, Group) for answer in store.verify())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    # A piece for each of three chunks, and a mebibyte for the rest.
    assert peak < 3 * (1 << 20) + (1 << 20)


def test_a_hasher_of_chunks_takes_pieces_of_any_size() -> None:
    data = noise(3 * CHUNK + 5)
    hasher = ChunkHasher(Chunking(CHUNK, "sha256"), 1 << 20)
    dice, rest = random.Random(3), memoryview(data)  # noqa: S311
    while rest:
        size = dice.randrange(0, 3000)
        hasher.update(rest[:size])
        rest = rest[size:]

    assert hasher.hexdigests() == "".join(chunk_digests(data, "sha256"))


def test_a_hasher_of_chunks_stops_at_the_first_digest_that_there_is_no_room_for() -> None:
    hasher = ChunkHasher(Chunking(CHUNK, "sha256"), 3 * 64)
    hasher.update(noise(3 * CHUNK))

    with pytest.raises(UsageError, match="room for 3 digests"):
        hasher.update(noise(CHUNK))
