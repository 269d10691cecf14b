"""Some of a group: opened by its names and sizes, read by ranges, verified where it is read."""

from __future__ import annotations

import errno
import gc
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import lastgood.parts.holding_reader as holding
from lastgood import (
    Event,
    IntegrityError,
    LatestN,
    Opened,
    StorageError,
    Store,
    UsageError,
    open_read_only,
)
from lastgood.backends.interface import FileSystemTraits
from lastgood.backends.posix_files import OpenFd
from lastgood.buffers import fresh_memory
from tests.impl.disks import EXT4, Unsynced, WatchedDisk, names_in, open_store, tree
from tests.impl.format.test_chunks import CHUNK, noise

MODEL = noise(6 * CHUNK)
PARTS = {"model": MODEL, "optim/adam": noise(3 * CHUNK, 1), "rng.json": b"{}"}


class Counted(OpenFd):
    """Notes which bytes of a file were asked for, and may refuse them."""

    def __init__(self, file: OpenFd, seen: list[tuple[int, int]], refusal: int | None) -> None:
        super().__init__(file._fd, file.size_bytes, file._path)
        self._seen, self._refusal = seen, refusal

    def read_into(self, offset_bytes: int, room: memoryview) -> int:
        if self._refusal is not None:
            raise OSError(self._refusal, "injected")
        self._seen.append((offset_bytes, offset_bytes + len(room)))
        return super().read_into(offset_bytes, room)


class Counting(WatchedDisk):
    """Which bytes of which part were read."""

    def __init__(self, root: Path, file_system: FileSystemTraits = EXT4) -> None:
        super().__init__(root)
        self.seen: dict[str, list[tuple[int, int]]] = {}
        self.refusal: int | None = None

    @contextmanager
    def open_file(self, path: str, limit_bytes: int) -> Iterator[OpenFd]:
        with super().open_file(path, limit_bytes) as file:
            seen = self.seen.setdefault(path.rpartition("/")[2], [])
            yield Counted(file, seen, self.refusal)

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        self.seen.setdefault(path.rpartition("/")[2], []).append((0, limit_bytes))
        return super().digest_with(path, limit_bytes, algorithm)


def fill(root: Path, groups: int, **more: Any) -> None:
    with open_store(root, disk=Unsynced(root), chunk_bytes=CHUNK, **more) as store:
        for step in range(1, groups + 1):
            store.save(step, PARTS, {"loss": 1 / step})


def group(root: Path, number: int) -> Path:
    return root / "store" / f"gen-{number:08d}-step-{number:08d}"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def opened_by(store: Store, **more: Any) -> Opened:
    opened = store.open_group(**more)
    assert opened is not None
    return opened


@pytest.mark.parametrize("hold", ["nothing", "memory", "map"])
def test_opening_reads_no_part_and_a_range_reads_the_chunks_that_it_touches(
    tmp_path: Path, hold: Any
) -> None:
    fill(tmp_path, 2)
    disk = Counting(tmp_path)
    opened = opened_by(open_read_only(tmp_path / "store", disk=disk), hold=hold)
    assert (opened.step, opened.generation, dict(opened.metadata)) == (2, 2, {"loss": 0.5})
    assert opened.parts == tuple(PARTS)
    assert opened.verified == frozenset()
    assert {name: read for name, read in disk.seen.items() if read} == {}
    assert not [
        call for call in disk.calls if call.startswith(("digest", "read")) and "MANI" not in call
    ]

    assert opened.read_range("model", CHUNK + 5, CHUNK) == MODEL[CHUNK + 5 : 2 * CHUNK + 5]
    assert min(start for start, _ in disk.seen["model"]) == CHUNK
    assert max(stop for _, stop in disk.seen["model"]) == 3 * CHUNK
    assert disk.seen["adam"] == []


def test_a_flipped_byte_is_no_reason_to_fall_back_and_shows_when_it_is_read(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 2)
    flip(group(tmp_path, 2) / "model", 4 * CHUNK + 1)
    store = open_read_only(tmp_path / "store")
    opened = opened_by(store)

    assert (opened.step, opened.rejected) == (2, ())
    assert opened.read_range("model", 0, 4 * CHUNK) == MODEL[: 4 * CHUNK]
    with pytest.raises(
        IntegrityError,
        match=r"gen-00000002.*'model': chunk 4 of 6, bytes 16384 to 20479.*older_than=2",
    ):
        opened.read_range("model", 4 * CHUNK - 1, 2)
    before = opened_by(store, older_than=opened.generation)
    assert before.step == 1
    assert before.read_range("model", 4 * CHUNK - 1, 2) == MODEL[4 * CHUNK - 1 : 4 * CHUNK + 1]
    loaded = store.load_latest()
    assert loaded is not None
    assert loaded.step == 1
    assert store.open_group(older_than=1) is None


@pytest.mark.parametrize("harm", ["truncated", "longer", "missing", "a directory", "no MANIFEST"])
def test_what_names_and_sizes_tell_is_fallen_back_from_and_told(tmp_path: Path, harm: str) -> None:
    fill(tmp_path, 2)
    path = group(tmp_path, 2) / ("MANIFEST" if harm == "no MANIFEST" else "model")
    if harm in ("truncated", "longer"):
        path.write_bytes(MODEL[:-1] if harm == "truncated" else MODEL + b"?")
    else:
        path.unlink()
        if harm == "a directory":
            path.mkdir()
    events: list[Event] = []
    opened = opened_by(Store(tmp_path / "store", writable=False, on_event=events.append))

    words = {
        "truncated": "size_mismatch:model",
        "longer": "size_mismatch:model",
        "missing": "missing:model",
        "a directory": "not_regular:model",
        "no MANIFEST": "no_commit",
    }
    assert opened.step == 1
    assert [each.reason for each in opened.rejected] == [words[harm]]
    assert [event.kind for event in events] == ["rejected", "loaded"]
    with pytest.raises(IntegrityError):
        open_read_only(tmp_path / "store").open_group(2)


@pytest.mark.parametrize("hold", ["nothing", "memory", "map"])
def test_named_parts_are_verified_and_others_are_not(tmp_path: Path, hold: Any) -> None:
    fill(tmp_path, 2)
    flip(group(tmp_path, 2) / "model", 7)
    store = open_read_only(tmp_path / "store")
    light = opened_by(store, parts=("optim/adam", "rng.json"), hold=hold)
    heavy = opened_by(store, parts=["model"], hold=hold)

    assert (light.step, light.verified) == (2, frozenset({"optim/adam", "rng.json"}))
    assert (heavy.step, [r.reason for r in heavy.rejected]) == (1, ["sha_mismatch:model"])
    assert heavy.rejected[0].damaged[0].chunk == 0
    assert light["optim/adam"] == PARTS["optim/adam"]
    assert heavy["model"] == MODEL
    assert heavy.path("model").read_bytes() == MODEL
    with pytest.raises(UsageError, match=r"was not verified.*parts=\('model',\)"):
        light.path("model")


@pytest.mark.parametrize("hold", ["memory", "map"])
def test_what_is_held_is_what_was_verified_whatever_becomes_of_the_file(
    tmp_path: Path, hold: Any
) -> None:
    fill(tmp_path, 1)
    opened = opened_by(open_read_only(tmp_path / "store"), parts=("model",), hold=hold)
    (group(tmp_path, 1) / "model").unlink()

    assert opened["model"] == MODEL
    assert opened.read_range("model", 3, 5) == MODEL[3:8]
    with pytest.raises(TypeError):
        opened["model"][0] = 1  # type: ignore[index]


def test_the_holder_of_the_lease_changes_nothing_by_opening(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    flip(group(tmp_path, 2) / "MANIFEST", 30)
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        before, calls = tree(tmp_path), len(disk.changes())
        assert opened_by(store).step == 1
        assert tree(tmp_path) == before
        assert disk.changes()[calls:] == []


def test_retention_keeps_what_is_open_for_as_long_as_somebody_refers_to_it(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with open_store(tmp_path, keep=LatestN(1), chunk_bytes=CHUNK) as store:
        opened = opened_by(store, step=1)
        store.load(3)
        store.save(4, PARTS)
        assert store.all_steps() == [1, 3, 4]
        assert opened.read_range("model", 1, 1) == MODEL[1:2]
        del opened
        gc.collect()
        store.save(5, PARTS)
        assert store.all_steps() == [3, 5]


def test_a_group_that_was_pruned_under_its_reader_is_gone_and_not_damaged(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    opened = opened_by(open_read_only(tmp_path / "store"), step=1)
    with open_store(tmp_path) as store:
        store.prune(LatestN(1))

    for read in (lambda: opened.read_range("model", 0, 1), lambda: opened.read("model")):
        with pytest.raises(IntegrityError, match=r"not in the store any more") as caught:
            read()
        assert caught.value.reason == "gone"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_an_error_of_the_disk_is_no_damage(tmp_path: Path, number: int) -> None:
    fill(tmp_path, 1)
    disk = Counting(tmp_path)
    store = open_read_only(tmp_path / "store", disk=disk)
    opened = opened_by(store)
    disk.refusal = number

    for read in (
        lambda: opened.read_range("model", 0, 1),
        lambda: store.load(hold="memory"),
        store.load_latest,
        lambda: store.open_group(parts=("model",)),
    ):
        with pytest.raises(StorageError, match=f"{errno.errorcode[number]}.*no sign of damage"):
            read()


def test_a_range_that_cannot_be_read_is_named_and_its_group_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    disk = Counting(tmp_path)
    store = open_read_only(tmp_path / "store", disk=disk)
    opened = opened_by(store)
    disk.refusal = errno.EIO

    with pytest.raises(IntegrityError, match=r"'model' cannot be read: EIO.*No byte") as caught:
        opened.read_range("model", 0, 1)
    assert caught.value.reason == "unreadable:model"
    with pytest.raises(StorageError, match=r"no group is valid.*EIO"):
        store.open_group(parts=("model",))
    other = store.open_group(older_than=opened.generation)
    assert other is not None
    disk.refusal = None
    assert other.read_range("model", 0, 1) == MODEL[:1]


def test_a_survey_tells_what_cannot_be_read_beside_the_first_damage(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    flip(group(tmp_path, 1) / "model", 0)

    class Failing(Counting):
        def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
            raise OSError(errno.EIO, "injected")

    (answer,) = open_read_only(tmp_path / "store", disk=Failing(tmp_path)).verify()
    assert not hasattr(answer, "manifest")
    reasons = [(each.chunk, each.reason.partition(":")[0]) for each in answer.damaged]
    assert reasons == [(0, "sha_mismatch"), (None, "unreadable")]


def test_a_survey_that_the_disk_refuses_still_tells_the_first_damage(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    flip(group(tmp_path, 1) / "model", 0)

    class Failing(Counting):
        def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
            raise OSError(errno.EMFILE, "injected")

    (answer,) = open_read_only(tmp_path / "store", disk=Failing(tmp_path)).verify()
    assert not hasattr(answer, "manifest")
    assert [each.chunk for each in answer.damaged] == [0]


@pytest.mark.parametrize(
    ("start", "size"), [(-1, 1), (0, -1), (0, 6 * CHUNK + 1), (6 * CHUNK + 1, None), (1.5, 1)]
)
def test_a_range_that_is_not_in_the_part_is_refused(tmp_path: Path, start: Any, size: Any) -> None:
    fill(tmp_path, 1)
    store = open_read_only(tmp_path / "store")
    for handed in (opened_by(store), store.load(), store.restore()):
        with pytest.raises(UsageError, match=r"the range is|are not all in it"):
            handed.read_range("model", start, size)
        assert len(handed.read_range("model", 6 * CHUNK)) == 0
        with pytest.raises(UsageError, match=r"has no part 'nothing'"):
            handed.read_range("nothing")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parts": "model"}, r"parts is 'model', expected paths"),
        ({"parts": (b"model",)}, r"expected paths"),
        ({"parts": ("nothing",)}, r"has no part 'nothing'"),
        ({"step": 1, "generation": 1}, r"takes one of"),
        ({"step": 1, "older_than": 1}, r"takes one of"),
        ({"step": 9}, r"no group of step 9"),
        ({"hold": "bogus"}, r"hold is 'bogus'"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_words(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    fill(tmp_path, 1)
    with pytest.raises(UsageError, match=said):
        open_read_only(tmp_path / "store").open_group(**options)


def test_groups_without_chunks_open_as_well_and_are_verified_by_whole_parts(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path)) as store:
        store.save(1, PARTS)
    disk = Counting(tmp_path)
    opened = opened_by(open_read_only(tmp_path / "store", disk=disk))
    assert opened.read_range("model", CHUNK, 3) == MODEL[CHUNK : CHUNK + 3]
    assert sum(stop - start for start, stop in disk.seen["model"]) == len(MODEL)
    flip(group(tmp_path, 1) / "model", 0)

    with pytest.raises(IntegrityError, match="sha_mismatch:model"):
        opened.read_range("model", CHUNK, 3)
    assert names_in(tmp_path / "store") == ["gen-00000001-step-00000001", "lock"]


@pytest.mark.parametrize("now", [MODEL[: 5 * CHUNK], MODEL + b"?"])
def test_a_part_of_another_size_is_refused_wherever_it_is_read(tmp_path: Path, now: bytes) -> None:
    fill(tmp_path, 1)
    opened = opened_by(open_read_only(tmp_path / "store"))
    (group(tmp_path, 1) / "model").write_bytes(now)

    with pytest.raises(IntegrityError, match="size_mismatch:model"):
        opened.read_range("model", 0, 1)
    with pytest.raises(IntegrityError, match="size_mismatch:model"):
        opened.read("model")


def test_no_memory_is_taken_for_a_size_that_only_the_manifest_knows_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 1)
    with (group(tmp_path, 1) / "model").open("r+b") as file:
        file.truncate(5)
    taken: list[int] = []

    def noted(size_bytes: int) -> mmap.mmap:
        taken.append(size_bytes)
        return fresh_memory(size_bytes)

    monkeypatch.setattr(holding, "fresh_memory", noted)
    assert open_read_only(tmp_path / "store").load_latest(hold="memory") is None
    # Another thread may have come to an intact part.
    assert len(MODEL) not in taken


def test_a_part_that_becomes_a_symlink_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    opened = opened_by(open_read_only(tmp_path / "store"))
    (group(tmp_path, 1) / "model").rename(tmp_path / "elsewhere")
    (group(tmp_path, 1) / "model").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(IntegrityError, match="not_regular:model"):
        opened.read_range("model", 0, 1)
