"""What may be a part: whatever has its bytes in one piece of memory that this process can read."""

from __future__ import annotations

import array
import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lastgood import UsageError
from lastgood.buffers import plain_bytes
from tests.impl.disks import open_store, tree


class ByDlpackOnly:
    """A tensor that offers its memory by DLPack alone, as PyTorch's do."""

    def __init__(self, values: Any, device: tuple[int, int] | None = None) -> None:
        self.values = values
        self.device = device
        self.exports = 0

    def __dlpack__(self) -> Any:
        self.exports += 1
        return self.values.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device or self.values.__dlpack_device__()


@pytest.mark.parametrize(
    "values",
    [
        np.arange(12, dtype=np.float32),
        np.arange(12, dtype=np.int64).reshape(3, 4),
        np.zeros((0, 3)),
        np.float16(3).reshape(1, 1),
        np.arange(4, dtype=np.complex128)[1:3],
    ],
)
def test_a_tensor_gives_its_memory_by_dlpack(values: Any) -> None:
    found = plain_bytes(ByDlpackOnly(values))

    assert found is not None
    assert bytes(found) == values.tobytes()


def test_the_memory_of_a_tensor_is_not_copied_and_stays_while_it_is_needed() -> None:
    values = np.zeros(1000, dtype=np.uint8)
    found = plain_bytes(ByDlpackOnly(values))
    values[7] = 99

    assert found is not None
    assert found[7] == 99
    del values
    assert found[7] == 99


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ByDlpackOnly(np.arange(6).reshape(2, 3).T), "not contiguous"),
        (lambda: ByDlpackOnly(np.arange(6)[::2]), "not contiguous"),
        (lambda: ByDlpackOnly(np.arange(3), device=(2, 0)), "on an accelerator"),
        (lambda: np.array([object()]), "Python objects"),
        (lambda: memoryview(bytearray(8))[::2], "not contiguous"),
    ],
)
def test_what_cannot_be_saved_says_why_before_anything_is_made(
    tmp_path: Path, make: Any, message: str
) -> None:
    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        with pytest.raises(UsageError, match=message):
            store.save(1, {"part": make()})
        assert tree(tmp_path) == before


def test_a_tensor_that_records_gradients_is_detached() -> None:
    class Recording(ByDlpackOnly):
        requires_grad = True

        def __dlpack__(self) -> Any:
            raise BufferError("it requires grad")

        def detach(self) -> ByDlpackOnly:
            return ByDlpackOnly(self.values)

    assert bytes(plain_bytes(Recording(np.arange(3, dtype=np.uint8))) or b"") == b"\0\1\2"


@pytest.mark.parametrize("name", ["O", "LOSS", "O1"])
def test_a_record_may_have_a_field_of_any_name(tmp_path: Path, name: str) -> None:
    values = np.array([(1, 2.5)], dtype=[(name, "<i4"), ("x", "<f8")])
    with open_store(tmp_path) as store:
        store.save(1, {"part": values})
        assert store.restore()["part"] == values.tobytes()


def test_a_record_of_objects_is_refused_whatever_its_fields_are_called() -> None:
    with pytest.raises(ValueError, match="Python objects"):
        plain_bytes(np.array([(1, None)], dtype=[("x", "<i4"), ("y", "O")]))


def no_device() -> Any:
    class Half:
        def __dlpack__(self) -> Any:
            raise AssertionError("never called: where its memory is cannot be asked")

    return Half()


def no_capsule() -> Any:
    class Odd(ByDlpackOnly):
        def __dlpack__(self) -> Any:
            return object()

    return Odd(np.arange(3))


def no_device_number() -> Any:
    class Odd(ByDlpackOnly):
        def __dlpack_device__(self) -> Any:
            raise AssertionError("no device")

    return Odd(np.arange(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_device, "AttributeError.*__dlpack_device__"),
        (no_capsule, "PyCapsule"),
        (no_device_number, "AssertionError: no device"),
    ],
)
def test_half_an_export_is_a_refusal_of_that_part(tmp_path: Path, make: Any, message: str) -> None:
    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        with pytest.raises(UsageError, match=f"part 'weights' is a .* by DLPack: .*{message}"):
            store.save(1, {"weights": make()})
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("chunk", "message"),
    [("text", "a chunk is str, expected bytes"), (np.arange(4)[::2], "a chunk is .*contiguous")],
)
def test_a_chunk_that_cannot_be_saved_names_its_part(
    tmp_path: Path, chunk: Any, message: str
) -> None:
    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        with pytest.raises(UsageError, match=f"part 'optim/adam': {message}.*intact"):
            store.save(1, {"model": b"w", "optim/adam": [b"good", chunk]})
        assert tree(tmp_path) == before


def test_an_export_that_fails_is_the_callers_to_mend() -> None:
    class Failing(ByDlpackOnly):
        def __dlpack__(self) -> Any:
            raise RuntimeError("sparse")

    with pytest.raises(ValueError, match="sparse"):
        plain_bytes(Failing(np.arange(3)))


@pytest.mark.parametrize(
    "data",
    [
        b"abc",
        bytearray(b"abc"),
        array.array("d", [1.0, 2.0]),
        np.arange(5, dtype=np.int16),
        (ctypes.c_ubyte * 3)(1, 2, 3),
    ],
)
def test_whatever_has_a_buffer_is_saved_as_its_bytes(tmp_path: Path, data: Any) -> None:
    with open_store(tmp_path) as store:
        store.save(1, {"part": data})
        assert store.restore()["part"] == bytes(memoryview(data).cast("B"))


@pytest.mark.parametrize("data", [3, None, object(), "text", {"a": 1}])
def test_what_has_no_bytes_is_neither_a_buffer_nor_a_part(tmp_path: Path, data: Any) -> None:
    assert plain_bytes(data) is None
    with open_store(tmp_path) as store, pytest.raises(UsageError, match="expected bytes"):
        store.save(1, {"part": data})


@pytest.mark.parametrize("stable", [True, False])
def test_memory_that_its_caller_calls_stable_is_not_copied(tmp_path: Path, stable: bool) -> None:
    from lastgood.backends.posix import PosixDisk
    from tests.impl.disks import EXT4

    class Watching(PosixDisk):
        seen: Any = None

        def write(self, path: str, data: bytes | memoryview) -> None:
            if path.endswith("model"):
                self.seen = memoryview(data).obj
            super().write(path, data)

    buffer, disk = bytearray(b"weights"), Watching(EXT4)
    with open_store(tmp_path, disk=disk) as store:
        store.save(1, {"model": buffer}, stable=stable)

    assert (disk.seen is buffer) is stable


class Negated(ByDlpackOnly):
    """A view that shows the opposite sign of its memory, as PyTorch's negative bit makes one."""

    def is_neg(self) -> bool:
        return True

    def resolve_neg(self) -> ByDlpackOnly:
        return ByDlpackOnly(-self.values)


class Conjugated(ByDlpackOnly):
    def is_conj(self) -> bool:
        return True

    def resolve_conj(self) -> ByDlpackOnly:
        return ByDlpackOnly(self.values.conj())


def test_a_view_that_changes_the_sign_gives_what_it_shows_and_not_its_memory() -> None:
    values = np.array([1.0, -2.0])
    shown = plain_bytes(Negated(values))
    assert shown is not None
    assert bytes(shown) == (-values).tobytes()

    values = np.array([1 + 2j])
    shown = plain_bytes(Conjugated(values))
    assert shown is not None
    assert bytes(shown) == values.conj().tobytes()


def test_a_masked_array_is_no_plain_memory() -> None:
    masked = np.ma.masked_array(np.arange(3), mask=[False, True, False])

    with pytest.raises(ValueError, match=r"MaskedArray.*says nothing of its mask.*filled"):
        plain_bytes(masked)
    filled = plain_bytes(masked.filled(0))
    assert filled is not None
    assert bytes(filled) == np.array([0, 0, 2]).tobytes()
