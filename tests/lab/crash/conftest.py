"""As in tests/rig: a skip says what the machine lacks, and POWERCUT_RIG=required fails instead."""

from tests.rig.conftest import pytest_runtest_setup

__all__ = ["pytest_runtest_setup"]
