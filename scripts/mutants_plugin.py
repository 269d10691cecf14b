"""A plugin of pytest for mutants.py: what each test executes, and only the tests that matter.

MUTANTS_TIMES names a file: under coverage, each test is a context of its own, and the file gets the
seconds of each and which failed.  MUTANTS_TESTS names one with lines of a limit in seconds and a
test's id: those run, in that order; one that is over its limit ends the process.
"""

import faulthandler
import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

STDERR = os.dup(2)  # as it is before pytest catches what tests say
TIMES = os.environ.get("MUTANTS_TIMES")
TESTS = os.environ.get("MUTANTS_TESTS")
seconds: dict[str, float] = {}
failed: list[str] = []
limits: dict[str, float] = {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only what was asked for, in the order in which it was."""
    if TESTS:
        lines = Path(TESTS).read_text().splitlines()
        limits.update(
            (test, float(limit)) for limit, test in (line.split(" ", 1) for line in lines)
        )
        place = {test: number for number, test in enumerate(limits)}
        chosen = [item for item in items if item.nodeid in place]
        items[:] = sorted(chosen, key=lambda item: place[item.nodeid])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What runs now is this test's."""
    if TIMES:
        from coverage import Coverage

        if current := Coverage.current():
            current.switch_context(item.nodeid)
    if item.nodeid in limits:
        faulthandler.dump_traceback_later(limits[item.nodeid], exit=True, file=STDERR)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep how long it took and how it ended."""
    seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
    if report.outcome != "passed":
        failed.append(report.nodeid)


def pytest_sessionfinish() -> None:
    """Write what was kept."""
    if TIMES:
        Path(TIMES).write_text(json.dumps({"seconds": seconds, "failed": failed}))
