"""Ways to put the same parts on a disk, each as its own users would: for the benchmarks only.

Every one ends with its data synced, as far as its own protocol goes. What it promises then, and
what it leaves out, is in its `Peer.gives`, which the benchmarks print. A peer whose package is not
installed is named with the reason: see `here`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from lastgood import Store
from lastgood.format.digests import Algorithm

Parts = Mapping[str, bytearray]
Save = Callable[[Path, Parts], object]

NOT_PEERS: Mapping[str, str] = {
    "ravex 0.10": "its way in is a decorated PyTorch training loop, which no call that saves named"
    " buffers stands beside; the bytes of its default backend are moonclip's, measured here",
}
"""What people would look for here, and why it is not measured."""


@frozen
class Peer:
    """A way to save: `gives` says what is on the disk when it returns, and what a load checks."""

    save: Save
    gives: str
    needs: str = ""
    """The package that it cannot do without."""
    settings: Mapping[str, Any] = {}
    """What its own store is made with, beyond what it has by itself."""


def raw(folder: Path, parts: Parts) -> None:
    """Plain files, one after the other: open, write, fsync, close; then the directory."""
    folder.mkdir()
    for name, data in parts.items():
        write_file(folder / name, data)
    sync_dir(folder)


def bare(folder: Path, parts: Parts) -> None:
    """The system calls of a save in the rename form and nothing else: no digest, no manifest."""

    def write(home: Path) -> None:
        for name, data in parts.items():
            write_file(home / name, data)

    committed(folder, write)


def bare_together(folder: Path, parts: Parts) -> None:
    """The same calls in the order in which a save of small parts makes them.

    All are written and their write-back is begun before the first is synced.
    """

    def write(home: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        files = [os.open(home / name, flags, 0o666) for name in parts]
        for fd, data in zip(files, parts.values(), strict=True):
            os.write(fd, data)
            write_early(fd)
        for fd in files:
            os.fsync(fd)
        for fd in files:
            os.close(fd)

    committed(folder, write)


def committed(folder: Path, write: Callable[[Path], None]) -> None:
    """What comes before and after the parts of a save in the rename form."""
    home = folder / "attempt"
    folder.mkdir()
    home.mkdir()
    write(home)
    write_file(home / "MANIFEST", bytes(600))
    sync_dir(home)
    home.rename(folder / "group")
    sync_dir(folder)


def write_early(fd: int) -> None:
    """The hint that a save gives on Linux; elsewhere nothing."""
    if sys.platform == "linux":
        from lastgood.backends.linux_syscalls import begin_write_back

        begin_write_back(fd)


def lastgood(folder: Path, parts: Parts, digest: Algorithm, stable: bool = False) -> None:
    """A save as users have it by default; opening the store is part of it."""
    with Store(folder, digest=digest) as store:
        store.save(1, parts, stable=stable)


def moonclip(folder: Path, parts: Parts, **settings: Any) -> None:
    """A save by moonclip that is waited for; opening is part of it, as it is for lastgood."""
    store = moonclip_store(folder, **settings)
    store.save_tensors(step=1, tensors=moonclip_tensors(parts))
    store.flush()


def moonclip_store(folder: Path, **settings: Any) -> Any:
    """A store of moonclip that saves in the caller's thread and deletes nothing meanwhile."""
    from moonclip import MoonclipManager

    kept = {"max_full_snapshots": 10_000, "async_save": False}
    return MoonclipManager(str(folder), **kept, **settings)


def moonclip_tensors(parts: Parts) -> dict[str, Any]:
    """As its documents advise: tensors, which save it a copy; plain bytes without PyTorch."""
    if importlib.util.find_spec("torch"):
        return tensors(parts)
    return {name: ([len(data)], "uint8", bytes(data)) for name, data in parts.items()}


def durablewrite(folder: Path, parts: Parts) -> None:
    """One file after the other by `write_bytes_atomic`, with its strongest sync, the default."""
    from durablewrite import write_bytes_atomic

    folder.mkdir()
    for name, data in parts.items():
        write_bytes_atomic(folder / name, data)


def tensors(parts: Parts) -> dict[str, Any]:
    """The same memory as PyTorch tensors, without a copy."""
    import torch

    return {name: torch.frombuffer(data, dtype=torch.uint8) for name, data in parts.items()}


def torch_save(folder: Path, parts: Parts) -> None:
    """`torch.save` of one file, flushed and synced."""
    import torch

    folder.mkdir()
    with (folder / "model.pt").open("wb") as file:
        torch.save(tensors(parts), file)
        file.flush()
        os.fsync(file.fileno())
    sync_dir(folder)


def safetensors(folder: Path, parts: Parts) -> None:
    """`safetensors.torch.save_file` of one file, synced."""
    from safetensors.torch import save_file

    folder.mkdir()
    path = folder / "model.safetensors"
    save_file(tensors(parts), str(path))
    sync_file(path)
    sync_dir(folder)


def dcp(folder: Path, parts: Parts) -> None:
    """PyTorch's distributed checkpoint in one process, `sync_files` on."""
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint import FileSystemWriter

    writer = FileSystemWriter(str(folder), sync_files=True)
    checkpoint.save(tensors(parts), storage_writer=writer, no_dist=True)


def orbax(folder: Path, parts: Parts) -> None:
    """Orbax's standard checkpointer, waited for."""
    import numpy as np
    import orbax.checkpoint as ocp

    tree = {name: np.frombuffer(data, dtype=np.uint8) for name, data in parts.items()}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve(), tree)
        checkpointer.wait_until_finished()


MOONCLIP = "files, directories and manifest synced; XXH3-128 per tensor, checked on load"
MOONCLIP_BARE: Mapping[str, Any] = {"compression_level": 0, "keep_base_in_memory": False}
LASTGOOD = "files, directory, store and its ancestors synced; {} per part, checked on load"
LATER = "file and directory synced under its final name; "

PEERS: dict[str, Peer] = {
    "raw write + fsync": Peer(raw, "files and directory synced; no digest, nothing is atomic"),
    "lastgood, SHA-256": Peer(partial(lastgood, digest="sha256"), LASTGOOD.format("SHA-256")),
    "lastgood, XXH3": Peer(partial(lastgood, digest="xxh3"), LASTGOOD.format("XXH3-128"), "xxhash"),
    "lastgood, SHA-256, stable": Peer(
        partial(lastgood, digest="sha256", stable=True),
        f"{LASTGOOD.format('SHA-256')}; the caller keeps its memory still",
    ),
    "lastgood, XXH3, stable": Peer(
        partial(lastgood, digest="xxh3", stable=True),
        f"{LASTGOOD.format('XXH3-128')}; the caller keeps its memory still",
        "xxhash",
    ),
    "moonclip": Peer(moonclip, f"{MOONCLIP}; zstd level 3, as it comes", "moonclip"),
    "moonclip, level 0": Peer(
        partial(moonclip, **MOONCLIP_BARE),
        f"{MOONCLIP}; not compressed, no copy kept for the next delta",
        "moonclip",
        MOONCLIP_BARE,
    ),
    "durablewrite": Peer(
        durablewrite,
        "each file and its directory synced, each atomic alone, no group; no digest",
        "durablewrite",
    ),
    "torch.save + fsync": Peer(torch_save, f"{LATER}CRC-32 that no load checks", "torch"),
    "safetensors + fsync": Peer(safetensors, f"{LATER}no digest", "safetensors"),
    "PyTorch DCP": Peer(
        dcp,
        "data synced; .metadata synced before it is written, directories never; no digest",
        "torch",
    ),
    "Orbax": Peer(
        orbax, "arrays synced, its own JSON and renames not; CRC-32C of tables, not values", "orbax"
    ),
}


def here(names: list[str]) -> dict[str, Peer]:
    """Those of the peers that can run here, each described; the others are named with a reason."""
    print("what each has done when it returns:")
    found = {}
    for name in names:
        peer = PEERS[name]
        print(f"  {name:28}{peer.gives}")
        if peer.needs and importlib.util.find_spec(peer.needs) is None:
            print(f"  {'':28}NOT RUN: the package {peer.needs} is not installed")
        else:
            found[name] = peer
    for name, reason in NOT_PEERS.items():
        print(f"  not measured: {name}: {reason}")
    return found


def write_file(path: Path, data: bytes | bytearray | memoryview | Iterable[memoryview]) -> None:
    """One new file, written and synced."""
    chunks = [memoryview(data)] if isinstance(data, bytes | bytearray | memoryview) else data
    with path.open("xb", buffering=0) as file:
        for chunk in chunks:
            left = chunk
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


def settle(folder: Path) -> None:
    """Nothing of the folder's file system is dirty. Others are left alone: they may be in use."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if sync is None:  # macOS
            os.sync()
        elif sync(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(fd)
