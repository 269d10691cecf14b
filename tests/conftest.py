"""Hypothesis profiles: `dev` is quick and the same everywhere; `soak` is long and random.

Choose with HYPOTHESIS_PROFILE=soak.  A failure prints the example that Hypothesis shrank; no
database is kept, so that a run never depends on an earlier one.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# A runner in the background of a shell ignores SIGINT, and what it starts would do so too; some
# tests ask what Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_SLOW_MACHINES = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "dev",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=_SLOW_MACHINES,
)
settings.register_profile(
    "soak",
    derandomize=False,
    database=None,
    deadline=None,
    max_examples=20_000,
    print_blob=True,
    suppress_health_check=_SLOW_MACHINES,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, what shares this machine's devices stays together, in one of them.

    The tests of the rig look for mounts and loop devices that were left behind, and would see
    each other's; the guests are booted once for all that ask them.
    """
    for item in items:
        for group in ("rig", "guest"):
            if item.get_closest_marker(group):
                item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def machines_ext4_has_a_journal(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests say the same on a machine whose own ext4 has no journal; those of the rig ask it."""
    if not request.node.get_closest_marker("rig"):
        from lastgood.backends import linux

        monkeypatch.setattr(linux, "device_weakness", lambda _mount, _weakness_of: "")
