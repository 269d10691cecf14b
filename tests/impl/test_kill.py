"""A real process, killed for good in the middle of a save; the next one goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lastgood
from lastgood.protocol.plan import FORMS, Form
from tests import ROOT
from tests.impl.disks import open_store
from tests.impl.killed_writer import content

FIRST_SAVE_ENDS_ABOUT = 40
KILLS = [3, 25, 31, 38, FIRST_SAVE_ENDS_ABOUT + 7, FIRST_SAVE_ENDS_ABOUT + 19]


def killed_run(root: Path, form: Form, call: int) -> list[int]:
    """Run the writer until its death; the generations that it acknowledged."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.impl.killed_writer", str(root), form, str(call)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize("form", FORMS)
def test_killed_again_and_again_nothing_acknowledged_is_lost(tmp_path: Path, form: Form) -> None:
    acknowledged = 0
    died_in_a_save = 0
    for call in KILLS:
        acknowledged = max([acknowledged, *killed_run(tmp_path, form, call)])
        if not (tmp_path / "store").exists():
            continue
        read = lastgood.open_read_only(tmp_path / "store").load_latest()
        assert (read.generation if read else 0) >= acknowledged
        with open_store(tmp_path, form=form) as store:
            loaded = store.load_latest()
            got = loaded.generation if loaded else 0
            assert got >= acknowledged
            if loaded is not None:
                assert {part: loaded.read(part) for part in loaded.parts} == content(loaded.step)
                died_in_a_save += any(
                    each.reason in ("no_commit", "attempt") for each in loaded.rejected
                )
            receipt = store.save(100, content(100))
            assert receipt.generation > got
            again = store.load_latest()
            assert again is not None
            assert again.generation == receipt.generation
        acknowledged = receipt.generation

    assert acknowledged > 1
    # Otherwise no kill has hit a save, and nothing above was put to the test.
    assert died_in_a_save > 0
