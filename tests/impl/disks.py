"""Disks for tests: a real one with a known file system, and wrappers that record or fail."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from attrs import evolve

from lastgood import Store
from lastgood.backends.interface import FileSystemTraits
from lastgood.backends.posix import PosixDisk
from lastgood.protocol.plan import Form, Mode
from lastgood.protocol.steps import Step
from lastgood.recovery.quarantine_report import REPORT_SUFFIX, report_name

EXT4 = FileSystemTraits("ext4", "/", True, "power", "if the drive honours cache flushes")
WEAK = FileSystemTraits("fuse.s3", "/", False, "process", "w", weakness="a program stands between")
PARTS: Mapping[str, bytes] = {"model": b"weights", "optim/adam": b"moments"}
LOOKS = frozenset({"kind", "names", "read", "digest"})
CHANGES = frozenset(
    {
        "mkdir",
        "create",
        "write",
        "fsync",
        "close",
        "fsync_dir",
        "rename",
        "unlink",
        "rmdir",
        "lock",
        "unlock",
    }
)

Fault = Callable[[str, str], int | None]
"""Given a call's name and first path, the errno that it fails with, or None."""


class WeakOnceSynced(PosixDisk):
    """ext4 as Linux shows one with fast commits: by their count, which is 0 until a sync."""

    synced = 0

    def fsync(self, path: str) -> None:
        self.synced += 1
        super().fsync(path)

    def file_system(self, path: str) -> FileSystemTraits:
        weakness = "it commits fast"
        weak = evolve(EXT4, sync_serves="process", note=weakness, weakness=weakness)
        return weak if self.synced else EXT4


class WatchedDisk(PosixDisk):
    """Every seam call, as "name path" below `root`; `fault` makes some of them fail instead."""

    def __init__(self, root: Path, fault: Fault = lambda _call, _path: None) -> None:
        super().__init__(EXT4)
        self.calls: list[str] = []
        self.fault = fault
        self._root = os.path.realpath(root)

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name not in LOOKS | CHANGES:
            return found
        return lambda *args: self._watched(name, found, *args)

    def _watched(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        below = [self._below(arg) for arg in args if isinstance(arg, str)]
        self.calls.append(" ".join([name, *below]))
        number = self.fault(name, below[0])
        if number is not None:
            raise OSError(number, os.strerror(number), args[0])
        return call(*args)

    def _below(self, path: str) -> str:
        return os.path.relpath(path, self._root) if path.startswith(self._root) else path

    def changes(self) -> list[str]:
        """The calls that ask for a change, in order."""
        return [call for call in self.calls if call.split(" ")[0] in CHANGES]


class Unsynced(WatchedDisk):
    """Every fsync is asked for and none carried out: enough where only processes die."""

    def _sync(self, fd: int) -> None:
        """Nothing: what the kernel has, a killed process does not take away."""


def failing(call: str, ending: str, number: int = errno.EIO) -> Fault:
    """A fault in every `call` on a path that ends so."""
    return lambda name, path: number if name == call and path.endswith(ending) else None


def open_store(
    root: Path,
    *,
    form: Form = "rename",
    mode: Mode = "atomic_dirsync",
    disk: PosixDisk | None = None,
    **more: Any,
) -> Store:
    """A store at `root`/store whose clock ticks whole seconds and whose ids are counted."""
    seconds, ids = count(), count(1)
    disk = PosixDisk(EXT4) if disk is None else disk
    disk.signs_locks = True
    return Store(
        root / "store",
        mode=mode,
        form=form,
        disk=disk,
        clock=lambda: float(next(seconds)),
        new_id=lambda: f"id{next(ids)}",
        **{"now": lambda: 1_700_000_000.0, "workers": 1, **more},
    )


def fill(root: Path, steps: Iterable[int], parts: Mapping[str, bytes] = PARTS, **more: Any) -> Path:
    """A store with a group of each step; its path without symlinks."""
    with open_store(root, **more) as store:
        for step in steps:
            store.save(step, parts)
    return root.resolve() / "store"


def killing(number: int) -> Fault:
    """A SIGKILL to this process before the call of that number."""
    calls = count(1)

    def kill(_call: str, _path: str) -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def spelled(step: Step) -> str:
    """A step as text: its kind and its paths."""
    paths = [getattr(step, name) for name in ("path", "src", "dst") if hasattr(step, name)]
    return " ".join([type(step).__name__, *paths])


def nested(depth: int) -> dict[str, Any]:
    """Metadata of that many mappings and lists inside each other."""
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return {"x": value}


def bury(folder: Path, depth: int) -> None:
    """Directories inside each other, made one by one: their whole path is too long for a call."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 250, dir_fd=fd)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def names_in(directory: Path) -> list[str]:
    """The entry names of a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def names_aside(store: Path) -> list[str]:
    """What lies in a store's quarantine, sorted; each of it has a report beside it."""
    names = names_in(store / "quarantine")
    entries = [name for name in names if not name.endswith(REPORT_SUFFIX)]
    assert names == sorted([*entries, *map(report_name, entries)])
    return entries


def tree(root: Path) -> dict[str, bytes | str | int | None]:
    """Every path below `root`: a file's bytes, a link's target, None for a directory.

    Of a file of more than 32 MiB, only its size.
    """
    found: dict[str, bytes | str | int | None] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            size_bytes = path.stat().st_size
            found[name] = size_bytes if size_bytes > 32 << 20 else path.read_bytes()
        else:
            found[name] = None
    return found
