"""The tensors of a .safetensors file; its header is parsed by the safetensors package.

The package maps a file into memory, and a disk that cannot read a page of it would kill this
process (SIGBUS).  So it gets a sparse file of the same size with the header alone: it validates
that, and the tensors themselves are read from the real file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any, Final

from lastgood.backends.posix_files import opened_file
from lastgood.guard.limits import Limits
from lastgood.guard.tensors import (
    LoaderMissingError,
    LoadFailedError,
    TensorFacts,
    TensorReader,
    pieces,
)

_LENGTH_BYTES: Final = 8
_HEADER_LIMIT_BYTES: Final = 100_000_000
"""The package's own limit."""
_DTYPES: Final = {
    "BOOL": ("bool", 1), "U8": ("uint8", 1), "I8": ("int8", 1),
    "U16": ("uint16", 2), "I16": ("int16", 2), "U32": ("uint32", 4), "I32": ("int32", 4),
    "U64": ("uint64", 8), "I64": ("int64", 8), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "F32": ("float32", 4), "F64": ("float64", 8), "C64": ("complex64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1),
}  # fmt: skip


def load_safetensors(path: str, limits: Limits) -> tuple[TensorFacts, ...]:
    """The tensors of the file. LoadFailedError; LoaderMissingError; OSError."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise LoaderMissingError("safetensors") from error
    with opened_file(path, limits.file_bytes) as (fd, size_bytes):
        head = os.pread(fd, _LENGTH_BYTES, 0)
        length = int.from_bytes(head, "little")
        if len(head) < _LENGTH_BYTES or length > min(size_bytes, _HEADER_LIMIT_BYTES):
            raise LoadFailedError("SafetensorError", f"a header of {length} bytes")
        head = b"".join(_range(fd, 0, _LENGTH_BYTES + length))
        try:
            layout = _layout(safe_open, head, size_bytes)
        except OSError:
            raise
        except Exception as error:  # parsers of what a stranger wrote raise anything
            raise LoadFailedError(type(error).__name__, str(error)) from error
        if len(layout) > limits.tensors:
            raise LoadFailedError("TooManyTensors", f"{len(layout)} tensors")
        start = _LENGTH_BYTES + length
        return tuple(_tensor(fd, start, name, entry) for name, entry in layout)


def _layout(safe_open: Any, head: bytes, size_bytes: int) -> list[tuple[str, Any]]:
    """The entries of a header that the package accepts for a file of that size, by offset."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as sparse:
        sparse.write(head)
        sparse.flush()
        os.ftruncate(sparse.fileno(), size_bytes)
        with safe_open(sparse.name, framework="numpy") as opened:
            names = set(opened.keys())
    header = json.loads(head[_LENGTH_BYTES:])
    header.pop("__metadata__", None)
    if set(header) != names:
        raise LoadFailedError("SafetensorError", "two readers see other names in its header")
    return sorted(header.items(), key=lambda each: (each[1]["data_offsets"], each[0]))


def _tensor(fd: int, start: int, name: str, entry: Any) -> TensorFacts:
    first, last = entry["data_offsets"]
    dtype, itemsize = _DTYPES.get(entry["dtype"], (str(entry["dtype"]).lower(), 1))
    reader = TensorReader(name, dtype, tuple(entry["shape"]), itemsize)
    for data in _range(fd, start + first, start + last):
        reader.update(data)
    return reader.facts()


def _range(fd: int, first: int, last: int) -> Iterator[bytes]:
    """The bytes of the file from `first` up to `last`, in pieces. LoadFailedError; OSError."""
    for count in pieces(last - first):
        data = b""
        while len(data) < count:
            piece = os.pread(fd, count - len(data), first + len(data))
            if not piece:
                raise LoadFailedError("EOFError", "the file ends too early")
            data += piece
        yield data
        first += count
