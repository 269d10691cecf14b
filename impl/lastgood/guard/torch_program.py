"""The program of the child process that loads PyTorch's files.  It imports nothing of lastgood.

Each line of its input is a JSON object with a path and limits; each line of its output is the
answer.  It is run with `python -I` and limits itself before it looks at a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import resource
import stat
import sys
from typing import Any

DEPTH = 32


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for number, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(number, (value, value))
    try:
        import torch
    except ImportError as error:
        tell(answers, {"missing": str(error)[:200]})
        return
    tell(answers, {"ready": str(getattr(torch, "__version__", ""))})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            limit(asked["memory_bytes"], asked["seconds"])
            answer: dict[str, Any] = {"tensors": load(torch, asked["path"], asked["tensors"])}
        except BaseException as error:  # whatever a damaged file makes a library raise
            answer = {"error": type(error).__name__, "detail": str(error)[:500]}
        tell(answers, answer)


def tell(answers: Any, value: dict[str, Any]) -> None:
    """Write one answer."""
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def limit(memory_bytes: int, seconds: float) -> None:
    """Limit this process for one file, beyond what it has taken already."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = {
        resource.RLIMIT_AS: address_space() + memory_bytes,
        resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime + seconds) + 1,
    }
    for number, value in soft.items():
        hard = resource.getrlimit(number)[1]
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS does not limit address space
            resource.setrlimit(number, (lower, hard))


def address_space() -> int:
    """The address space of this process in bytes; 64 GiB where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 64 << 30


def load(torch: Any, path: str, most: int) -> list[dict[str, Any]]:
    """The tensors of one file, by PyTorch with weights_only=True."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("not a regular file")
        content = torch.load(file, map_location="cpu", weights_only=True)
    found: list[dict[str, Any]] = []
    collect(torch, content, "", found, most, DEPTH)
    return found


def collect(
    torch: Any, value: Any, name: str, found: list[dict[str, Any]], most: int, depth: int
) -> None:
    """Append the facts of each tensor in nested mappings and sequences."""
    if isinstance(value, torch.Tensor):
        if len(found) >= most:
            raise ValueError("too many tensors")
        found.append({"name": name, **facts(torch, value)})
    elif depth and isinstance(value, dict):
        for key, inner in value.items():
            collect(torch, inner, f"{name}.{key}" if name else str(key), found, most, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for key, inner in enumerate(value):
            collect(torch, inner, f"{name}.{key}" if name else str(key), found, most, depth - 1)


def facts(torch: Any, tensor: Any) -> dict[str, Any]:
    """Dtype, shape, digest, and the number of NaN and infinities."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    dtype, shape = str(plain.dtype).removeprefix("torch."), tuple(plain.shape)
    hasher = hashlib.sha256(dtype.encode() + str(shape).encode())
    size_bytes = plain.numel() * plain.element_size()
    if size_bytes:
        buffer = (ctypes.c_ubyte * size_bytes).from_address(plain.data_ptr())
        hasher.update(memoryview(buffer))
    nan, inf = nonfinite(torch, plain)
    return {
        "dtype": dtype,
        "shape": list(shape),
        "digest": hasher.hexdigest(),
        "nan": nan,
        "inf": inf,
    }


def nonfinite(torch: Any, plain: Any) -> tuple[int | None, int | None]:
    """The numbers of NaN and of infinities; None where PyTorch cannot tell them of that dtype."""
    if not (plain.is_floating_point() or plain.is_complex()):
        return 0, 0
    try:
        # Few operations know the dtypes of one byte.
        numbers = plain.float() if plain.element_size() == 1 else plain
        return int(torch.isnan(numbers).sum()), int(torch.isinf(numbers).sum())
    except (NotImplementedError, RuntimeError):
        return None, None


if __name__ == "__main__":
    main()
