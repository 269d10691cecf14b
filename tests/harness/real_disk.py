"""Ops as system calls in a folder of this machine, which stands for the root of a file system.

Where this process may, the folder is its root for as long as one call takes: then "..", absolute
links and the root itself mean what they say.  Elsewhere paths are relative to the folder, and none
of them may lead out of it (`Disk.is_root`).
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
from functools import cache
from pathlib import Path
from typing import Final

from attrs import define, field

from powercut.filesystem import ops
from powercut.filesystem.content import Data, Fill

LINUX: Final = sys.platform.startswith("linux")
RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
"""The number of renameat2(2) by machine; no other machine renames with flags here."""
_FLAG_BITS: Final = {"NOREPLACE": 1, "EXCHANGE": 2}
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_CLONE_FS: Final = 0x200
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


@cache
def open_files() -> int:
    """The folder in which the kernel keeps the open files of this process, by number.

    It is opened in time: no root but the first one has it.
    """
    return os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY) if LINUX else -1


@define
class RealDisk:
    """Ops as system calls below an open folder. Every method raises OSError as the kernel does."""

    root: int
    waits: bool
    is_root: bool = False
    handles: dict[str, int] = field(factory=dict)
    _opened: list[int] = field(factory=list)
    _by_number: int = field(factory=open_files)

    def perform(self, op: ops.Op) -> None:
        """The op, for real; what it leaves open is closed by `close`."""
        with root_of_this_process(self.root) if self.is_root else contextlib.nullcontext():
            self._perform(op)

    def _perform(self, op: ops.Op) -> None:
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
                self._truncate(path, size)
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
                os.mkdir(self._path(path), dir_fd=self.root)
            case ops.Rmdir(path=path):
                os.rmdir(self._path(path), dir_fd=self.root)
            case ops.Unlink(path=path):
                os.unlink(self._path(path), dir_fd=self.root)
            case ops.Symlink(target=target, path=path):
                os.symlink(target, self._path(path), dir_fd=self.root)
            case ops.Link(src=src, dst=dst):
                self._link(src, dst)
            case ops.Rename(src=src, dst=dst, flags=()):
                places = {"src_dir_fd": self.root, "dst_dir_fd": self.root}
                os.rename(self._path(src), self._path(dst), **places)
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
        folder = os.open(prefix[1:] or ".", os.O_RDONLY, dir_fd=self.root)
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

    def _path(self, path: str) -> str:
        """The path, as written or relative to the folder that stands for the root."""
        return path if self.is_root or not path else path.lstrip("/") or "."

    def _open(self, path: str, bits: int) -> int:
        return os.open(self._path(path), bits, 0o644, dir_fd=self.root)

    def _keep(self, name: str, file: int) -> None:
        self.handles[name] = file
        self._opened.append(file)

    def _held(self, path: str) -> int:
        """The descriptor that a handle stands for; for an unknown one none that is open."""
        return self.handles.get(path[1:], -1)

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
            at = op.offset if isinstance(op, ops.Write) else os.fstat(file).st_size
            with mmap.mmap(-1, max(1, len(data))) as aligned:  # what O_DIRECT asks of memory
                aligned[: len(data)] = data
                with memoryview(aligned) as whole, whole[: len(data)] as part:
                    os.pwrite(file, part, at)

    def _truncate(self, path: str, size: int) -> None:
        if path.startswith("@"):
            os.ftruncate(self._held(path), size)
        elif self.is_root:
            os.truncate(path, size)
        else:  # no truncate(2) takes an open folder
            with self._file(path, os.O_RDWR) as file:
                os.ftruncate(file, size)

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
            os.link(self._path(src), self._path(dst), follow_symlinks=False, **places)
            return
        if src[1:] not in self.handles:  # by its number, the kernel would call it missing
            raise OSError(errno.EBADF, "no such handle", src)
        places = {"src_dir_fd": self._by_number, "dst_dir_fd": self.root}
        os.link(str(self._held(src)), self._path(dst), follow_symlinks=True, **places)

    def _renameat2(self, src: str, dst: str, flags: tuple[str, ...]) -> None:
        bits = sum(_FLAG_BITS[flag] for flag in flags)
        old, new = self._path(src).encode(), self._path(dst).encode()
        number = RENAMEAT2[platform.machine()]
        if _LIBC.syscall(number, self.root, old, self.root, new, bits):
            raise last_error(dst)


def last_error(path: str) -> OSError:
    """The error of the last call through ctypes."""
    return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)


@contextlib.contextmanager
def root_of_this_process(folder: int) -> Iterator[None]:
    """An open folder is "/" for this thread."""
    before, here = os.open("/", os.O_PATH), os.open(".", os.O_PATH)
    try:
        os.fchdir(folder)
        os.chroot(".")
        yield
    finally:
        os.fchdir(before)
        os.chroot(".")
        os.fchdir(here)
        os.close(before)
        os.close(here)


def may_change_root() -> bool:
    """This process may choose its root. Its other threads keep theirs from now on."""
    if not LINUX or _LIBC.unshare(_CLONE_FS):
        return False
    try:
        os.chroot("/")
    except OSError:
        return False
    return True


def expand(data: Data) -> bytes:
    """What a write writes, in full."""
    return bytes([data.byte]) * data.size_bytes if isinstance(data, Fill) else data


@define
class Disk:
    """A folder on a real file system, in which each sequence gets one of its own."""

    folder: Path
    kind: str
    is_root: bool = field(factory=may_change_root)
    used: int = 0

    @contextlib.contextmanager
    def fresh(self) -> Iterator[RealDisk]:
        """An empty folder to stand for a root; it is gone afterwards."""
        self.used += 1
        path = self.folder / str(self.used) / "root"
        path.mkdir(parents=True)
        root = os.open(path, os.O_RDONLY)
        disk = RealDisk(root, self.kind == "tmpfs", self.is_root)
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
