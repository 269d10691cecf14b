"""The memory of what callers hand over: buffers, arrays and tensors, without a copy.

Nothing is imported for it: an array is known by the buffer protocol, a tensor by DLPack.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import re
import sys
from math import prod
from typing import Any, Final

_CPU: Final = frozenset({1, 3, 13})
"""DLPack's words for memory that this process can read: CPU, CUDA's pinned and managed memory."""
_FIELD_NAME: Final = re.compile(":[^:]*:")
"""In the format of a buffer of records: it may have any letter in it."""


def plain_bytes(data: object) -> memoryview | None:
    """The memory of a buffer or a CPU tensor, as bytes; None for what is neither.

    ValueError, in words, where its memory is not its content in one piece.
    """
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        return _tensor_bytes(data) if hasattr(data, "__dlpack__") else None
    except (ValueError, BufferError) as error:
        raise ValueError(
            f"a {type(data).__name__} whose memory cannot be read: {error}. Pass its bytes, such "
            "as array.tobytes()"
        ) from error
    if (masked := _masked(view.obj)) is not None:
        raise ValueError(
            f"a {masked}, whose memory says nothing of its mask: pass array.filled(...), or its "
            ".data and its .mask as two parts"
        )
    if "O" in _FIELD_NAME.sub("", view.format):
        raise ValueError(
            f"a {type(data).__name__} of Python objects, expected bytes or numbers: its memory "
            "holds addresses, which mean nothing in another process"
        )
    if not view.c_contiguous:
        raise ValueError(
            f"a {type(data).__name__} that is not contiguous (in C order): pass bytes, or "
            "np.ascontiguousarray(...) of an array"
        )
    # A view with a zero in its shape cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


def fresh_memory(size_bytes: int) -> mmap.mmap:
    """Memory of at least one byte that comes zeroed page by page, as it is touched."""
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Fewer faults for the same bytes; where the kernel will not, nothing is lost.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _masked(owner: object) -> str | None:
    """The class of an array of numpy.ma; None for what is none. Nothing is imported for it."""
    known = getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())
    return type(owner).__name__ if isinstance(owner, known) else None


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor, the part of DLPack's ABI that has not changed since its first version."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _tensor_bytes(tensor: Any) -> memoryview:
    """The memory of a tensor by DLPack. ValueError in words."""
    what = f"a {type(tensor).__name__}"
    try:
        device, _ = tensor.__dlpack_device__()
        is_near = int(device) in _CPU
        if getattr(tensor, "requires_grad", False):
            tensor = tensor.detach()
        tensor = _resolved(tensor) if is_near else tensor
        capsule = tensor.__dlpack__() if is_near else None
        address = None if capsule is None else _address_in(capsule)
    except Exception as error:  # an exporter is foreign code: it may raise anything
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{what} whose memory cannot be read by DLPack: {why}") from error
    if address is None:
        raise ValueError(f"{what} on an accelerator, expected one on the CPU: pass tensor.cpu()")
    # DLManagedTensor begins with its DLTensor.
    header = _Tensor.from_address(address)
    shape = [header.shape[n] for n in range(header.ndim)]
    if prod(shape) == 0:
        return memoryview(b"")
    if header.strides and not _in_one_piece(shape, [header.strides[n] for n in range(header.ndim)]):
        raise ValueError(f"{what} that is not contiguous: pass tensor.contiguous()")
    bits = header.dtype.bits * header.dtype.lanes
    if bits % 8:
        raise ValueError(f"{what} of {bits} bits each, expected whole bytes")
    size_bytes = prod(shape) * bits // 8
    array = (ctypes.c_ubyte * size_bytes).from_address(header.data + header.byte_offset)
    # The capsule holds a reference to the memory until it is collected.
    array.owner = (tensor, capsule)
    return memoryview(array).cast("B")


def _resolved(tensor: Any) -> Any:
    """The tensor itself, or a copy whose memory is its content.

    PyTorch has views that change a sign, or conjugate, when they are read: only a bit says so.
    """
    for asked, resolve in (("is_neg", "resolve_neg"), ("is_conj", "resolve_conj")):
        if hasattr(tensor, asked) and getattr(tensor, asked)():
            tensor = getattr(tensor, resolve)()
    return tensor


def _address_in(capsule: object) -> int:
    """The address in a capsule of DLPack. ValueError where it is none."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    address: int = pointer(capsule, b"dltensor")
    return address


def _in_one_piece(shape: list[int], strides: list[int]) -> bool:
    """Say whether elements lie in C order without a gap; strides count elements, not bytes."""
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True
