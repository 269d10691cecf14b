"""A training process that stops in the middle of a chosen save and waits there to be killed.

    python -m tests.train.killed_run STORE FORM EPOCHS SAVES CALL FRAGMENT

The SAVES-th save is stopped at its first seam call CALL whose path contains FRAGMENT.  A write
is half done at that moment; any other call has not begun.  The process then prints one line and
waits for ever: what ends it is the SIGKILL of its parent.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define
from examples.train_digits import train

from lastgood import Store
from tests.impl.disks import WatchedDisk


class StoppingDisk(WatchedDisk):
    """The real disk, until `armed`; then it stops at one call and stays there."""

    armed = False

    def __init__(self, root: str, call: str, fragment: str) -> None:
        super().__init__(Path(root))
        self.call = call
        self.fragment = fragment

    def _watched(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        path = [arg for arg in args if isinstance(arg, str)][-1]  # of a rename, where to
        if self.armed and name == self.call and self.fragment in path:
            if name == "write":
                call(path, memoryview(args[1])[: len(args[1]) // 2])
            print(f"stopped at {name} {Path(path).name}", flush=True)
            while True:
                signal.pause()
        return super()._watched(name, call, *args)


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
    disk = StoppingDisk(path, call, fragment)
    with Store(path, form=form, disk=disk) as store:  # type: ignore[arg-type]  # from a command line
        train(ArmingStore(store, disk, int(saves)), int(epochs))
    sys.exit("the run ended without reaching the place where it was to stop")


if __name__ == "__main__":
    main()
