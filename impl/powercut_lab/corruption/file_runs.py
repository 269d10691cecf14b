"""Injections into single files with a sidecar, in each format that the guard can load."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from lastgood.guard import SUFFIX, Guard, encode_sidecar
from powercut_lab.corruption.changes import CONTROL, Change, Checkpoint, faults_at_rest, nothing
from powercut_lab.corruption.group_runs import AT_REST, drawing, write_files
from powercut_lab.corruption.groups import NEWER, OLDER
from powercut_lab.corruption.paper_values import SINGLE_FILE_KEPT
from powercut_lab.corruption.raw import Injection

SUBJECT: Final = "single file"
_Arrays = Mapping[str, Any]


def formats() -> tuple[str, ...]:
    """The formats that can be written here, by the endings of their names."""
    return ("npz", "safetensors", *(("pt",) if find_spec("torch") is not None else ()))


def inject_into_file(ending: str, count: int, seed: int, folder: Path) -> Iterator[Injection]:
    """`count` injections of each fault, and as many controls.

    A fault before the write leaves what one at rest leaves: the sidecar is of the intact bytes.
    """
    name = f"ckpt_epoch_{NEWER:04d}.{ending}"
    with Guard() as guard:
        checkpoint = new_checkpoint(guard, folder, name, ending, seed)
        write_files(folder, {**checkpoint.parts, **checkpoint.records})
        faults = {CONTROL: nothing, **faults_at_rest(SINGLE_FILE_KEPT)}
        for fault, apply in faults.items():
            draw = drawing(seed, SUBJECT, ending, fault)
            for _ in range(count):
                change = apply(checkpoint, draw)
                effective = change.is_effective(checkpoint)
                write_files(folder, change.files)
                yield judge_file(guard, folder / name, ending, (fault, effective, change))
                write_files(folder, {**checkpoint.parts, **checkpoint.records})


def judge_file(guard: Guard, file: Path, ending: str, what: tuple[str, bool, Change]) -> Injection:
    """Judge a file beside its sidecar: the fault, whether it changed a byte, and where."""
    fault, effective, change = what
    report = guard.check(file)
    words = {reason.partition(":")[0] for reason in report.reasons}
    return Injection(
        SUBJECT, ending, fault, AT_REST, int(effective),
        int(report.load_ok is False), int(report.shape_ok is False),
        int(report.digest_ok is False), int(report.file_sha_ok is False),
        int("meta_error" in words), -1,
        int(report.corrupted), "rejected" if report.corrupted else "accepted",
        ";".join(sorted(words)),
        "" if effective or fault == CONTROL else change.where,
    )  # fmt: skip


def new_checkpoint(guard: Guard, folder: Path, name: str, ending: str, seed: int) -> Checkpoint:
    """The files of a checkpoint in one file with a sidecar, and of an older one."""
    files = {}
    for step in (OLDER, NEWER):
        file = folder / f"intact-{step}.{ending}"
        file.write_bytes(_WRITERS[ending](_arrays(seed, step)))
        files[step] = file.read_bytes(), encode_sidecar(guard.describe(file))
    (older, older_sidecar), (newer, sidecar) = files[OLDER], files[NEWER]
    record = f"{name}{SUFFIX}"
    return Checkpoint({name: newer}, {record: sidecar}, {name: older}, {record: older_sidecar})


def _arrays(seed: int, step: int) -> _Arrays:
    """Tensors of the shapes of the paper's network."""
    draw = np.random.default_rng((seed, step))
    shapes = {
        "fc1.weight": (128, 128), "fc1.bias": (128,), "fc2.weight": (10, 128), "fc2.bias": (10,),
    }  # fmt: skip
    return {name: draw.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def _npz(arrays: _Arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _safetensors(arrays: _Arrays) -> bytes:
    from safetensors.numpy import save

    data: bytes = save(dict(arrays))
    return data


def _torch(arrays: _Arrays) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, stream)
    return stream.getvalue()


_WRITERS: Final[Mapping[str, Callable[[_Arrays], bytes]]] = {
    "npz": _npz,
    "safetensors": _safetensors,
    "pt": _torch,
}
