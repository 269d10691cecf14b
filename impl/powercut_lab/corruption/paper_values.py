"""The values that the source paper prints of corruption (arXiv 2511.18323, table 4 and figure 4).

These numbers stand beside ours in the report and are compared with nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen


@frozen
class PrintedRow:
    """One row of table 4: files, detected, and by which check."""

    files: int
    detected: int
    load_error: int
    digest_mismatch: int
    file_sha_mismatch: int


TABLE_4: Final[Mapping[str, PrintedRow]] = {
    "none": PrintedRow(400, 0, 0, 0, 0),
    "bitflip": PrintedRow(400, 400, 7, 387, 400),
    "zerorange": PrintedRow(400, 399, 29, 370, 399),
    "truncate": PrintedRow(400, 400, 400, 0, 400),
}

UNSAFE_RUNS: Final[Mapping[str, tuple[int, int]]] = {
    "early": (10, 10),
    "mid": (10, 210),
    "late": (10, 400),
}
"""Figure 4: damaged files among all, of single files that are cut at their first, middle or last
save in `unsafe` mode."""

TORCH_VERSION: Final = "2.8.0"
"""The version of PyTorch that the paper pins."""

SEEDS: Final = tuple(range(10))
EPOCHS: Final = 120
EVERY: Final = 3
EPOCHS_SAVED: Final = tuple(range(EVERY, EPOCHS + 1, EVERY))
SINGLE_FILE_KEPT: Final = 0.7
"""The share of a single file that a truncation keeps; of a part of a group it keeps one half."""
