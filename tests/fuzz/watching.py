"""What is watched while the library is at work in a sandbox: every path, every call, every byte."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lastgood.backends.posix import PosixDisk
from lastgood.backends.posix_files import OpenFd
from tests.fuzz.trees import Sandbox
from tests.impl.disks import EXT4

ROOT: Final = Path(__file__).resolve().parents[2]
_ALLOWED: Final = (str(ROOT), os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix))
"""Where Python reads modules that are imported late."""
_READABLE: Final = frozenset({"/proc/self/mountinfo"})
_TOLD_BY_THE_KERNEL: Final = ("/proc/self/fdinfo/", "/proc/fs/jbd2", "/sys/")
"""What a path is mounted on, and what lies below that."""
_O_PATH: Final = getattr(os, "O_PATH", 0)
_LOOKS: Final = frozenset({"kind", "names", "stamp"})
_READS: Final = frozenset({"read", "digest", "digest_with", "read_and_digest", "map"})
_CHANGES: Final = frozenset(
    {"mkdir", "create", "write", "fsync", "fsync_dir", "rename", "unlink", "rmdir", "lock"}
)
_WATCHED: Final = _LOOKS | _READS | _CHANGES
_CHANGING: Final = frozenset(
    {"os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.truncate", "os.utime"}
)
_FORBIDDEN: Final = frozenset(
    {"os.symlink", "os.link", "os.chmod", "os.chown", "os.exec", "os.fork", "os.system"}
    | {"os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class", "os.setxattr"}
)
CALLS: Final = 20_000
"""So many calls of the seam are enough for any look at a tree that a tape can make."""
BYTES: Final = 64 << 20
"""And so many bytes read: no tree has a megabyte, and no command reads one a dozen times."""


class Watch:
    """The promise about paths, kept account of. `violations` say where it was broken."""

    def __init__(self, box: Sandbox, *, may_change: bool) -> None:
        self.violations: list[str] = []
        self.calls = self.bytes = 0
        self._store = os.path.realpath(box.store)
        self._may_change = may_change
        self._here = os.getcwd()
        self._folders: dict[str, str | None] = {}

    def path(self, doing: str, path: object) -> None:
        """A call on a path, which has to be that of the store or of an entry really in it."""
        where = os.path.join(self._here, os.fsdecode(path))  # type: ignore[arg-type]
        if doing in ("fsync_dir", "open dir") and self._store.startswith(where.rstrip("/") + "/"):
            return  # a writer syncs the directories that its store's own name stands in
        if where != self._store and self._real_folder(os.path.dirname(where)) is None:
            self.violations.append(f"{doing} outside the store: {where!a}")

    def _real_folder(self, folder: str) -> str | None:
        """Where a directory really is; None where that is not in the store. Remembered."""
        if folder not in self._folders:
            real: str | None = os.path.realpath(folder)
            if real != self._store and not f"{real}".startswith(self._store + "/"):
                real = None
            self._folders[folder] = real
        return self._folders[folder]

    def changed(self) -> None:
        """Something may have become a symlink, or none any more."""
        self._folders.clear()

    def opened(self, path: object, flags: int) -> None:
        """An open: in the store, of what is a file or a directory, and not through a link."""
        if isinstance(path, int) or not isinstance(path, str | bytes):
            return
        where, changes = os.fsdecode(path), flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if flags & _O_PATH:
            return  # nothing is opened: the kernel is asked where the path is
        is_known = where in _READABLE or where.startswith((*_ALLOWED, *_TOLD_BY_THE_KERNEL))
        if not changes and is_known:
            return
        self.path("open dir" if flags & os.O_DIRECTORY else "open", path)
        if changes and not self._may_change:
            self.violations.append(f"open for writing: {where!a}")
        with contextlib.suppress(OSError):
            mode = os.lstat(path).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                self.violations.append(f"open of no file: {where!a}")

    def event(self, name: str, arguments: tuple[Any, ...]) -> None:
        """An audit event of the interpreter."""
        if name == "open":
            self.opened(arguments[0], arguments[2])
        elif name in _CHANGING:
            if not self._may_change:
                self.violations.append(f"{name} {arguments!a}")
            self.changed()
            for path in arguments[: 2 if name == "os.rename" else 1]:
                # What is open was watched as it was opened.
                if not isinstance(path, int):
                    self.path(name, path)
        elif name in _FORBIDDEN:
            self.violations.append(f"{name} {arguments!a}")

    def check(self) -> None:
        """AssertionError where the promise was broken, or more was looked at than a tree has."""
        assert not self.violations, self.violations[:3]
        assert self.calls <= CALLS, f"{self.calls} calls"
        assert self.bytes <= BYTES, f"{self.bytes} bytes read"


class WatchingDisk(PosixDisk):
    """A real disk whose every call is told to a watch; no sync is carried out.

    A file whose path is in `refused` cannot be read: that fails with its errno.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__(EXT4)
        self.watch = watch
        self.refused: Mapping[str, int] = {}

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        return _told(self, name, found) if name in _WATCHED else found

    @contextlib.contextmanager
    def open_file(self, path: str, limit_bytes: int) -> Iterator[OpenFd]:
        """An open file whose reads count as well."""
        self.watch.calls += 1
        self.watch.path("open_file", path)
        self.require_read(path)
        with super().open_file(path, limit_bytes) as file:
            yield _CountedFd(file, self.watch)

    def require_read(self, path: str) -> None:
        """OSError where the file at that path cannot be read."""
        if path in self.refused:
            raise OSError(self.refused[path], os.strerror(self.refused[path]), path)

    def _sync(self, fd: int) -> None:
        """Nothing: no machine dies here."""


class _CountedFd(OpenFd):
    """An open file that tells the watch how much was read of it."""

    def __init__(self, file: OpenFd, watch: Watch) -> None:
        self.size_bytes = file.size_bytes
        self._file, self._watch = file, watch

    def read_into(self, offset_bytes: int, room: memoryview) -> int:
        """As the open file; counted."""
        count = self._file.read_into(offset_bytes, room)
        self._watch.calls += 1
        self._watch.bytes += count
        return count


def _told(disk: WatchingDisk, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    watch = disk.watch

    def told(*arguments: Any) -> Any:
        watch.calls += 1
        if name in _CHANGES:
            watch.changed()
        for each in arguments[: 2 if name == "rename" else 1]:
            watch.path(name, each)
        if name in _READS:
            disk.require_read(arguments[0])
        found = call(*arguments)
        if name in _READS:
            size = found[0] if isinstance(found, tuple) else found
            watch.bytes += size if isinstance(size, int) else len(size)
        return found

    return told


_active: list[Watch] = []


def _audit(name: str, arguments: tuple[Any, ...]) -> None:
    if _active and not _active[-1].violations:
        watch = _active.pop()
        try:
            watch.event(name, arguments)
        finally:
            _active.append(watch)


_hooks: list[bool] = []


@contextlib.contextmanager
def watched(box: Sandbox, *, may_change: bool) -> Iterator[WatchingDisk]:
    """A disk, and the interpreter's own events, watched in the block. AssertionError at its end."""
    if not _hooks:
        # Nobody can take a hook away again: it does nothing while no watch is set.
        sys.addaudithook(_audit)
        _hooks.append(True)
    watch = Watch(box, may_change=may_change)
    _active.append(watch)
    try:
        yield WatchingDisk(watch)
    finally:
        _active.clear()
    watch.check()


@contextlib.contextmanager
def _unwatched() -> Iterator[None]:
    """Nothing is watched in the block: the looks in it are the fuzzer's own."""
    watches = _active[:]
    _active.clear()
    try:
        yield
    finally:
        _active.extend(watches)


@_unwatched()
def photograph(folder: Path) -> dict[bytes, tuple[Any, ...]]:
    """Every entry below a folder: kind, size, times of change, and what is in a small file."""
    found: dict[bytes, tuple[Any, ...]] = {}
    for home, folders, files, fd in os.fwalk(os.fsencode(folder), follow_symlinks=False):
        for name in (*folders, *files):
            at = os.stat(name, dir_fd=fd, follow_symlinks=False)
            content: bytes | None = None
            if stat.S_ISLNK(at.st_mode):
                content = os.readlink(name, dir_fd=fd)
            elif stat.S_ISREG(at.st_mode) and at.st_size < 1 << 21:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
                try:
                    content = os.read(file, 1 << 21)
                finally:
                    os.close(file)
            kind = stat.S_IFMT(at.st_mode)
            found[os.path.join(home, name)] = (kind, at.st_size, at.st_ino, at.st_ctime_ns, content)
    return found
