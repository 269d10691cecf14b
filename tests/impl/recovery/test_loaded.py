"""What a load keeps: the bytes of one group, that group on disk, and its word of the others."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import Event, IntegrityError, LatestN, UsageError, open_read_only
from lastgood.backends.posix import PosixDisk
from lastgood.parts.holding_reader import HOLDS, Hold
from lastgood.protocol.plan import FORMS, Form
from tests.impl.disks import EXT4, PARTS, WatchedDisk, names_aside, open_store, tree
from tests.impl.retention.test_prune import fill, group


class Counting(PosixDisk):
    """Of which groups there are bytes in memory, whenever a part is read or mapped."""

    def __init__(self) -> None:
        super().__init__(EXT4)
        self.living: list[tuple[str, weakref.ref[memoryview]]] = []
        self.seen: list[set[str]] = []

    def _counted(self, path: str, data: memoryview) -> memoryview:
        name = next(part for part in path.split("/") if part.startswith("gen-"))
        self.living.append((name, weakref.ref(data)))
        self.seen.append({name for name, view in self.living if view() is not None})
        return data

    def map(self, path: str, limit_bytes: int) -> memoryview:
        return self._counted(path, super().map(path, limit_bytes))

    def read_and_digest(
        self, path: str, limit_bytes: int, algorithm: str
    ) -> tuple[memoryview, str]:
        data, digest = super().read_and_digest(path, limit_bytes, algorithm)
        return self._counted(path, data), digest


@pytest.mark.parametrize("hold", ["memory", "map"])
@pytest.mark.parametrize("writable", [True, False])
def test_a_load_that_falls_back_holds_the_bytes_of_one_group_at_a_time(
    tmp_path: Path, hold: Hold, writable: bool
) -> None:
    fill(tmp_path, 3)
    for number in (2, 3):
        (tmp_path / "store" / group(number) / "optim" / "adam").write_bytes(b"MOMENTS")
    disk = Counting()
    with open_store(tmp_path, disk=disk, writable=writable) as store:
        loaded = store.load(hold=hold)

    assert (loaded.step, len(loaded.rejected)) == (1, 2)
    assert disk.seen == [{group(n)} for n in (3, 3, 2, 2, 1, 1)]
    assert dict(loaded) == PARTS


@pytest.mark.parametrize("hold", ["bogus", "Memory", None, True, 3])
def test_a_word_for_hold_that_is_none_is_refused_with_those_there_are(
    tmp_path: Path, hold: Any
) -> None:
    fill(tmp_path, 1)
    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        for load in (store.load_latest, store.load, lambda hold: store.load(1, hold=hold)):
            with pytest.raises(UsageError, match=r"hold is .*nothing, memory, map.*was changed"):
                load(hold=hold)
        assert tree(tmp_path) == before
    assert lastgood.open_read_only(tmp_path / "store").load(hold=HOLDS[1]).step == 1


def test_every_group_whose_load_is_still_referred_to_stays_and_so_does_the_last(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 4)
    with open_store(tmp_path, keep=LatestN(1)) as store:
        start = store.load(1)
        store.load(2)
        last = store.load(3).step
        would = store.prune(dry_run=True)
        store.save(5, PARTS)

        assert would is not None
        assert [g.name.step for g in would.given_up] == [2]
        assert store.all_steps() == [1, 3, 5]
        assert start.path("model").read_bytes() == b"weights"
        del start
        gc.collect()
        store.save(6, PARTS)
        assert store.all_steps() == [last, 6]


def test_a_reader_protects_what_it_has_loaded_in_its_own_dry_run(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    reader = lastgood.open_read_only(tmp_path / "store")
    first, second = reader.load(1), reader.load(2)
    pruning = reader.prune(LatestN(1), dry_run=True)

    assert pruning is not None
    assert [g.name.step for g in pruning.kept] == [3, second.step, first.step]


@pytest.mark.parametrize("form", FORMS)
def test_a_reader_does_not_call_dead_what_a_living_process_is_writing(
    tmp_path: Path, form: Form
) -> None:
    events: list[Event] = []
    seen: list[Any] = []
    errors: list[IntegrityError] = []

    def source() -> Any:
        yield b"half"
        reader = lastgood.Store(tmp_path / "store", writable=False, on_event=events.append)
        seen.extend([*reader.verify(), reader.load_latest()])
        if form == "record":
            with pytest.raises(IntegrityError) as caught:
                reader.load(2)
            errors.append(caught.value)
        yield b"whole"

    with open_store(tmp_path, form=form) as store:
        store.save(1, PARTS)
        store.save(2, {"model": source()})

    attempt, _, loaded = seen
    words = [attempt.detail, loaded.rejected[0].detail, events[0].message, *map(str, errors)]
    assert loaded.step == 1
    assert attempt.reason == ("attempt" if form == "rename" else "no_commit")
    for text in words:
        assert "still going on" in text
        assert "keep failing" not in text


def test_a_repair_reads_every_group_once(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    (tmp_path / "store" / group(2) / "model").write_bytes(b"WEIGHTS")
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        repaired = store.repair()
    digested = [call for call in disk.calls if call.startswith("digest ")]

    assert repaired.group is not None
    assert repaired.group.name.step == 3
    assert [each.name for each in repaired.moved] == [group(2)]
    assert len(digested) == len(set(digested))
    assert names_aside(tmp_path / "store") == [group(2)]


def test_only_what_is_newer_was_rejected_on_the_way(tmp_path: Path) -> None:
    """A dead attempt that is older than the group was in nobody's way."""
    events: list[Event] = []
    with open_store(tmp_path) as store:
        for step in (1, 2, 3, 4):
            store.save(step, PARTS)
        shutil.rmtree(store.path / "gen-00000002-step-00000002")
        (store.path / "attempt-gen-00000002-step-00000002").mkdir()
        (store.path / "gen-00000004-step-00000004" / "model").unlink()
        reader = open_read_only(store.path)
        for loaded in (reader.load_latest(), reader.open_group(), store.load_latest()):
            assert loaded is not None
            assert [each.name for each in loaded.rejected] == ["gen-00000004-step-00000004"]
    # What is deleted is told all the same.
    with open_store(tmp_path, on_event=events.append) as store:
        (store.path / "attempt-gen-00000002-step-00000002").mkdir()
        loaded = store.load_latest()
        assert loaded is not None
        assert loaded.rejected == ()
    assert [event.kind for event in events] == ["discarded", "loaded"]


def test_a_damaged_group_of_a_step_names_the_older_one_of_that_step(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for step in (5, 4, 5):
            store.save(step, PARTS)
        (store.path / "gen-00000003-step-00000005" / "model").unlink()
        older = r"An older group of step 5 is there and was not verified: load\(generation=1\)"
        with pytest.raises(IntegrityError, match=older) as caught:
            store.load(5)
        assert caught.value.reason == "missing:model"
        with pytest.raises(IntegrityError) as caught:
            store.load(generation=3)
        assert "older group" not in str(caught.value)
        (store.path / "gen-00000001-step-00000005" / "MANIFEST").unlink()
        with pytest.raises(IntegrityError) as caught:
            store.load(5)
        assert "older group" not in str(caught.value)


def test_whatever_a_program_prints_is_short(tmp_path: Path) -> None:
    with open_store(tmp_path, chunk_bytes=4096) as store:
        parts = {f"part-{n:03}": bytes(20_000) for n in range(60)}
        store.save(1, parts)
        opened = store.open_group()
        loaded = store.load_latest()
        pruning = store.prune(LatestN(1), dry_run=True)
        shown = [store, loaded, opened, store.groups(), pruning, store.verify()]

        assert repr(loaded) == "<Loaded gen-00000001-step-00000001: 60 parts>"
        assert repr(store) == f"<Store {str(store.path)!r}, atomic_dirsync>"
        assert repr(open_read_only(store.path)) == f"<Store {str(store.path)!r}, read-only>"
        assert all(len(repr(each)) < 400 for each in shown)
        assert loaded is not None
        (part, *_) = loaded.group.manifest.parts
        assert len(part.chunks) == 5 * 64
        assert part.chunks not in repr(loaded.group.manifest)
