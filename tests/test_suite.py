"""How the suite itself runs: no test is in neither of two runs, and none pays for another."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests import ROOT

LIMIT_S = 300
COLLECT = """
import json, sys, pytest

class Names:
    def pytest_collection_finish(self, session):
        self.names = [item.nodeid for item in session.items]

names = Names()
status = pytest.main([*sys.argv[1:], "--collect-only", "-qq"], plugins=[names])
print(json.dumps(names.names))
sys.exit(status)
"""
OURS = """
import pytest

def test_short():
    pass

@pytest.mark.thorough
@pytest.mark.parametrize("bound", [1, 2])
def test_long(bound):
    pass
"""
GUILTY = """
import gc, pytest

kept = []

@pytest.fixture
def made():
    yield open(__file__)

def test_cycle():
    ring = [open(__file__)]
    ring.append(ring)

def test_fixture(made):
    assert made

def test_late():
    ring = [open(__file__)]
    ring.append(ring)
    kept.append(ring)

def test_drops_it():
    kept.clear()

@pytest.mark.parametrize("n", range(3))
def test_innocent(n):
    gc.collect()
"""
WHO = """
import os, pathlib, pytest

@pytest.mark.parametrize("n", range(4))
def test_who(n):
    with pathlib.Path(os.environ["WHO"]).open("a") as said:
        said.write(f"{GROUP} {os.environ['PYTEST_XDIST_WORKER']}\\n")
"""


def project(folder: Path, **modules: str) -> Path:
    """A project with the settings and the conftest of this one, and with these test modules."""
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "tests/conftest.py", folder / "tests")
    for path, text in modules.items():
        module = folder / "tests" / path.replace("__", "/")
        module.with_suffix(".py").parent.mkdir(parents=True, exist_ok=True)
        module.with_suffix(".py").write_text(text)
    return folder


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=folder,
        env={**os.environ, **environment},
        check=False,
    )


def collected(folder: Path, *arguments: str) -> list[str]:
    done = run(folder, "-c", COLLECT, *arguments)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_is_thorough_is_left_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    folder = project(tmp_path, test_a=OURS)
    long = ["tests/test_a.py::test_long[1]", "tests/test_a.py::test_long[2]"]

    assert collected(folder) == ["tests/test_a.py::test_short"]
    assert collected(folder, "-m", "thorough") == long
    assert collected(folder, "tests/test_a.py::test_long") == long
    assert collected(folder, "tests/test_a.py::test_long[2]") == long[1:]


@pytest.mark.thorough
def test_no_test_is_in_neither_run_and_none_is_in_both() -> None:
    quick, thorough = collected(ROOT), collected(ROOT, "-m", "thorough")
    every = collected(ROOT, "-m", "thorough or not thorough")

    assert quick
    assert thorough
    assert sorted([*quick, *thorough]) == sorted(every)


def test_the_two_targets_differ_in_the_mark_alone() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^(test|test-all): .*\n\t(.*)$", makefile, re.MULTILINE))

    assert recipes["test-all"].replace(" -m thorough", "") == recipes["test"]
    assert "thorough" not in recipes["test"]


def test_a_file_that_is_left_open_is_an_error_of_the_test_that_left_it(tmp_path: Path) -> None:
    done = run(project(tmp_path, test_a=GUILTY), "-m", "pytest", "-p", "no:cacheprovider")

    assert "7 passed, 3 errors" in done.stdout, done.stdout
    assert done.returncode == 1
    assert re.findall(r"^ERROR (.+?) - ", done.stdout, re.MULTILINE) == [
        "tests/test_a.py::test_cycle",
        "tests/test_a.py::test_fixture",
        "garbage at the end",
    ]
    assert "ResourceWarning: unclosed file" in done.stdout


@pytest.mark.thorough
def test_one_worker_runs_all_tests_of_a_group(tmp_path: Path) -> None:
    groups = {"rig": ("rig__linux__test_a", "rig__judge__test_b"), "train": ("train__test_c",)}
    modules = {
        path: f"GROUP = {group!r}\n{WHO}" for group, paths in groups.items() for path in paths
    }
    modules["test_d"] = f"GROUP = ''\n{WHO}"
    run(project(tmp_path, **modules), "-m", "pytest", "-n", "2", WHO=str(tmp_path / "who"))

    workers = defaultdict(list)
    for line in (tmp_path / "who").read_text().splitlines():
        group, _, worker = line.partition(" ")
        workers[group].append(worker)

    assert {group: len(found) for group, found in workers.items()} == {"rig": 8, "train": 4, "": 4}
    assert len(set(workers["rig"])) == len(set(workers["train"])) == 1
    assert workers["rig"][0] != workers["train"][0]
