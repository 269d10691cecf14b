"""What is opened in steps is undone in steps, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from powercut_rig.system import worker
from powercut_rig.system.lifecycle import ManagedResource


class Three(ManagedResource):
    def __init__(self, fails_at: int = 0) -> None:
        self.fails_at = fails_at
        self.undone: list[int] = []

    def _open(self, undo: contextlib.ExitStack) -> None:
        for number in (1, 2, 3):
            if number == self.fails_at:
                raise OSError("no more")
            undo.callback(self.undone.append, number)


def test_leaving_undoes_all_in_reverse_and_once() -> None:
    three = Three()
    with three:
        assert three.undone == []
    assert three.undone == [3, 2, 1]
    three.__exit__(None, None, None)
    assert three.undone == [3, 2, 1]


def test_an_error_half_way_undoes_what_there_was_and_goes_on() -> None:
    three = Three(fails_at=3)
    with pytest.raises(OSError, match="no more"), three:
        pass
    assert three.undone == [2, 1]


def test_a_folder_that_another_run_took_for_stale_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, there = tmp_path / "gone", tmp_path / "there"
    there.mkdir()
    made = iter((str(gone), str(there)))
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_keywords: next(made))
    folder, lock = worker._locked_folder()
    os.close(lock)
    assert folder == str(there)
