"""Runs a program and ends or hinders it at one of its system calls, by ptrace(2).

The tracee runs from its start to its n-th stop at the entry of a system call that changes files;
there it is killed, or the call fails with an errno, or a write is cut short.  What it did before
is real, and the kernel keeps it: the next process finds what a dead one left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from attrs import frozen

from powercut_rig.errors import RigError
from powercut_rig.system.deadline import DeadlineError, deadline

Action = Literal["kill", "fail", "short"]

_TRACEME, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 12, 13, 24, 0x4200
_TRACESYSGOOD, _EXITKILL = 1, 0x100000
_STOPPED_IN_CALL: Final = signal.SIGTRAP | 0x80

SYSTEM_CALLS: Final = {
    1: "write", 18: "pwrite64", 20: "writev", 74: "fsync", 75: "fdatasync", 76: "truncate",
    77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link",
    87: "unlink", 88: "symlink", 162: "sync", 258: "mkdirat", 263: "unlinkat", 264: "renameat",
    265: "linkat", 266: "symlinkat", 316: "renameat2", 277: "sync_file_range", 306: "syncfs",
    2: "open", 257: "openat",
}  # fmt: skip
"""The system calls of x86-64 at which a program can be met, by number."""

_WRITES: Final = (1, 18)
_OPENS: Final = {2: 1, 257: 2}  # where the flags stand among the arguments
_O_WRITE: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_REGISTERS: Final = struct.Struct("=27Q")
# Places in struct user_regs_struct.
_R10, _RDX, _RSI, _RDI, _RAX, _ORIG_RAX = 7, 12, 13, 14, 10, 15
_NO_CALL: Final = (1 << 64) - 1
_STANDARD_FDS: Final = 2
_PATH_BYTES: Final = 4096


@frozen
class WatchedCall:
    """A call that has returned: its name, its file, and when it began and ended.

    `file` is a path as the program named it, or that of the descriptor; of a rename the new one,
    after the old one and " to ".  `bytes` counts a write's.  The times are nanoseconds of the
    monotonic clock, and include the stops; `result` is what the call returned, -errno for an error.
    """

    name: str
    file: str
    bytes: int
    begin_ns: int
    end_ns: int
    result: int


CallWatcher = Callable[[WatchedCall], None]


@frozen
class TracedRun:
    """The end of a traced program: its wait status, and the calls at which it could be met."""

    status: int
    calls: tuple[str, ...]
    met: str = ""

    @property
    def killed(self) -> bool:
        """It was killed at the call asked for."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


def why_no_tracing() -> str | None:
    """The reason why programs cannot be traced here; None where they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        here = f"{sys.platform} on {platform.machine()}"
        return f"Killing at system calls is written for Linux on x86_64; this is {here}."
    return None


def run_traced(
    program: Sequence[str] | Callable[[], None],
    *,
    at: int | None = None,
    action: Action = "kill",
    error: int = 0,
    output_fd: int | None = None,
    timeout_s: float = 60.0,
    watch: CallWatcher | None = None,
) -> TracedRun:
    """Run a program; at its call number `at` (from 0) kill it, let the call fail, or write less.

    The program is a command line, or a function that a fork of this process calls and then ends.
    `fail` makes the call return `error` without being made; `short` halves a write.  With `at`
    None it runs to its end, and the answer lists its calls.  Its output goes to `output_fd`.
    `watch` is told of each call that returns.
    RigError where tracing is not possible here, or the program takes too long; it is dead then.
    """
    if (why := why_no_tracing()) is not None:
        raise RigError(why)
    child = os.fork()
    if child == 0:
        _be_tracee(program, output_fd)
    try:
        with deadline(timeout_s):
            return _Tracer(child, at, action, error, watch).run()
    except BaseException as reason:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if isinstance(reason, DeadlineError):
            raise RigError(f"The traced program was {reason} and was killed.") from reason
        raise


def _be_tracee(program: Sequence[str] | Callable[[], None], output_fd: int | None) -> None:
    """Become the program, stopped at its first instruction; never returns."""
    status = 127
    try:
        _ptrace(_TRACEME, 0, 0, None)
        if output_fd is not None:
            os.dup2(output_fd, 1)
        if callable(program):
            os.kill(os.getpid(), signal.SIGSTOP)  # an exec stops by itself
            program()
            status = 0
        else:
            os.execvp(program[0], list(program))  # noqa: S606 - the program under test
    finally:
        os._exit(status)


class _Tracer:
    """Follows one program from stop to stop."""

    def __init__(
        self,
        pid: int,
        at: int | None,
        action: Action,
        error: int,
        watch: CallWatcher | None,
    ) -> None:
        self._pid, self._at, self._action, self._error = pid, at, action, error
        self._watch = watch
        self._watched: tuple[str, str, int, int] | None = None  # the call under way, where watched
        self._calls: list[str] = []
        self._met = ""
        self._answer: int | None = None  # what the call under way is made to return

    def run(self) -> TracedRun:
        """From the program's start to its end."""
        status = self._wait()
        _ptrace(_SETOPTIONS, self._pid, 0, ctypes.c_void_p(_TRACESYSGOOD | _EXITKILL))
        entering, pass_on = True, 0
        while True:
            with contextlib.suppress(ProcessLookupError):  # it is dying
                _ptrace(_SYSCALL, self._pid, 0, ctypes.c_void_p(pass_on))
            status, pass_on = self._wait(), 0
            if not os.WIFSTOPPED(status):
                return TracedRun(status, tuple(self._calls), self._met)
            if os.WSTOPSIG(status) == _STOPPED_IN_CALL:
                self._enter() if entering else self._leave()
                entering = not entering
            elif os.WSTOPSIG(status) != signal.SIGTRAP:
                pass_on = os.WSTOPSIG(status)

    def _wait(self) -> int:
        return os.waitpid(self._pid, 0)[1]

    def _enter(self) -> None:
        registers = _registers(self._pid)
        name = _meets(registers)
        if name is None:
            return
        number = len(self._calls)
        self._calls.append(name)
        if self._watch is not None:
            file, count = describe_call(self._pid, name, registers)
            self._watched = (name, file, count, time.monotonic_ns())
        if number != self._at:
            return
        self._met = name
        if self._action == "kill":
            os.kill(self._pid, signal.SIGKILL)
        elif self._action == "fail":
            registers[_ORIG_RAX], self._answer = _NO_CALL, (1 << 64) - self._error
            _set_registers(self._pid, registers)
        elif name in ("write", "pwrite64") and registers[_RDX] > 1:
            registers[_RDX] //= 2
            _set_registers(self._pid, registers)

    def _leave(self) -> None:
        end_ns = time.monotonic_ns()
        if self._answer is not None:
            registers = _registers(self._pid)
            registers[_RAX], self._answer = self._answer, None
            _set_registers(self._pid, registers)
        if self._watch is not None and self._watched is not None:
            result = ctypes.c_long(_registers(self._pid)[_RAX]).value
            self._watch(WatchedCall(*self._watched, end_ns, result))
            self._watched = None


def _meets(registers: Sequence[int]) -> str | None:
    """The name of a call that changes files, or that a writer makes on one; None for others."""
    number = registers[_ORIG_RAX]
    name = SYSTEM_CALLS.get(number)
    if number in _OPENS:
        flags = registers[_RSI] if number == 2 else registers[_RDX]
        return name if flags & _O_WRITE else None
    if number in _WRITES and registers[_RDI] <= _STANDARD_FDS:
        return None
    return name


_BY_DESCRIPTOR: Final = frozenset(
    {"write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "sync_file_range", "syncfs"}
)
_BELOW_DIRECTORY: Final = frozenset({"mkdirat", "unlinkat", "openat"})
_TWO_PATHS: Final = {
    "rename": (_RDI, _RSI), "link": (_RDI, _RSI), "symlink": (_RDI, _RSI),
    "renameat": (_RSI, _R10), "renameat2": (_RSI, _R10), "linkat": (_RSI, _R10),
}  # fmt: skip


def describe_call(pid: int, name: str, registers: Sequence[int]) -> tuple[str, int]:
    """The file of a call that a stopped program is about to make, and the bytes that it writes."""
    if name in _BY_DESCRIPTOR:
        count = registers[_RDX] if name in ("write", "pwrite64") else 0
        try:
            return str(Path(f"/proc/{pid}/fd/{registers[_RDI]}").readlink()), count
        except OSError:  # no descriptor of this program's: the call will say so
            return "", count
    if name in _TWO_PATHS:
        old, new = _TWO_PATHS[name]
        return f"{_text_at(pid, registers[old])} to {_text_at(pid, registers[new])}", 0
    if name == "sync":
        return "", 0
    return _text_at(pid, registers[_RSI if name in _BELOW_DIRECTORY else _RDI]), 0


def _text_at(pid: int, address: int) -> str:
    """The text that ends with a zero there; empty where it cannot be read."""
    found = b""
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            while b"\0" not in found and len(found) < _PATH_BYTES:
                # Up to the end of the page: the next one may not be there.
                memory.seek(address + len(found))
                found += memory.read(4096 - (address + len(found)) % 4096) or b"\0"
    except (OSError, OverflowError):
        return ""
    return os.fsdecode(found.partition(b"\0")[0])


def _registers(pid: int) -> list[int]:
    buffer = ctypes.create_string_buffer(_REGISTERS.size)
    _ptrace(_GETREGS, pid, 0, buffer)
    return list(_REGISTERS.unpack(buffer.raw))


def _set_registers(pid: int, registers: Sequence[int]) -> None:
    buffer = ctypes.create_string_buffer(_REGISTERS.pack(*registers))
    _ptrace(_SETREGS, pid, 0, buffer)


def _ptrace(request: int, pid: int, address: int, data: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, address, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace: {os.strerror(code)}")
