"""A test marked `rig` is skipped with the reason where the machine lacks something."""

from tests.rig.conftest import pytest_runtest_setup

__all__ = ["pytest_runtest_setup"]
