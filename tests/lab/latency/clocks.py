"""Clocks that tests set: no test ever waits, or reads the real time."""

from __future__ import annotations

import random


class DiceClock:
    """Nanoseconds that grow by another amount at each look; every reading is kept."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - readings, no secrets
        self.readings = [self._dice.randrange(10**12)]

    def __call__(self) -> int:
        self.readings.append(self.readings[-1] + self._dice.randrange(1, 50_000))
        return self.readings[-1]


class StoppedClock:
    """Nanoseconds that stand still until somebody advances them."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def advance(self, by: int) -> None:
        self.now += by
