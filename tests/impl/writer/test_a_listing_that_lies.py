"""A listing that shows less than there is: whoever holds the lease does not act upon it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import LatestN, LeaseError, StorageError, Store
from lastgood.protocol.plan import FORMS, Form
from tests.impl.disks import PARTS, WatchedDisk, fill, names_in, open_store, tree

LIE = r"(?s)found 0 entries without 'lock', expected the lock file.*Nothing was moved, deleted"


class LyingDisk(WatchedDisk):
    """A disk on which the store looks empty, from the `lies_from`-th of its listings on.

    As the C library lists a directory whose readdir fails with ENOENT.
    """

    lies_from: int | None = None

    def names(self, path: str) -> list[str]:
        """See `Disk.names`."""
        found = super().names(path)
        if self.lies_from is None or not path.endswith("/store"):
            return found
        self.lies_from -= 1
        return found if self.lies_from > 0 else []


CALLS: dict[str, Callable[[Store], object]] = {
    "load_latest": Store.load_latest,
    "save": lambda store: store.save(9, PARTS),
    "attempt": lambda store: store.attempt(9).__enter__(),
    "prune": lambda store: store.prune(LatestN(1)),
    "repair": Store.repair,
    "purge": lambda store: store.purge("all"),
}


def damaged_store(root: Path) -> Path:
    """Three groups, a damaged one above them, one in quarantine, and a dead attempt."""
    store = fill(root, [1, 2, 3, 4])
    (store / names_in(store)[3] / "model").write_bytes(b"WEIGHTS")
    with open_store(root) as opened:
        opened.load_latest()
        opened.save(5, PARTS)
    (store / names_in(store)[3] / "model").write_bytes(b"WEIGHTS")
    (store / "attempt-gen-00000006-step-00000006").mkdir()
    return store


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("name", CALLS)
def test_the_holder_of_the_lease_does_not_act_upon_a_listing_without_its_lock_file(
    tmp_path: Path, name: str, nth: int
) -> None:
    store = damaged_store(tmp_path)
    disk = LyingDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as opened:
        before = tree(store)
        disk.lies_from = nth
        said = ""
        try:
            CALLS[name](opened)
        except StorageError as error:
            said = str(error)
        assert disk.lies_from > 0 or re.search(LIE, said), "a listing that lied was acted upon"
        assert nth > 1 or tree(store) == before
        disk.lies_from = None
        loaded = opened.load_latest()
        assert loaded is not None
        assert loaded.step in (3, 9)
        assert opened.save(7, PARTS).generation >= 7


def test_a_lock_file_that_was_taken_away_is_told_as_that(tmp_path: Path) -> None:
    class Taken(WatchedDisk):
        def names(self, path: str) -> list[str]:
            if path.endswith("/store"):
                os.unlink(f"{path}/lock")
            return super().names(path)

    disk = Taken(tmp_path)
    fill(tmp_path, [1])
    disk.fault = lambda call, _path: errno.EIO if call == "names" else None
    with open_store(tmp_path, disk=disk) as opened:
        disk.fault = lambda _call, _path: None
        with pytest.raises(LeaseError, match="was removed or replaced since"):
            opened.load_latest()


def refusing(number: int) -> Callable[..., Any]:
    def refuse(*_args: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ELOOP, errno.ENOLCK, errno.EIO])
def test_a_lock_that_the_disk_refuses_says_nothing_of_the_lock_file(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path, [1])
    before = tree(store)
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    wanted = rf"{errno.errorcode[number]} .*expected a lock of it.*No group was touched"

    with pytest.raises(StorageError, match=wanted):
        open_store(tmp_path)

    assert tree(store) == before


class EmptyFolder(WatchedDisk):
    """A disk on which a directory of an attempt looks empty."""

    def names(self, path: str) -> list[str]:
        """See `Disk.names`."""
        return [] if path.endswith("/optim") else super().names(path)


@pytest.mark.parametrize("form", FORMS)
def test_a_group_is_not_sealed_without_what_a_listing_did_not_show(
    tmp_path: Path, form: Form
) -> None:
    with open_store(tmp_path, form=form, disk=EmptyFolder(tmp_path)) as store:
        store.save(1, PARTS)
        filling = store.attempt(2)
        attempt = filling.__enter__()
        (attempt.path / "model").write_bytes(b"new")
        (attempt.path / "optim").mkdir()
        (attempt.path / "optim" / "adam").write_bytes(b"newer")
        with pytest.raises(StorageError, match=r"ENOTEMPTY .*Earlier groups are intact"):
            filling.__exit__(None, None, None)

    assert lastgood.open_read_only(tmp_path / "store").latest_step() == 1


def test_a_directory_of_an_attempt_that_holds_nothing_is_no_part_of_the_group(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path) as store, store.attempt(1) as attempt:
        (attempt.path / "model").write_bytes(b"new")
        (attempt.path / "optim").mkdir()

    loaded = lastgood.open_read_only(tmp_path / "store").load_latest()
    assert loaded is not None
    assert names_in(Path(loaded.group.path)) == ["MANIFEST", "model"]
