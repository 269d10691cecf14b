"""Big parts in several threads: the same group, the same answers, and no failure lost."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lastgood import StorageError, Store, UsageError
from lastgood.backends.posix import PosixDisk
from lastgood.format.digests import Algorithm
from lastgood.format.manifest import Part
from lastgood.parts.part_writer import (
    _IN_FLIGHT,
    PIECE_BYTES,
    PartSource,
    stream_part,
    stream_part_in_two_threads,
)
from lastgood.parts.thread_pool import _MOST, new_parallel_map
from lastgood.parts.verify import RejectedError, Unit
from lastgood.protocol.executor import BIG_BYTES
from lastgood.recovery.recovery import Group
from tests.impl.disks import EXT4, WatchedDisk, open_store, tree

BIG = bytes(range(256)) * (BIG_BYTES // 256)
PARTS = {f"part{n}": bytearray(BIG) for n in range(3)} | {"small": bytearray(b"x")}


class ByThread(PosixDisk):
    """Notes which thread made each call, and lets some of them fail."""

    def __init__(self) -> None:
        super().__init__(EXT4)
        self.threads: dict[str, set[str]] = {}
        self.fault: Callable[[str, str], int | None] = lambda _call, _path: None

    def _note(self, call: str, path: str) -> None:
        name = path.rsplit("/", 1)[-1]
        self.threads.setdefault(f"{call} {name}", set()).add(threading.current_thread().name)
        number = self.fault(call, name)
        if number is not None:
            raise OSError(number, "injected", path)

    def write(self, path: str, data: bytes | memoryview) -> None:
        self._note("write", path)
        super().write(path, data)

    def fsync(self, path: str) -> None:
        self._note("fsync", path)
        super().fsync(path)

    def preallocate(self, path: str, size_bytes: int) -> None:
        self._note("preallocate", path)
        super().preallocate(path, size_bytes)

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        self._note("digest", path)
        return super().digest_with(path, limit_bytes, algorithm)


@pytest.mark.parametrize("digest", ["sha256", "blake3", "xxh3"])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_group_is_the_same_whoever_writes_it(
    tmp_path: Path, workers: int, digest: Algorithm
) -> None:
    with open_store(tmp_path, workers=workers, digest=digest) as store:
        store.save(1, PARTS)
        manifest = store.groups()[0].manifest
        for hold in ("nothing", "memory", "map"):
            loaded = store.load(hold=hold)
            assert all(bytes(loaded[name]) == data for name, data in PARTS.items())
            assert loaded.read("small") == b"x"
        assert all(isinstance(answer, Group) for answer in store.verify())
    with open_store(tmp_path / "other", workers=1, digest=digest) as store:
        store.save(1, PARTS)
        assert store.groups()[0].manifest == manifest

    assert manifest.algorithm == digest
    assert [part.path for part in manifest.parts] == list(PARTS)


def test_each_big_part_has_a_thread_and_its_space_beforehand(tmp_path: Path) -> None:
    disk, is_elsewhere = ByThread(), threading.Event()

    def noticing(call: str, name: str) -> None:
        if (call, name) == ("write", "part0"):
            is_elsewhere.set()

    def own() -> Iterator[bytes]:
        assert is_elsewhere.wait(60)  # the thread that takes this is here
        yield b"own"

    disk.fault = noticing
    with open_store(tmp_path, workers=4, disk=disk) as store:
        store.save(1, {**PARTS, "chunks": own()})

    written = {call: who for call, who in disk.threads.items() if call.startswith("write")}
    assert all(len(who) == 1 for who in written.values())
    assert written["write part0"] != {threading.current_thread().name}
    # A caller's own iterator is taken in the caller's thread.
    assert written["write chunks"] == {threading.current_thread().name}
    assert {c for c in disk.threads if c.startswith("preallocate")} == {
        "preallocate part0",
        "preallocate part1",
        "preallocate part2",
    }


@pytest.mark.parametrize("victim", ["part0", "part2"])
@pytest.mark.parametrize(
    ("call", "number", "closes"),
    [
        ("write", errno.ENOSPC, False),
        ("preallocate", errno.ENOSPC, False),
        ("write", errno.EIO, True),
        ("fsync", errno.ENOSPC, True),
    ],
)
def test_a_failure_in_one_thread_is_told_and_the_others_stop(
    tmp_path: Path, victim: str, call: str, number: int, closes: bool
) -> None:
    disk = ByThread()
    with open_store(tmp_path, workers=4, disk=disk) as store:
        store.save(1, {"model": b"good"})
        before = tree(tmp_path)
        disk.fault = lambda c, name: number if (c, name) == (call, victim) else None
        with pytest.raises(StorageError, match=rf"{errno.errorcode[number]}.*earlier|Earlier"):
            store.save(2, PARTS)
        disk.fault = lambda _call, _path: None
        assert not [t for t in threading.enumerate() if t.name.startswith("lastgood")]
        if closes:
            with pytest.raises(StorageError, match="closed to writing"):
                store.save(3, PARTS)
        else:
            assert tree(tmp_path) == before
            assert store.save(3, PARTS).generation == 3


def test_of_two_failures_the_one_that_leaves_doubt_decides(tmp_path: Path) -> None:
    disk = ByThread()
    both = threading.Barrier(2, timeout=60)

    def fault(call: str, name: str) -> int | None:
        if (call, name) in (("write", "part0"), ("fsync", "small1")):
            both.wait()
            return errno.ENOSPC if call == "write" else errno.EIO
        return None

    with open_store(tmp_path, workers=4, disk=disk) as store:
        disk.fault = fault
        with pytest.raises(StorageError, match=r"EIO.*closed to writing"):
            store.save(1, {"part0": BIG, "small1": b"x"})


def test_an_interrupt_ends_every_thread_and_removes_the_attempt(tmp_path: Path) -> None:
    def interrupted() -> Iterator[bytes]:
        yield b"first"
        raise KeyboardInterrupt

    with open_store(tmp_path, workers=4) as store:
        before = tree(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            store.save(1, {**PARTS, "chunks": interrupted()})
        assert not [t for t in threading.enumerate() if t.name.startswith("lastgood")]
        assert tree(tmp_path) == before


def test_a_source_that_fails_in_a_thread_is_the_callers_fault(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(BIG)

    class Vanishing(ByThread):
        def create(self, path: str) -> None:
            super().create(path)
            source.unlink(missing_ok=True)

    with open_store(tmp_path, workers=4, disk=Vanishing()) as store:
        with pytest.raises(UsageError, match="could not be read from its source"):
            store.save(1, {**PARTS, "file": source})
        assert store.groups() == ()


def test_the_first_damage_in_the_order_of_the_manifest_is_told(tmp_path: Path) -> None:
    with open_store(tmp_path, workers=8) as store:
        store.save(1, PARTS)
        for name in ("part2", "part1"):
            (store.path / "gen-00000001-step-00000001" / name).write_bytes(b"")
        reasons = {answer.reason for answer in store.verify() if not isinstance(answer, Group)}

    assert reasons == {"size_mismatch:part1"}


@pytest.mark.parametrize("how", [stream_part, stream_part_in_two_threads])
@pytest.mark.parametrize("is_stable", [True, False])
def test_pouring_keeps_the_order_of_its_pieces(how: Any, is_stable: bool) -> None:
    import hashlib

    pieces = [bytes([n]) * (PIECE_BYTES // 2 + n) for n in range(7)]
    whole = b"".join(pieces)
    written = bytearray()
    digest = hashlib.sha256()
    content = PartSource([memoryview(bytearray(p)) for p in pieces], is_stable=is_stable)

    assert how("part", content, digest, written.extend) == len(whole)
    assert written == whole
    assert digest.hexdigest() == hashlib.sha256(whole).hexdigest()


def test_threads_answer_in_order_and_end_at_the_first_that_is_not_none() -> None:
    parts = [Unit(Part(str(number), number << 20, ""), "sha256") for number in range(100)]

    def check(unit: Unit) -> RejectedError | None:
        return RejectedError("bad", unit.part.path) if unit.size_bytes >= 3 << 20 else None

    answers = list(new_parallel_map(4)(check, parts))
    assert answers[:3] == [None] * 3
    assert [str(answer) for answer in answers[3:]] == ["3"]
    assert list(new_parallel_map(1)(check, parts[:2])) == [None, None]


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_is_no_store(tmp_path: Path, workers: int) -> None:
    with pytest.raises(UsageError, match="workers"):
        Store(tmp_path / "store", workers=workers)
    assert tree(tmp_path) == {}


def test_a_save_that_cannot_fit_changes_nothing(tmp_path: Path) -> None:
    class Full(WatchedDisk):
        def free_bytes(self, path: str) -> int:
            return 10

    disk = Full(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        before, called = tree(tmp_path), len(disk.changes())
        with pytest.raises(StorageError, match="11 bytes was asked for and 10 are free"):
            store.save(1, {"model": b"weights", "rng": b"dice"})
        assert (tree(tmp_path), len(disk.changes())) == (before, called)
        assert store.save(2, {"model": b"weights"}).generation == 1


def test_the_most_threads_that_a_store_takes_have_room_in_the_memory_that_is_promised() -> None:
    """Either each thread copies one piece at a time, or every other one has three in flight."""
    most = max(_IN_FLIGHT * (_MOST // 2), _MOST)

    assert most * PIECE_BYTES < 64 << 20
