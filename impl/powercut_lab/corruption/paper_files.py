"""The paper's runs of single files: its network, its seeds, its generator, its faults.

Each run seeds one generator and draws from it for each of 40 files.  The files are written by
torch.save in this process, and loaded, once they are damaged, by the guard's child process.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from lastgood.guard import FileReport, Guard, Sidecar
from powercut_lab.corruption.faults import (
    ByteFault,
    FaultAction,
    flip_bits,
    no_fault,
    truncation,
    zero_range,
)
from powercut_lab.corruption.paper_values import EPOCHS, EPOCHS_SAVED, SINGLE_FILE_KEPT
from powercut_lab.study import Row

FAULTS: Final[dict[str, ByteFault]] = {
    "none": no_fault,
    "bitflip": flip_bits,
    "zerorange": zero_range,
    "truncate": truncation(SINGLE_FILE_KEPT),
}
CRASHES: Final = {
    "early": EPOCHS_SAVED[0],
    "mid": EPOCHS_SAVED[len(EPOCHS_SAVED) // 2],
    "late": EPOCHS_SAVED[-1],
}
"""The epoch whose file is cut in half, and is the last one of its run."""


def has_torch() -> bool:
    """PyTorch can be imported; it is not imported for this."""
    return find_spec("torch") is not None


def paper_rows(seeds: Iterable[int], folder: Path) -> Iterator[Row]:
    """Rows of `PAPER_FILES`: for each seed the four faults, then the three unsafe runs."""
    with Guard(reject_nonfinite=True) as guard:  # one child process for all of them
        for seed in seeds:
            yield from _rows_of_seed(guard, seed, folder)


def _rows_of_seed(guard: Guard, seed: int, folder: Path) -> Iterator[Row]:
    import torch

    version = str(torch.__version__)
    files = trained_files(seed)
    sidecars = {epoch: _describe(guard, folder, data) for epoch, data in files.items()}
    for fault, apply in FAULTS.items():
        draw = random.Random(seed)  # noqa: S311 - the paper's own generator
        for epoch, data in files.items():
            damage = apply(data, draw)
            report = _judge(guard, folder, epoch, damage.data, sidecars[epoch])
            yield _row((fault, "none", seed, epoch), data, damage, report, version)
    for crash, last in CRASHES.items():
        for epoch in (each for each in files if each <= last):
            data = files[epoch]
            half = len(data) // 2
            whole = FaultAction(data, 0, 0)
            cut = FaultAction(data[:half], half, len(data) - half) if epoch == last else whole
            report = _judge(guard, folder, epoch, cut.data, sidecars[epoch])
            yield _row(("none", crash, seed, epoch), data, cut, report, version)


def trained_files(seed: int) -> dict[int, bytes]:
    """The bytes that torch.save makes at each saved epoch of the paper's training run."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, on every machine
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return dict(_train(torch))
    finally:
        torch.set_num_threads(threads)


def _train(torch: Any) -> Iterator[tuple[int, bytes]]:
    hidden, output = torch.nn.Linear(128, 128), torch.nn.Linear(128, 10)
    weights = [*hidden.parameters(), *output.parameters()]
    optimizer = torch.optim.SGD(weights, lr=1e-2)
    loss_of = torch.nn.CrossEntropyLoss()
    names = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    for epoch in range(1, EPOCHS + 1):
        inputs, targets = torch.randn(32, 128), torch.randint(0, 10, (32,))
        loss = loss_of(output(torch.tanh(hidden(inputs))), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch in EPOCHS_SAVED:
            buffer = io.BytesIO()
            torch.save(dict(zip(names, weights, strict=True)), buffer)
            yield epoch, buffer.getvalue()


def _describe(guard: Guard, folder: Path, data: bytes) -> Sidecar:
    file = folder / "intact.pt"
    file.write_bytes(data)
    return guard.describe(file)


def _judge(guard: Guard, folder: Path, epoch: int, data: bytes, sidecar: Sidecar) -> FileReport:
    file = folder / f"ckpt_epoch_{epoch:04d}.pt"
    file.write_bytes(data)
    return guard.check(file, sidecar)


def _row(
    run: tuple[str, str, int, int],
    data: bytes,
    damage: FaultAction,
    report: FileReport,
    version: str,
) -> Row:
    reasons = [reason.partition(":")[0] for reason in report.reasons]
    words = ("load_error", "shape_mismatch", "digest_mismatch", "file_sha_mismatch")
    return (
        *run, len(data), damage.offset, damage.length, int(damage.data != data),
        *(int(word in reasons) for word in words),
        int(report.corrupted), ";".join(report.reasons), version,
    )  # fmt: skip
