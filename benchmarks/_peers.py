"""Ways to put the same parts on a disk, each as its own users would: for the benchmarks only.

A peer that is not installed says so by its ImportError. Every one ends with its data synced, as
far as its own protocol goes; what it leaves out is in its docstring.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lastgood import Store
from lastgood.hashing import Algorithm

Parts = Mapping[str, bytearray]
Save = Callable[[Path, Parts], object]


def raw(folder: Path, parts: Parts) -> None:
    """Plain files, one after the other: open, write, fsync, close; then the directory."""
    folder.mkdir()
    for name, data in parts.items():
        write_file(folder / name, data)
    sync_dir(folder)


def bare(folder: Path, parts: Parts) -> None:
    """The system calls of a save in the rename form and nothing else: no digest, no manifest."""
    home, group = folder / "attempt", folder / "group"
    folder.mkdir()
    home.mkdir()
    for name, data in parts.items():
        write_file(home / name, data)
    write_file(home / "MANIFEST", bytes(600))
    sync_dir(home)
    home.rename(group)
    sync_dir(folder)


def lastgood(folder: Path, parts: Parts, digest: Algorithm, stable: bool = False) -> None:
    """A save as users have it by default; opening the store is part of it."""
    with Store(folder, digest=digest) as store:
        store.save(1, parts, stable=stable)


def tensors(parts: Parts) -> dict[str, Any]:
    """The same memory as PyTorch tensors, without a copy."""
    import torch

    return {name: torch.frombuffer(data, dtype=torch.uint8) for name, data in parts.items()}


def torch_save(folder: Path, parts: Parts) -> None:
    """`torch.save` of one file, flushed and synced. No digest that is checked on load."""
    import torch

    folder.mkdir()
    with (folder / "model.pt").open("wb") as file:
        torch.save(tensors(parts), file)
        file.flush()
        os.fsync(file.fileno())
    sync_dir(folder)


def safetensors(folder: Path, parts: Parts) -> None:
    """`safetensors.torch.save_file` of one file, synced. No digest."""
    from safetensors.torch import save_file

    folder.mkdir()
    path = folder / "model.safetensors"
    save_file(tensors(parts), str(path))
    sync_file(path)
    sync_dir(folder)


def dcp(folder: Path, parts: Parts) -> None:
    """PyTorch's distributed checkpoint in one process, `sync_files` on. No digest."""
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint import FileSystemWriter

    writer = FileSystemWriter(str(folder), sync_files=True)
    checkpoint.save(tensors(parts), storage_writer=writer, no_dist=True)


def orbax(folder: Path, parts: Parts) -> None:
    """Orbax's standard checkpointer, waited for. CRC-32C on its tables, not on values."""
    import numpy as np
    import orbax.checkpoint as ocp

    tree = {name: np.frombuffer(data, dtype=np.uint8) for name, data in parts.items()}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve(), tree)
        checkpointer.wait_until_finished()


PEERS: dict[str, Save] = {
    "raw write + fsync": raw,
    "lastgood, SHA-256": partial(lastgood, digest="sha256"),
    "lastgood, XXH3": partial(lastgood, digest="xxh3"),
    "lastgood, SHA-256, stable": partial(lastgood, digest="sha256", stable=True),
    "lastgood, XXH3, stable": partial(lastgood, digest="xxh3", stable=True),
    "torch.save + fsync": torch_save,
    "safetensors + fsync": safetensors,
    "PyTorch DCP": dcp,
    "Orbax": orbax,
}


def write_file(path: Path, data: bytes | bytearray) -> None:
    """One new file, written and synced."""
    with path.open("xb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Sync a file that somebody else has written."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_dir(path: Path) -> None:
    """Sync a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
