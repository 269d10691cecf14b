"""A store whose every acknowledged byte is known, and a look at it that trusts no library."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import Factory, define

from lastgood import Store
from lastgood.backends.interface import FileSystemTraits
from lastgood.backends.posix import PosixDisk
from lastgood.protocol.plan import Form

Parts = Mapping[str, bytes]
HERE: Final = FileSystemTraits("ext4", "/", True, "power", "as a test says")
"""The traits of whatever disk a store lies on here: no warning, and the mode that syncs."""


def content(seed: str, size: int) -> bytes:
    """Bytes that are nowhere else on the disk."""
    return hashlib.shake_256(seed.encode()).digest(size)


GROUPS: Final[Mapping[int, tuple[int, Parts]]] = {
    1: (0, {"rng": content("1r", 40), "a/b": content("1b", 100)}),
    2: (0, {"model": content("2m", 64 << 10), "optim/adam": content("2a", 5000)}),
    3: (4096, {"model": content("3m", 70_000), "rng": content("3r", 48), "empty": b""}),
    4: (0, {"model": content("4m", 400 << 10)}),
    5: (8192, {"model": content("5m", 300_001), "optim/adam": content("5a", 12_345), "r": b"5"}),
}
"""The size of chunks (0: none) and the parts of each step: inline files, extents, chunks."""
SMALL_GROUPS: Final[Mapping[int, tuple[int, Parts]]] = {
    1: (0, {"model": content("1m", 3000), "optim/adam": content("1a", 50)}),
    2: (4096, {"model": content("2c", 9000), "rng": content("2r", 40)}),
    3: (0, {"model": content("3c", 6000), "optim/adam": content("3a", 70)}),
}


@define
class Truth:
    """All that was acknowledged in a store, by a group's name: its files with their bytes.

    `given_up` are the names that a policy was allowed to take; `begun` is what a save that was not
    acknowledged may have left whole.
    """

    groups: dict[str, dict[str, bytes]] = Factory(dict)
    given_up: set[str] = Factory(set)
    begun: dict[str, Parts] = Factory(dict)

    def copy(self) -> Truth:
        """Another one that says the same."""
        return Truth(dict(self.groups), set(self.given_up), dict(self.begun))

    def note(self, store: Path, name: str, parts: Parts) -> None:
        """A group was acknowledged just now. Its MANIFEST is read from the disk, if that works."""
        self.groups[name] = dict(parts)
        with contextlib.suppress(OSError):
            self.groups[name]["MANIFEST"] = (store / name / "MANIFEST").read_bytes()

    def parts(self, name: str) -> dict[str, bytes]:
        """The parts of a group that was acknowledged, or that a save had begun."""
        files = self.groups.get(name) or self.begun.get(name, {})
        return {part: data for part, data in files.items() if part != "MANIFEST"}

    def newest(self, among: set[str] | None = None) -> str | None:
        """The newest acknowledged group that no policy could take, or of some."""
        names = set(self.groups) - self.given_up if among is None else among
        return max(names, default=None)


def name_of(generation: int, step: int) -> str:
    """A group's name."""
    return f"gen-{generation:08d}-step-{step:08d}"


def open_store(path: Path, disk: PosixDisk | None = None, **more: Any) -> Store:
    """A writable store in this process, which says of every disk that it is a good one."""
    form: Form = more.pop("form", "rename")
    more = {"mode": "atomic_dirsync", "workers": 1, "now": lambda: 1_700_000_000.0, **more}
    return Store(path, form=form, disk=PosixDisk(HERE) if disk is None else disk, **more)


def make_store(
    path: Path,
    groups: Mapping[int, tuple[int, Parts]] = GROUPS,
    *,
    leftovers: bool = True,
    quarantined_bytes: int = 3000,
) -> Truth:
    """A store of these groups, with one damaged group in quarantine.

    With `leftovers`, a dead attempt that is newer than all of them and a prune's unfinished work.
    """
    truth = Truth()
    with open_store(path) as store:
        store.save(0, {"model": content("to be damaged", quarantined_bytes)})
        (path / name_of(1, 0) / "model").write_bytes(content("damaged", quarantined_bytes))
        store.repair()
    for step, (chunk_bytes, parts) in groups.items():
        with open_store(path, chunk_bytes=chunk_bytes or None) as store:
            receipt = store.save(step, parts)
            truth.note(path, name_of(receipt.generation, step), parts)
    if leftovers:
        dead = path / f"attempt-{name_of(len(groups) + 2, 99)}"
        dead.mkdir()
        (dead / "model").write_bytes(content("dead", 6000))
        given_up = path / f"pruned-{name_of(1, 0)}"
        given_up.mkdir()
        (given_up / "model").write_bytes(content("given up", 6000))
    return truth


def tree_of(path: Path) -> dict[str, bytes] | None:
    """The files below a directory with their bytes; None where some of it cannot be read."""
    found: dict[str, bytes] = {}
    try:
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                below = tree_of(Path(entry.path))
                if below is None:
                    return None
                found.update({f"{entry.name}/{name}": data for name, data in below.items()})
            elif entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb", buffering=0) as file:
                    found[entry.name] = file.readall()
            else:
                found[entry.name] = b"(no file)"
    except OSError:
        return None
    return found


def intact_in(folder: Path, truth: Truth) -> set[str]:
    """The acknowledged groups that lie in a folder under their names, whole, byte for byte."""
    return {name for name, files in truth.groups.items() if _is(files, tree_of(folder / name))}


def moved_intact(store: Path, truth: Truth) -> set[str]:
    """The acknowledged groups that lie whole in the store's quarantine, under whatever name."""
    aside = store / "quarantine"
    try:
        names = os.listdir(aside)
    except OSError:
        return set()
    trees = [tree_of(aside / name) for name in names if not name.endswith(".json")]
    return {name for name, files in truth.groups.items() if any(_is(files, t) for t in trees)}


def lost(store: Path, truth: Truth) -> list[str]:
    """The acknowledged groups that are not in their place any more, and no policy took."""
    aside, there = moved_intact(store, truth), intact_in(store, truth)
    found = [f"{name} is whole and was moved to quarantine" for name in sorted(aside)]
    gone = set(truth.groups) - truth.given_up - there - aside
    return [*found, *(f"{name} was acknowledged and is lost or changed" for name in sorted(gone))]


def _is(files: dict[str, bytes], found: dict[str, bytes] | None) -> bool:
    """Say whether a tree has these files and no others; a MANIFEST that nobody read may be any."""
    if found is None or "MANIFEST" not in found:
        return False
    return {"MANIFEST": found["MANIFEST"], **files} == found
