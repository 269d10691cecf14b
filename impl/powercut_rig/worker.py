"""Runs the rig's work in a child with mounts of its own, so that nothing of it can be left over.

The child enters a private mount namespace: its mounts are invisible outside and end with its
last process.  It dies when its parent does, its disk server dies with it, and the kernel then
clears the loop device.  So even a SIGKILL of everything leaves no mount, device or process;
at most an empty folder, which the next run removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from powercut_rig import linux
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.requirements import what_is_missing
from powercut_rig.tools import wait_for_exit

_P = ParamSpec("_P")
_T = TypeVar("_T")

FOLDER_PREFIX: Final = "powercut-rig-"
WORKER_TIMEOUT_S: Final = 600.0
_UNWIND_S: Final = 10.0
_LENGTH: Final = struct.Struct("<Q")
_PIPE_READ_BYTES: Final = 1 << 20
_OUTSIDE: Final = (
    "The rig was used outside of its worker; nothing was mounted. Put the work in a function "
    "and call run_in_worker(function)."
)

_worker_pid = 0
_outer_namespace_fd = -1


def inside_worker() -> bool:
    """This process is a rig's worker: it has mounts of its own."""
    return _worker_pid == os.getpid()


def outer_namespace_fd() -> int:
    """A descriptor of the mount namespace that this worker left."""
    if not inside_worker():
        raise RigError(_OUTSIDE)
    return _outer_namespace_fd


def run_in_worker(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls `function` in a worker and returns what it returned (it must pickle).

    An exception in the worker is raised here, with the worker's traceback as a note.  Raises
    `RigUnavailable` when something is missing, and `RigError` when the worker died or took
    longer than `WORKER_TIMEOUT_S`; it is killed then and nothing of it is left.  The worker is
    a fork, so call this from a process with one thread.
    """
    return run_in_worker_within(WORKER_TIMEOUT_S, function, *args, **kwargs)


def run_in_worker_within(
    timeout_s: float, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """Calls `function` as `run_in_worker` does, with another deadline."""
    if missing := what_is_missing():
        raise RigUnavailable(missing)
    sys.stdout.flush()
    sys.stderr.flush()
    receive, send = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _be_worker(parent, send, lambda: function(*args, **kwargs))
    os.close(send)
    try:
        frame = _receive(receive, timeout_s)
    except BaseException as error:
        _end_worker(child, interrupt=isinstance(error, KeyboardInterrupt))
        raise
    finally:
        os.close(receive)
    # The answer is sent when all is cleaned up, so the worker is about to end.
    _end_worker(child, interrupt=False, patience_s=_UNWIND_S)
    if frame is None:
        raise RigError(
            "The rig's worker died before it answered; its mounts and devices are gone with it. "
            "If the machine killed it for memory, use a smaller disk."
        )
    return _unpack(frame)


def _be_worker(parent: int, send: int, work: Callable[[], object]) -> None:
    """The child's life; never returns."""
    global _worker_pid, _outer_namespace_fd  # noqa: PLW0603 - they say what this process is
    code = 1
    try:
        linux.die_with_parent(parent)
        _worker_pid = os.getpid()
        signal.signal(signal.SIGINT, _interrupt_once)
        try:
            _outer_namespace_fd = linux.enter_private_mount_namespace()
            answer = _packed_result(True, work(), "")
        except BaseException as error:  # sent to the parent, whatever it is
            answer = _packed_result(False, error, traceback.format_exc())
        sys.stdout.flush()
        sys.stderr.flush()
        _send_all(send, _LENGTH.pack(len(answer)) + answer)
        code = 0
    finally:
        os._exit(code)


def _interrupt_once(_signal: int, _frame: object) -> None:
    """Unwind at the first Ctrl-C; a second one must not break off the clean-up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _packed_result(ok: bool, value: object, text: str) -> bytes:
    try:
        packed = pickle.dumps((ok, value, text))
        pickle.loads(packed)  # noqa: S301 - our own bytes; some exceptions pack but do not unpack
    except Exception as error:  # the answer must arrive in some form
        why = f"The worker's answer does not pickle ({error!r}): {value!r}"[:2000]
        return pickle.dumps((False, RigError(why), text))
    return packed


def _send_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _receive(fd: int, timeout_s: float) -> bytes | None:
    """The worker's answer, or None when it died first."""
    deadline = time.monotonic() + timeout_s
    data = bytearray()
    while len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
            raise RigError(
                f"The rig's worker did not answer within {timeout_s:.0f} s and was killed; its "
                "mounts and devices are gone with it. Try fewer images."
            )
        piece = os.read(fd, _PIPE_READ_BYTES)
        if not piece:
            return None
        data += piece
    return bytes(data[_LENGTH.size :])


def _end_worker(child: int, *, interrupt: bool, patience_s: float = 0.0) -> None:
    """Reap the worker; let it unwind after Ctrl-C; kill it when its patience is over."""
    if interrupt:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGINT)
        patience_s = _UNWIND_S
    if not wait_for_exit(child, patience_s):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _unpack(frame: bytes) -> _T:  # type: ignore[type-var]  # the caller's function decides
    ok, value, text = pickle.loads(frame)  # noqa: S301 - from our own fork, over our own pipe
    if ok:
        return value  # type: ignore[no-any-return]
    if text:
        value.add_note("In the rig's worker:\n" + text)
    raise value


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A folder of the rig's own, in memory, seen by this worker only; gone afterwards.

    Raises `RigError` outside of a worker, where its mounts would be seen by everybody.
    """
    if not inside_worker():
        raise RigError(_OUTSIDE)
    _remove_stale_folders()
    folder, lock = _locked_folder()
    try:
        linux.mount("powercut-rig", folder, "tmpfs", linux.MS_NOSUID, "mode=0700")
        try:
            yield folder
        finally:
            linux.umount(folder, linux.MNT_DETACH)
    finally:
        Path(folder).rmdir()
        os.close(lock)


def _locked_folder() -> tuple[str, int]:
    """A new folder and a lock on it that says that it is in use."""
    while True:
        folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(folder).exists():  # else another run took it for stale before it was locked
            return folder, lock
        os.close(lock)


def _remove_stale_folders() -> None:
    """Remove empty folders of runs that were killed; a live run holds the lock on its own."""
    for path in Path(tempfile.gettempdir()).glob(FOLDER_PREFIX + "*"):
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(path, flags)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.rmdir()  # refuses a folder that is not empty
            finally:
                os.close(lock)
