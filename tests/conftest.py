"""How the whole suite runs: profiles of Hypothesis, what `make test` leaves out, who runs what.

The profile `dev` is quick and the same everywhere, `soak` is long and random; choose with
HYPOTHESIS_PROFILE=soak.  A failure prints the example that Hypothesis shrank; no database is kept,
so that a run never depends on an earlier one.

A test marked `thorough` runs in `make test-all`, or where it is asked for: `pytest -m thorough`, or
`pytest tests/a/test_b.py::test_c`.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Generator
from typing import Any, Final

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

TOGETHER: Final = {
    "tests/lab/latency/test_disks.py": "rig",
    "tests/rig/linux/": "rig",
    "tests/rig/judge/": "rig",
    "tests/rig/campaigns/": "rig",
    "tests/rig/cli/": "rig",
    "tests/rig/system/": "rig",
    "tests/faults/": "rig",
    "tests/lab/observe/test_on_rig.py": "rig",
    "tests/lab/corruption/test_unreadable.py": "rig",
    "tests/lab/crash/test_disks.py": "rig",
    "tests/rig/guest/test_guests.py": "guest",
    "tests/litmus/": "litmus",
    "tests/train/": "train",
    "tests/test_docs.py": "docs",
}
"""Tests that one worker runs, by where they lie; they are begun in this order, before all others.

Those of the rig look for mounts and loop devices that were left behind, and would see each
other's.  The others share something that takes long to make: the guests, the published cases, an
uninterrupted training run, the generated pages.
"""


def group_of(nodeid: str) -> str | None:
    """The group whose tests one worker runs; None for a test that any worker may run."""
    return next((group for start, group in TOGETHER.items() if nodeid.startswith(start)), None)


def is_named(item: pytest.Item) -> bool:
    """Whether the command line has the test's own name, not only its file or folder."""
    here, own = item.config.invocation_params.dir, item.nodeid.partition("::")[2]
    named = (argument.partition("::") for argument in item.config.args)
    return any(
        name and own.startswith(name) and (here / path).resolve() == item.path
        for path, _, name in named
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is thorough and was not asked for; put first what one worker runs."""
    for item in items:
        mark = next((m for m in ("rig", "guest") if item.get_closest_marker(m)), None)
        if mark and group_of(item.nodeid) != mark:
            raise pytest.UsageError(f"{item.nodeid} is marked {mark}: add it to TOGETHER")
    order = {group: place for place, group in enumerate(dict.fromkeys(TOGETHER.values()))}
    items.sort(key=lambda item: order.get(group_of(item.nodeid) or "", len(order)))
    if "thorough" in config.option.markexpr:
        return
    left_out = [i for i in items if i.get_closest_marker("thorough") and not is_named(i)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Hand out groups whole, and all else test by test, so that the workers end together.

    The mark `xdist_group` is of no use: pytest-xdist 3.8 writes it into a test's id, which
    pytest 9.2 no longer allows.  Nothing complains then, and nothing is grouped.
    """
    from xdist.scheduler import LoadScopeScheduling

    scheduling: Any = LoadScopeScheduling(config, log)
    scheduling._split_scope = lambda nodeid: group_of(nodeid) or nodeid
    return scheduling


dropped: Final[list[str]] = []
"""What was said of errors that nobody could catch: a file that was never closed, for one."""


def note(unraisable: sys.UnraisableHookArgs) -> None:
    """Keep the words, and not the object: it is about to go."""
    what = f"{unraisable.err_msg or 'Exception ignored in'}: {unraisable.object!r}\n"
    error = traceback.format_exception(
        unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback
    )
    dropped.append(what + "".join(error))


def taken() -> str:
    """All that was noted, once."""
    said = "\n".join(dropped)
    dropped.clear()
    return said


def pytest_configure(config: pytest.Config) -> None:
    sys.unraisablehook = note


def pytest_unconfigure(config: pytest.Config) -> None:
    sys.unraisablehook = sys.__unraisablehook__


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Blame a test for what it leaves to the garbage collector, at its own end.

    pytest's own plugin blames whatever test runs when the garbage is found, which differs from one
    Python to the next; it is switched off in pyproject.toml.  What is still in use at a test's end
    is frozen: to pass through all of it after each test would take longer than the tests.  So what
    becomes garbage only later is found at the end, and is an error of no test but of the session.
    """
    done = yield
    gc.collect()
    gc.freeze()
    if said := taken():
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "teardown")
        item.ihook.pytest_runtest_logreport(report=report)
    if nextitem is None:
        gc.unfreeze()
        gc.collect()
        if said := taken():
            last = pytest.CollectReport("garbage at the end", "failed", said, [])
            item.ihook.pytest_collectreport(report=last)
    return done


@pytest.fixture(autouse=True)
def machines_ext4_has_a_journal(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests say the same on a machine whose own ext4 has no journal; those of the rig ask it."""
    if not request.node.get_closest_marker("rig"):
        from lastgood.backends import linux

        monkeypatch.setattr(linux, "device_weakness", lambda _mount, _weakness_of: "")
