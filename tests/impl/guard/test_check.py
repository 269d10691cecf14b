"""A file against its sidecar: every change is noticed, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood import UsageError, guard
from lastgood.guard import SUFFIX, SidecarError, decode_sidecar, encode_sidecar
from lastgood.guard.tensors import content_digest
from tests.impl.guard.files import ARRAYS, npz, safetensors

Writer = Callable[[Path], Path]
WRITERS = pytest.mark.parametrize(
    ("write", "name"), [(npz, "a.npz"), (safetensors, "a.safetensors")]
)


def digest_by_hand(array: Any) -> str:
    text = f"{array.dtype}{tuple(array.shape)}".encode()
    return hashlib.sha256(text + array.tobytes(order="C")).hexdigest()


@WRITERS
def test_a_sidecar_says_what_numpy_says(tmp_path: Path, write: Writer, name: str) -> None:
    file = write(tmp_path / name)
    sidecar = decode_sidecar(guard.write_sidecar(file).read_bytes())

    assert sidecar.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sidecar.tensors is not None
    found = {each.name: (each.dtype, each.shape, each.digest) for each in sidecar.tensors}
    assert found == {
        key: (str(array.dtype), array.shape, digest_by_hand(array)) for key, array in ARRAYS.items()
    }


def test_the_digest_of_a_content_does_not_depend_on_the_format(tmp_path: Path) -> None:
    files = npz(tmp_path / "a.npz"), safetensors(tmp_path / "a.safetensors")
    with guard.Guard() as judge:
        described = [judge.describe(file).tensors or () for file in files]
    ordered = [sorted(each, key=lambda tensor: tensor.name) for each in described]

    assert content_digest(ordered[0]) == content_digest(ordered[1])


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3), dtype=np.float32),
        np.array(7, dtype=np.int8),
        np.array([1 + 2j, 3]),
        np.arange(3, dtype=">f4"),
        np.array([True, False]),
        np.array(["a", "bc"]),
    ],
)
def test_an_unusual_array_has_the_digest_of_its_elements(tmp_path: Path, array: Any) -> None:
    file = npz(tmp_path / "a.npz", {"x": array})
    with guard.Guard() as judge:
        (tensor,) = judge.describe(file).tensors or ()

    assert (tensor.shape, tensor.digest) == (array.shape, digest_by_hand(array))


def test_a_compressed_npz_is_read_as_well(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(100_000))
    guard.write_sidecar(tmp_path / "a.npz")

    assert not guard.check(tmp_path / "a.npz").corrupted


@WRITERS
@pytest.mark.parametrize("seed", range(40))
def test_every_flipped_bit_is_noticed(tmp_path: Path, write: Writer, name: str, seed: int) -> None:
    file = write(tmp_path / name)
    guard.write_sidecar(file)
    assert not guard.check(file).corrupted
    data = bytearray(file.read_bytes())
    draw = random.Random(seed)  # noqa: S311
    # Half of them in the head, where a format keeps what it is.
    data[draw.randrange(len(data) if seed % 2 else 300)] ^= 1 << draw.randrange(8)
    file.write_bytes(data)

    report = guard.check(file)

    assert report.file_sha_ok is False
    assert "file_sha_mismatch" in report.reasons


@WRITERS
def test_every_truncation_is_a_load_error(tmp_path: Path, write: Writer, name: str) -> None:
    file = write(tmp_path / name)
    guard.write_sidecar(file)
    whole = file.read_bytes()
    for keep in [0, 1, 8, 100, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:keep])
        report = guard.check(file)
        assert report.load_ok is False, keep
        assert report.reasons[0].startswith("load_error:")


def test_another_shape_and_another_name_are_mismatches(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    guard.write_sidecar(file)
    npz(file, {**ARRAYS, "steps": np.arange(4)})
    assert {"shape_mismatch", "digest_mismatch"} <= set(guard.check(file).reasons)
    npz(file, {"other": np.arange(4)})
    report = guard.check(file)
    assert report.shape_ok is False
    assert report.digest_ok is None


@WRITERS
def test_nan_and_infinity_warn_and_reject_when_asked(
    tmp_path: Path, write: Callable[[Path, dict[str, Any]], Path], name: str
) -> None:
    values = np.array([math.nan, 1.0, math.inf, -math.inf, math.nan], dtype=np.float16)
    file = write(tmp_path / name, {"x": values, "ok": np.arange(3)})
    guard.write_sidecar(file)

    report, strict = guard.check(file), guard.check(file, reject_nonfinite=True)

    assert (report.nan_total, report.inf_total) == (2, 2)
    assert report.warnings == ("nan:2", "inf:2")
    assert not report.corrupted
    assert strict.reasons == ("nonfinite",)


def test_infinity_of_bfloat16_is_counted(tmp_path: Path) -> None:
    header = {"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    text = json.dumps(header).encode()
    values = bytes.fromhex("807f c07f 803f")  # infinity, NaN, 1
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + values)

    report = guard.check(tmp_path / "a.safetensors")

    assert (report.load_ok, report.inf_total, report.nan_total) == (True, 1, 1)


def test_any_file_is_guarded_by_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "notes.bin"
    file.write_bytes(b"anything")
    guard.write_sidecar(file)
    assert not guard.check(file).corrupted
    file.write_bytes(b"anythinG")
    assert guard.check(file).reasons == ("file_sha_mismatch",)


def test_a_file_without_sidecar_and_without_format_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_bytes(b"anything")

    report = guard.check(tmp_path / "notes.bin")

    assert not report.is_judged
    assert report.warnings == ("no_sidecar",)


def test_damage_of_a_sidecar_is_not_damage_of_the_file(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    sidecar = guard.write_sidecar(file)
    whole = sidecar.read_bytes()
    draw = random.Random(3)  # noqa: S311
    for _ in range(60):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        sidecar.write_bytes(data)
        report = guard.check(file)
        assert report.reasons == ("meta_error:SidecarError",)
        assert report.load_ok is True


@given(st.binary(max_size=300))
def test_no_bytes_make_a_sidecar_by_chance(data: bytes) -> None:
    with pytest.raises(SidecarError):
        decode_sidecar(data)


@settings(max_examples=40)
@given(
    st.binary(max_size=200), st.sampled_from([b"PK\x03\x04", b"", b"\x08\0\0\0\0\0\0\0{}      "])
)
def test_whatever_bytes_a_file_has_a_check_ends_with_a_report(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.npz", "a.safetensors"):
        (folder / name).write_bytes(head + data)
        assert guard.check(folder / name).load_ok in (True, False)


def test_a_sidecar_has_one_spelling(tmp_path: Path) -> None:
    sidecar = decode_sidecar(guard.write_sidecar(npz(tmp_path / "a.npz")).read_bytes())
    again = json.dumps(json.loads(encode_sidecar(sidecar))).encode()

    with pytest.raises(SidecarError):
        decode_sidecar(again)


def test_a_damaged_file_gets_no_sidecar(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")

    with pytest.raises(UsageError, match="cannot be loaded as npz"):
        guard.write_sidecar(tmp_path / "a.npz")
    assert os.listdir(tmp_path) == ["a.npz"]


def test_a_sidecar_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    guard.write_sidecar(file)
    npz(file, {"x": np.arange(2)})
    guard.write_sidecar(file)

    assert not guard.check(file).corrupted
    assert sorted(os.listdir(tmp_path)) == ["a.npz", f"a.npz{SUFFIX}"]


def test_a_scan_has_the_columns_and_the_words_of_the_paper(tmp_path: Path) -> None:
    for epoch in (3, 6, 9):
        guard.write_sidecar(npz(tmp_path / f"ckpt_epoch_{epoch:04d}.npz"))
    damaged = tmp_path / "ckpt_epoch_0006.npz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (tmp_path / "ckpt_epoch_0009.npz").unlink()
    (tmp_path / "notes.txt").write_text("nothing of a guard")

    rows = [each.row() for each in guard.scan(tmp_path)]
    table = [dict(zip(guard.FILE_COLUMNS, row, strict=True)) for row in rows]

    assert [(row["epoch"], row["corrupted"]) for row in table] == [(3, 0), (6, 1), (9, 1)]
    assert table[0]["load_ok"] == table[0]["digest_match"] == table[0]["file_sha_match"] == 1
    assert table[1]["note"] == "load_error:BadZipFile;file_sha_mismatch"
    assert table[1]["expected_digest_present"] == 1
    assert table[2]["note"] == "missing:ckpt_epoch_0009.npz"
