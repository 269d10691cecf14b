"""One sequence of ops on the model and on a real file system, which have to answer alike."""

from __future__ import annotations

import contextlib
import errno
import platform
from collections.abc import Iterator
from pathlib import PurePosixPath

from attrs import define, field

from powercut.filesystem import ops
from powercut.filesystem.inodes import Directory, File, SymlinkInode, walk
from powercut.filesystem.state import State
from tests.harness.programs import TARGETS
from tests.harness.real_disk import LINUX, RENAMEAT2, Disk, RealDisk
from tests.harness.spellings import path_fields


def model_tree(state: State) -> dict[str, object]:
    """The same as `RealDisk.read`, of the model's view."""
    found: dict[str, object] = {}
    inodes: dict[int, list[str]] = {}
    for path, number in walk(state.view):
        inodes.setdefault(number, []).append(path)
        match state.view[number]:
            case Directory():
                found[path] = "directory"
            case SymlinkInode(target=target):
                found[path] = ("symlink", target)
            case File(content=content):
                found[path] = (content.size, content.read())
    for name, handle in sorted(state.handles.items()):
        opened = state.view[handle.inode]
        names = inodes.get(handle.inode, [])
        if isinstance(opened, Directory):
            found[f"@{name}"] = sorted(opened.entries)
        elif isinstance(opened, File):
            found[f"@{name}"] = (sum(not n.startswith("@") for n in names), opened.content.read())
        inodes.setdefault(handle.inode, []).append(f"@{name}")
    found["links"] = sorted(sorted(names) for names in inodes.values() if len(names) > 1)
    return found


def is_compared(op: ops.Op, disk: Disk) -> bool:
    """The op can be run here, and is to answer as it does on Linux."""
    if not (is_plain(op) if not LINUX else disk.is_root or stays_below(op)):
        return False
    flags: tuple[str, ...] = getattr(op, "flags", ())
    if "O_DIRECT" in flags:
        return disk.takes_direct_io()
    if isinstance(op, ops.Rename) and flags:
        return LINUX and platform.machine() in RENAMEAT2
    by_number = isinstance(op, ops.Link) and op.src.startswith("@")
    return LINUX or not (by_number or isinstance(op, ops.Tmpfile) or "O_APPEND" in flags)


def is_plain(op: ops.Op) -> bool:
    """Each path is spelt in the shortest way; the root is not removed."""
    paths = [getattr(op, name) for name in path_fields(op)]
    plain = all(path == str(PurePosixPath(path)) and ".." not in path for path in paths)
    return plain and stays_below(op)


def stays_below(op: ops.Op) -> bool:
    """The op means the same below a folder, cannot lead out of it and does not remove it."""
    if isinstance(op, ops.Truncate) and op.size < 0 and op.path[:1] != "@":
        return False  # by a path there is only truncate(2), which takes no folder
    if isinstance(op, ops.Rmdir) and not op.path.strip("/."):
        return False
    if isinstance(op, ops.Symlink) and not (op.target in TARGETS or goes_down(op.target)):
        return False
    return not any(".." in getattr(op, name).split("/") for name in path_fields(op))


def goes_down(target: str) -> bool:
    """A link to this cannot lead out of its folder, nor help one of TARGETS to do so."""
    return not target.startswith("/") and {".", ".."}.isdisjoint(target.split("/"))


@define
class Comparison:
    """One sequence on both sides."""

    disk: Disk
    real: RealDisk
    state: State = field(factory=State)

    def perform(self, op: ops.Op) -> str:
        """The op on both sides, which have to answer alike; the answer in words."""
        ours = theirs = None
        try:
            self.real.perform(op)
        except OSError as error:
            theirs = error.errno
        try:
            self.state = self.state.perform(op, str(len(self.state.syncs)))
        except OSError as error:
            ours = error.errno
        if LINUX:
            assert (op, name_of(ours)) == (op, name_of(theirs))
        assert (op, ours is None) == (op, theirs is None)
        return name_of(ours)

    def compare(self) -> None:
        """Both sides show the same."""
        assert model_tree(self.state) == self.real.read()


@contextlib.contextmanager
def comparison(disk: Disk) -> Iterator[Comparison]:
    """A fresh folder and an empty state."""
    with disk.fresh() as real:
        yield Comparison(disk, real)


def name_of(code: int | None) -> str:
    """An errno in words."""
    return "done" if code is None else errno.errorcode.get(code, str(code))
