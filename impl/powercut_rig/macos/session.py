"""A run on a Mac: a folder of its own, what a killed run left behind, Ctrl-C, and the clean-up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from powercut_rig.errors import RigError
from powercut_rig.macos.clone_recorder import BackgroundLoop, loop_in_thread
from powercut_rig.macos.clones import Cloner, SystemCloner
from powercut_rig.macos.darwin_syscalls import DarwinCalls, MacCalls
from powercut_rig.macos.disk_images import DiskImages
from powercut_rig.macos.rig import MacRig
from powercut_rig.macos.subprocesses import ToolRunner, run_system

PREFIX: Final = "powercut-apfs-"
_LOCK: Final = "lock"


@contextlib.contextmanager
def session(
    run: ToolRunner = run_system,
    *,
    clone: Cloner | None = None,
    calls: MacCalls | None = None,
    background: BackgroundLoop = loop_in_thread,
    pause: Callable[[float], None] = time.sleep,
    parent: Path | None = None,
) -> Iterator[MacRig]:
    """A rig in a new folder below `parent` (the temporary folder), ready to record.

    What a run that was killed has left attached or lying there is detached and removed first;
    folders of runs that live are left alone.  At the end, also after an error or Ctrl-C, every
    image is detached and the folder removed.  RigError names an image that could not be detached;
    its folder is kept then.
    """
    parent = (parent or Path(tempfile.gettempdir())).resolve()
    disks = DiskImages(run, pause)
    _remove_stale(parent, disks)
    folder, lock = _new_folder(parent)
    try:
        with _interrupted_once():
            try:
                yield MacRig(
                    folder,
                    disks,
                    clone or SystemCloner(run),
                    calls or DarwinCalls(),
                    background=background,
                )
            finally:
                disks.close()
        shutil.rmtree(folder)
    except BaseException:
        if not disks.any_attached:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)


@contextlib.contextmanager
def own_folder(rig: MacRig, name: str) -> Iterator[MacRig]:
    """The same rig in a folder of its own, which is removed with all its clones at the end."""
    folder = rig.folder / name
    folder.mkdir(mode=0o700)
    try:
        yield MacRig(
            folder, rig.disks, rig.clone, rig.calls, rig.size_bytes, rig.during, rig.background
        )
    finally:
        if not rig.disks.any_attached:
            shutil.rmtree(folder)


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """Unwind at the first Ctrl-C or SIGTERM; a second one must not break off the clean-up."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def once(_signal: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, once) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _new_folder(parent: Path) -> tuple[Path, int]:
    """A new folder, and the lock that says that it is in use."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = _locked(folder)
        except (FileNotFoundError, BlockingIOError):
            continue  # another run took it for a dead one's before it was locked
        if folder.exists():
            return folder, lock
        os.close(lock)


def _locked(folder: Path) -> int:
    """A descriptor whose lock says that the folder is in use, until this process ends."""
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def _remove_stale(parent: Path, disks: DiskImages) -> None:
    """Detach and remove what killed runs of this user left; a folder that is locked is in use."""
    for folder in sorted(parent.glob(PREFIX + "*")):
        status = folder.lstat()
        if folder.is_symlink() or not folder.is_dir() or status.st_uid != os.geteuid():
            continue
        try:
            fd = _locked(folder)
        except BlockingIOError:
            continue
        except OSError as error:
            raise RigError(f"{folder} of an earlier run cannot be looked at: {error}") from error
        try:
            disks.detach_left_behind(folder)
            shutil.rmtree(folder)
        finally:
            os.close(fd)
