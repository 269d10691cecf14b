"""Write a new file, sync it, rename it over the old one, sync the directories: it holds on Linux.

A profile that refutes this protocol says more of itself than of the protocol.
"""

from __future__ import annotations

import pytest

from powercut.checker.exhaustive import Bound, enumerate_verdicts
from powercut.profile import load_profile
from powercut.simulation.oracle import OF_CRASHES
from tests.harness.replacing import HOLES, replacing

LINUX = ("btrfs", "ext4-ordered", "ext4-writeback", "xfs")
TWO_SAVES = Bound(saves=2, crashes=1, parts=1, pieces=1)
TWO_CRASHES = Bound(saves=1, crashes=2, parts=1, pieces=1)


@pytest.mark.parametrize("profile", [*LINUX, "posix-minimal"])
def test_a_synced_file_that_takes_a_synced_name_holds(profile: str) -> None:
    found = enumerate_verdicts(
        replacing(), load_profile(profile), "power", OF_CRASHES, TWO_SAVES, TWO_CRASHES
    )

    assert {name: verdict.verdict for name, verdict in found.items()} == dict.fromkeys(
        OF_CRASHES, "holds"
    )


@pytest.mark.parametrize("mode", HOLES)
def test_each_of_its_syncs_is_needed_on_btrfs(mode: str) -> None:
    found = enumerate_verdicts(
        replacing(mode), load_profile("btrfs"), "power", OF_CRASHES, TWO_SAVES, TWO_CRASHES
    )

    assert "fails" in {verdict.verdict for verdict in found.values()}
