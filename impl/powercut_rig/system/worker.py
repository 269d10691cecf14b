"""Runs the rig's work in a child with mounts of its own, so that nothing of it can be left over.

The child enters a private mount namespace: its mounts are invisible outside and end with its
last process.  It dies when its parent does, its disk server dies with it, and the kernel then
clears the loop device.  So even a SIGKILL of everything leaves no mount, device or process;
at most an empty folder, which the next run removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
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
from typing import Any, Final, Literal, ParamSpec, TypeVar

from attrs import frozen

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.system import linux_syscalls
from powercut_rig.system.deadline import DeadlineError
from powercut_rig.system.requirements import missing_everywhere
from powercut_rig.system.subprocesses import wait_for_exit

_P = ParamSpec("_P")
_T = TypeVar("_T")

FOLDER_PREFIX: Final = "powercut-rig-"
WORKER_TIMEOUT_S: Final = 600.0
_UNWIND_S: Final = 10.0
_KILL_S: Final = 10.0
_LENGTH: Final = struct.Struct("<Q")
_PIPE_READ_BYTES: Final = 1 << 20
_OUTSIDE: Final = (
    "The rig was used outside of its worker; nothing was mounted. Put the work in a function "
    "and call run_in_worker(function)."
)

_worker_pid = 0
_outer_namespace_fd = -1
_send_fd = -1
_at_end = contextlib.ExitStack()


@frozen
class WorkerMessage:
    """A message of a worker: `progress`, `alive` any number of times, then `result` or `error`."""

    kind: Literal["progress", "alive", "result", "error"]
    value: Any
    text: str = ""

    def unpack(self) -> Any:
        """The result; an error is raised, with the worker's traceback as a note."""
        if self.kind != "error":
            return self.value
        if self.text:
            self.value.add_note("In the rig's worker:\n" + self.text)
        raise self.value


def inside_worker() -> bool:
    """This process is a rig's worker."""
    return _worker_pid == os.getpid()


def outer_namespace_fd() -> int:
    """A descriptor of the mount namespace that this worker left."""
    if not (inside_worker() and _outer_namespace_fd >= 0):
        raise RigError(_OUTSIDE)
    return _outer_namespace_fd


def report_progress(value: object) -> None:
    """Tell the parent how far the work is; it counts as a sign of life.  Only in a worker."""
    if inside_worker():
        _send(_send_fd, WorkerMessage("progress", value))


def report_alive() -> None:
    """Tell the parent that the work goes on, though there is nothing to count yet."""
    if inside_worker():
        _send(_send_fd, WorkerMessage("alive", None))


class Worker:
    """A child that runs one function; `fd` becomes readable when it has something to say.

    Raises `RigUnavailable` when this machine lacks something.  The worker is a fork, so make it
    in a process with one thread, and end it with `end`.  Without `mounts` it has no mounts of its
    own and needs no root: enough for work that leaves all mounting to a guest.  Without a function
    it stands by for those that `give` hands it, one after the other, until `end`.
    """

    def __init__(
        self, function: Callable[[], object] | None = None, *, mounts: bool = True
    ) -> None:
        if mounts and (missing := missing_everywhere()):
            raise RigUnavailable(missing)
        sys.stdout.flush()
        sys.stderr.flush()
        self.fd, send = os.pipe()
        take, self._give_fd = os.pipe()
        self._data = bytearray()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.fd)
            os.close(self._give_fd)
            _be_worker(parent, send, function or functools.partial(_stand_by, take), mounts)
        os.close(send)
        os.close(take)

    def give(self, work: Callable[[], object]) -> None:
        """Let a worker that stands by do this, which must pickle.  RigError when it is dead."""
        packed = pickle.dumps(work)
        try:
            _write_all(self._give_fd, _LENGTH.pack(len(packed)) + packed)
        except BrokenPipeError as error:
            raise RigError("The rig's worker died before it could be given work.") from error

    def read(self) -> list[WorkerMessage]:
        """Receive messages; waits for at least a part of one.  RigError when the worker is dead."""
        piece = os.read(self.fd, _PIPE_READ_BYTES)
        if not piece:
            raise RigError(
                "The rig's worker died before it answered; its mounts and devices are gone with "
                "it. If the machine killed it for memory, use a smaller disk."
            )
        self._data += piece
        messages = []
        while len(self._data) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                break
            # From our own fork, over our own pipe.
            messages.append(pickle.loads(bytes(self._data[_LENGTH.size : end])))  # noqa: S301
            del self._data[:end]
        return messages

    def end(self, *, interrupt: bool = False, patience_s: float = 0.0) -> None:
        """Reap the worker; let it unwind after Ctrl-C; kill it when its patience is over.

        A worker that hangs in the kernel cannot be killed; it is left to the kernel then.
        """
        os.close(self.fd)
        with contextlib.suppress(BrokenPipeError):
            _write_all(self._give_fd, _LENGTH.pack(0))  # no more work: where it stands by, it ends
        os.close(self._give_fd)
        if interrupt:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGINT)
            patience_s = _UNWIND_S
        if not wait_for_exit(self.pid, patience_s):
            os.kill(self.pid, signal.SIGKILL)
            wait_for_exit(self.pid, _KILL_S)


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
    result: _T = _answer(Worker(lambda: function(*args, **kwargs)), timeout_s)
    return result


def run_without_mounts(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls `function` as `run_in_worker` does, for file systems of a guest: no root is needed."""
    worker = Worker(lambda: function(*args, **kwargs), mounts=False)
    result: _T = _answer(worker, WORKER_TIMEOUT_S)
    return result


def _answer(worker: Worker, timeout_s: float) -> Any:
    try:
        answer = _answer_of(worker, timeout_s)
    except BaseException as error:
        worker.end(interrupt=isinstance(error, KeyboardInterrupt))
        raise
    # The answer is sent when all is cleaned up, so the worker is about to end.
    worker.end(patience_s=_UNWIND_S)
    return answer.unpack()


def _answer_of(worker: Worker, timeout_s: float) -> WorkerMessage:
    """The worker's last message."""
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([worker.fd], [], [], left_s)[0]:
            raise RigError(
                f"The rig's worker did not answer within {timeout_s:.0f} s and was killed; its "
                "mounts and devices are gone with it. Try fewer images."
            )
        for message in worker.read():
            if message.kind in ("result", "error"):
                return message


def _be_worker(parent: int, send: int, work: Callable[[], object], mounts: bool) -> None:
    """The child's life; never returns."""
    global _worker_pid, _outer_namespace_fd, _send_fd  # noqa: PLW0603 - they say what this process is
    code = 1
    try:
        linux_syscalls.die_with_parent(parent)
        _worker_pid, _send_fd = os.getpid(), send
        signal.signal(signal.SIGINT, _interrupt_once)
        try:
            if mounts:
                _outer_namespace_fd = linux_syscalls.enter_private_mount_namespace()
            with _at_end:
                answer = WorkerMessage("result", work())
        except BaseException as error:  # sent to the parent, whatever it is
            answer = WorkerMessage("error", error, traceback.format_exc())
        sys.stdout.flush()
        sys.stderr.flush()
        _send(send, answer)
        code = 0
    finally:
        os._exit(code)


def _stand_by(take: int) -> None:
    """Do one thing after the other that `Worker.give` sends."""
    while True:
        length = _read_exactly(take, _LENGTH.size)
        packed = _read_exactly(take, _LENGTH.unpack(length)[0]) if length else b""
        if not packed:
            return
        try:
            # From our own parent, over our own pipe.
            answer = WorkerMessage("result", pickle.loads(packed)())  # noqa: S301
        except Exception as error:  # sent to the parent, and the next one can come
            answer = WorkerMessage("error", error, traceback.format_exc())
        except DeadlineError as error:
            answer = WorkerMessage("error", RigError(f"a deadline passed: {error}"), "")
        _send(_send_fd, answer)


def _read_exactly(fd: int, count: int) -> bytes:
    """So many bytes; none at the end of the pipe."""
    pieces = []
    while count and (piece := os.read(fd, count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces) if not count else b""


def at_end(act: Callable[[], object]) -> None:
    """Let this worker do something when its work is over, also after an error. Only in a worker."""
    if not inside_worker():
        raise RigError(_OUTSIDE)
    _at_end.callback(act)


def _interrupt_once(_signal: int, _frame: object) -> None:
    """Unwind at the first Ctrl-C; a second one must not break off the clean-up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _send(fd: int, message: WorkerMessage) -> None:
    try:
        packed = pickle.dumps(message)
        pickle.loads(packed)  # noqa: S301 - our own bytes; some exceptions pack but do not unpack
    except Exception as error:  # the answer must arrive in some form
        why = f"The worker's answer does not pickle ({error!r}): {message.value!r}"[:2000]
        packed = pickle.dumps(WorkerMessage("error", RigError(why), message.text))
    _write_all(fd, _LENGTH.pack(len(packed)) + packed)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A folder of the rig's own, in memory, seen by this worker only; gone afterwards.

    Raises `RigError` outside of a worker, where its mounts would be seen by everybody.
    """
    outer_namespace_fd()
    _remove_stale_folders()
    folder, lock = _locked_folder()
    try:
        linux_syscalls.mount("powercut-rig", folder, "tmpfs", linux_syscalls.MS_NOSUID, "mode=0700")
        try:
            yield folder
        finally:
            linux_syscalls.umount(folder, linux_syscalls.MNT_DETACH)
    finally:
        Path(folder).rmdir()
        os.close(lock)


def _locked_folder() -> tuple[str, int]:
    """A new folder and a lock on it that says that it is in use."""
    while True:
        folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # another run took it for stale already
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(folder).exists():  # else it was taken for stale before it was locked
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
