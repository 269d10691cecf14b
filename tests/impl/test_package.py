"""The package as a whole: its version, its log, and where it does not run."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import lastgood
from tests import ROOT
from tests.impl.disks import PARTS, open_store


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert lastgood.__version__ == project["project"]["version"]


QUIET = """
import sys, warnings
warnings.simplefilter("ignore")
from lastgood import open_read_only
open_read_only(sys.argv[1]).load_latest()
"""


def test_a_program_that_set_up_no_logging_gets_nothing_on_its_standard_error(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        store.save(2, PARTS)
        (store.path / "gen-00000002-step-00000002" / "model").unlink()
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


WINDOWS = """
import builtins, signal, sys
sys.platform = "win32"
del signal.SIGKILL, signal.SIGSTOP
real = builtins.__import__
def missing(name, *rest, **more):
    if name in ("fcntl", "pwd", "grp", "resource"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, *rest, **more)
builtins.__import__ = missing
import lastgood
"""


def test_importing_it_on_windows_says_what_the_readme_says(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: lastgood does not run on Windows: directories cannot be")
    assert "Use WSL 2" in last
    assert "directories cannot be synced, and it says so" in (ROOT / "README.md").read_text()
