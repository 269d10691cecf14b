"""Rows that a test makes by hand, as the report reads them."""

from __future__ import annotations

from typing import Any

from powercut_lab.corruption.raw import INJECTIONS, LAYERS, PAPER_FILES


def paper_file(fault: str, crash: str = "none", **other: Any) -> dict[str, Any]:
    words = ("load_error", "shape_mismatch", "digest_mismatch", "file_sha_mismatch", "detected")
    row = {
        "fault": fault, "crash": crash, "seed": 0, "epoch": 3, "size_bytes": 73437, "offset": 5,
        "length": 1, "effective": int(fault != "none"), "note": "", "torch": "2.99.0",
        **dict.fromkeys(words, 0), **other,
    }  # fmt: skip
    assert set(row) == set(PAPER_FILES.columns)
    return row


def injection(subject: str, mode: str, fault: str, count: int, **other: Any) -> dict[str, Any]:
    row = {
        "subject": subject, "mode": mode, "fault": fault, "moment": "at rest",
        "effective": int(fault != "none"), **dict.fromkeys(LAYERS, 0), "found": 0,
        "outcome": "newest", "reason": "", "where": "", "count": count, **other,
    }  # fmt: skip
    assert set(row) == set(INJECTIONS.columns)
    return row
