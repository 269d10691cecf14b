"""Sealing an attempt in several threads, and from files that cannot be read."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from lastgood import StorageError, Store, UsageError
from lastgood.backends.interface import ReadFailedError
from lastgood.backends.posix import PosixDisk
from lastgood.backends.posix_files import OpenFd
from lastgood.format.manifest import decode
from lastgood.threads import SHARED_BYTES
from tests.impl.disks import EXT4, PARTS, Unsynced, failing, open_store, tree

DEADLINE_S: Final = 60
NAMES: Final = ("a", "b/x", "c", "d")
CHUNKS: Final = (None, 4096)


class LastFirst(PosixDisk):
    """A disk on which the parts of an attempt are digested last first, whoever began first.

    Its clock is asked when a step is done, in the thread that did it: then the next may go on.
    """

    def __init__(self) -> None:
        super().__init__(EXT4)
        self.order: list[str] = []
        self._done = {name: threading.Event() for name in NAMES}
        self._mine = threading.local()
        self._synced: set[str] = set()

    def fsync(self, path: str) -> None:
        super().fsync(path)
        self._synced.add(path)

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        self._wait_for_next(path)
        return super().digest(path, limit_bytes)

    @contextmanager
    def open_file(self, path: str, limit_bytes: int) -> Iterator[OpenFd]:
        self._wait_for_next(path)
        with super().open_file(path, limit_bytes) as file:
            yield file

    def used_bytes(self, path: str) -> int:
        """So much that threads are worth it."""
        return super().used_bytes(path) + SHARED_BYTES

    def clock(self) -> float:
        name = getattr(self._mine, "name", None)
        if name is not None:
            self._mine.name = None
            self.order.append(name)
            self._done[name].set()
        return 0.0

    def _wait_for_next(self, path: str) -> None:
        found = [name for name in NAMES if path.endswith(f"/{name}")]
        if not found or path not in self._synced:  # before that its size is asked for
            return
        (name,) = found
        later = NAMES[NAMES.index(name) + 1 :]
        assert not later or self._done[later[0]].wait(DEADLINE_S)
        self._mine.name = name


def sealed(root: Path, chunk_bytes: int | None, disk: PosixDisk, **more: Any) -> bytes:
    """The manifest of an attempt with all the names."""
    options = {"mode": "atomic_dirsync", "now": lambda: 5.0, "new_id": lambda: "id", **more}
    with Store(root, disk=disk, chunk_bytes=chunk_bytes, **options) as store:
        with store.attempt(1) as attempt:
            (attempt.path / "b").mkdir()
            for number, name in enumerate(NAMES):
                (attempt.path / name).write_bytes(bytes([number]) * 10_000)
        assert attempt.receipt is not None
        return Path(attempt.receipt.path, "MANIFEST").read_bytes()


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
def test_the_order_in_a_manifest_is_that_of_the_names_whichever_thread_was_first(
    tmp_path: Path, chunk_bytes: int | None
) -> None:
    disk = LastFirst()
    threads = {"workers": len(NAMES), "clock": disk.clock}
    manifest = sealed(tmp_path / "many", chunk_bytes, disk, **threads)

    assert disk.order == [*reversed(NAMES)]
    assert [part.path for part in decode(manifest).parts] == [*NAMES]
    assert manifest == sealed(tmp_path / "one", chunk_bytes, PosixDisk(EXT4), workers=1)


class Unreadable(Unsynced):
    """A disk that refuses one part of an attempt: its size, its opening, or a read of it."""

    def __init__(self, root: Path, refuses: str, number: int) -> None:
        super().__init__(root)
        self.error = OSError(number, os.strerror(number), "model")
        self.refuses = refuses
        self.opened = 0

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        if path.endswith("/model") and self.refuses in ("open", "read"):
            raise self._of_a_read() if self.refuses == "read" else self.error
        return super().digest(path, limit_bytes)

    @contextmanager
    def open_file(self, path: str, limit_bytes: int) -> Iterator[OpenFd]:
        is_meant = path.endswith("/model")
        self.opened += is_meant
        if is_meant and self.opened == {"size": 1, "open": 2}.get(self.refuses):
            raise self.error
        with super().open_file(path, limit_bytes) as file:
            if is_meant and self.refuses == "read":
                file.read_into = self._fail  # type: ignore[method-assign, assignment]
            yield file

    def _of_a_read(self) -> OSError:
        return ReadFailedError(self.error.errno, self.error.strerror, "model")

    def _fail(self, _offset_bytes: int, _room: memoryview) -> int:
        raise self._of_a_read()


NUMBERS: Final = [
    *(errno.EIO, errno.EBADMSG, errno.ESTALE, errno.ENOENT, errno.ENOTDIR, errno.ELOOP),
    *(errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.EFBIG, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ENAMETOOLONG, errno.EINTR),
]


@pytest.mark.parametrize(
    ("refuses", "chunk_bytes"),
    [("size", 4096), ("open", 4096), ("read", 4096), ("open", None), ("read", None)],
)
@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_an_attempt_that_cannot_be_read_is_a_storage_error_that_says_what_is_left(
    tmp_path: Path, refuses: str, chunk_bytes: int | None, number: int
) -> None:
    disk = Unreadable(tmp_path, "", number)
    with open_store(tmp_path, disk=disk, chunk_bytes=chunk_bytes) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)
        disk.refuses = refuses
        name = errno.errorcode[number]
        with (
            pytest.raises(StorageError, match=rf"{name}.*arlier groups are intact"),
            store.attempt(2) as attempt,
        ):
            (attempt.path / "model").write_bytes(bytes(10_000))
        disk.refuses = ""
        if number == errno.EIO and refuses != "size":  # as after any save that failed so
            with pytest.raises(StorageError, match="closed to writing"):
                store.save(3, PARTS)
        else:
            assert tree(tmp_path) == before
            assert store.save(3, PARTS).generation == 3
        assert store.load(1)["model"] == PARTS["model"]


@pytest.mark.parametrize("call", ["kind", "names"])
@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_an_attempt_that_cannot_be_looked_at_is_a_documented_error(
    tmp_path: Path, call: str, number: int
) -> None:
    disk = Unsynced(tmp_path)
    with open_store(tmp_path, disk=disk, chunk_bytes=4096) as store:
        store.save(1, PARTS)

        def seal() -> None:
            with store.attempt(2) as attempt:
                (attempt.path / "model").write_bytes(bytes(10_000))
                ending = "/model" if call == "kind" else attempt.path.name
                disk.fault = failing(call, ending, number)

        with pytest.raises((StorageError, UsageError)) as caught:
            seal()
        assert "Earlier groups are intact" in str(caught.value)
        assert isinstance(caught.value, UsageError) == (number == errno.ENAMETOOLONG)
        disk.fault = lambda _call, _path: None
        assert store.save(3, PARTS).generation == 3
