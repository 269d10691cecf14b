"""Errors as other processes get them, and what each says to do."""

from __future__ import annotations

import copy
import errno
import multiprocessing
import os
import pickle
from pathlib import Path

import pytest

import lastgood
from lastgood import Damaged, IntegrityError, LastgoodError, NewerFormatError
from lastgood.errors import storage_error
from lastgood.format.names import GroupName
from lastgood.recovery.clearing import not_deleted
from lastgood.recovery.recovery import new_rejection
from lastgood.retention.prune import held_rejection, undeletable_rejection
from tests.impl.disks import PARTS, fill, open_store

DAMAGED = (Damaged("model", "digest_mismatch:model", 0, 7), Damaged("a", "missing:a", 0, 0, 1, 2))
TIMEOUT_S = 60
PUBLIC = [
    kind
    for kind in map(vars(lastgood).get, lastgood.__all__)
    if isinstance(kind, type) and issubclass(kind, BaseException)
]


def of(kind: type[BaseException]) -> BaseException:
    if issubclass(kind, IntegrityError):
        return kind("group gen-1: damaged", "digest_mismatch:model", "gen-1", DAMAGED)
    if issubclass(kind, NewerFormatError):
        return kind("gen-1", "format 2")
    return kind("what was found")


@pytest.mark.parametrize("kind", PUBLIC)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_public_exception_comes_back_from_a_pickle_with_all_its_fields(
    kind: type[BaseException], protocol: int
) -> None:
    error = of(kind)
    error.add_note("which of the ranks it was")

    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):  # noqa: S301
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert twin.__notes__ == ["which of the ranks it was"]


def load_damaged(store: str) -> None:
    lastgood.open_read_only(store).load(1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_integrity_error_leaves_a_pool_of_processes(tmp_path: Path) -> None:
    store = fill(tmp_path, [1])
    (store / "gen-00000001-step-00000001" / "model").write_bytes(b"WEIGHTS")

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        waiting = pool.apply_async(load_damaged, (str(store),))
        with pytest.raises(IntegrityError) as caught:
            waiting.get(TIMEOUT_S)

    assert caught.value.group == "gen-00000001-step-00000001"
    assert caught.value.reason == "sha_mismatch:model"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "mounted read-only.*open_read_only"),
        (errno.EACCES, "this user may not.*open_read_only"),
        (errno.EPERM, "this user may not.*open_read_only"),
        (errno.ENOSPC, "Make room"),
        (errno.EDQUOT, "Make room"),
        (errno.ENAMETOOLONG, "shorter path"),
        (errno.EPERM, "immutable or append-only: lsattr .*`chattr -i -a`"),
        (errno.EMFILE, r"Close files that are open, or raise the limit.*`ulimit -n`"),
        (errno.ENFILE, r"Close files that are open, or raise the limit.*this machine"),
        (errno.ENOMEM, "Free memory"),
        (errno.EIO, "Mend the disk"),
    ],
)
def test_each_error_of_the_disk_says_what_to_do(number: int, words: str) -> None:
    error = storage_error("opening the store", OSError(number, os.strerror(number)))

    assert isinstance(error, LastgoodError)
    with pytest.raises(LastgoodError, match=words):
        raise error


def test_an_error_without_a_number_has_the_remedy_of_none() -> None:
    with pytest.raises(LastgoodError, match=r"an unknown error \(odd\).*Mend the disk"):
        raise storage_error("opening the store", OSError("odd"))


def test_a_path_that_is_too_long_for_a_store_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(lastgood.StorageError, match=r"ENAMETOOLONG.*Choose a shorter path"):
        open_store(tmp_path / ("x" * 300))


def test_a_save_without_room_says_to_make_some(tmp_path: Path) -> None:
    from tests.impl.disks import WatchedDisk, failing

    disk = WatchedDisk(tmp_path, failing("write", "model", errno.ENOSPC))
    with open_store(tmp_path, disk=disk) as store:
        with pytest.raises(lastgood.StorageError, match=r"ENOSPC.*Make room"):
            store.save(1, PARTS)
        disk.fault = failing("create", "model", errno.EROFS)
        with pytest.raises(lastgood.StorageError, match=r"EROFS.*mounted read-only"):
            store.save(1, PARTS)


@pytest.mark.parametrize(
    ("call", "ending", "words"),
    [
        ("mkdir", "gen-00000001-step-00000001", "making the directory '.*step-00000001': EIO"),
        ("create", "model", "creating '.*/model': EIO"),
        ("write", "model", "writing '.*/model': EIO"),
        ("write", "MANIFEST", "writing '.*/MANIFEST': EIO"),
        ("rename", "gen-00000001-step-00000001", "renaming '.*' to '.*step-00000001': EIO"),
        ("fsync", "model", "syncing '.*/model': EIO"),
    ],
)
def test_a_save_that_failed_says_in_words_what_it_was_doing(
    tmp_path: Path, call: str, ending: str, words: str
) -> None:
    from tests.impl.disks import WatchedDisk, failing

    disk = WatchedDisk(tmp_path, failing(call, ending, errno.EIO))
    wanted = pytest.raises(lastgood.StorageError, match=f"failed: {words}")
    with open_store(tmp_path, disk=disk, form="rename") as store, wanted:
        store.save(1, PARTS)


def test_a_save_that_wrote_nothing_does_not_say_that_it_did(tmp_path: Path) -> None:
    from tests.impl.disks import WatchedDisk, failing

    disk = WatchedDisk(tmp_path, failing("mkdir", "gen-00000001-step-00000001", errno.ENOSPC))
    wanted = pytest.raises(lastgood.StorageError, match=r"ENOSPC .*\. Nothing of it is left")
    with open_store(tmp_path, disk=disk) as store, wanted as refused:
        store.save(1, PARTS)
    assert "What it wrote" not in str(refused.value)


def test_every_step_has_words_of_its_own_for_people() -> None:
    from lastgood.protocol import steps

    classes = [each for each in vars(steps).values() if isinstance(each, type)]
    plain = [each for each in classes if issubclass(each, steps.SimpleStep) and each.__doc__]
    for each in plain:
        if each is not steps.SimpleStep and not each.__name__.startswith("_"):
            assert each.doing.split()[0].endswith("ing"), each


@pytest.mark.parametrize("number", [errno.EPERM, errno.EBUSY])
def test_what_may_not_be_deleted_or_renamed_may_be_immutable(number: int) -> None:
    refused = OSError(number, "no", "/store/part")
    name = GroupName(1, 1)
    said = [
        undeletable_rejection(name, refused).detail,
        held_rejection(name, refused).detail,
        not_deleted(new_rejection(name, "gone", "it was given up"), refused, "").detail,
    ]

    assert ["chattr -i" in detail for detail in said] == [number == errno.EPERM] * 3
