"""Tests marked `rig` are skipped with the reason where the machine lacks something.

With POWERCUT_RIG=required a lack is a failure: then nothing can be skipped by accident.
"""

from __future__ import annotations

import os

import pytest

from powercut_rig import what_is_missing

REQUIRED = "required"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("rig") is None:
        return
    if missing := what_is_missing():
        if os.environ.get("POWERCUT_RIG") == REQUIRED:
            pytest.fail("POWERCUT_RIG=required, but: " + " ".join(missing), pytrace=False)
        pytest.skip(" ".join(missing))
