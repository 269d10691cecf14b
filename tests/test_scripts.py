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
from tests.harness.scripts import load_script

LIMIT_S = 60
RAN = "".join(
    f'<testcase classname="tests.{folder}.test_a" name="test_x"/>'
    for folder in ("impl", "model", "mutants", "rig", "snapshots", "stateful", "train")
)


def summary(tmp_path: Path, *runs: str, failed: tuple[str, ...] = ()) -> tuple[int, str]:
    """The status and the last line, where each run reported these cases."""
    reports = []
    for number, cases in enumerate(runs):
        reports.append(str(tmp_path / f"junit-{number}.xml"))
        text = f"<testsuites><testsuite>{cases}</testsuite></testsuites>"
        Path(reports[-1]).write_text(text)
    done = run("ci_summary.py", *reports, "--failed", *failed)
    return done.returncode, done.stdout.splitlines()[-1]


def run(
    script: str, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=env,
        check=False,
    )


def test_ci_passes_when_all_that_must_run_has_passed(tmp_path: Path) -> None:
    assert summary(tmp_path, RAN) == (0, "7 passed, 0 failed")


def test_ci_counts_all_runs_together_and_fails_for_any_of_them(tmp_path: Path) -> None:
    more = '<testcase classname="tests.stateful.test_b" name="test_x"/>'
    skip = '<skipped type="pytest.skip" message="not root"/>'
    bad = f'<testcase classname="tests.rig.test_b" name="test_y">{skip}</testcase>'

    assert summary(tmp_path, RAN, more) == (0, "8 passed, 0 failed")
    assert summary(tmp_path, RAN, more + bad) == (1, "8 passed, 1 failed")
    assert summary(tmp_path, RAN, more, failed=("test-all",)) == (1, "8 passed, 1 failed")


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
    assert summary(tmp_path, cases) == (1, last_line)


@pytest.mark.parametrize("step", ["lint", "test"])
def test_ci_does_not_pass_when_a_step_failed_and_no_test_did(step: str, tmp_path: Path) -> None:
    assert summary(tmp_path, RAN, failed=(step,)) == (1, "7 passed, 1 failed")


def test_a_test_for_macos_may_be_skipped(tmp_path: Path) -> None:
    skip = '<skipped type="pytest.skip" message="needs macOS"/>'

    case = f'<testcase classname="tests.t" name="u">{skip}</testcase>'

    assert summary(tmp_path, RAN + case) == (0, "7 passed, 0 failed")


@pytest.mark.parametrize("broken", ["<testsuites><testsuite>", None])
def test_a_report_that_is_cut_short_or_missing_is_bad_input(
    tmp_path: Path, broken: str | None
) -> None:
    whole, other = tmp_path / "whole.xml", tmp_path / "other.xml"
    whole.write_text(f"<testsuites><testsuite>{RAN}</testsuite></testsuites>")
    if broken:
        other.write_text(broken)

    done = run("ci_summary.py", str(whole), str(other))

    assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "0 passed, 1 failed")


def test_set_up_refuses_a_group_that_the_project_does_not_have(tmp_path: Path) -> None:
    venv = tmp_path / "venv"

    done = run("setup_venv.py", "--venv", str(venv), "--groups", "tests")

    assert done.returncode == 3
    assert "no dependency group 'tests'" in done.stderr
    assert not venv.exists()


def environment(folder: Path, version: str) -> Path:
    """An environment whose Python says that it is this version; "" for one that does not start."""
    program = folder / "bin" / "python"
    program.parent.mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(f"version = {version}\n")
    shim(program, version)
    return folder


def shim(program: Path, version: str) -> None:
    program.write_text(f"#!/bin/sh\necho {version}\n" if version else "#!/bin/sh\nexit 127\n")
    program.chmod(0o755)


OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize(("version", "kept"), [(OWN, True), ("3.10", False), ("", False)])
def test_set_up_makes_an_environment_of_another_python_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, kept: bool
) -> None:
    venv = environment(tmp_path / "venv", version)
    done: list[str] = []
    script = load_script("setup_venv")

    def make(venv: Path) -> None:
        venv.mkdir()
        done.append("made")

    monkeypatch.setattr(script, "make", make)
    monkeypatch.setattr(script, "install", lambda *_: done.append("installed"))
    monkeypatch.setattr(sys, "argv", ["setup_venv.py", "--venv", str(venv)])

    script.main()
    script.main()  # The stamp is for this Python: nothing more is done, whatever else is there.

    assert done == (["installed"] if kept else ["made", "installed"])
    assert (venv / "pyvenv.cfg").exists() == kept


def test_set_up_removes_nothing_that_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")

    done = run("setup_venv.py", "--venv", str(tmp_path))

    assert done.returncode == 3
    assert "is no environment of Python" in done.stderr
    assert (tmp_path / "mine").exists()


def test_other_pythons_are_those_that_start_and_are_what_they_are_called(tmp_path: Path) -> None:
    first, second = tmp_path / "shims", tmp_path / "bin"
    kept = tmp_path / "pyenv" / "versions" / "3.13.0" / "bin"
    for folder in (first, second, kept):
        folder.mkdir(parents=True)
    others = [version for version in ("3.11", "3.12", "3.13") if version != OWN]
    shim(first / f"python{others[0]}", "")
    shim(second / f"python{others[0]}", others[0])
    shim(first / f"python{others[1]}", "3.9")
    path = {"PATH": f"{first}:{second}:/usr/bin:/bin", "PYENV_ROOT": str(tmp_path / "none")}
    shadowed = [shutil.which(f"python{v}", path="/usr/bin:/bin") for v in others]

    said = run("other_pythons.py", "--list", env={**os.environ, **path}).stdout.splitlines()

    assert said[0] == f"pythons: {others[0]}: {second / f'python{others[0]}'}"
    assert shadowed[1] or said[1].startswith(f"pythons: {others[1]}: none that starts")
    assert not any(f": {OWN}: " in line for line in said)


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
    head, answers = text.split("never = [")
    never, sometimes = answers.split('sometimes = ["apfs"]\n')
    wrong = f'{head}sometimes = ["apfs"]\nalways = [{never}{sometimes}'
    (litmus / "wrong.toml").write_text(wrong, encoding="utf-8")

    done = run("record_litmus.py", "--root", str(tmp_path))

    assert done.returncode == 1
    assert "DIFFERS wrong: btrfs is recorded as always: now never" in done.stdout
    assert (litmus / "wrong.toml").read_text(encoding="utf-8") == wrong
