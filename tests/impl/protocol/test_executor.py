"""Carrying steps out: what changes meanwhile is not mixed up, what was made is taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lastgood.backends.posix import PosixDisk
from lastgood.parts.part_writer import PIECE_BYTES, PartSource
from lastgood.protocol.executor import BIG_BYTES, MAX_OPEN_FILES, StepExecutor
from lastgood.protocol.steps import CreateFile, MakeDir
from tests.impl.disks import EXT4, open_store, tree


class Meddler(PosixDisk):
    """Changes a buffer in each write, just before its bytes go out."""

    def __init__(self, buffer: bytearray) -> None:
        super().__init__(EXT4)
        self.buffer = buffer
        self.longest = 0

    def write(self, path: str, data: bytes | memoryview) -> None:
        if not path.endswith("MANIFEST"):
            self.longest = max(self.longest, len(data))
            for place in range(0, len(self.buffer), PIECE_BYTES // 2):
                self.buffer[place] += 1
        super().write(path, data)


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_buffer_that_changes_while_it_is_saved_makes_a_group_that_verifies(
    tmp_path: Path, in_chunks: bool
) -> None:
    buffer = bytearray(2 * PIECE_BYTES + 5)
    disk = Meddler(buffer)
    part: Any = iter([buffer, memoryview(buffer)]) if in_chunks else buffer
    with open_store(tmp_path, disk=disk) as store:
        store.save(1, {"model": part})
        loaded = store.load_latest()

    assert loaded is not None
    assert loaded.rejected == ()
    assert len(loaded.read("model")) == len(buffer) * (2 if in_chunks else 1)
    assert any(buffer)  # it was changed indeed
    assert disk.longest == PIECE_BYTES


class Interrupted(PosixDisk):
    """Makes a thing, and is interrupted before it can say so."""

    def __init__(self, call: str) -> None:
        super().__init__(EXT4)
        self.call = call

    def mkdir(self, path: str) -> None:
        super().mkdir(path)
        if self.call == "mkdir" and "gen-" in path:
            raise KeyboardInterrupt

    def create(self, path: str) -> None:
        super().create(path)
        if self.call == "create":
            raise KeyboardInterrupt


@pytest.mark.parametrize("call", ["mkdir", "create"])
def test_ctrl_c_right_after_something_was_made_leaves_nothing(tmp_path: Path, call: str) -> None:
    with open_store(tmp_path, disk=Interrupted(call)) as store:
        before = tree(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            store.save(1, {"model": b"weights"})

        assert tree(tmp_path) == before


def test_what_somebody_else_made_is_never_taken_away(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "file").touch()
    executor = StepExecutor(PosixDisk(EXT4), {"part": PartSource([])})
    for step in (MakeDir(f"{tmp_path}/theirs"), CreateFile(f"{tmp_path}/file")):
        with pytest.raises(FileExistsError):
            executor.execute(step)

    assert executor.undo()
    assert tree(tmp_path) == {"file": b"", "theirs": None}


def test_what_is_gone_already_is_undone(tmp_path: Path) -> None:
    executor = StepExecutor(PosixDisk(EXT4))
    executor.execute(MakeDir(f"{tmp_path}/gone"))
    (tmp_path / "gone").rmdir()

    assert executor.undo()


class Counting(PosixDisk):
    """Notes what is asked of small files, and how many are open at most."""

    def __init__(self) -> None:
        super().__init__(EXT4)
        self.calls: list[str] = []
        self.is_open: set[str] = set()
        self.most_open = 0

    def create(self, path: str) -> None:
        super().create(path)
        self.is_open.add(path)
        self.most_open = max(self.most_open, len(self.is_open))

    def close(self, path: str) -> None:
        super().close(path)
        self.is_open.remove(path)

    def write_early(self, path: str) -> None:
        super().write_early(path)
        self.calls.append("write early")

    def fsync(self, path: str) -> None:
        super().fsync(path)
        self.calls.append("fsync")


def test_small_parts_are_all_being_written_before_the_first_is_synced(tmp_path: Path) -> None:
    disk = Counting()
    with open_store(tmp_path, disk=disk) as store:
        store.save(1, {f"part{n}": b"weights" for n in range(3)})

    assert disk.calls == ["write early"] * 3 + ["fsync"] * 4  # the last one is the manifest's


def test_only_so_many_files_are_open_at_a_time(tmp_path: Path) -> None:
    disk = Counting()
    with open_store(tmp_path, disk=disk, workers=1) as store:
        store.save(1, {f"part{n}": b"weights" for n in range(2 * MAX_OPEN_FILES + 1)})
        assert disk.most_open == MAX_OPEN_FILES
        disk.most_open = 0
        store.save(2, {f"part{n}": bytes(BIG_BYTES // 2) for n in range(4)})

    assert disk.most_open == 2
