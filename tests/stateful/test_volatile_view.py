"""The volatile view against real file systems of this machine: contents, names, links and errors.

Each sequence runs by system calls in a fresh folder, on a tmpfs and on a disk.  What is compared
on Linux is everything that a program could ask: which op fails with which errno, and in the end
every name, size, content, link and target, and what is read through the open handles.

Three things are left out.  No op waits for the disk: a sync only opens what it names, and O_SYNC
counts on the tmpfs alone; one test of its own waits for real.  A store through a mapping behind
the end of the file is a signal, not an error: it is not tried.  Removing the root is not tried
either, because the folder that stands for it has a name that could be removed.

Elsewhere than on Linux the errnos differ by right, so that only success and failure are compared,
and O_TMPFILE, O_DIRECT, the flags of rename and pwrite through an O_APPEND handle are not.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from powercut.filesystem import ops
from powercut.filesystem.content import Data, Fill
from powercut.filesystem.inodes import Directory, File, SymlinkInode, walk
from powercut.filesystem.state import State
from tests.harness.programs import TARGETS, any_op, fitting_op, setups

READING: Final[list[ops.Op]] = [ops.Open("/a", "h", ("O_RDONLY",))]
TMPFILE: Final[list[ops.Op]] = [ops.Tmpfile("/", "h")]
CHAIN: Final[list[ops.Op]] = [
    *(ops.Symlink(f"l{i + 1}", f"/l{i}") for i in range(40)),
    ops.Create("/l40"),
]
LINUX: Final = sys.platform.startswith("linux")
RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
"""The number of renameat2(2) by machine; no other machine renames with flags here."""
_FLAG_BITS: Final = {"NOREPLACE": 1, "EXCHANGE": 2}
EXAMPLES: Final = max(200, settings().max_examples)
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


@define
class RealDisk:
    """Ops as system calls below an open folder. Every method raises OSError as the kernel does."""

    root: int
    waits: bool
    handles: dict[str, int] = field(factory=dict)
    _opened: list[int] = field(factory=list)

    def perform(self, op: ops.Op) -> None:
        """The op, for real; what it leaves open is closed by `close`."""
        match op:
            case ops.Create(path=path):
                os.close(self._open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            case ops.Open(path=path, handle=name, flags=flags):
                self._keep(name, self._open(path, self._bits(flags)))
            case ops.Tmpfile(path=path, handle=name):
                self._keep(name, self._open(path, os.O_TMPFILE | os.O_RDWR))
            case ops.Close(handle=name):
                os.close(self._held(f"@{name}"))
                self._opened.remove(self.handles.pop(name))
            case ops.Write() | ops.Append():
                self._write(op)
            case ops.Mapwrite(path=path, offset=offset, data=data):
                self._store(path, offset, expand(data))
            case ops.Msync(path=path):
                self._store(path, 0, b"")
            case ops.Truncate(path=path, size=size):
                with self._file(path, os.O_RDWR) as file:
                    os.ftruncate(file, size)
            case ops.Fsync() | ops.Fdatasync() | ops.Barrier() | ops.Fullsync():
                with self._file(op.path, os.O_RDONLY) as file:
                    os.fstat(file)
            case ops.Sync() | ops.Mark():
                pass
            case _:
                self._rename_a_name(op)

    def _rename_a_name(self, op: ops.Op) -> None:
        match op:
            case ops.Mkdir(path=path):
                os.mkdir(below(path), dir_fd=self.root)
            case ops.Rmdir(path=path):
                os.rmdir(below(path), dir_fd=self.root)
            case ops.Unlink(path=path):
                os.unlink(below(path), dir_fd=self.root)
            case ops.Symlink(target=target, path=path):
                os.symlink(target, below(path), dir_fd=self.root)
            case ops.Link(src=src, dst=dst):
                self._link(src, dst)
            case ops.Rename(src=src, dst=dst, flags=()):
                os.rename(below(src), below(dst), src_dir_fd=self.root, dst_dir_fd=self.root)
            case ops.Rename(src=src, dst=dst, flags=flags):
                self._renameat2(src, dst, flags)
            case _:
                raise AssertionError(op)

    def read(self) -> dict[str, object]:
        """What is there now: each path, and each open handle by "@name"."""
        found: dict[str, object] = {}
        inodes: dict[int, list[str]] = {}
        self._read_folder("", found, inodes)
        for name, file in sorted(self.handles.items()):
            status = os.fstat(file)
            found[f"@{name}"] = self._read_handle(file, status)
            inodes.setdefault(status.st_ino, []).append(f"@{name}")
        found["links"] = sorted(sorted(names) for names in inodes.values() if len(names) > 1)
        return found

    def close(self) -> None:
        """Close what is still open."""
        for file in self._opened:
            os.close(file)

    def _read_folder(
        self, prefix: str, found: dict[str, object], inodes: dict[int, list[str]]
    ) -> None:
        folder = os.open(below(prefix or "/"), os.O_RDONLY, dir_fd=self.root)
        try:
            for name in os.listdir(folder):
                path = f"{prefix}/{name}"
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                inodes.setdefault(status.st_ino, []).append(path)
                match status.st_mode & 0o170000:
                    case 0o040000:
                        found[path] = "directory"
                        self._read_folder(path, found, inodes)
                    case 0o120000:
                        found[path] = ("symlink", os.readlink(name, dir_fd=folder))
                    case _:
                        file = os.open(name, os.O_RDONLY, dir_fd=folder)
                        found[path] = (status.st_size, os.pread(file, status.st_size + 1, 0))
                        os.close(file)
        finally:
            os.close(folder)

    def _read_handle(self, file: int, status: os.stat_result) -> object:
        if status.st_mode & 0o170000 == 0o040000:
            return sorted(os.listdir(file))
        if not LINUX:
            return (status.st_nlink, os.pread(file, status.st_size + 1, 0))
        # A file opened with O_DIRECT is only read in whole sectors; another opening is not.
        again = os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
        try:
            return (status.st_nlink, os.pread(again, status.st_size + 1, 0))
        finally:
            os.close(again)

    def _bits(self, flags: tuple[str, ...]) -> int:
        bits = os.O_RDONLY if "O_RDONLY" in flags else os.O_RDWR
        for flag in flags:
            if self.waits or flag not in ("O_SYNC", "O_DSYNC"):
                bits |= getattr(os, flag)
        return bits

    def _open(self, path: str, bits: int) -> int:
        return os.open(below(path), bits, 0o644, dir_fd=self.root)

    def _keep(self, name: str, file: int) -> None:
        self.handles[name] = file
        self._opened.append(file)

    def _held(self, path: str) -> int:
        if path[1:] not in self.handles:
            raise OSError(errno.EBADF, "no such handle", path)
        return self.handles[path[1:]]

    @contextlib.contextmanager
    def _file(self, path: str, bits: int) -> Iterator[int]:
        """The open file that a handle stands for, or the path, opened for as long as it takes."""
        if path.startswith("@"):
            yield self._held(path)
            return
        file = self._open(path, bits)
        try:
            yield file
        finally:
            os.close(file)

    def _write(self, op: ops.Write | ops.Append) -> None:
        data = expand(op.data)
        append = os.O_APPEND if isinstance(op, ops.Append) else 0
        with self._file(op.path, self._bits(op.flags) | append) as file:
            end = os.fstat(file).st_size
            with mmap.mmap(-1, max(1, len(data))) as aligned:  # what O_DIRECT asks of memory
                aligned[: len(data)] = data
                with memoryview(aligned) as whole, whole[: len(data)] as part:
                    os.pwrite(file, part, op.offset if isinstance(op, ops.Write) else end)

    def _store(self, path: str, offset: int, data: bytes) -> None:
        """Map the file for writing, store `data` in it, and unmap it."""
        with self._file(path, os.O_RDWR) as file:
            size = os.fstat(file).st_size
            length = max(1, size)
            address = _LIBC.mmap(None, length, _READ_WRITE, mmap.MAP_SHARED, file, 0)
            if address == _MAP_FAILED:
                raise last_error(path)
            if inside := offset + len(data) <= size:
                ctypes.memmove(address + offset, data, len(data))
            _LIBC.munmap(address, length)
            if not inside:
                raise OSError(errno.EFAULT, "behind the end", path)

    def _link(self, src: str, dst: str) -> None:
        if not src.startswith("@"):
            places = {"src_dir_fd": self.root, "dst_dir_fd": self.root}
            os.link(below(src), below(dst), follow_symlinks=False, **places)
            return
        by_number = f"/proc/self/fd/{self._held(src)}"
        os.link(by_number, below(dst), dst_dir_fd=self.root, follow_symlinks=True)

    def _renameat2(self, src: str, dst: str, flags: tuple[str, ...]) -> None:
        bits = sum(_FLAG_BITS[flag] for flag in flags)
        old, new = below(src).encode(), below(dst).encode()
        number = RENAMEAT2[platform.machine()]
        if _LIBC.syscall(number, self.root, old, self.root, new, bits):
            raise last_error(dst)


def last_error(path: str) -> OSError:
    """The error of the last call through ctypes."""
    return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)


def below(path: str) -> str:
    """The path, relative to the folder that stands for the root."""
    return path[1:] or "."


def expand(data: Data) -> bytes:
    """What a write writes, in full."""
    return bytes([data.byte]) * data.size_bytes if isinstance(data, Fill) else data


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


@define
class Disk:
    """A folder on a real file system, in which each sequence gets one of its own."""

    folder: Path
    kind: str
    used: int = 0

    @contextlib.contextmanager
    def fresh(self) -> Iterator[RealDisk]:
        """An empty folder to stand for a root; it is gone afterwards."""
        self.used += 1
        path = self.folder / str(self.used) / "root"
        path.mkdir(parents=True)
        root = os.open(path, os.O_RDONLY)
        disk = RealDisk(root, self.kind == "tmpfs")
        try:
            yield disk
        finally:
            disk.close()
            os.close(root)
            shutil.rmtree(path.parent)

    def takes_direct_io(self) -> bool:
        """O_DIRECT goes past the page cache here, and asks for aligned writes."""
        return LINUX and self.kind in ("ext4", "xfs", "btrfs")


def kind_of(path: Path) -> str:
    """The file system that a folder is on, as /proc/mounts calls it."""
    if not LINUX:
        return sys.platform
    device = f"{os.major(path.stat().st_dev)}:{os.minor(path.stat().st_dev)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, behind = line.partition(" - ")
        if before.split()[2] == device:
            return behind.split()[0]
    return "unknown"


def places_for(wanted: str) -> Path | None:
    """A folder of this machine on the file system that is wanted."""
    checkout = Path(__file__).parent
    candidates = [Path("/dev/shm"), checkout, Path(tempfile.gettempdir()), Path("/var/tmp")]  # noqa: S108
    for path in candidates:
        if path.is_dir() and os.access(path, os.W_OK) and kind_of(path) == wanted:
            return path
    return None


WANTED = ("tmpfs", "ext4") if LINUX else (sys.platform,)


@pytest.fixture(scope="module", params=WANTED)
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    parent = places_for(request.param)
    if parent is None:
        here = kind_of(Path(__file__).parent)
        pytest.skip(f"no folder on {request.param} here: the checkout is on {here}")
    with tempfile.TemporaryDirectory(prefix=".powercut-view-", dir=parent) as folder:
        yield Disk(Path(folder), request.param)


def is_compared(op: ops.Op, disk: Disk) -> bool:
    """The op can be run here, and is to answer as it does on Linux."""
    if isinstance(op, ops.Rmdir) and op.path == "/":
        return False
    flags: tuple[str, ...] = getattr(op, "flags", ())
    if "O_DIRECT" in flags:
        return disk.takes_direct_io()
    if isinstance(op, ops.Rename) and flags:
        return LINUX and platform.machine() in RENAMEAT2
    by_number = isinstance(op, ops.Link) and op.src.startswith("@")
    return LINUX or not (by_number or isinstance(op, ops.Tmpfile) or "O_APPEND" in flags)


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


def answers_of_the_model(program: list[ops.Op]) -> list[str]:
    """What the model alone answers."""
    state, answers = State(), []
    for number, op in enumerate(program):
        try:
            state = state.perform(op, str(number))
            answers.append("done")
        except OSError as error:
            answers.append(name_of(error.errno))
    return answers


def name_of(code: int | None) -> str:
    """An errno in words."""
    return "done" if code is None else errno.errorcode.get(code, str(code))


@settings(max_examples=EXAMPLES)
@given(setup=setups, count=st.integers(0, 14), data=st.data())
def test_the_volatile_view_is_what_the_kernel_shows(
    disk: Disk, setup: list[ops.Op], count: int, data: st.DataObject
) -> None:
    with comparison(disk) as both:
        for op in setup:
            both.perform(op)
        for _ in range(count):
            op = data.draw(st.one_of(fitting_op(both.state), any_op()))
            if is_compared(op, disk):
                both.perform(op)
        both.compare()


TABLE: list[tuple[str, list[ops.Op]]] = [
    ("ENOENT", [ops.Unlink("/a")]),
    ("ENOENT", [ops.Symlink("", "/a")]),
    ("ENOENT", [ops.Symlink("b", "/a"), ops.Write("/a", 0, b"x")]),
    ("ENOENT", [ops.Create("/a"), ops.Rename("/a", "/b", ("EXCHANGE",))]),
    ("ENOENT", [ops.Open("/a", "h", ("O_CREAT",)), ops.Unlink("/a"), ops.Link("@h", "/b")]),
    ("ENOENT", [*TMPFILE, ops.Link("@h", "/a"), ops.Unlink("/a"), ops.Link("@h", "/b")]),
    ("EEXIST", [ops.Mkdir("/")]),
    ("EEXIST", [ops.Symlink("b", "/a"), ops.Open("/a", "h", ("O_CREAT", "O_EXCL"))]),
    ("EEXIST", [ops.Create("/a"), ops.Rename("/a", "/", ("NOREPLACE",))]),
    ("ENOTDIR", [ops.Create("/d"), ops.Create("/d/a")]),
    ("ENOTDIR", [ops.Create("/a"), ops.Rmdir("/a")]),
    ("ENOTDIR", [ops.Create("/a"), ops.Tmpfile("/a", "h")]),
    ("ENOTDIR", [ops.Mkdir("/d"), ops.Create("/a"), ops.Rename("/d", "/a")]),
    ("EISDIR", [ops.Mkdir("/d"), ops.Unlink("/d")]),
    ("EISDIR", [ops.Mkdir("/d"), ops.Open("/d", "h", ("O_RDONLY", "O_TRUNC"))]),
    ("ENOTEMPTY", [ops.Mkdir("/d"), ops.Create("/d/a"), ops.Rmdir("/d")]),
    ("ENOTEMPTY", [ops.Mkdir("/d"), ops.Mkdir("/d/e"), ops.Rename("/d/e", "/d")]),
    ("EINVAL", [ops.Mkdir("/d"), ops.Rename("/d", "/d/e")]),
    ("EINVAL", [ops.Create("/a"), ops.Rename("/a", "/b", ("EXCHANGE", "NOREPLACE"))]),
    ("EINVAL", [ops.Create("/a"), *READING, ops.Truncate("@h", 1)]),
    ("EINVAL", [ops.Create("/a"), *READING, ops.Write("@h", -1, b"x")]),
    ("EINVAL", [ops.Create("/a"), ops.Write("/a", 1, b"x", ("O_DIRECT",))]),
    ("EINVAL", [ops.Mkdir("/d"), ops.Open("/d", "h", ("O_DIRECT", "O_RDONLY"))]),
    ("ELOOP", [ops.Symlink("a", "/a"), ops.Fsync("/a")]),
    ("ELOOP", [ops.Symlink("b/a", "/a"), ops.Symlink("a", "/b"), ops.Mkdir("/a/d")]),
    ("ELOOP", [*CHAIN, ops.Symlink("l0", "/k"), ops.Append("/k", b"x")]),
    ("EBADF", [ops.Create("/a"), *READING, ops.Write("@h", 0, b"x")]),
    ("EBADF", [ops.Open("/a", "h", ("O_CREAT",)), ops.Close("h"), ops.Write("@h", 0, b"x")]),
    ("EPERM", [ops.Mkdir("/d"), ops.Link("/d", "/a")]),
    ("EPERM", [ops.Mkdir("/d"), ops.Open("/d", "h", ("O_RDONLY",)), ops.Link("@h", "/a")]),
    ("EBUSY", [ops.Create("/a"), ops.Rename("/a", "/")]),
    ("EBUSY", [ops.Rename("/", "/a")]),
    ("EACCES", [ops.Create("/a"), ops.Append("/a", b"x"), *READING, ops.Mapwrite("@h", 0, b"y")]),
    ("EFAULT", [ops.Create("/a"), ops.Mapwrite("/a", 0, b"x")]),
]
"""An errno, and a program whose last op fails with it."""


@pytest.mark.skipif(not LINUX, reason="errnos are compared on Linux alone")
@pytest.mark.parametrize(
    ("wanted", "program"), TABLE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_error_that_the_model_knows_comes_from_the_kernel_too(
    disk: Disk, wanted: str, program: list[ops.Op]
) -> None:
    if not all(is_compared(op, disk) for op in program):
        assert answers_of_the_model(program)[-1] == wanted  # this disk has no such call
        return
    with comparison(disk) as both:
        answers = [both.perform(op) for op in program]
        both.compare()

    assert answers == [*["done"] * (len(program) - 1), wanted]


SUCCESSES: list[list[ops.Op]] = [
    [ops.Open("/a", "h", ("O_CREAT",)), ops.Write("@h", 2, b"x"), ops.Unlink("/a")],
    [*TMPFILE, ops.Append("@h", b"xy"), ops.Link("@h", "/a"), ops.Truncate("/a", 1)],
    [
        ops.Open("/a", "h", ("O_APPEND", "O_CREAT")),
        ops.Append("@h", b"x"),
        ops.Write("@h", 0, b"y"),
    ],
    [
        ops.Create("/a"),
        ops.Append("/a", b"old"),
        ops.Mapwrite("/a", 1, b"xy"),
        ops.Msync("/a", 0, 3),
    ],
    [ops.Mkdir("/d"), ops.Create("/d/a"), ops.Create("/b"), ops.Rename("/d", "/b", ("EXCHANGE",))],
    [ops.Mkdir("/d"), ops.Mkdir("/d/e"), ops.Symlink("d/e", "/a"), ops.Create("/a/b")],
    [ops.Mkdir("/d"), ops.Symlink("d/..", "/a"), ops.Create("/a/a/a/b")],
    [ops.Symlink("b", "/a"), ops.Open("/a", "h", ("O_CREAT",)), ops.Link("/a", "/d")],
    [ops.Create("/a"), ops.Append("/a", b"old"), ops.Open("/a", "h", ("O_RDONLY", "O_TRUNC"))],
    [ops.Create("/a"), ops.Write("/a", 512, Fill(7, 512), ("O_DIRECT",)), ops.Append("/a", b"x")],
    [ops.Create("/a"), ops.Link("/a", "/b"), ops.Rename("/a", "/b"), ops.Append("/b", b"x")],
    [*CHAIN, ops.Append("/l0", b"x")],
]


@pytest.mark.parametrize("program", SUCCESSES, ids=lambda program: ops.op_name(program[-1]))
def test_what_succeeds_leaves_the_same_on_both_sides(disk: Disk, program: list[ops.Op]) -> None:
    if not all(is_compared(op, disk) for op in program):
        assert set(answers_of_the_model(program)) == {"done"}  # this disk has no such call
        return
    with comparison(disk) as both:
        assert [both.perform(op) for op in program] == ["done"] * len(program)
        both.compare()


def test_a_file_opened_to_wait_takes_the_same_writes(disk: Disk) -> None:
    with comparison(disk) as both:
        both.real.waits = True
        for number, flag in enumerate(("O_SYNC", "O_DSYNC")):
            opened = ops.Open(f"/{number}", "h", ("O_CREAT", flag))
            for op in (opened, ops.Append("@h", b"old"), ops.Write(f"/{number}", 1, b"x", (flag,))):
                assert both.perform(op) == "done"
        both.compare()


def test_no_link_can_lead_out_of_the_folder_that_stands_for_the_root() -> None:
    # A link that goes down cannot leave, and coming back from below ends at most where it began.
    assert not any(target.startswith(("/", ".")) for target in TARGETS)
    assert [target for target in TARGETS if ".." in target] == ["d/.."]
