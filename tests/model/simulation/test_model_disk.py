"""The disk that subjects are driven on: an open file is the one that was opened."""

from __future__ import annotations

import pytest

from powercut.filesystem import ops
from powercut.filesystem.state import State
from powercut.simulation.model_disk import ModelDisk


@pytest.mark.parametrize(("attempt", "group"), [("/attempt", "/group"), ("/attempt/", "/group//")])
def test_a_rename_takes_an_open_file_along(attempt: str, group: str) -> None:
    disk = ModelDisk(State())
    disk.mkdir("/attempt")
    disk.create("/attempt/part")
    disk.rename(attempt, group)

    disk.write("/attempt/part", b"bytes")
    disk.fsync("/attempt/part")
    disk.close("/attempt/part")

    assert disk.read("/group/part", 10) == b"bytes"
    assert [op for _, op, _ in disk.program[-2:]] == [
        ops.Write("/group/part", 0, b"bytes"),
        ops.Fsync("/group/part"),
    ]


def test_the_sync_of_a_directory_is_of_nothing_else() -> None:
    start = State().perform(ops.Mkdir("/d"), "d").perform(ops.Symlink("d", "/to-d"), "l")
    disk = ModelDisk(start)
    disk.create("/f")

    for sync in (disk.fsync_dir, disk.full_sync_dir, disk.names):
        sync("/d")
        for path in ("/f", "/f/", "/to-d"):
            with pytest.raises(NotADirectoryError, match=path):
                sync(path)
    assert [op for _, op, _ in disk.program[1:]] == [ops.Fsync("/d"), ops.Fullsync("/d")]
