"""The volatile view against a real directory of this machine: contents, names and errors."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from powercut import ops
from powercut.content import Fill
from powercut.state import State
from powercut.tree import File, walk
from tests.harness.programs import any_op


def perform_for_real(root: Path, op: ops.Op) -> None:
    """The op as system calls below `root`. OSError as the kernel gives it."""
    match op:
        case ops.Create(path=path):
            os.close(os.open(f"{root}{path}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        case ops.Write(path=path, offset=offset, data=data):
            assert not isinstance(data, Fill)
            handle = os.open(f"{root}{path}", os.O_WRONLY)
            try:
                os.pwrite(handle, data, offset)
            finally:
                os.close(handle)
        case ops.Truncate(path=path, size=size):
            handle = os.open(f"{root}{path}", os.O_WRONLY)
            try:
                os.ftruncate(handle, size)
            finally:
                os.close(handle)
        case ops.Mkdir(path=path):
            os.mkdir(f"{root}{path}")
        case ops.Rmdir(path=path):
            os.rmdir(f"{root}{path}")
        case ops.Unlink(path=path):
            os.unlink(f"{root}{path}")
        case ops.Rename(src=src, dst=dst):
            os.rename(f"{root}{src}", f"{root}{dst}")
        case ops.Link(src=src, dst=dst):
            os.link(f"{root}{src}", f"{root}{dst}")
        case ops.Fsync(path=path) | ops.Fdatasync(path=path):
            handle = os.open(f"{root}{path}", os.O_RDONLY)
            os.close(handle)
        case ops.Sync() | ops.Mark():
            pass


def real_tree(root: Path) -> dict[str, object]:
    """Every path to its content, or to the set of paths that share its inode for a directory."""
    found: dict[str, object] = {}
    inodes: dict[int, list[str]] = {}
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        found[name] = path.read_bytes() if path.is_file() else None
        inodes.setdefault(path.stat().st_ino, []).append(name)
    found["links"] = sorted(names for names in inodes.values() if len(names) > 1)
    return found


def model_tree(state: State) -> dict[str, object]:
    found: dict[str, object] = {}
    inodes: dict[int, list[str]] = {}
    for path, number in walk(state.view):
        inode = state.view[number]
        found[path] = inode.content.read() if isinstance(inode, File) else None
        inodes.setdefault(number, []).append(path)
    found["links"] = sorted(sorted(names) for names in inodes.values() if len(names) > 1)
    return found


@given(program=st.lists(any_op(), max_size=12))
def test_the_volatile_view_is_what_the_kernel_shows(program: list[ops.Op]) -> None:
    root = Path(tempfile.mkdtemp(prefix="powercut-view-"))
    try:
        state = State()
        for number, op in enumerate(program):
            ours = theirs = None
            try:
                perform_for_real(root, op)
            except OSError as error:
                theirs = error.errno
            try:
                state = state.perform(op, str(number))
            except OSError as error:
                ours = error.errno

            assert (op, ours) == (op, theirs)
        assert model_tree(state) == real_tree(root)
    finally:
        shutil.rmtree(root)
