"""Tensors of PyTorch as parts, and the guide's quick start: run by `make test-torch`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lastgood import Store, UsageError

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn)
OTHERS = (torch.int64, torch.uint8, torch.bool, torch.complex64)


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS])
def test_a_tensor_is_saved_as_its_memory(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)
    with Store(tmp_path / "store") as store:
        store.save(1, {"tensor": tensor})
        data = store.restore()["tensor"]

    assert torch.equal(
        torch.frombuffer(bytearray(data), dtype=torch.uint8), tensor.view(torch.uint8).flatten()
    )


def test_a_parameter_is_saved_without_its_gradient(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    with Store(tmp_path / "store") as store:
        store.save(1, dict(model.named_parameters()))
        loaded = store.restore()

    weight = torch.frombuffer(bytearray(loaded["weight"]), dtype=torch.float32).reshape(2, 3)
    assert torch.equal(weight, model.weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.arange(6).reshape(2, 3).T, "contiguous"),
        (lambda: torch.arange(6).to_sparse(), "cannot be read"),
        (lambda: torch.empty(3, device="meta"), "cannot be read|accelerator"),
    ],
)
def test_a_tensor_that_has_no_plain_memory_says_so(
    tmp_path: Path, make: object, message: str
) -> None:
    with Store(tmp_path / "store") as store, pytest.raises(UsageError, match=message):
        store.save(1, {"tensor": make()})  # type: ignore[operator]


def test_the_quick_start_runs_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python torch\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    exec(compile(block, "guide.md", "exec"), {})  # noqa: S102
    with Store("runs/linear") as store:
        assert store.all_steps() == [99, 199, 299]
        first = store.load()
    later: dict[str, object] = {}
    exec(compile(block, "guide.md", "exec"), later)  # noqa: S102

    assert later["start"] == first.step + 1


def saved(tmp_path: Path, tensor: torch.Tensor) -> torch.Tensor:
    """What a load gives back of a tensor that was saved."""
    with Store(tmp_path / "store") as store:
        store.save(1, {"tensor": tensor})
        data = bytearray(store.restore()["tensor"])
    return torch.frombuffer(data, dtype=tensor.dtype).reshape(tensor.shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor([1 + 2j, 3 - 4j]).conj().imag[:1],
        lambda: torch.tensor([1.0, -2.0])._neg_view(),
        lambda: torch.tensor([1 + 2j]).conj(),
        lambda: torch.tensor([1 + 2j])._neg_view().conj(),
        lambda: torch.tensor([1.0, -2.0], requires_grad=True)._neg_view(),
    ],
)
def test_a_tensor_is_saved_with_the_sign_that_it_shows(
    tmp_path: Path, make: Callable[[], torch.Tensor]
) -> None:
    tensor = make()

    assert tensor.is_neg() or tensor.is_conj()
    assert torch.equal(saved(tmp_path, tensor), tensor.detach())


def test_a_chunk_is_saved_with_the_sign_that_it_shows(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        store.save(1, {"tensor": [torch.tensor([1.0])._neg_view()]})
        data = bytearray(store.restore()["tensor"])

    assert torch.frombuffer(data, dtype=torch.float32).tolist() == [-1.0]
