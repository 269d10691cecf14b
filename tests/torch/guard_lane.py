"""The guard on files of PyTorch, and table 4 of the paper by a run: part of `make test-torch`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lastgood.guard import Guard
from powercut_lab.corruption.paper_files import paper_rows, trained_files
from powercut_lab.corruption.paper_values import SEEDS, TABLE_4, UNSAFE_RUNS
from powercut_lab.corruption.raw import PAPER_FILES

COUNTED = ("effective", "load_error", "digest_mismatch", "file_sha_mismatch", "detected")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every file of the paper's ten seeds, damaged and judged."""
    found = paper_rows(SEEDS, tmp_path_factory.mktemp("paper"))
    return [dict(zip(PAPER_FILES.columns, row, strict=True)) for row in found]


def counts(rows: list[dict[str, Any]], fault: str, crash: str = "none") -> Counter[str]:
    mine = [row for row in rows if (row["fault"], row["crash"]) == (fault, crash)]
    found = Counter({"files": len(mine)})
    for name in COUNTED:
        found[name] = sum(row[name] for row in mine)
    return found


def test_table_4_of_the_paper_comes_out_of_its_seeds(rows: list[dict[str, Any]]) -> None:
    assert torch.__version__.startswith("2.13.0")
    for fault, printed in TABLE_4.items():
        found = counts(rows, fault)
        assert (
            found["files"],
            found["detected"],
            found["load_error"],
            found["digest_mismatch"],
            found["file_sha_mismatch"],
        ) == (
            printed.files,
            printed.detected,
            printed.load_error,
            printed.digest_mismatch,
            printed.file_sha_mismatch,
        ), fault


def test_the_zero_range_that_was_missed_changed_no_byte(rows: list[dict[str, Any]]) -> None:
    ranges = [row for row in rows if row["fault"] == "zerorange"]
    (missed,) = (row for row in ranges if not row["detected"])
    (idle,) = (row for row in ranges if not row["effective"])

    assert missed == idle
    assert (missed["seed"], missed["epoch"]) == (7, 111)
    data = trained_files(7)[111]
    place = slice(missed["offset"], missed["offset"] + missed["length"])
    assert data[place] == bytes(missed["length"]) != b""
    assert missed["offset"] + missed["length"] == len(data)


def test_every_effective_fault_is_detected(rows: list[dict[str, Any]]) -> None:
    effective = {fault: counts(rows, fault)["effective"] for fault in TABLE_4}

    assert effective == {"none": 0, "bitflip": 400, "zerorange": 399, "truncate": 400}
    assert all(row["detected"] == row["effective"] for row in rows)


def test_most_flips_load_without_any_error(rows: list[dict[str, Any]]) -> None:
    flips = [row for row in rows if row["fault"] == "bitflip"]
    loaded = [row for row in flips if not row["load_error"]]
    intact = [row for row in loaded if not row["digest_mismatch"]]

    assert (len(flips), len(loaded), len(intact)) == (400, 393, 6)
    assert all(row["file_sha_mismatch"] for row in intact)


def test_the_unsafe_runs_of_figure_4_have_one_damaged_file_each(
    rows: list[dict[str, Any]],
) -> None:
    for crash, (damaged, files) in UNSAFE_RUNS.items():
        found = counts(rows, "none", crash)
        assert (found["detected"], found["files"]) == (damaged, files), crash


def test_training_has_left_no_trace_in_the_generator_of_this_process() -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    trained_files(1)

    assert torch.equal(torch.randn(4), expected)


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard() as made:
        yield made


class Trap:
    """A pickle that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_no_pickle_is_run_in_any_process(guard: Guard, tmp_path: Path) -> None:
    torch.save({"trap": Trap(tmp_path / "run")}, tmp_path / "a.pt")

    report = guard.check(tmp_path / "a.pt")

    assert report.reasons == ("load_error:UnpicklingError",)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn],
)
def test_tensors_of_any_dtype_have_a_digest(
    guard: Guard, tmp_path: Path, dtype: torch.dtype
) -> None:
    values = torch.arange(6).reshape(2, 3).to(dtype)
    torch.save({"x": values, "y": [values.T, 3]}, tmp_path / "a.pt")
    guard.write_sidecar(tmp_path / "a.pt")
    report = guard.check(tmp_path / "a.pt")

    assert not report.corrupted, report
    tensors = guard.describe(tmp_path / "a.pt").tensors
    assert tensors is not None
    assert [(each.name, each.shape) for each in tensors] == [("x", (2, 3)), ("y.0", (3, 2))]
    assert tensors[0].dtype == str(dtype).removeprefix("torch.")


def test_the_digest_is_that_of_other_formats(guard: Guard, tmp_path: Path) -> None:
    import numpy as np

    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "a.npz", x=values)
    torch.save({"x": torch.from_numpy(values)}, tmp_path / "a.pt")
    digests = {guard.describe(tmp_path / name).tensors for name in ("a.npz", "a.pt")}

    assert len(digests) == 1


def test_nan_and_infinity_are_counted(guard: Guard, tmp_path: Path) -> None:
    torch.save([torch.tensor([float("nan"), float("inf"), 1.0])], tmp_path / "a.pt")

    report = guard.check(tmp_path / "a.pt")

    assert (report.nan_total, report.inf_total, report.corrupted) == (1, 1, False)


def test_what_is_loaded_is_judged_in_a_child(guard: Guard, tmp_path: Path) -> None:
    """The child is another process of this Python."""
    torch.save({"x": torch.zeros(2)}, tmp_path / "a.pt")
    guard.check(tmp_path / "a.pt")
    process = guard._torch._process

    assert process is not None
    assert process.pid != os.getpid()
    assert sys.executable in process.args  # type: ignore[operator]
