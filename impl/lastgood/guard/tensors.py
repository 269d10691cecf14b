"""The tensors of a file: names, dtypes, shapes, digests, and numbers that are none.

The digest of a tensor is the SHA-256 of its dtype as text, its shape as text and its bytes in C
order; that of the content is the SHA-256 of each name and digest in turn.  It is the same whatever
format holds the tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from attrs import frozen

_CHUNK_BYTES: Final = 1 << 20


class LoadFailedError(Exception):
    """The file cannot be loaded. `kind` is the type of the error, as a word for machines."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail or kind)
        self.kind = kind


class LoaderMissingError(Exception):
    """The library that loads the format is not installed. That says nothing about the file."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed: pip install {package}")
        self.package = package


@frozen
class TensorFacts:
    """One tensor of a file.

    `nan` and `inf` count the elements that are no finite number; None where nothing here can tell
    them (no numpy, or a dtype that numpy does not know).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    nan: int | None = 0
    inf: int | None = 0


def content_digest(tensors: Iterable[TensorFacts]) -> str:
    """The digest of all tensors, in the order given."""
    hasher = hashlib.sha256()
    for tensor in tensors:
        hasher.update(tensor.name.encode("utf-8", "surrogatepass"))
        hasher.update(tensor.digest.encode())
    return hasher.hexdigest()


class TensorReader:
    """The facts of one tensor in the making; `update` takes its bytes in C order."""

    def __init__(self, name: str, dtype: str, shape: tuple[int, ...], itemsize: int) -> None:
        self._name, self._dtype, self._shape = name, dtype, shape
        self._hasher = hashlib.sha256(dtype.encode() + str(shape).encode())
        self._counter = _Counter(dtype, itemsize)

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes."""
        self._hasher.update(data)
        self._counter.update(data)

    def facts(self) -> TensorFacts:
        """The facts, once all bytes were taken."""
        digest = self._hasher.hexdigest()
        counter = self._counter
        return TensorFacts(self._name, self._dtype, self._shape, digest, counter.nan, counter.inf)


class _Counter:
    """Counts NaN and infinity in a stream of bytes."""

    def __init__(self, dtype: str, itemsize: int) -> None:
        self._rest = b""
        self._element = max(1, itemsize)
        self._bits, self._numpy = _readable_as(dtype)
        known = self._numpy is not None or not dtype.lstrip("<>=|").startswith(
            ("float", "bfloat", "complex", "f", "c")
        )
        self.nan: int | None = 0 if known else None
        self.inf: int | None = 0 if known else None

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes; an element may be cut between two calls."""
        if self._numpy is None or self.nan is None or self.inf is None:
            return
        whole = self._rest + bytes(data)
        cut = len(whole) - len(whole) % self._element
        self._rest = whole[cut:]
        np, floats = self._numpy
        values = np.frombuffer(whole[:cut], dtype=self._bits)
        if floats is not None:  # bfloat16 is the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(floats)
        self.nan += int(np.isnan(values).sum())
        self.inf += int(np.isinf(values).sum())


def _readable_as(dtype: str) -> tuple[Any, tuple[Any, Any] | None]:
    """Numpy's dtypes for floats of that dtype; (None, None) where they are none, or it has none."""
    try:
        import numpy as np
    except ImportError:
        return None, None
    if dtype == "bfloat16":
        return np.dtype(np.uint16), (np, np.float32)
    try:
        known = np.dtype(dtype)
    except TypeError:
        return None, None
    return (known, (np, None)) if known.kind in "fc" else (None, None)


def pieces(size_bytes: int) -> Iterable[int]:
    """The sizes in which `size_bytes` are read, each bounded."""
    while size_bytes > 0:
        yield min(size_bytes, _CHUNK_BYTES)
        size_bytes -= _CHUNK_BYTES
