"""The disk that subjects are driven on: an open file is the one that was opened."""

from __future__ import annotations

from powercut.filesystem import ops
from powercut.filesystem.state import State
from powercut.simulation.model_disk import ModelDisk


def test_a_rename_takes_an_open_file_along() -> None:
    disk = ModelDisk(State())
    disk.mkdir("/attempt")
    disk.create("/attempt/part")
    disk.rename("/attempt", "/group")

    disk.write("/attempt/part", b"bytes")
    disk.fsync("/attempt/part")
    disk.close("/attempt/part")

    assert disk.read("/group/part", 10) == b"bytes"
    assert [op for _, op, _ in disk.program[-2:]] == [
        ops.Write("/group/part", 0, b"bytes"),
        ops.Fsync("/group/part"),
    ]
