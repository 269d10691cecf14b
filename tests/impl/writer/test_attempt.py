"""A folder for foreign code: what it leaves there becomes a group, or nothing does."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lastgood
from lastgood import Event, LeaseError, StorageError, Store, UsageError
from lastgood.format.manifest import PATH_LIMIT_BYTES
from lastgood.protocol.plan import FORMS, MODES, Form, Mode
from tests.impl.disks import (
    PARTS,
    Unsynced,
    WatchedDisk,
    bury,
    failing,
    names_in,
    open_store,
    tree,
)


def fill_and(store: Store, step: int, then: Callable[[Path], None]) -> None:
    """An attempt that is filled, and to which something is done at the end."""
    with store.attempt(step) as attempt:
        fill(attempt.path)
        then(attempt.path)


def fill(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "optim" / "shards").mkdir(parents=True)
    (folder / "optim" / "shards" / "0").write_bytes(b"moments")
    (folder / "empty").touch()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_left_in_the_folder_is_a_group(tmp_path: Path, form: Form, mode: Mode) -> None:
    with open_store(tmp_path, form=form, mode=mode) as store:
        with store.attempt(7, {"by": "foreign code"}) as attempt:
            fill(attempt.path)
            assert os.fspath(attempt) == str(attempt.path)
            assert attempt.receipt is None
            assert lastgood.open_read_only(store.path).load_latest() is None
        restored = store.restore()

    assert attempt.receipt is not None
    assert (restored.step, restored.metadata) == (7, {"by": "foreign code"})
    assert {name: bytes(data) for name, data in restored.items()} == {
        "empty": b"",
        "model.bin": b"weights",
        "optim/shards/0": b"moments",
    }
    assert {part.digest_from for part in restored.group.manifest.parts} == {"file"}


def test_its_files_are_synced_before_they_are_digested(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store, store.attempt(1) as attempt:
        fill(attempt.path)
        disk.calls.clear()
    home = "store/attempt-gen-00000001-step-00000001"
    asked = [c for c in disk.calls if c.split()[0] in ("digest", "fsync", "fsync_dir", "rename")]

    parts = ["empty", "model.bin", "optim/shards/0"]
    assert asked == [
        *(f"{call} {home}/{part}" for part in parts for call in ("fsync", "digest")),
        f"fsync {home}/MANIFEST",
        f"fsync_dir {home}/optim/shards",
        f"fsync_dir {home}/optim",
        f"fsync_dir {home}",
        f"rename {home} store/gen-00000001-step-00000001",
        "fsync_dir store",
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_nothing(
    tmp_path: Path, form: Form, error: type[BaseException]
) -> None:
    with open_store(tmp_path, form=form) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)

        def fail(_folder: Path) -> None:
            raise error

        with pytest.raises(error):
            fill_and(store, 2, fail)
        assert tree(tmp_path) == before
        assert store.save(3, PARTS).generation == 3


def harm_symlink(folder: Path) -> None:
    (folder / "link").symlink_to("model.bin")


def harm_fifo(folder: Path) -> None:
    os.mkfifo(folder / "fifo")


def harm_manifest(folder: Path) -> None:
    (folder / "MANIFEST").touch()


def harm_name(folder: Path) -> None:
    (folder / "two\nlines").touch()


def harm_bytes(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).touch()


def harm_case(folder: Path) -> None:
    (folder / "MODEL.bin").touch()


def harm_emptiness(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (harm_symlink, "symlink or special file"),
        (harm_fifo, "symlink or special file"),
        (harm_manifest, "not MANIFEST"),
        (harm_name, "control"),
        (harm_bytes, "expected a relative path"),
        (harm_case, "are one name on file systems that ignore"),
        (harm_emptiness, "one part at least"),
    ],
)
def test_what_no_manifest_can_hold_is_refused_and_removed(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)
        with pytest.raises(UsageError, match=message):
            fill_and(store, 2, harm)
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "harm",
    [harm_symlink, harm_fifo, harm_manifest, harm_name, harm_bytes, harm_case, harm_emptiness],
)
def test_a_refusal_says_what_became_of_the_folder(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        with pytest.raises(UsageError) as caught:
            fill_and(store, 1, harm)
        assert "The attempt was removed. Earlier groups are intact." in str(caught.value)
        assert "Nothing was changed" not in str(caught.value)

        disk.fault = failing("rmdir", "step-00000002", errno.EBUSY)
        with pytest.raises(UsageError) as caught:
            fill_and(store, 2, harm)
        left = "attempt-gen-00000002-step-00000002"
        assert f"{left}' could not be removed" in str(caught.value)
        assert "the next recovery deletes it" in str(caught.value)
        disk.fault = lambda _call, _path: None
        store.load_latest()
        assert names_in(tmp_path / "store") == ["lock"]


def test_a_folder_that_its_block_has_taken_away_is_no_save(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        with pytest.raises(StorageError, match=r"ENOENT.*The attempt was removed"):
            fill_and(store, 1, shutil.rmtree)
        assert names_in(store.path) == ["lock"]


def test_a_block_that_raises_says_so_where_its_folder_could_not_be_removed(
    tmp_path: Path,
) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:

        def fail(_folder: Path) -> None:
            disk.fault = failing("unlink", "model.bin", errno.EBUSY)
            raise RuntimeError("the model is gone")

        with pytest.raises(RuntimeError) as caught:
            fill_and(store, 1, fail)

    (note,) = caught.value.__notes__
    assert "could not be removed" in note


def test_a_lease_that_is_lost_in_the_block_is_no_save_and_says_what_was_done(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path) as store:

        def steal(_folder: Path) -> None:
            (tmp_path / "store" / "lock").unlink()

        with pytest.raises(LeaseError, match=r"removed or replaced.*The attempt was removed") as e:
            fill_and(store, 1, steal)
        assert "Nothing was changed" not in str(e.value)
    assert names_in(tmp_path / "store") == []


@pytest.mark.parametrize("depth", [20, 100, 600])
def test_a_folder_as_deep_as_it_likes_is_saved_or_refused_and_never_left(
    tmp_path: Path, depth: int
) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path)) as store:
        before = tree(tmp_path)

        def dig(folder: Path) -> None:
            deep = folder.joinpath(*["d"] * depth)
            deep.mkdir(parents=True)
            (deep / "part").touch()

        if depth * 2 < PATH_LIMIT_BYTES:
            fill_and(store, 1, dig)
            assert store.load().step == 1
            return
        with pytest.raises(UsageError, match=r"1024 bytes at most.*The attempt was removed"):
            fill_and(store, 1, dig)
        assert tree(tmp_path) == before


def test_a_folder_that_no_path_can_name_is_refused_told_of_and_holds_nothing_up(
    tmp_path: Path,
) -> None:
    told: list[Event] = []
    with open_store(tmp_path, disk=Unsynced(tmp_path), on_event=told.append) as store:
        with pytest.raises(UsageError, match=r"deeper than a path can name.*next recovery"):
            fill_and(store, 1, lambda folder: bury(folder, 20))
        assert store.load_latest() is None
        assert told[-1].kind == "not_set_aside"
        assert told[-1].fields["reason"] == "too_deep"
        assert names_in(store.path) == ["attempt-gen-00000001-step-00000001", "lock"]
        assert store.save(2, PARTS).step == 2


def test_a_failed_sync_closes_the_store_as_in_any_save(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        store.save(1, PARTS)
        disk.fault = failing("fsync", "model.bin")
        with pytest.raises(StorageError, match="closed to writing"), store.attempt(2) as attempt:
            fill(attempt.path)
        disk.fault = lambda _call, _path: None
        with pytest.raises(StorageError, match="closed to writing"):
            store.save(3, PARTS)
        assert store.load(1)["model"] == b"weights"
    with open_store(tmp_path) as store:
        assert store.load().step == 1


def test_a_full_disk_costs_the_attempt_alone(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, form="record", disk=disk) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)
        disk.fault = failing("write", "MANIFEST", errno.ENOSPC)
        with pytest.raises(StorageError, match=r"ENOSPC.*removed"), store.attempt(2) as attempt:
            fill(attempt.path)
        assert tree(tmp_path) == before


def test_another_call_inside_the_block_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path) as store, store.attempt(1) as attempt:
        fill(attempt.path)
        for call in (lambda: store.save(2, PARTS), store.load_latest, store.close):
            with pytest.raises(UsageError, match="an attempt of this thread"):
                call()
    assert names_in(tmp_path / "store") == ["gen-00000001-step-00000001", "lock"]


def test_bad_arguments_make_no_folder(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        with pytest.raises(UsageError, match="step"), store.attempt(-1):
            pass
        with pytest.raises(UsageError, match="metadata"), store.attempt(1, {"x": object()}):
            pass
        assert tree(tmp_path) == before


def test_a_read_only_store_hands_no_folder_out(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    store: Store = lastgood.open_read_only(tmp_path / "store")
    with pytest.raises(UsageError, match="read-only"), store.attempt(1):
        pass


@pytest.mark.parametrize("inside", [True, False])
def test_a_hard_link_in_an_attempt_is_refused_and_its_other_name_stays(
    tmp_path: Path, inside: bool
) -> None:
    """Whoever writes to the other name later would damage the group."""
    mine = tmp_path / "mine"
    mine.write_bytes(b"weights")
    with open_store(tmp_path) as store:
        before = tree(tmp_path)

        def link() -> None:
            with store.attempt(1) as attempt:
                (attempt.path / "optim").write_bytes(b"moments")
                other = attempt.path / "optim" if inside else mine
                (attempt.path / "model").hardlink_to(other)

        with pytest.raises(UsageError, match=r"is a hard link.*Copy the file.*was removed"):
            link()
        assert tree(tmp_path) == before
        assert store.save(1, PARTS).generation == 2
