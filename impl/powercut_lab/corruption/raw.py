"""The tables of raw data of this experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from attrs import astuple, frozen

from powercut_lab.study import RawTable, Row

PAPER_FILES: Final = RawTable(
    "corruption_paper_files",
    (
        "fault", "crash", "seed", "epoch", "size_bytes", "offset", "length", "effective",
        "load_error", "shape_mismatch", "digest_mismatch", "file_sha_mismatch", "detected",
        "note", "torch",
    ),
    frozenset(
        {
            "seed", "epoch", "size_bytes", "offset", "length", "effective", "load_error",
            "shape_mismatch", "digest_mismatch", "file_sha_mismatch", "detected",
        }
    ),
    "One row is a file of the paper's run, saved by torch.save, and what the guard says of it.",
)  # fmt: skip

LAYERS: Final = ("load", "shape", "digest", "file_hash", "manifest", "chunk")
"""Each is 1 where it noticed damage, 0 where it did not, and -1 where there is no such layer."""

INJECTIONS: Final = RawTable(
    "corruption_injections",
    ("subject", "mode", "fault", "moment", "effective", *LAYERS, "found", "outcome", "reason",
     "where", "count"),
    frozenset({"effective", *LAYERS, "found", "count"}),
    "One row is a number of injections of one fault that were noticed by the same layers.",
)  # fmt: skip


@frozen
class Injection:
    """One injection and what noticed it; the columns of `INJECTIONS` without their count.

    `moment` is "at rest", "before the write" (behind the digest) or "before the digest".  `found`
    says that the subject's own check rejected it.  `where` is set for a no-op: the place at which
    nothing changed.
    """

    subject: str
    mode: str
    fault: str
    moment: str
    effective: int
    load: int
    shape: int
    digest: int
    file_hash: int
    manifest: int
    chunk: int
    found: int
    outcome: str
    reason: str
    where: str = ""


def counted(injections: Iterable[Injection]) -> list[Row]:
    """Rows of `INJECTIONS`, like with like, in the order of their first appearance."""
    return [(*astuple(each), count) for each, count in Counter(injections).items()]
