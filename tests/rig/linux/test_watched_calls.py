"""The words to a watcher of a traced program's calls."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from powercut_rig.system.ptrace import WatchedCall, run_traced, why_no_tracing

pytestmark = pytest.mark.skipif(why_no_tracing() is not None, reason=str(why_no_tracing()))

PROGRAM = """
import os, sys
home = sys.argv[1]
fd = os.open(home + "/a", os.O_WRONLY | os.O_CREAT)
os.write(fd, bytes(1000)); os.pwrite(fd, bytes(10), 5); os.fsync(fd)
os.rename(home + "/a", home + "/b\\u00e9")
try:
    os.mkdir(home)
except FileExistsError:
    pass
os.unlink(home + "/b\\u00e9"); os.close(fd)
folder = os.open(home, os.O_RDONLY)
os.mkdir("relative", dir_fd=folder)
os.rename("relative", "renamed", src_dir_fd=folder, dst_dir_fd=folder)
os.rmdir(home + "/renamed")
"""


def watched(home: Path) -> list[WatchedCall]:
    found: list[WatchedCall] = []
    run = run_traced([sys.executable, "-B", "-c", PROGRAM, str(home)], watch=found.append)
    assert os.waitstatus_to_exitcode(run.status) == 0
    first = next(n for n, call in enumerate(found) if call.file == f"{home}/a")
    return found[first:]


def test_each_call_is_told_with_its_file_its_bytes_and_its_result(tmp_path: Path) -> None:
    a, b = f"{tmp_path}/a", f"{tmp_path}/bé"

    told = [(call.name, call.file, call.bytes, call.result) for call in watched(tmp_path)]

    assert told[1:] == [
        ("write", a, 1000, 1000),
        ("pwrite64", a, 10, 10),
        ("fsync", a, 0, 0),
        ("rename", f"{a} to {b}", 0, 0),
        ("mkdir", str(tmp_path), 0, -errno.EEXIST),
        ("unlink", b, 0, 0),
        ("mkdirat", "relative", 0, 0),
        ("renameat", "relative to renamed", 0, 0),
        ("rmdir", f"{tmp_path}/renamed", 0, 0),
    ]
    assert told[0][:2] == ("openat", a)
    assert told[0][3] > 2


def test_calls_begin_before_they_end_and_follow_each_other(tmp_path: Path) -> None:
    calls = watched(tmp_path)
    moments = [moment for call in calls for moment in (call.begin_ns, call.end_ns)]

    assert moments == sorted(moments)
