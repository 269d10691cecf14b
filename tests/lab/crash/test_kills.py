"""SIGKILL at every call: each is met once, and a wrong protocol is seen to lose groups."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from powercut.simulation.subject import load_subject
from powercut_lab.crash import kills
from powercut_lab.crash.kills import (
    DISK_CALL,
    WITHIN,
    Level,
    at_disk_calls,
    at_system_calls,
    kill_units,
    run_kills,
    why_no_system_calls,
)
from powercut_lab.crash.summaries import summed
from powercut_lab.crash.tables import KILLS, PROTOCOLS
from powercut_lab.crash.trials import Counts, Protocol
from powercut_lab.result_folder import check_row
from powercut_rig.errors import RigError
from powercut_rig.system.ptrace import run_traced
from tests.lab.crash.toys import toy

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

NOT_TRACED = None if sys.platform == "win32" else why_no_system_calls()
TRACED = pytest.param(
    at_system_calls, marks=pytest.mark.skipif(NOT_TRACED is not None, reason=str(NOT_TRACED))
)


def killed(protocol: Protocol, folder: Path, level: Level) -> tuple[Mapping[str, Counts], Counts]:
    counts = dict(run_kills(protocol, 0, folder, level))
    return counts, summed(counts.values())


def test_no_death_loses_what_was_acknowledged(tmp_path: Path) -> None:
    counts, every = killed(Protocol(load_subject("lastgood:unsafe")), tmp_path, at_disk_calls)

    assert every.died == every.trials == every.kept == every.whole == every.next_kept
    files = 4  # three parts and the manifest
    assert counts["write"].died == files
    assert counts[WITHIN].died == files
    assert counts["create"].died == files


@pytest.mark.skipif(NOT_TRACED is not None, reason=str(NOT_TRACED))
def test_each_system_call_that_strace_would_show_is_met(tmp_path: Path) -> None:
    protocol = Protocol(load_subject("paper:atomic_dirsync"))
    counts, every = killed(protocol, tmp_path, at_system_calls)

    assert every.died == every.trials == every.kept == every.whole == every.next_kept
    # Five files, each written, synced and renamed; then one sync of the directory.
    assert {call: each.died for call, each in counts.items()} == {
        "mkdir": 1,
        "openat": 5,
        "write": 5,
        "fsync": 6,
        "rename": 5,
    }


@pytest.mark.parametrize("level", [at_disk_calls, TRACED])
def test_a_protocol_that_acknowledges_before_it_writes_is_seen_to_lose(
    level: Level, tmp_path: Path
) -> None:
    counts, every = killed(toy("hasty"), tmp_path, level)

    assert counts["write"].kept == 0
    assert every.whole == every.returned


@pytest.mark.parametrize("level", [at_disk_calls, TRACED])
def test_a_protocol_that_does_not_verify_hands_out_what_is_torn(
    level: Level, tmp_path: Path
) -> None:
    _, every = killed(toy("trusting"), tmp_path, level)

    assert every.whole < every.returned
    assert every.kept < every.trials


def test_the_same_protocol_without_the_hole_loses_nothing(tmp_path: Path) -> None:
    _, every = killed(toy("sound"), tmp_path, at_disk_calls)

    assert every.kept == every.whole == every.next_kept == every.trials


def test_rows_fit_their_table(tmp_path: Path) -> None:
    unit = next(u for u in kill_units(0, traces=False) if "paper:unsafe" in u.key)
    rows = list(unit.work(tmp_path / "a"))

    for row in rows:
        check_row(KILLS, row)
    assert {row[1] for row in rows} == {DISK_CALL}


def test_where_nothing_is_traced_the_other_level_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise RigError("ptrace: Operation not permitted")

    monkeypatch.setattr(kills, "why_no_tracing", lambda: None)
    monkeypatch.setattr(kills, "run_traced", refused)
    missing = why_no_system_calls()

    assert missing is not None
    assert "not permitted" in missing.reason
    assert len(list(kill_units(0, traces=False))) == len(PROTOCOLS)


@pytest.mark.skipif(NOT_TRACED is not None, reason=str(NOT_TRACED))
def test_a_function_is_traced_as_a_program_is(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "first").mkdir()
        (tmp_path / "second").mkdir()

    whole = run_traced(work)
    assert (whole.calls, whole.status) == (("mkdir", "mkdir"), 0)
    for path in ("first", "second"):
        (tmp_path / path).rmdir()

    met = run_traced(work, at=1)

    assert met.killed
    assert os.WTERMSIG(met.status) == signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first"]
