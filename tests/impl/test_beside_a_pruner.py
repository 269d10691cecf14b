"""Lists that are made while a writer prunes what was listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood import LatestN, StorageError, Store, open_read_only
from lastgood.backends.posix import PosixDisk
from tests.impl.disks import EXT4, open_store


class Overtaken(PosixDisk):
    """A disk whose listing of the store is out of date as soon as it is there."""

    def __init__(self, saves: list[Callable[[], object]]) -> None:
        super().__init__(EXT4)
        self.saves = saves

    def names(self, path: str) -> list[str]:
        found = super().names(path)
        if path.endswith("/store") and self.saves:
            self.saves.pop()()
        return found


LISTS: dict[str, tuple[Callable[[Store], object], object]] = {
    "groups": (lambda store: [group.name.step for group in store.groups()], [9]),
    "all_steps": (Store.all_steps, [9]),
    "latest_step": (Store.latest_step, 9),
}


@pytest.mark.parametrize("name", LISTS)
def test_what_is_gone_since_it_was_listed_is_listed_again(tmp_path: Path, name: str) -> None:
    look, expected = LISTS[name]
    with open_store(tmp_path, keep=LatestN(1)) as writer:
        writer.save(1, {"model": b"x"})
        disk = Overtaken([lambda: writer.save(9, {"model": b"x"})])
        with open_read_only(tmp_path / "store", disk=disk) as reader:
            assert look(reader) == expected


@pytest.mark.parametrize("name", LISTS)
def test_a_writer_that_is_always_faster_is_told_of(tmp_path: Path, name: str) -> None:
    with open_store(tmp_path, keep=LatestN(1)) as writer:
        writer.save(1, {"model": b"x"})
        disk = Overtaken([lambda: writer.save(9, {"model": b"x"})] * 40)
        with (
            open_read_only(tmp_path / "store", disk=disk) as reader,
            pytest.raises(StorageError, match="prunes faster than this process reads"),
        ):
            LISTS[name][0](reader)
