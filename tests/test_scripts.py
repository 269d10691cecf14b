"""The scripts around the tests: CI cannot pass without its tests, and set-up does its work once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examples import main_job

from tests import ROOT

LIMIT_S = 60
RAN = "".join(
    f'<testcase classname="tests.{folder}.test_a" name="test_x"/>'
    for folder in ("impl", "model", "mutants", "rig", "snapshots", "stateful", "train")
)


def summary(tmp_path: Path, cases: str, *failed: str) -> subprocess.CompletedProcess[str]:
    report = tmp_path / "junit.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    return run("ci_summary.py", str(report), *failed)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_ci_passes_when_all_that_must_run_has_passed(tmp_path: Path) -> None:
    done = summary(tmp_path, RAN)

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "7 passed, 0 failed")


@pytest.mark.parametrize(
    ("cases", "last_line"),
    [
        pytest.param(
            RAN + '<testcase classname="tests.t" name="u"><failure message="no"/></testcase>',
            "7 passed, 1 failed",
            id="a failure",
        ),
        pytest.param(
            RAN + '<testcase classname="tests.t" name="u"><error message="no"/></testcase>',
            "7 passed, 1 failed",
            id="an error",
        ),
        pytest.param(
            RAN
            + '<testcase classname="tests.rig.test_a" name="u">'
            + '<skipped type="pytest.skip" message="not root"/></testcase>',
            "7 passed, 1 failed",
            id="a skip",
        ),
        pytest.param(
            RAN.replace("tests.rig", "tests.other"), "7 passed, 1 failed", id="no test of the rig"
        ),
        pytest.param("", "0 passed, 7 failed", id="nothing ran"),
    ],
)
def test_ci_does_not_pass_with(cases: str, last_line: str, tmp_path: Path) -> None:
    done = summary(tmp_path, cases)

    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, last_line)


@pytest.mark.parametrize("step", ["lint", "test"])
def test_ci_does_not_pass_when_a_step_failed_and_no_test_did(step: str, tmp_path: Path) -> None:
    done = summary(tmp_path, RAN, step)

    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "7 passed, 1 failed")


def test_a_test_for_macos_may_be_skipped(tmp_path: Path) -> None:
    skip = '<skipped type="pytest.skip" message="needs macOS"/>'

    done = summary(tmp_path, f'{RAN}<testcase classname="tests.t" name="u">{skip}</testcase>')

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "7 passed, 0 failed")


def test_a_report_that_is_cut_short_is_bad_input(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text("<testsuites><testsuite>")

    done = run("ci_summary.py", str(report))

    assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "0 passed, 1 failed")


def test_set_up_refuses_a_group_that_the_project_does_not_have(tmp_path: Path) -> None:
    venv = tmp_path / "venv"

    done = run("setup_venv.py", "--venv", str(venv), "--groups", "tests")

    assert done.returncode == 3
    assert "no dependency group 'tests'" in done.stderr
    assert not venv.exists()


def test_the_demo_says_first_what_it_does_and_that_a_first_run_fetches_packages() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "demo", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        # `make test` runs this within make, and would have it say so.
        env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = [line.strip() for line in done.stdout.splitlines()]

    assert "trains a small network" in said[0]
    assert "fetches Python packages" in said[2]
    assert said.index(".venv/bin/python examples/main_job.py") > 2


@pytest.mark.parametrize("known", [True, False])
def test_the_demo_names_commands_that_the_readers_shell_can_run(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if known else None)
    for name in ("powercut", "lastgood"):
        told = main_job.command_line(name)
        assert told == name if known else Path(told).is_file()


def test_recording_adds_what_is_missing_and_changes_no_answer(tmp_path: Path) -> None:
    litmus = tmp_path / "traces/litmus"
    litmus.mkdir(parents=True)
    source = ROOT / "traces/litmus/memory-forgets.toml"
    text = source.read_text(encoding="utf-8")
    path = litmus / source.name
    path.write_text(text.replace('"btrfs", ', ""), encoding="utf-8")
    assert path.read_text(encoding="utf-8").count('"btrfs"') == text.count('"btrfs"') - 2

    stale = run("record_litmus.py", "--check", "--root", str(tmp_path))
    done = run("record_litmus.py", "--root", str(tmp_path))

    assert (stale.returncode, done.returncode) == (1, 0)
    assert "traces/litmus/memory-forgets.toml is stale" in stale.stdout
    assert "memory-forgets, power: btrfs answers never. " in done.stdout
    assert path.read_text(encoding="utf-8") == text


def test_recording_leaves_an_answer_that_is_not_the_models(tmp_path: Path) -> None:
    litmus = tmp_path / "traces/litmus"
    litmus.mkdir(parents=True)
    text = (ROOT / "traces/litmus/truncate-then-write.toml").read_text(encoding="utf-8")
    wrong = text.replace("never = [", "always = [")
    (litmus / "wrong.toml").write_text(wrong, encoding="utf-8")

    done = run("record_litmus.py", "--root", str(tmp_path))

    assert done.returncode == 1
    assert "DIFFERS wrong: btrfs is recorded as always: now never" in done.stdout
    assert (litmus / "wrong.toml").read_text(encoding="utf-8") == wrong
