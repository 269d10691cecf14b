"""A program that the tests kill: it dies by SIGKILL just before its seam call number N.

    python -m tests.impl.killed_writer DIR FORM N [WORK]

WORK is `saves` (saves for ever), `prunes` (saves and gives up all but one group), `repairs` (as
`prunes`, and repairs in between) or `attempts` (foreign code writes). Before it dies it prints
nothing; each acknowledged generation is one line of output.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lastgood import LatestN, Store
from tests.impl.disks import WatchedDisk, killing, open_store


def content(step: int) -> dict[str, bytes]:
    """The parts of a step: large enough for several writes to be told apart."""
    return {"model": f"weights {step} ".encode() * 1000, "optim/adam": f"moments {step}".encode()}


def save(store: Store, step: int, work: str) -> int:
    """One acknowledged group; its generation."""
    if work != "attempts":
        return store.save(step, content(step)).generation
    with store.attempt(step) as attempt:
        for name, data in content(step).items():
            path = attempt.path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    return attempt.receipt.generation if attempt.receipt else 0


def main() -> None:
    """Save until the call comes."""
    root, form, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    work = sys.argv[4] if len(sys.argv) > 4 else "saves"
    disk = WatchedDisk(root, killing(last))
    with open_store(root, form="record" if form == "record" else "rename", disk=disk) as store:
        loaded = store.load_latest()
        step = 1 if loaded is None else loaded.step + 1
        while True:
            print(save(store, step, work), flush=True)
            step += 1
            if work in ("prunes", "repairs"):
                store.prune(LatestN(1))
            if work == "repairs":
                store.repair()


if __name__ == "__main__":
    main()
