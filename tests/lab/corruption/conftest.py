"""Tests marked `rig` are treated here as in tests/rig."""

from tests.rig.conftest import pytest_runtest_setup

__all__ = ("pytest_runtest_setup",)
