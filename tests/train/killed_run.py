"""A training process that stops in the middle of a chosen save and waits there to be killed.

    python -m tests.train.killed_run STORE FORM EPOCHS SAVES CALL FRAGMENT

The SAVES-th save is stopped at its first seam call CALL whose path contains FRAGMENT.  A write
is half done at that moment; any other call has not begun.  The process then prints one line and
waits for ever: what ends it is the SIGKILL of its parent.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define
from examples.train_digits import train

from lastgood import Store
from lastgood.backends.posix import PosixDisk


class StoppingDisk(PosixDisk):
    """The real disk, until `armed`; then it stops at one call and stays there."""

    armed = False

    def __init__(self, call: str, fragment: str) -> None:
        super().__init__()
        self.call = call
        self.fragment = fragment

    def _stop_at(self, call: str, path: str) -> bool:
        return self.armed and call == self.call and self.fragment in path

    def _wait_for_the_kill(self, call: str, path: str) -> None:
        print(f"stopped at {call} {Path(path).name}", flush=True)
        while True:
            signal.pause()

    def mkdir(self, path: str) -> None:
        if self._stop_at("mkdir", path):
            self._wait_for_the_kill("mkdir", path)
        super().mkdir(path)

    def create(self, path: str) -> None:
        if self._stop_at("create", path):
            self._wait_for_the_kill("create", path)
        super().create(path)

    def write(self, path: str, data: bytes | memoryview) -> None:
        if self._stop_at("write", path):
            super().write(path, memoryview(data)[: len(data) // 2])
            self._wait_for_the_kill("write", path)
        super().write(path, data)

    def fsync(self, path: str) -> None:
        if self._stop_at("fsync", path):
            self._wait_for_the_kill("fsync", path)
        super().fsync(path)

    def fsync_dir(self, path: str) -> None:
        if self._stop_at("fsync_dir", path):
            self._wait_for_the_kill("fsync_dir", path)
        super().fsync_dir(path)

    def rename(self, src: str, dst: str) -> None:
        if self._stop_at("rename", dst):
            self._wait_for_the_kill("rename", dst)
        super().rename(src, dst)


@define
class ArmingStore:
    """A store whose disk is armed when the given number of saves has begun."""

    store: Store
    disk: StoppingDisk
    saves_left: int

    def save(self, step: int, parts: Mapping[str, bytes], metadata: Any = None) -> object:
        self.saves_left -= 1
        self.disk.armed = self.saves_left == 0
        return self.store.save(step, parts, metadata=metadata)


def main() -> None:
    path, form, epochs, saves, call, fragment = sys.argv[1:]
    disk = StoppingDisk(call, fragment)
    with Store(path, form=form, disk=disk) as store:  # type: ignore[arg-type]  # from a command line
        train(ArmingStore(store, disk, int(saves)), int(epochs))
    sys.exit("the run ended without reaching the place where it was to stop")


if __name__ == "__main__":
    main()
