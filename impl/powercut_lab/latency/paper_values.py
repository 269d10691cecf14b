"""The values that the source paper prints (arXiv 2511.18323, Tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

POINTS: Final = (0.5, 0.9, 0.99)
POINT_WORDS: Final = {0.5: "p50", 0.9: "p90", 0.99: "p99"}

PRINTED_N: Final = 10
PRINTED_ON: Final = "printed: APFS, Apple M1, n = 10, process time / 40"

TABLE_1_S: Final[Mapping[str, tuple[float, float, float]]] = {
    "unsafe": (0.002473, 0.003241, 0.003349),
    "atomic_nodirsync": (0.003870, 0.005317, 0.006978),
    "atomic_dirsync": (0.004555, 0.018670, 0.022456),
}
"""Seconds a group at POINTS."""

TABLE_2_PERCENT: Final[Mapping[str, tuple[float, float, float]]] = {
    "atomic_nodirsync": (56.5, 64.1, 108.4),
    "atomic_dirsync": (84.2, 476.1, 570.6),
}
"""Overhead against `unsafe` at POINTS."""
