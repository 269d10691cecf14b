"""The child process that loads PyTorch's files, seen from its parent: limits and strict answers.

A pickle is a program.  PyTorch's `weights_only=True` runs a subset of it, in C++ and Python that
had bugs; so it runs in a child, whose memory, time and output are limited, and which is killed and
begun anew after any file that it does not survive.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from lastgood.format.digests import is_digest
from lastgood.guard.limits import Limits
from lastgood.guard.tensors import LoaderMissingError, LoadFailedError, TensorFacts

_PROGRAM: Final = Path(__file__).with_name("torch_program.py")
_LONGEST_TEXT: Final = 4096
_READ_BYTES: Final = 1 << 16


def torch_command() -> Sequence[str]:
    """The command of the child. LoaderMissingError where PyTorch cannot be imported."""
    if find_spec("torch") is None:
        raise LoaderMissingError("torch")
    # Isolated: neither the environment nor the current directory says what is imported.
    places = [str(Path(place).resolve()) for place in sys.path if place and Path(place).is_dir()]
    begin = f"import sys, runpy; sys.path[:] = {places!r}; "
    run = f"runpy.run_path({str(_PROGRAM)!r}, run_name='__main__')"
    return (sys.executable, "-I", "-c", begin + run)


class TorchChild:
    """One child, begun when the first file is asked for; close it, or use it as a context.

    `command` gives its program, `clock` seconds that only grow.
    """

    def __init__(
        self,
        limits: Limits,
        command: Callable[[], Sequence[str]] = torch_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._command, self._clock = limits, command, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def load(self, path: str, size_bytes: int) -> tuple[TensorFacts, ...]:
        """The tensors of a file. LoadFailedError; LoaderMissingError; OSError for the child."""
        try:
            process = self._started()
            seconds = self._limits.seconds_for(size_bytes)
            asked = {
                "path": os.path.abspath(path),  # noqa: PTH100 - resolve() follows symlinks
                "memory_bytes": self._limits.memory_for(size_bytes),
                "seconds": seconds,
                "tensors": self._limits.tensors,
            }
            self._send(process, asked)
            return self._facts(self._answer(process, seconds))
        except BaseException as error:
            # Its state is not known any more, unless it said itself what is wrong with the file.
            if not isinstance(error, LoadFailedError) or error.kind in ("BadAnswer", "MemoryError"):
                self.close()
            raise

    def close(self) -> None:
        """Kill the child, if there is one."""
        process, self._process = self._process, None
        self._pending = b""
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            return self._process
        self._process = process = subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        said = self._answer(process, self._limits.start_seconds)
        if "missing" in said:
            raise LoaderMissingError("torch")
        if "ready" not in said:
            raise LoadFailedError("BadAnswer", "the child did not begin as it should")
        return process

    def _send(self, process: subprocess.Popen[bytes], asked: dict[str, Any]) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._died(process) from None

    def _answer(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        """One line of the child's, in time and within bounds, as JSON. LoadFailedError."""
        assert process.stdout is not None  # noqa: S101 - it was asked for
        deadline, fd = self._clock() + seconds, process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                left = deadline - self._clock()
                if left <= 0 or not selector.select(left):
                    self.close()
                    raise LoadFailedError("Timeout", f"it took more than {seconds:.0f} s")
                data = os.read(fd, _READ_BYTES)
                if not data:
                    raise self._died(process)
                self._pending += data
                if len(self._pending) > self._limits.answer_bytes:
                    self.close()
                    raise LoadFailedError("OutputLimit", "it said more than any file has to say")
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LoadFailedError("BadAnswer", str(error)) from error
        if not isinstance(said, dict):
            raise LoadFailedError("BadAnswer", "no object")
        return said

    def _died(self, process: subprocess.Popen[bytes]) -> LoadFailedError:
        """The error where the child ended by itself; the next file gets another one."""
        self.close()
        status = process.returncode
        try:
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
        except ValueError:
            how = f"signal {-status}"
        return LoadFailedError("ChildDied", f"the process that loaded it ended: {how}")

    def _facts(self, said: dict[str, Any]) -> tuple[TensorFacts, ...]:
        if (kind := said.get("error")) is not None:
            if not isinstance(kind, str) or not kind.isidentifier() or len(kind) > 100:
                raise LoadFailedError("BadAnswer", "an error without a name")
            raise LoadFailedError(kind, str(said.get("detail", ""))[:_LONGEST_TEXT])
        tensors = said.get("tensors")
        if not isinstance(tensors, list) or len(tensors) > self._limits.tensors:
            raise LoadFailedError("BadAnswer", "no tensors")
        return tuple(parse_facts(each) for each in tensors)


def parse_facts(raw: Any) -> TensorFacts:
    """The facts of one tensor in JSON, each value checked. LoadFailedError (BadAnswer)."""
    keys = {"name", "dtype", "shape", "digest", "nan", "inf"}
    if not isinstance(raw, dict) or set(raw) != keys:
        raise LoadFailedError("BadAnswer", "another shape of answer")
    texts = [raw["name"], raw["dtype"], raw["digest"]]
    counts = [each for each in (raw["nan"], raw["inf"]) if each is not None]
    shape = raw["shape"]
    if not all(isinstance(text, str) and len(text) <= _LONGEST_TEXT for text in texts):
        raise LoadFailedError("BadAnswer", "a text was expected")
    if not isinstance(shape, list) or len(shape) > 64 or not all(map(_is_count, shape)):
        raise LoadFailedError("BadAnswer", "a shape was expected")
    if not is_digest(raw["digest"], "sha256") or not all(map(_is_count, counts)):
        raise LoadFailedError("BadAnswer", "a digest and counts were expected")
    return TensorFacts(
        raw["name"], raw["dtype"], tuple(shape), raw["digest"], raw["nan"], raw["inf"]
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
