from __future__ import annotations

import re
from typing import Any

from powercut_lab.latency.meter import columns
from powercut_lab.report.advice import MODES, advice_of
from powercut_lab.study import ReportTable

PROPERTIES = ("P1", "P2", "P3", "P4", "P5")


def verdicts(profile: str, **by_mode: str) -> list[dict[str, Any]]:
    """Rows in which each mode has one verdict on P3, and holds the rest."""
    return [
        {
            "protocol": f"lastgood:{mode}", "profile": profile, "property": name,
            "verdict": verdict if name == "P3" else "holds",
        }
        for mode, verdict in by_mode.items()
        for name in PROPERTIES
    ]  # fmt: skip


def images(fs: str, mode: str, lost: int = 0, torn: int = 0) -> dict[str, Any]:
    return {"protocol": f"lastgood:{mode}", "fs": fs, "images": 12, "lost": lost, "torn": torn}


def row(data: dict[str, Any], where: str) -> tuple[str, ...]:
    section = advice_of(data)
    assert section is not None
    (table,) = section.items
    assert isinstance(table, ReportTable)
    return next(each for each in table.rows if where in each[0])


ALL = dict.fromkeys(MODES, "holds")


def test_without_a_verdict_there_is_no_advice() -> None:
    assert advice_of({}) is None


def test_the_least_mode_that_holds_is_advised() -> None:
    given = {**ALL, "unsafe": "fails", "atomic_nodirsync": "fails"}
    assert row({"crash_model": verdicts("xfs", **given)}, "xfs")[1] == "atomic_dirsync"
    assert row({"crash_model": verdicts("xfs", **ALL)}, "xfs")[1] == "unsafe"


def test_what_is_not_refuted_or_unknown_is_not_advised() -> None:
    for weak in ("not refuted", "unknown", "fails"):
        given = {**ALL, "unsafe": weak}
        assert row({"crash_model": verdicts("btrfs", **given)}, "btrfs")[1] == "atomic_nodirsync"


def test_a_loss_on_a_disk_outweighs_the_model() -> None:
    for wrong in (images("xfs", "unsafe", lost=1), images("xfs", "unsafe", torn=1)):
        data = {"crash_model": verdicts("xfs", **ALL), "crash_disks": [wrong]}
        assert row(data, "xfs")[1] == "atomic_nodirsync"
        assert "lost or torn on 1 crash images" in row(data, "xfs")[3]
    # Of another disk it says nothing.
    other = {
        "crash_model": verdicts("xfs", **ALL),
        "crash_disks": [images("ext4", "unsafe", lost=1)],
    }
    assert row(other, "xfs")[1] == "unsafe"


def test_where_no_mode_holds_nothing_is_promised() -> None:
    found = row({"crash_model": verdicts("apfs", **dict.fromkeys(MODES, "unknown"))}, "Mac")
    assert found[1] == "atomic_fullsync"
    assert found[2].startswith("not promised")


def test_a_cost_is_that_of_the_mode_on_the_disk_of_the_place() -> None:
    saves = [
        {"disk": disk, "size": "paper", "way": "lastgood:unsafe", "round": n}
        | dict.fromkeys(columns(), 0)
        | {"write_us": us}
        for n in range(5)
        for disk, us in (("xfs", 3000), ("btrfs", 9000))
    ]
    data = {"crash_model": verdicts("xfs", **ALL), "latency_samples": saves}
    found = row(data, "xfs")
    assert found[4] == "3.0 ms, 3.0 ms"
    assert found[5] == "0.005%"
    (sentence,) = advice_of(data).findings  # type: ignore[union-attr]
    assert re.search(r"^Linux, xfs: unsafe\. .*3\.0 ms at the median", sentence)
