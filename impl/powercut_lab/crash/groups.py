"""The paper's checkpoint group: 128 KiB of model, 64 KiB of optimizer, a small JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

MODEL: Final = "model.bin"
OPTIMIZER: Final = "optim.bin"
RNG: Final = "rng.json"
MODEL_BYTES: Final = 128 << 10
OPTIMIZER_BYTES: Final = 64 << 10
GROUPS_A_RUN: Final = 40
RUNS: Final = 10

GroupMaker = Callable[[int, int], Mapping[str, bytes]]
"""Gives the parts of a group of a run, by the run's seed and the group's number."""


@lru_cache(maxsize=8)
def paper_group(seed: int, number: int) -> Mapping[str, bytes]:
    """The parts of a group of a run, by name; its bytes follow from the seed and the number."""
    dice = random.Random(f"powercut_lab group {seed} {number}")  # noqa: S311 - the same each time
    return {
        MODEL: dice.randbytes(MODEL_BYTES),
        OPTIMIZER: dice.randbytes(OPTIMIZER_BYTES),
        RNG: json.dumps({"seed": seed, "epoch": number}, sort_keys=True).encode(),
    }
