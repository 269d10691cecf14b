"""A program that saves a group twice, and says when each step of the second save ran.

`python -m powercut_lab.observe.save_program STORE PROTOCOL MODE`

The first save makes the store and loads what Python loads late; then everything is synced, so the
second one starts from a quiet disk.  It prints one line of JSON: a `Told`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from attrs import asdict, frozen

from lastgood.backends.capabilities import system_info
from lastgood.backends.detect import disk_here
from lastgood.backends.interface import Disk
from lastgood.crashtest import paper_protocol
from lastgood.crashtest.subjects import LastgoodSession
from lastgood.parts.part_writer import PartSource
from lastgood.protocol import steps
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import MODES, Form, Mode

Protocol = Literal["lastgood", "paper"]
PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)

_NAMES: Final[Mapping[type[steps.SimpleStep], str]] = {
    steps.MakeDir: "mkdir", steps.CreateFile: "create", steps.WritePart: "write",
    steps.WriteRecord: "write", steps.SyncFile: "fsync", steps.CloseFile: "close",
    steps.SyncDir: "fsync_dir", steps.FullSyncDir: "full_sync_dir",
    steps.RenameEntry: "rename", steps.Remove: "unlink", steps.RemoveDir: "rmdir",
}  # fmt: skip


@frozen
class ToldStep:
    """A step that was carried out: its path below the store ("" is the store), and when.

    `content` names the part or the record that a write wrote; a rename's path is the new one.
    """

    name: str
    path: str
    content: str
    begin_ns: int
    end_ns: int


@frozen
class Told:
    """The program's words on its second save; times are of the monotonic clock.

    `wall_begin_s` is the Unix time at `begin_ns`.  `quiet_ns` is when a sync after the save had
    made everything durable.
    """

    form: str
    file_system: str
    begin_ns: int
    end_ns: int
    quiet_ns: int
    wall_begin_s: float
    steps: tuple[ToldStep, ...]


def the_papers_group(seed: int) -> dict[str, bytes]:
    """The group of the source paper: 128 KiB and 64 KiB of random bytes, and a small JSON."""
    dice = random.Random(seed)  # noqa: S311 - the same content each time
    rng = json.dumps({"python": seed, "numpy": [dice.random() for _ in range(4)]}).encode()
    return {
        "model.bin": dice.randbytes(128 << 10),
        "optim.bin": dice.randbytes(64 << 10),
        "rng.json": rng,
    }


def told_from(line: str) -> Told:
    """The content of a line of the program. ValueError for anything else."""
    try:
        said: dict[str, Any] = json.loads(line)
        return Told(**{**said, "steps": tuple(ToldStep(**each) for each in said["steps"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{line[:200]!r} is not what the program says") from error


class _Observer:
    """Hears of each step of a save, and keeps it with its time."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._contents: dict[str, str] = {}
        self.told: list[ToldStep] = []

    def clock(self) -> float:
        return time.monotonic_ns() / 1e9

    def observe(self, step: steps.SimpleStep, seconds: float) -> None:
        end_ns = time.monotonic_ns()
        path: str = getattr(step, "path", "") or getattr(step, "dst", "")
        content: str = getattr(step, "part", "") or getattr(step, "record", "")
        if isinstance(step, steps.RenameEntry):
            content = self._contents.get(step.src, "")
        if content:
            self._contents[path] = content
        content = content or self._contents.get(path, "")
        below = path.removeprefix(self._store).lstrip("/")
        begin_ns = end_ns - round(seconds * 1e9)
        self.told.append(ToldStep(_NAMES[type(step)], below, content, begin_ns, end_ns))


def _saver(
    protocol: Protocol, disk: Disk, store: str, mode: Mode, form: Form, observer: _Observer
) -> Callable[[int, Mapping[str, bytes]], object]:
    """The save of a protocol, observed."""
    if protocol == "lastgood":
        session = LastgoodSession(
            disk, store, mode, form, clock=observer.clock, observe=observer.observe
        )
        return session.save

    def save(step: int, parts: Mapping[str, bytes]) -> None:
        content = {name: PartSource([data], size_bytes=len(data)) for name, data in parts.items()}
        executor = StepExecutor(
            disk,
            content,
            lambda name, done: paper_protocol.record(name, done, epoch=step, time_s=0.0),
            clock=observer.clock,
            observe=observer.observe,
        )
        for each in paper_protocol.plan_save(mode, store, step, list(parts)):
            executor.execute(each)

    if disk.kind(store) == "missing":
        disk.mkdir(store)
    return save


def run(store: str, protocol: Protocol, mode: Mode) -> Told:
    """Save twice and tell of the second save. Errors are those of the library."""
    disk = disk_here(signs_locks=False)
    traits = system_info(disk).file_system(store)
    form: Form = "rename" if traits.rename_is_atomic else "record"
    observer = _Observer(store)
    save = _saver(protocol, disk, store, mode, form, observer)
    save(1, the_papers_group(1))
    _sync(store)
    observer.told.clear()
    parts = the_papers_group(2)
    wall_begin_s, begin_ns = time.time(), time.monotonic_ns()
    save(2, parts)
    end_ns = time.monotonic_ns()
    _sync(store)
    quiet_ns = time.monotonic_ns()
    told = tuple(observer.told)
    return Told(form, traits.name, begin_ns, end_ns, quiet_ns, wall_begin_s, told)


def _sync(store: str) -> None:
    """Make all of the store's file system durable, and nothing of another where that can be."""
    if sys.platform == "linux":
        from powercut_rig.system.linux_syscalls import syncfs

        folder = os.open(store, os.O_RDONLY | os.O_DIRECTORY)
        try:
            syncfs(folder)
        finally:
            os.close(folder)
    else:
        os.sync()


def main(arguments: list[str]) -> int:
    """Carry out the command line; 2 for one that cannot be meant, 1 where the save fails."""
    if len(arguments) != 3 or arguments[1] not in PROTOCOLS or arguments[2] not in MODES:
        sys.stdout.write("usage: STORE PROTOCOL MODE\n")
        return 2
    store, protocol, mode = arguments
    try:
        told = run(str(Path(store)), cast("Protocol", protocol), cast("Mode", mode))
    except Exception as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(told)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
