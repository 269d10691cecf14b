"""The lane of real faults, within small bounds: each part of it, and nothing found."""

from __future__ import annotations

from functools import partial

import pytest

from powercut_rig import run_in_worker
from tests.faults.calls import run_calls
from tests.faults.flips import run_flips
from tests.faults.steps import run_between, run_full, run_read_only
from tests.faults.tally import Tally

pytestmark = pytest.mark.rig

ONE_OF_EACH = 1e-9
"""A share so small that each operation has one step."""
SEED = 20
BOUNDS = {
    "small": (
        partial(run_flips, 9, SEED),
        partial(run_full, ONE_OF_EACH, SEED, ("ext4", "tmpfs")),
        partial(run_between, ("tmpfs",)),
        partial(run_calls, 60, SEED),
    ),
    "large": (
        partial(run_flips, 24, SEED + 1),
        partial(run_full, ONE_OF_EACH, SEED + 1),
        partial(run_read_only, ONE_OF_EACH, SEED + 1),
        partial(run_between, ("ext4", "btrfs")),
        partial(run_calls, 200, SEED + 1),
    ),
}


def found_by(run: partial[Tally]) -> Tally:
    return run_in_worker(run)


@pytest.mark.parametrize("run", BOUNDS["small"], ids=lambda run: run.func.__name__)
def test_nothing_is_lost_moved_or_silent_on_a_disk_that_fails(run: partial[Tally]) -> None:
    tally = found_by(run)

    assert sum(tally.cases.values()) > 0
    assert tally.findings == []


@pytest.mark.thorough
@pytest.mark.parametrize("run", BOUNDS["large"], ids=lambda run: run.func.__name__)
def test_nor_is_it_in_more_cases(run: partial[Tally]) -> None:
    test_nothing_is_lost_moved_or_silent_on_a_disk_that_fails(run)
