"""Crash images of a real disk: a mode without syncs is seen to lose, one with all of them not."""

from __future__ import annotations

from pathlib import Path

import pytest

from powercut_lab.crash.disks import disk_units
from powercut_lab.crash.tables import DISKS
from powercut_lab.result_folder import check_row

pytestmark = pytest.mark.rig


@pytest.mark.parametrize(
    ("label", "loses"), [("lastgood:unsafe", True), ("lastgood:atomic_dirsync", False)]
)
def test_what_a_mode_loses_on_ext4(label: str, loses: bool, tmp_path: Path) -> None:
    units, _ = disk_units("quick")
    unit = next(each for each in units if f"disks, ext4: {label}," in each.key)

    (row,) = unit.work(tmp_path)

    check_row(DISKS, row)
    found = dict(zip(DISKS.columns, row, strict=True))
    assert found["images"] == 12
    assert (found["lost"] != 0) == loses
    wrong = ("torn", "outside", "refused", "hung", "disagree")
    assert [found[name] for name in wrong] == [0] * len(wrong)
