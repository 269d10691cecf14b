"""Tests marked `rig` or `guest` are skipped with the reason where the machine lacks something.

With POWERCUT_RIG=required a lack is a failure: then nothing can be skipped by accident.
"""

from __future__ import annotations

import functools
import os

import pytest

from powercut_rig import RigUnavailable, what_is_missing
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest.prepare import prepared

REQUIRED = "required"
GUEST_DISKS = [name for name, fs in FILE_SYSTEMS.items() if fs.in_guest]


@functools.cache
def why_no_guest() -> list[str]:
    """Why no guest can run here; it is made if it is not there yet."""
    missing = [line for fs in GUEST_DISKS for line in what_is_missing(fs)]
    if not missing:
        try:
            prepared()
        except RigUnavailable as error:
            missing = list(error.reasons)
    return list(dict.fromkeys(missing))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = what_is_missing() if item.get_closest_marker("rig") else []
    if item.get_closest_marker("guest"):
        missing = missing + why_no_guest()
    if missing:
        if os.environ.get("POWERCUT_RIG") == REQUIRED:
            pytest.fail("POWERCUT_RIG=required, but: " + " ".join(missing), pytrace=False)
        pytest.skip(" ".join(missing))
