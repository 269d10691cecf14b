"""Folders of the cache that a power cut does not leave half written, and that say what they hold.

A folder is made elsewhere, gets a record of its files' sizes and digests, is made durable, and only
then gets its name.  Who uses it looks at the sizes; the digests are for when it does not work.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from powercut_rig.errors import RigUnavailable
from powercut_rig.system import worker
from powercut_rig.system.linux_syscalls import fsync_path

RECORD: Final = "contents.json"
"""The file of a folder that tells of the others."""

WAIT_S: Final = 900.0
"""How long a process waits for another one that makes a guest: longer than making one may take."""

_POLL_S: Final = 0.2
_RECORD_BYTES: Final = 1 << 16


def keep_folder(made: Path, home: Path) -> None:
    """Give the folder `made`, of plain files and of folders kept before, the name `home`, durably.

    OSError where that fails; `home` is there as a whole then, or not at all.
    """
    files = sorted(path for path in made.iterdir() if path.is_file())
    contents = {path.name: [path.stat().st_size, _digest(path)] for path in files}
    record = made / RECORD
    record.write_text(json.dumps(contents))
    # First what is in it, then its names, then its own name: no crash shows the last alone.
    for path in (*files, record, made):
        fsync_path(str(path))
    made.rename(home)
    fsync_path(str(home.parent))


def find_damage(home: Path, *, digests: bool = False) -> str:
    """The damage to a folder that was kept, in words; empty where there is none.

    By the sizes of its files, or with `digests` by all their bytes.
    """
    try:
        with (home / RECORD).open("rb") as file:
            contents = json.loads(file.read(_RECORD_BYTES))
        for name, (size, digest) in contents.items():
            path = home / Path(name).name
            found = path.lstat().st_size
            if found != size:
                return f"{path} has {found} B and was made with {size}"
            if digests and _digest(path) != digest:
                return f"{path} has other bytes than it was made with"
    except FileNotFoundError as error:
        return f"{error.filename} is not there"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{home / RECORD} is no record of its files ({error})"
    return ""


def remove_damaged(home: Path, why: str) -> None:
    """Remove a folder that is damaged, if it is there, and tell why it is made anew."""
    if home.is_dir():
        print_notice(f"a part of the guest is damaged and is made anew: {why}")
        shutil.rmtree(home, ignore_errors=True)


def remove_unfinished(folder: Path, prefix: str) -> None:
    """Remove what killed runs were making under names with that prefix; the caller is alone."""
    for stale in folder.glob(prefix + "*"):
        shutil.rmtree(stale, ignore_errors=True)


def keep_newest(folder: Path, prefix: str, used: Path, others: int) -> None:
    """Remove folders with names of that prefix, but for the one in use and the newest others."""
    found = sorted(folder.glob(prefix + "*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in [path for path in found if path != used][others:]:
        shutil.rmtree(old, ignore_errors=True)


def digest_of_code(*modules: ModuleType) -> bytes:
    """A digest of the sources of modules."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.digest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def print_notice(sentence: str) -> None:
    """Say something to who waits for the command."""
    sys.stderr.write(f"powercut: {sentence}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def errors_of(cache: Path) -> Iterator[None]:
    """An error of the cache's own files is a reason not to run, and says what to do."""
    try:
        yield
    except OSError as error:
        raise RigUnavailable(
            [f"The guest cannot be kept in {cache} ({error.strerror}); set XDG_CACHE_HOME."]
        ) from error


@contextlib.contextmanager
def exclusive(
    cache: Path,
    wait_s: float = WAIT_S,
    *,
    say: Callable[[str], None] = print_notice,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """One process makes guests at a time; the others say so, wait and find it made.

    RigUnavailable where that takes longer than `wait_s`, or the folder cannot be written.
    """
    with errors_of(cache):
        cache.mkdir(parents=True, exist_ok=True)
        lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with errors_of(cache):
            _lock(lock, cache, clock() + wait_s, say, clock, sleep)
        yield
    finally:
        os.close(lock)


def _lock(
    lock: int,
    cache: Path,
    end: float,
    say: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    said = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            if not said:
                say(f"waiting for process {holder}, which makes the guest in {cache}")
                said = True
            if clock() > end:
                why = (
                    f"Process {holder} has made the guest in {cache} for longer than it may "
                    "take. End it, or set XDG_CACHE_HOME."
                )
                raise RigUnavailable([why]) from None
            worker.report_alive()
            sleep(_POLL_S)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return
