"""A flipped block under btrfs cannot be read, and is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from powercut_lab.corruption.unreadable import inject_unreadable, why_missing
from powercut_rig.errors import RigError
from tests.rig.conftest import REQUIRED

pytestmark = pytest.mark.rig


@pytest.fixture(autouse=True)
def btrfs() -> None:
    """Beside what the marker asks for."""
    if missing := why_missing():
        if os.environ.get("POWERCUT_RIG") == REQUIRED:
            pytest.fail(" ".join(missing), pytrace=False)
        pytest.skip(" ".join(missing))


@pytest.mark.parametrize(
    ("subject", "mode", "outcome"),
    [
        ("lastgood+rename", "atomic_dirsync", "older"),
        ("paper", "atomic_dirsync", "older"),
        ("single file", "safetensors", "rejected"),
    ],
)
def test_a_block_that_cannot_be_read_is_noticed_by_whoever_reads_it(
    subject: str, mode: str, outcome: str, tmp_path: Path
) -> None:
    control, *found = inject_unreadable(subject, mode, 3, 4, tmp_path)

    assert control.found == 0
    assert len(found) == 3
    assert all(each.effective == each.load == each.file_hash == 1 for each in found)
    assert {each.outcome for each in found} == {outcome}
    assert {each.reason for each in found} == {"unreadable"}


def test_nothing_stays_mounted_where_the_process_fails(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="ended with status"):
        inject_unreadable("single file", "no such format", 1, 1, tmp_path)

    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
