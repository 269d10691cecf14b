"""A program that the tests kill: saves for ever, and dies by SIGKILL before its call number N.

    python -m tests.impl.killed_writer DIR FORM N

Before it dies it prints nothing; each acknowledged generation is one line of output.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.impl.disks import WatchedDisk, open_store


def content(step: int) -> dict[str, bytes]:
    """The parts of a step: large enough for several writes to be told apart."""
    return {"model": f"weights {step} ".encode() * 1000, "optim/adam": f"moments {step}".encode()}


def main() -> None:
    """Save until the call comes."""
    root, form, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    calls = 0

    def count(_call: str, _path: str) -> None:
        nonlocal calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)

    disk = WatchedDisk(root, count)
    with open_store(root, form="record" if form == "record" else "rename", disk=disk) as store:
        loaded = store.load_latest()
        step = 1 if loaded is None else loaded.step + 1
        while True:
            print(store.save(step, content(step)).generation, flush=True)
            step += 1


if __name__ == "__main__":
    main()
