"""Files and sidecars that somebody has prepared: nothing outside is read, and nothing is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lastgood import StorageError, UsageError, guard
from lastgood.guard import SUFFIX, Guard, Limits
from lastgood.guard.sidecar import LIMIT_BYTES
from tests.impl.guard.files import npz, safetensors


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_inside_of_an_npz_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "run"
    np.savez(tmp_path / "a.npz", x=np.array([Touch(trap)], dtype=object))

    report = guard.check(tmp_path / "a.npz")

    assert report.reasons == ("load_error:ValueError",)
    assert not trap.exists()
    np.load(tmp_path / "a.npz", allow_pickle=True)["x"]
    assert trap.exists()  # it would have been


def test_a_pickle_that_is_named_npz_or_safetensors_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "run"
    for name in ("a.npz", "a.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Touch(trap)))
        assert guard.check(tmp_path / name).load_ok is False
    assert not trap.exists()


def test_nothing_of_torch_is_imported_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04")
    guard.check(tmp_path / "a.pt")

    assert "torch" not in sys.modules


def test_an_array_that_claims_more_than_is_there_gets_no_memory(tmp_path: Path) -> None:
    stream = io.BytesIO()
    head = {"descr": "<f8", "fortran_order": False, "shape": (1 << 60,)}
    np.lib.format.write_array_header_1_0(stream, head)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", stream.getvalue())

    assert guard.check(tmp_path / "a.npz").reasons == ("load_error:ValueError",)


def test_a_member_that_claims_more_than_deflate_can_make_is_refused(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz", {"x": np.arange(3)})
    data = bytearray(file.read_bytes())
    entry = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 0xFFFF_FFF0)
    file.write_bytes(data)

    assert guard.check(file).reasons == ("load_error:TooLarge",)


def test_damage_behind_an_array_is_noticed_by_the_crc_of_its_member(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + bytes(200_000) + b"more than it")
    assert guard.check(tmp_path / "a.npz").load_ok is True
    data = (tmp_path / "a.npz").read_bytes().replace(b"more than", b"less than")
    (tmp_path / "a.npz").write_bytes(data)

    assert guard.check(tmp_path / "a.npz").reasons == ("load_error:BadZipFile",)


def test_another_compression_than_numpy_writes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", bytes(100))

    assert guard.check(tmp_path / "a.npz").reasons == ("load_error:NotImplementedError",)


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"x": {"dtype": "NONE", "shape": [1], "data_offsets": [0, 4]}},
        {
            "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
    ],
)
def test_a_header_of_safetensors_that_lies_is_a_load_error(
    tmp_path: Path, header: dict[str, Any]
) -> None:
    text = json.dumps(header).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))

    assert guard.check(file).reasons == ("load_error:SafetensorError",)


def test_a_header_of_safetensors_that_is_endless_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")

    assert guard.check(file).reasons == ("load_error:SafetensorError",)


def test_the_number_of_tensors_is_limited(tmp_path: Path) -> None:
    arrays = {f"t{n}": np.zeros(1) for n in range(5)}
    files = npz(tmp_path / "a.npz", arrays), safetensors(tmp_path / "a.safetensors", arrays)
    for file in files:
        report = guard.check(file, limits=Limits(tensors=4))
        assert report.reasons == ("load_error:TooManyTensors",)


def test_a_sparse_file_in_place_of_a_small_one_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    guard.write_sidecar(file)
    os.truncate(file, 1 << 42)  # 4 TiB: reading it would take an hour

    report = guard.check(file)

    assert report.reasons == ("load_error:TooLarge", "file_sha_mismatch")
    assert report.sha256 is None


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    outside = npz(tmp_path / "outside.npz")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "link.npz").symlink_to(outside)
    os.mkfifo(folder / "fifo.npz")
    (folder / "folder.npz").mkdir()

    found = {each.path.rpartition("/")[2]: each.reasons for each in guard.scan(folder)}

    assert found == {
        "link.npz": ("not_regular:link.npz",),
        "fifo.npz": ("not_regular:fifo.npz",),
    }
    assert guard.check(folder / "folder.npz").reasons == ("not_regular:folder.npz",)
    with pytest.raises(UsageError, match="no regular file"):
        guard.write_sidecar(folder / "link.npz")


def test_a_sidecar_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    other = npz(tmp_path / "b.npz")
    real = guard.write_sidecar(other)
    (tmp_path / f"a.npz{SUFFIX}").symlink_to(real)
    before = real.read_bytes()

    assert guard.check(file).reasons == ("meta_error:OSError",)
    guard.write_sidecar(file)  # takes the place of the link
    assert not (tmp_path / f"a.npz{SUFFIX}").is_symlink()
    assert real.read_bytes() == before


def test_a_sidecar_without_end_is_not_read(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    sidecar = guard.write_sidecar(file)
    os.truncate(sidecar, LIMIT_BYTES + 1)

    assert guard.check(file).reasons == ("meta_error:OSError",)


def test_a_temporary_name_that_is_a_trap_is_removed_and_not_written_to(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / f"a.npz{SUFFIX}.guard-tmp-{os.getpid()}").symlink_to(victim)

    guard.write_sidecar(file)

    assert victim.read_bytes() == b"mine"
    assert not guard.check(file).corrupted


def test_a_folder_that_takes_no_sidecar_is_named(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz")
    os.makedirs(tmp_path / f"a.npz{SUFFIX}" / "in the way")

    with pytest.raises(StorageError, match="The file itself was not touched"):
        guard.write_sidecar(file)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", f"a.npz{SUFFIX}"]


@pytest.mark.parametrize("wrong", [0, -1, True, "many"])
def test_a_limit_is_more_than_nothing(wrong: Any) -> None:
    with pytest.raises(UsageError, match="tensors"):
        Limits(tensors=wrong)


def test_a_format_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with Guard() as judge, pytest.raises(UsageError, match="expected one of"):
        judge.describe(npz(tmp_path / "a.npz"), "pickle")  # type: ignore[arg-type]
