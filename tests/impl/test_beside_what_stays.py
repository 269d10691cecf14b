"""What cannot be read, or judged, beside all else that is told: notes, older groups, the lease."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

import lastgood
from lastgood import BestN, Event, IntegrityError, LatestN, NewerFormatError
from lastgood.backends.interface import ReadFailedError
from lastgood.backends.posix import PosixDisk
from tests.impl.disks import PARTS, WatchedDisk, failing, fill, open_store
from tests.impl.format.newer_manifests import group_path, make_newer


def group(number: int, step: int | None = None) -> str:
    return f"gen-{number:08d}-step-{number if step is None else step:08d}"


def scored(root: Path) -> Path:
    """Three groups, of which only the second has a loss."""
    with open_store(root) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS, {"loss": 0.1} if step == 2 else {})
        return store.path


LOSS = BestN("loss", mode="min")


@pytest.mark.parametrize("entry", ["model", "MANIFEST"])
def test_a_metric_that_only_an_unreadable_group_has_gives_nothing_up(
    tmp_path: Path, entry: str
) -> None:
    scored(tmp_path)
    call = "read" if entry == "MANIFEST" else "digest"
    disk, events = WatchedDisk(tmp_path, failing(call, f"{group(2)}/{entry}")), list[Event]()
    with open_store(tmp_path, disk=disk, keep=LOSS, on_event=events.append) as store:
        would = store.prune(dry_run=True)
        assert would is not None
        assert would.given_up == ()
        assert [each.reason for each in would.unreadable] == [f"unreadable:{entry}"]
        assert len(would.notes) == 1

        receipt = store.save(4, PARTS)
        assert receipt.pruned == ()
        kinds = [note.partition(":")[0] for note in receipt.notes]
        assert kinds == [
            "not counted",
            "no group has a number 'loss' in its metadata, which has no key at all",
        ]
        assert [event.kind for event in events] == ["rejected", "prune_noted", "saved"]


def test_a_metric_that_only_a_newer_versions_group_has_gives_nothing_up(tmp_path: Path) -> None:
    make_newer(group_path(scored(tmp_path), 2))
    with open_store(tmp_path) as store:
        pruning = store.prune(LOSS | LatestN(1))
        assert pruning is not None
        assert [each.name for each in pruning.unjudged] == [group(2)]
        assert [each.name.step for each in pruning.kept] == [3, 1]
        assert len(pruning.notes) == 1


def test_the_error_of_a_step_that_cannot_be_read_names_an_older_group_that_can(
    tmp_path: Path,
) -> None:
    store = fill(tmp_path, (7, 7, 7))
    disk = WatchedDisk(tmp_path, failing("digest", f"{group(3, 7)}/model"))
    reader = lastgood.open_read_only(store, disk=disk)
    with pytest.raises(IntegrityError, match=r"It may be intact.*load\(generation=2\)") as caught:
        reader.load(7)
    assert caught.value.reason == "unreadable:model"
    assert reader.load(generation=2).step == 7

    # One that a newer version has written is not offered.
    make_newer(store / group(2, 7))
    with pytest.raises(IntegrityError, match=r"load\(generation=1\)"):
        reader.load(7)


def test_a_newer_versions_group_leaves_no_note_in_the_lock(tmp_path: Path) -> None:
    store = fill(tmp_path, (1, 2))
    make_newer(group_path(store, 2))
    with pytest.raises(NewerFormatError):
        open_store(tmp_path)
    assert (store / "lock").read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="it counts descriptors in /proc")
@pytest.mark.parametrize("call", ["read", "digest", "read_and_digest", "map", "open_file"])
def test_a_read_that_fails_names_its_path_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = str(tmp_path / "part")
    Path(path).write_bytes(bytes(5000))

    def fail(*_arguments: object) -> NoReturn:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def read() -> Any:
        if call == "open_file":
            with PosixDisk().open_file(path, 5000) as file:
                return file.read_into(0, memoryview(bytearray(10)))
        algorithm = ("sha256",) if call == "read_and_digest" else ()
        return getattr(PosixDisk(), call)(path, 5000, *algorithm)

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched:
        for name in ("read", "readv", "preadv"):
            patched.setattr(os, name, fail)
        with pytest.raises(ReadFailedError) as caught:
            read()
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, path)
    assert os.listdir("/proc/self/fd") == before
