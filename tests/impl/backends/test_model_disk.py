"""The disk of the model answers each call of the seam as the real back end does."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from lastgood.backends.posix import PosixDisk
from powercut.filesystem import ops
from powercut.filesystem.state import State, run_program
from powercut.simulation.model_disk import ModelDisk

LINKS = {"to-file": "file", "to-dir": "dir", "to-nothing": "nothing"}
NAMES = ("file", "dir", "full", "nothing", "nothing/below", "file/below", *LINKS)
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("kind", ()),
    ("names", ()),
    ("read", (9,)),
    ("read", (2,)),
    ("digest", (9,)),
    ("mkdir", ()),
    ("create", ()),
    ("write", (b"x",)),
    ("fsync", ()),
    ("close", ()),
    ("fsync_dir", ()),
    ("unlink", ()),
    ("rmdir", ()),
    ("lock", ()),
]


def model_disk() -> ModelDisk:
    """A file, an empty and a full directory, and links."""
    program: list[ops.Op] = [ops.Create("/file"), ops.Append("/file", b"abc"), ops.Mkdir("/dir")]
    program += [ops.Mkdir("/full"), ops.Create("/full/file")]
    program += [ops.Symlink(target, f"/{name}") for name, target in LINKS.items()]
    return ModelDisk(run_program(((str(n), op) for n, op in enumerate(program)), State()))


def real_disk(root: Path) -> PosixDisk:
    """The same below a folder."""
    (root / "file").write_bytes(b"abc")
    (root / "dir").mkdir()
    (root / "full").mkdir()
    (root / "full/file").touch()
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    return PosixDisk()


def answer(disk: ModelDisk | PosixDisk, call: str, path: str, arguments: tuple[Any, ...]) -> object:
    """What a call gives, or the name of its errno."""
    try:
        return getattr(disk, call)(path, *arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@pytest.mark.parametrize(("call", "arguments"), CALLS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_model_answers_as_the_back_end_does(
    tmp_path: Path, name: str, call: str, arguments: tuple[Any, ...]
) -> None:
    real = real_disk(tmp_path)

    ours = answer(model_disk(), call, f"/{name}", arguments)

    assert ours == answer(real, call, f"{tmp_path}/{name}", arguments)
    real.unlock(f"{tmp_path}/{name}")
    real.after_fork_in_child()  # lets go of what `create` has opened
