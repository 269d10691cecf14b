"""The paper's four crash points, placed in each protocol; and what the paper called a crash.

A save of three parts makes its files in one order in both protocols: the parts, then the manifest,
then, in the paper's, the commit.  So a point is a step of the save, wherever its files lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from powercut_lab.crash.dying_disk import AtStep

NO_CRASH: Final = "no crash"
SHORT_COMMITTED: Final = "short write, committed"
AFTER_MODEL: Final = "after_model"
BEFORE_MANIFEST: Final = "before_manifest"
MANIFEST_PARTIAL: Final = "manifest_partial"
BEFORE_COMMIT: Final = "before_commit"

POINTS: Final = (
    NO_CRASH,
    AFTER_MODEL,
    BEFORE_MANIFEST,
    MANIFEST_PARTIAL,
    BEFORE_COMMIT,
    SHORT_COMMITTED,
)
"""The rows of table 3: a control, four deaths, and a write that is cut short in silence."""


@frozen
class PlacedPoint:
    """A point in one protocol: the step (None: none), and where that is, in words."""

    step: AtStep | None
    where: str


_COMMON: Final[Mapping[str, PlacedPoint]] = {
    NO_CRASH: PlacedPoint(None, "the save returns"),
    AFTER_MODEL: PlacedPoint(
        AtStep("write", 1, half=True), "killed when half of model.bin is written"
    ),
    BEFORE_MANIFEST: PlacedPoint(
        AtStep("create", 4), "killed when all parts are complete, before the manifest is made"
    ),
    MANIFEST_PARTIAL: PlacedPoint(
        AtStep("write", 4, half=True), "killed when half of the manifest is written"
    ),
    SHORT_COMMITTED: PlacedPoint(
        AtStep("write", 1, half=True, survives=True),
        "half of model.bin is dropped in silence; the save goes on and returns",
    ),
}

_COMMITS: Final[Mapping[str, PlacedPoint]] = {
    "create": PlacedPoint(
        AtStep("create", 5), "killed when the manifest is complete, before COMMIT.json is made"
    ),
    "rename": PlacedPoint(
        AtStep("rename", 1), "killed when the manifest is complete, before the rename that commits"
    ),
    "close": PlacedPoint(
        AtStep("close", 4),
        "the manifest is itself the commit: killed when it is complete, before the save returns",
    ),
}


def commit_step(name: str, mode: str) -> str:
    """The call that a protocol commits by: `create` of a file, `rename`, or `close`."""
    if name == "paper":
        return "create"
    return "close" if mode == "unsafe" else "rename"


def place(point: str, commits_by: str) -> PlacedPoint:
    """The point in a protocol that commits by that call."""
    return _COMMITS[commits_by] if point == BEFORE_COMMIT else _COMMON[point]
