"""A real program that goes on with a store: loads the newest group, saves the next, says so.

    python -m tests.rig.saving_program DIR

Prints `loaded GENERATION` and, once its save has returned, `saved GENERATION`.  Exit status 7:
the store reported that the disk failed.
"""

from __future__ import annotations

import sys

import lastgood

DISK_FAILED = 7


def content(step: int) -> dict[str, bytes]:
    """The parts of a step, unlike those of any other."""
    return {"model": f"weights of step {step} ".encode() * 500, "rng": f"state {step}".encode()}


def main() -> int:
    """Load, save, and tell."""
    try:
        with lastgood.Store(sys.argv[1]) as store:
            loaded = store.load_latest()
            print(f"loaded {loaded.generation if loaded else 0}", flush=True)
            step = 1 if loaded is None else loaded.step + 1
            print(f"saved {store.save(step, content(step)).generation}", flush=True)
    except lastgood.StorageError as error:
        print(f"failed {error}", flush=True)
        return DISK_FAILED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
