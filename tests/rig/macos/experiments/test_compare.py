"""Traces on a Mac of paper, end to end: judged by the model, and by the library's own recovery."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner

from powercut.filesystem.ops import Barrier, Fsync, Fullsync, Tmpfile
from powercut.profile import load_profile
from powercut.simulation.world import Perform
from powercut_rig.cli.apfs import ApfsRequest, compare_apfs, report
from powercut_rig.errors import RigError
from powercut_rig.judge.judge import JudgeEffort
from powercut_rig.judge.result import OUTSIDE, REFUSED, Comparison
from powercut_rig.judge.trace_case import prepare_case
from powercut_rig.macos import requirements
from powercut_rig.macos.experiments.compare import (
    Calibration,
    calibrate,
    compare_on_mac,
    own_traces,
)
from powercut_rig.macos.experiments.result import read_result
from powercut_rig.macos.rig import MacRig
from powercut_rig.macos.session import session
from powercut_rig.macos.subprocesses import ToolRunner
from powercut_rig.reports import html
from tests.rig.macos.fake_mac import FakeMac, Tree, at_once

OWN = dict(own_traces())
DIRSYNC = "saves of lastgood:atomic_dirsync"
FULLSYNC = "saves of lastgood:atomic_fullsync"
NODIRSYNC = "saves of lastgood:atomic_nodirsync"
EFFORT = JudgeEffort(again=1, again_limit=6, fsck_every=10, coverage=False)


def compare(rig: MacRig, *names: str, profile: str | None = None) -> list[Comparison]:
    traces = [(name, OWN[name]) for name in names]
    return compare_on_mac(rig, traces, 1, EFFORT, profile=profile)


def test_what_is_run_without_a_trace_can_be_judged_and_has_each_sync_of_macos() -> None:
    kinds = set()
    for where, trace in own_traces():
        ops = [step.op for step in prepare_case(trace, where, load_profile("apfs")).program.steps]
        kinds |= {type(op) for op in ops}
        assert not any(isinstance(op, Tmpfile) for op in ops)

    assert {Fsync, Barrier, Fullsync} <= kinds
    assert {trace.subject for trace in OWN.values()} >= {
        f"lastgood:{mode}" for mode in ("atomic_nodirsync", "atomic_dirsync", "atomic_fullsync")
    }


def test_saves_and_programs_are_within_the_model_on_a_volume_that_commits_everything(
    rig: MacRig,
) -> None:
    programs = [name for name in OWN if name.startswith("program")]
    results = compare(rig, DIRSYNC, FULLSYNC, programs[0])

    for result in results:
        assert result.agrees, (result.findings, result.errors)
        assert result.images > 2
        assert result.violations == {}
        assert result.fsck_run
        assert not result.unclean
    assert results[0].second_images
    assert results[1].second_recordings


def test_a_full_sync_of_the_library_is_a_full_sync_of_the_volume(mac: FakeMac, rig: MacRig) -> None:
    compare(rig, FULLSYNC)

    assert "full" in mac.syncs


def test_a_volume_that_keeps_no_names_costs_durability_where_directories_are_synced(
    mac: FakeMac, rig: MacRig
) -> None:
    def data_only(before: Tree, now: Tree, path: str) -> Tree:
        return {name: now.get(name, content) for name, content in before.items()}

    mac.keeps = data_only
    (result,) = compare(rig, DIRSYNC)

    assert result.agrees, result.findings
    assert result.violations["P3"] > 0  # the profile leaves it open, so it is counted


def test_a_tree_that_the_profile_forbids_is_a_finding(mac: FakeMac, rig: MacRig) -> None:
    mac.keeps = lambda before, now, path: before
    (result,) = compare(rig, DIRSYNC, profile="posix-minimal")

    assert not result.agrees
    assert result.outside
    assert {each.kind for each in result.findings} >= {OUTSIDE}
    assert "the cut" in html.page([result])


def test_an_image_that_does_not_mount_is_a_finding(mac: FakeMac, rig: MacRig) -> None:
    damaged = 0

    def damage(words: tuple[str, ...]) -> None:
        nonlocal damaged
        if words[1] == "attach" and "clone-" in words[2] and not damaged:
            Path(words[2]).write_bytes(b"damaged")
            damaged += 1

    mac.on_command = damage
    (result,) = compare(rig, NODIRSYNC)

    assert result.refused == damaged == 1
    assert [each.kind for each in result.findings] == [REFUSED]


def test_a_trace_that_cannot_be_run_is_an_error_of_its_own_and_the_others_go_on(
    mac: FakeMac, rig: MacRig
) -> None:
    trace = OWN[next(name for name in OWN if name.startswith("program"))]
    impossible = evolve(trace, steps=(Perform("t", Tmpfile("/", "h")), *trace.steps[-1:]))
    bad, good = compare_on_mac(rig, [("bad", impossible), (NODIRSYNC, OWN[NODIRSYNC])], 1, EFFORT)

    assert "O_TMPFILE" in bad.errors[0]
    assert not bad.agrees
    assert good.agrees


def test_a_fresh_image_is_looked_at_before_anything_is_believed(mac: FakeMac, rig: MacRig) -> None:
    assert calibrate(rig, EFFORT) == Calibration(EFFORT, plain_writes_land=True)
    mac.fsck_status, mac.fsck_output = 66, b"error: Operation not permitted\n"
    known = calibrate(rig, EFFORT)
    assert known.effort.fsck_every == 0
    assert "Operation not permitted" in known.notes[0]
    mac.fsck_status, mac.fsck_output = 8, b"error: volume is corrupt\n"
    (note,) = calibrate(rig, EFFORT).notes
    assert "complains of a fresh image" in note


def test_a_plain_write_is_looked_for_in_a_clone_and_nothing_is_synced(
    mac: FakeMac, rig: MacRig
) -> None:
    mac.driver_keeps = True
    known = calibrate(rig, EFFORT)

    assert not known.plain_writes_land
    assert "no rule is struck on this Mac" in known.notes[0]
    assert mac.attached == {}


def test_a_device_that_may_not_be_written_to_leaves_it_open(
    mac: FakeMac, rig: MacRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_mac: FakeMac, device: str) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FakeMac, "open_device", refuse)
    known = calibrate(rig, EFFORT)

    assert not known.plain_writes_land
    assert "could not be tried" in known.notes[0]
    assert "Permission denied" in known.notes[0]
    assert mac.attached == {}


def test_what_leaves_the_model_is_undecided_where_the_driver_may_keep_writes(
    fit: None, mac: FakeMac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mac.driver_keeps = True
    mac.keeps = lambda before, now, path: before
    request = evolve(
        a_request(tmp_path), traces=((DIRSYNC, OWN[DIRSYNC]),), profile="posix-minimal"
    )
    with pytest.raises(SystemExit) as ended:
        compare_apfs(request, mac, paper(mac, tmp_path / "images"))

    result = read_result(request.result_path)
    assert ended.value.code == 4
    assert (result.agrees, result.plain_writes_land) == (False, False)
    assert "proves nothing" in json.loads(capsys.readouterr().out)["notes"][0]


def test_clones_that_do_not_show_a_full_sync_mean_nothing(mac: FakeMac, rig: MacRig) -> None:
    mac.shows = lambda tree: {p: c if p != "root/a" else b"old" for p, c in tree.items()}
    with pytest.raises(RigError, match="clones of it mean nothing"):
        calibrate(rig, EFFORT)


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has all that a Mac has."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(requirements, "is_installed", lambda name: True)
    monkeypatch.setattr(requirements, "FREE_BYTES", 1)


def paper(mac: FakeMac, folder: Path) -> Callable[[ToolRunner], AbstractContextManager[MacRig]]:
    folder.mkdir()
    return lambda run: session(
        run, clone=mac.clone, calls=mac, background=at_once, pause=mac.pause, parent=folder
    )


def a_request(tmp_path: Path) -> ApfsRequest:
    return ApfsRequest(
        traces=((NODIRSYNC, OWN[NODIRSYNC]),),
        profile=None,
        recordings=1,
        effort=EFFORT,
        experiments=False,
        result_path=tmp_path / "result.json",
        as_json=True,
        junit_path=tmp_path / "j.xml",
        html_path=tmp_path / "r.html",
    )


def test_one_command_writes_a_result_that_any_machine_can_show(
    fit: None, mac: FakeMac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = a_request(tmp_path)
    with pytest.raises(SystemExit) as ended:
        compare_apfs(request, mac, paper(mac, tmp_path / "images"))

    said = capsys.readouterr()
    assert ended.value.code == 0
    assert json.loads(said.out) == json.loads(request.result_path.read_text())
    assert "Nobody who wrote this has run it on a Mac" in said.err
    assert "testsuite" in (tmp_path / "j.xml").read_text()
    assert list((tmp_path / "images").iterdir()) == []
    assert read_result(request.result_path).machine.version == "14.5"
    done = CliRunner().invoke(
        report, [str(request.result_path), "--html", str(tmp_path / "2.html")]
    )
    assert done.exit_code == 0, done.output
    assert "macOS 14.5" in done.output
    assert "nothing here speaks of a power cut" in " ".join(done.output.split())
    assert "<h1>APFS on macOS 14.5" in (tmp_path / "2.html").read_text()


def test_a_result_that_is_there_is_not_overwritten_and_nothing_is_run(
    fit: None, mac: FakeMac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = a_request(tmp_path)
    request.result_path.write_text("mine")
    with pytest.raises(SystemExit) as ended:
        compare_apfs(request, mac, paper(mac, tmp_path / "images"))

    assert ended.value.code == 2
    assert "--result" in capsys.readouterr().err
    assert request.result_path.read_text() == "mine"
    assert {words[0] for words in mac.commands} == {"df", "diskutil"}


def test_a_result_that_cannot_be_written_is_printed_instead(
    fit: None, mac: FakeMac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = evolve(
        a_request(tmp_path), result_path=tmp_path / "nowhere" / "r.json", as_json=False
    )
    with pytest.raises(SystemExit) as ended:
        compare_apfs(request, mac, paper(mac, tmp_path / "images"))

    said = capsys.readouterr()
    assert ended.value.code == 2
    assert json.loads(said.out)["kind"] == "powercut apfs result"


def test_elsewhere_it_is_not_run_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
    mac: FakeMac,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(SystemExit) as ended:
        compare_apfs(a_request(tmp_path), mac, paper(mac, tmp_path / "images"))

    assert ended.value.code == 3
    assert "this is linux, not macOS" in capsys.readouterr().err
    assert mac.commands == []


def test_an_image_that_cannot_be_believed_ends_the_run_with_one_line(
    fit: None, mac: FakeMac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mac.shows = lambda tree: {p: c if p != "root/a" else b"old" for p, c in tree.items()}
    with pytest.raises(SystemExit) as ended:
        compare_apfs(a_request(tmp_path), mac, paper(mac, tmp_path / "images"))

    assert ended.value.code == 2
    assert "Nothing was concluded" in capsys.readouterr().err
    assert mac.attached == {}


def test_an_error_of_this_machine_ends_the_run_with_one_line_and_nothing_attached(
    fit: None, mac: FakeMac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(words: tuple[str, ...]) -> None:
        if words[:2] == ("hdiutil", "create"):
            raise OSError(28, "No space left on device")

    mac.on_command = full
    with pytest.raises(SystemExit) as ended:
        compare_apfs(a_request(tmp_path), mac, paper(mac, tmp_path / "images"))

    assert ended.value.code == 2
    assert "No space left on device" in capsys.readouterr().err
    assert mac.attached == {}
    assert list((tmp_path / "images").iterdir()) == []
