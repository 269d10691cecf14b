"""The commands load on a system that lacks what Linux alone has."""

from __future__ import annotations

import json
import subprocess
import sys

from tests import ROOT

LIMIT_S = 60

LOADED = """
import os, select, sys
NAMES = (
    "fdatasync", "sched_getaffinity", "sched_setaffinity", "memfd_create", "posix_fadvise",
    "posix_fallocate", "eventfd", "splice", "O_TMPFILE", "O_DIRECT", "O_NOATIME", "O_PATH",
    "pidfd_open", "setxattr", "copy_file_range",
)
for name in NAMES:
    if hasattr(os, name):
        delattr(os, name)
if hasattr(select, "epoll"):
    del select.epoll
linux = os.uname()
os.uname = lambda: os.uname_result(("Darwin", "mac", "23.5.0", "Darwin Kernel", "arm64"))
sys.platform = "darwin"
from click.testing import CliRunner
from powercut.cli.commands import powercut
from powercut_rig.macos import requirements
requirements.is_installed = lambda name: False
done = CliRunner().invoke(powercut, ["doctor", "--json"])
print(done.output)
sys.exit(done.exit_code)
"""


def test_the_doctor_runs_without_what_linux_alone_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 3, done.stderr
    said = {each["name"]: each["missing"] for each in json.loads(done.stdout)["can_run"]}
    assert said["recorder"] == ["The block recorder needs Linux and this is darwin."]
    assert "hdiutil of macOS was not found" in said["apfs"][0]
