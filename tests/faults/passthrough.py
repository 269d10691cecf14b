"""A pass-through file system over /dev/fuse, any call of which can be made to fail.

There is no libfuse between, as in the rig's own server.  The kernel may keep nothing: every name
and every attribute is asked for again, so that each call of a program reaches this server.  What is
shared with the program under test is one page of memory, `Control`: the fault, and the counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from powercut_rig.system import linux_syscalls
from powercut_rig.system.subprocesses import wait_for_exit
from powercut_rig.system.worker import outer_namespace_fd

KINDS: Final = {
    1: "lookup", 3: "getattr", 4: "setattr", 9: "mkdir", 10: "unlink", 11: "rmdir",
    12: "rename", 14: "open", 15: "read", 16: "write", 17: "statfs", 18: "release", 20: "fsync",
    25: "flush", 27: "opendir", 28: "readdir", 29: "releasedir", 30: "fsyncdir", 32: "lock",
    33: "lock", 34: "access", 35: "create", 43: "fallocate", 45: "rename",
}  # fmt: skip
"""The calls that can be made to fail, by their number in the kernel's <linux/fuse.h>."""
NAMES: Final = tuple(dict.fromkeys(KINDS.values()))
_NUMBERS: Final = {opcode: NAMES.index(name) for opcode, name in KINDS.items()}

_FORGET, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 2, 26, 36, 38, 42
_WITH_HANDLE: Final = frozenset({15, 16, 18, 28, 29})
_SILENT: Final = frozenset({_FORGET, _BATCH_FORGET, _INTERRUPT})
_IN: Final = struct.Struct("<IIQQIIIHH")
_OUT: Final = struct.Struct("<IiQ")
_INIT_OUT: Final = struct.Struct("<IIIIHHIIHHIIH22x")
_ENTRY_HEAD: Final = struct.Struct("<QQQQII")
_ATTR: Final = struct.Struct("<QQQQQQIIIIIIIIII")
_ATTR_HEAD: Final = struct.Struct("<QII")
_OPEN_OUT: Final = struct.Struct("<QII")
_STATFS: Final = struct.Struct("<QQQQQIIII24x")
_DIRENT: Final = struct.Struct("<QQII")
_SETATTR_SIZE, _SETATTR_FH = 1 << 3, 1 << 6
_FLOCK_UNLOCK: Final = 1 << 1
_UNLOCK: Final = 2
_BIG_WRITES, _FLOCK_LOCKS, _MAX_PAGES = 1 << 5, 1 << 10, 1 << 22
_MOST_BYTES: Final = 1 << 20
_STOP_S: Final = 2.0


class Control(ctypes.Structure):
    """The page that server and program share.

    The `nth` call of the kind `kind` (from 1 on) fails with `number`, and with `sticky` each one
    after it; `kind` -1 lets all pass.  `hits` are the calls that were made to fail, `calls` all of
    each kind.  A new `epoch` lets the server forget every name.  With `direct` the kernel keeps no
    bytes: else it repeats a read that failed.
    """

    _fields_ = (
        ("kind", ctypes.c_int),
        ("nth", ctypes.c_int),
        ("number", ctypes.c_int),
        ("sticky", ctypes.c_int),
        ("hits", ctypes.c_int),
        ("epoch", ctypes.c_int),
        ("direct", ctypes.c_int),
        ("calls", ctypes.c_int * len(NAMES)),
    )

    def arm(self, kind: str, nth: int, number: int, *, sticky: bool) -> None:
        """Let a call fail, and count from 1 again."""
        self.kind = -1
        self.clear()
        self.nth, self.number, self.sticky = nth, number, int(sticky)
        self.kind = NAMES.index(kind)

    def clear(self) -> None:
        """Begin to count anew."""
        self.hits = 0
        self.calls = (ctypes.c_int * len(NAMES))()

    def disarm(self) -> None:
        """Let every call pass."""
        self.kind = -1

    def counts(self) -> dict[str, int]:
        """The calls of each kind that there were."""
        return {name: count for name, count in zip(NAMES, self.calls, strict=True) if count}


class PassThrough:
    """Serves the directory `root_fd` over an open /dev/fuse until it is unmounted."""

    def __init__(self, fuse_fd: int, root_fd: int, control: Control) -> None:
        self._fd, self._root, self._control = fuse_fd, root_fd, control
        self._epoch = control.epoch
        self._paths: dict[int, str] = {1: "."}
        self._nodes: dict[str, int] = {".": 1}
        self._last_node = 1
        self._listed: dict[int, list[bytes]] = {}
        self._locks: dict[int, int] = {}
        self._open_fds: set[int] = set()
        self._do: dict[int, Callable[[int, memoryview], bytes]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 9: self._mkdir,
            10: self._unlink, 11: self._rmdir, 12: self._rename, 14: self._open, 15: self._read,
            16: self._write, 17: self._statfs, 18: self._release, 20: self._nothing,
            25: self._nothing, 26: self._init, 27: self._opendir, 28: self._readdir,
            29: self._releasedir, 30: self._nothing, 32: self._lock, 33: self._lock,
            34: self._nothing, 35: self._create, 38: self._nothing, 45: self._rename2,
        }  # fmt: skip

    def serve(self) -> None:
        """Answer requests until the file system is unmounted."""
        buffer = bytearray(_MOST_BYTES + 4096)
        view = memoryview(buffer)
        while True:
            try:
                length = os.readv(self._fd, (buffer,))
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                raise
            _, opcode, unique, node, *_ = _IN.unpack_from(buffer)
            if opcode in _SILENT:
                continue
            number, payload = 0, b""
            try:
                payload = self._answer(opcode, node, view[_IN.size : length])
            except OSError as error:
                number = error.errno or errno.EIO
            with contextlib.suppress(FileNotFoundError):  # the request was withdrawn meanwhile
                head = _OUT.pack(_OUT.size + len(payload), -number, unique)
                os.writev(self._fd, (head, payload))

    def _answer(self, opcode: int, node: int, body: memoryview) -> bytes:
        control = self._control
        if control.epoch != self._epoch:
            self._epoch = control.epoch
            self._paths, self._nodes = {1: "."}, {".": 1}
        index = _NUMBERS.get(opcode, -1)
        if index >= 0:
            control.calls[index] += 1
            if control.kind == index:
                count = control.calls[index]
                if count == control.nth or (control.sticky and count > control.nth):
                    control.hits += 1
                    if opcode in (18, 29):  # what is released is gone, whatever is answered
                        self._do[opcode](node, body)
                    raise OSError(control.number, "made to fail")
        act = self._do.get(opcode)
        if act is None:
            raise OSError(errno.EOPNOTSUPP if opcode == 43 else errno.ENOSYS, "not served")
        if opcode in _WITH_HANDLE and struct.unpack_from("<Q", body)[0] not in self._open_fds:
            raise OSError(errno.EBADF, "not open")  # where ENOSYS was the answer to its open
        return act(node, body)

    def _below(self, node: int, name: memoryview) -> str:
        return _joined(self._path(node), os.fsdecode(bytes(name).rstrip(b"\0")))

    def _path(self, node: int) -> str:
        if node not in self._paths:
            raise OSError(errno.ESTALE, "a name of before")
        return self._paths[node]

    def _entry(self, path: str) -> bytes:
        found = os.stat(path, dir_fd=self._root, follow_symlinks=False)
        if path not in self._nodes:
            self._last_node += 1
            self._nodes[path], self._paths[self._last_node] = self._last_node, path
        node = self._nodes[path]
        return _ENTRY_HEAD.pack(node, 0, 0, 0, 0, 0) + _attributes(found)

    def _forget(self, path: str) -> None:
        self._nodes.pop(path, None)

    def _lookup(self, node: int, body: memoryview) -> bytes:
        return self._entry(self._below(node, body))

    def _getattr(self, node: int, body: memoryview) -> bytes:
        flags, _, fh = struct.unpack_from("<IIQ", body)
        if flags & 1:
            found = os.fstat(fh)
        else:
            found = os.stat(self._path(node), dir_fd=self._root, follow_symlinks=False)
        return _ATTR_HEAD.pack(0, 0, 0) + _attributes(found)

    def _setattr(self, node: int, body: memoryview) -> bytes:
        valid, _, fh, size = struct.unpack_from("<IIQQ", body)
        if valid & _SETATTR_SIZE and valid & _SETATTR_FH:
            os.ftruncate(fh, size)
        elif valid & _SETATTR_SIZE:
            fd = os.open(self._path(node), os.O_WRONLY, dir_fd=self._root)
            try:
                os.ftruncate(fd, size)
            finally:
                os.close(fd)
        return self._getattr(node, memoryview(struct.pack("<IIQ", 0, 0, 0)))

    def _mkdir(self, node: int, body: memoryview) -> bytes:
        path = self._below(node, body[8:])
        os.mkdir(path, 0o700, dir_fd=self._root)
        return self._entry(path)

    def _unlink(self, node: int, body: memoryview) -> bytes:
        path = self._below(node, body)
        os.unlink(path, dir_fd=self._root)
        self._forget(path)
        return b""

    def _rmdir(self, node: int, body: memoryview) -> bytes:
        path = self._below(node, body)
        os.rmdir(path, dir_fd=self._root)
        self._forget(path)
        return b""

    def _rename(self, node: int, body: memoryview, head_bytes: int = 8) -> bytes:
        (new_folder,) = struct.unpack_from("<Q", body)
        old, new, *_ = bytes(body[head_bytes:]).split(b"\0")
        src, dst = self._below(node, memoryview(old)), self._below(new_folder, memoryview(new))
        os.rename(src, dst, src_dir_fd=self._root, dst_dir_fd=self._root)
        self._forget(dst)
        for path in [p for p in self._nodes if p == src or p.startswith(f"{src}/")]:
            moved, number = dst + path[len(src) :], self._nodes.pop(path)
            self._nodes[moved], self._paths[number] = number, moved
        return b""

    def _rename2(self, node: int, body: memoryview) -> bytes:
        if struct.unpack_from("<QI", body)[1]:
            raise OSError(errno.EINVAL, "no flags here")
        return self._rename(node, body, 16)

    def _open(self, node: int, body: memoryview) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        wanted = flags & (os.O_ACCMODE | os.O_TRUNC | os.O_APPEND) | os.O_CLOEXEC
        return self._opened(os.open(self._path(node), wanted, dir_fd=self._root))

    def _opened(self, fd: int) -> bytes:
        self._open_fds.add(fd)
        return _OPEN_OUT.pack(fd, self._control.direct, 0)

    def _create(self, node: int, body: memoryview) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        path = self._below(node, body[16:])
        wanted = flags & (os.O_ACCMODE | os.O_EXCL) | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(path, wanted, mode & 0o777, dir_fd=self._root)
        return self._entry(path) + self._opened(fd)

    def _read(self, node: int, body: memoryview) -> bytes:
        fh, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(fh, size, offset)

    def _write(self, node: int, body: memoryview) -> bytes:
        fh, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(fh, body[40 : 40 + size], offset), 0)

    def _statfs(self, node: int, body: memoryview) -> bytes:
        found = os.fstatvfs(self._root)
        sizes = found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree
        return _STATFS.pack(*sizes, found.f_bsize, found.f_namemax, found.f_frsize, 0)

    def _release(self, node: int, body: memoryview) -> bytes:
        fh, _, flags, owner = struct.unpack_from("<QIIQ", body)
        if flags & _FLOCK_UNLOCK and self._locks.get(node) == owner:
            del self._locks[node]
        self._open_fds.discard(fh)
        os.close(fh)
        return b""

    def _opendir(self, node: int, body: memoryview) -> bytes:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(self._path(node), flags, dir_fd=self._root)
        self._listed[fd] = [os.fsencode(name) for name in sorted(os.listdir(fd))]
        return self._opened(fd)

    def _readdir(self, node: int, body: memoryview) -> bytes:
        fh, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for number, name in enumerate(self._listed[fh][offset:], offset + 1):
            entry = _DIRENT.pack(number + 1, number, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    def _releasedir(self, node: int, body: memoryview) -> bytes:
        (fh,) = struct.unpack_from("<Q", body)
        del self._listed[fh]
        self._open_fds.discard(fh)
        os.close(fh)
        return b""

    def _lock(self, node: int, body: memoryview) -> bytes:
        _, owner, _, _, kind = struct.unpack_from("<QQQQI", body)
        if kind == _UNLOCK:
            if self._locks.get(node) == owner:
                del self._locks[node]
        elif self._locks.setdefault(node, owner) != owner:
            raise OSError(errno.EAGAIN, "locked")
        return b""

    def _init(self, node: int, body: memoryview) -> bytes:
        _, _, readahead, offered = struct.unpack_from("<IIII", body)
        flags = offered & (_BIG_WRITES | _FLOCK_LOCKS | _MAX_PAGES)
        pages = _MOST_BYTES // 4096
        return _INIT_OUT.pack(7, 31, readahead, flags, 16, 12, _MOST_BYTES, 1, pages, 0, 0, 0, 0)

    def _nothing(self, node: int, body: memoryview) -> bytes:
        return b""


def _joined(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _attributes(found: os.stat_result) -> bytes:
    times = found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns
    whole = [t // 10**9 for t in times]
    rest = [t % 10**9 for t in times]
    owner = found.st_mode, found.st_nlink, found.st_uid, found.st_gid
    return _ATTR.pack(
        found.st_ino, found.st_size, found.st_blocks, *whole, *rest, *owner, 0, 4096, 0
    )


@contextlib.contextmanager
def failing_disk(backing: Path, target: Path) -> Iterator[Control]:
    """`backing` mounted at `target` by a server of its own, which ends with the block.

    Only in a worker of the rig, whose mounts nobody else sees.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE)
    control = Control.from_buffer(page)
    control.disarm()
    with contextlib.ExitStack() as undo:
        fuse_fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        try:
            options = f"fd={fuse_fd},rootmode=40000,user_id=0,group_id=0"
            flags = linux_syscalls.MS_NOSUID | linux_syscalls.MS_NODEV
            linux_syscalls.mount("powercut-faults", str(target), "fuse", flags, options)
            server = _fork_server(fuse_fd, backing, control)
        finally:
            os.close(fuse_fd)  # only the server has the connection: when it dies the kernel notices
        undo.callback(_stop_server, server)
        undo.callback(linux_syscalls.umount, str(target), linux_syscalls.MNT_DETACH)
        assert stat.S_ISDIR(target.stat().st_mode)
        yield control


def _fork_server(fuse_fd: int, backing: Path, control: Control) -> int:
    root = os.open(backing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    parent, outer = os.getpid(), outer_namespace_fd()
    child = os.fork()
    if child:
        os.close(root)
        return child
    code: Any = 1
    try:
        # As the rig's own server: it outlives Ctrl-C, and no mount waits for its death.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        linux_syscalls.die_with_parent(parent)
        linux_syscalls.enter_mount_namespace(outer)
        PassThrough(fuse_fd, root, control).serve()
        code = 0
    except BaseException as error:  # the last frame of a process
        os.write(2, f"faults: the server stopped: {error!r}\n".encode())
    finally:
        os._exit(code)


def _stop_server(server: int) -> None:
    if not wait_for_exit(server, _STOP_S):
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
