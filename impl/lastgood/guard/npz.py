"""The tensors of an .npz file, read with numpy's own parser of headers and without any pickle.

A member is streamed: no array is made of what a header claims before the bytes are there.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from math import prod
from typing import IO, Any, Final

from lastgood.backends.posix_files import opened_file
from lastgood.guard.limits import Limits
from lastgood.guard.tensors import (
    LoaderMissingError,
    LoadFailedError,
    TensorFacts,
    TensorReader,
    pieces,
)

_HEADER_CHARACTERS: Final = 10_000
_MAGIC: Final = b"\x93NUMPY"
_EXPANSION: Final = 1100
"""Deflate makes at most 1032 bytes of one."""
_FORTRAN_BYTES: Final = 4 << 30
_KNOWN_COMPRESSION: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def load_npz(path: str, limits: Limits) -> tuple[TensorFacts, ...]:
    """The arrays of the file. LoadFailedError; LoaderMissingError; OSError."""
    try:
        import numpy as np
    except ImportError as error:
        raise LoaderMissingError("numpy") from error
    with opened_file(path, limits.file_bytes) as (fd, size_bytes):
        stream = os.fdopen(os.dup(fd), "rb")
        with stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header that is damaged may look like an old one
            try:
                return _arrays(np, stream, size_bytes, limits)
            except (LoadFailedError, OSError):
                raise
            except Exception as error:  # parsers of what a stranger wrote raise anything
                raise LoadFailedError(type(error).__name__, str(error)) from error


def _arrays(np: Any, stream: IO[bytes], size_bytes: int, limits: Limits) -> tuple[TensorFacts, ...]:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) > limits.tensors:
            raise LoadFailedError("TooManyTensors", f"{len(members)} members")
        if sum(member.file_size for member in members) > _EXPANSION * size_bytes:
            raise LoadFailedError("TooLarge", "its members claim more than any file can hold")
        return tuple(_array(np, archive, member) for member in members)


def _array(np: Any, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> TensorFacts:
    if member.compress_type not in _KNOWN_COMPRESSION:
        raise LoadFailedError("NotImplementedError", f"compression {member.compress_type}")
    with archive.open(member) as file:
        start = file.read(len(_MAGIC) + 2)
        if not member.filename.endswith(".npy") or start[: len(_MAGIC)] != _MAGIC:
            return _plain_bytes(member, start, file)
        if tuple(start[len(_MAGIC) :]) not in ((1, 0), (2, 0)):
            raise LoadFailedError("ValueError", f"version {tuple(start[len(_MAGIC) :])}")
        form = np.lib.format
        parse = form.read_array_header_1_0 if start[-2] == 1 else form.read_array_header_2_0
        head = _Counted(file)
        shape, fortran, dtype = parse(head, max_header_size=_HEADER_CHARACTERS)
        if dtype.hasobject:
            raise LoadFailedError("ValueError", "Python objects, which only a pickle can load")
        left = member.file_size - len(start) - head.taken
        wanted = prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or wanted > left:
            raise LoadFailedError("ValueError", f"an array of {wanted} bytes in {left}")
        reader = TensorReader(
            member.filename.removesuffix(".npy"), str(dtype), tuple(shape), dtype.itemsize
        )
        if fortran and len(shape) > 1:
            if wanted > _FORTRAN_BYTES:
                raise LoadFailedError("TooLarge", "an array in Fortran order")
            data = _exactly(file, wanted)
            reader.update(np.frombuffer(data, dtype).reshape(shape, order="F").tobytes("C"))
        else:
            for piece in pieces(wanted):
                reader.update(_exactly(file, piece))
        while file.read(1 << 20):  # to its end, where the CRC is compared
            pass
        return reader.facts()


def _plain_bytes(member: zipfile.ZipInfo, start: bytes, file: IO[bytes]) -> TensorFacts:
    """A member that is no array: numpy hands out its bytes."""
    reader = TensorReader(member.filename, "bytes", (member.file_size,), 1)
    reader.update(start)
    while data := file.read(1 << 20):
        reader.update(data)
    return reader.facts()


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = io.BytesIO()
    while (missing := count - data.tell()) > 0:
        if not (piece := file.read(missing)):
            raise LoadFailedError("EOFError", f"{missing} bytes are missing")
        data.write(piece)
    return data.getvalue()


class _Counted:
    """A stream that knows how many bytes were taken from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.taken = file, 0

    def read(self, count: int) -> bytes:
        """See `IO.read`."""
        data = self._file.read(count)
        self.taken += len(data)
        return data
