"""Each op on each kind of thing, by each way in which a path can end: the model answers as Linux.

The ops are tried one by one in the same small tree, which is made anew where one has changed it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pytest

from powercut.filesystem import ops
from tests.harness.comparison import comparison, is_compared
from tests.harness.real_disk import LINUX, Disk
from tests.harness.spellings import ENDS, path_fields

LINKS: Final = ("file", "file/", "empty", "full/", "full/.", "full/..", "gone", "gone/", "loop")
THINGS: Final[list[ops.Op]] = [
    ops.Create("/file"),
    ops.Mkdir("/empty"),
    ops.Mkdir("/full"),
    ops.Create("/full/file"),
    ops.Mkdir("/full/empty"),
    ops.Link("/file", "/full/again"),
    *(ops.Symlink(target, f"/to-{target.replace('/', '-')}") for target in LINKS),
    ops.Symlink("/", "/to-root"),
    ops.Symlink("to-empty/", "/to-to-empty"),
    ops.Symlink("loop/", "/loop"),
]
"""One of each thing that a path can lead to, links among them."""

MADE: Final = [getattr(op, path_fields(op)[-1]) for op in THINGS]
PATHS: Final = [f"{path}{end}" for path in ("", "/gone", "/full/gone", *MADE) for end in ENDS]
FLAGS: Final = [
    flags
    for count in range(5)
    for flags in itertools.combinations(("O_CREAT", "O_EXCL", "O_RDONLY", "O_TRUNC"), count)
]
ON_ONE_PATH: Final[list[Callable[[str], ops.Op]]] = [
    ops.Create,
    ops.Mkdir,
    ops.Rmdir,
    ops.Unlink,
    ops.Fsync,
    lambda path: ops.Symlink("x", path),
    lambda path: ops.Symlink("", path),
    lambda path: ops.Append(path, b"x"),
    lambda path: ops.Write(path, -1, b"x"),
    lambda path: ops.Truncate(path, 1),
    lambda path: ops.Truncate(path, -1),
    lambda path: ops.Tmpfile(path, "h"),
]
ON_TWO_PATHS: Final[list[Callable[[str, str], ops.Op]]] = [
    ops.Link,
    ops.Rename,
    lambda src, dst: ops.Rename(src, dst, ("NOREPLACE",)),
    lambda src, dst: ops.Rename(src, dst, ("EXCHANGE",)),
]

# Linux looks paths up before it asks a file system, and a disk is slow: one is asked seldom.
DISKS: Final = ["tmpfs", pytest.param("ext4", marks=pytest.mark.thorough)]
on_each_disk = pytest.mark.parametrize("disk", DISKS, indirect=True)
on_a_tmpfs = pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
pytestmark = pytest.mark.skipif(not LINUX, reason="errnos are compared on Linux alone")


def answers(disk: Disk, tried: Iterable[ops.Op]) -> set[str]:
    """The answers to ops that are tried in the same tree, each the same on both sides."""
    found: set[str] = set()
    left = [op for op in tried if is_compared(op, disk)]
    while left:
        with comparison(disk) as both:
            assert {both.perform(op) for op in THINGS if is_compared(op, disk)} == {"done"}
            answer = ""
            while left and answer != "done":
                answer = both.perform(left.pop())
                found.add(answer)
            both.compare()
    return found


ERRORS: Final = {"ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "EINVAL", "ENOTEMPTY", "ELOOP", "EBUSY"}


@on_each_disk
def test_every_op_on_one_path_answers_as_the_kernel_does(disk: Disk) -> None:
    tried = (make(path) for make in ON_ONE_PATH for path in PATHS)

    found = answers(disk, tried)

    # Only where this process may change its root is the root removed.
    assert found | {"EBUSY"} == {"done"} | ERRORS
    assert ("EBUSY" in found) == disk.is_root


@on_each_disk
def test_every_open_answers_as_the_kernel_does(disk: Disk) -> None:
    tried = (ops.Open(path, "h", flags) for flags in FLAGS for path in PATHS)

    assert answers(disk, tried) == {"done"} | ERRORS - {"EINVAL", "ENOTEMPTY", "EBUSY"}


def on_two_paths(paths: list[str]) -> Iterator[ops.Op]:
    """Every op on two of the paths."""
    for src, dst in itertools.product(paths, paths):
        yield from (make(src, dst) for make in ON_TWO_PATHS)


@on_each_disk
def test_every_op_on_two_paths_answers_as_the_kernel_does(disk: Disk) -> None:
    paths = [path for path in PATHS if path and not path.endswith(("//", ".", "./"))]

    assert answers(disk, on_two_paths(paths)) == {"done", "EPERM"} | ERRORS


@pytest.mark.thorough
@on_a_tmpfs
def test_every_op_on_two_paths_with_any_ends_answers_as_the_kernel_does(disk: Disk) -> None:
    assert answers(disk, on_two_paths(PATHS)) == {"done", "EPERM"} | ERRORS
