"""A training run that is killed in the middle of a save goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests import ROOT

pytest.importorskip("sklearn", reason="the `train` extra is not installed")

from examples.train_digits import (
    MODEL,
    SavedGroup,
    accuracy,
    digits,
    main,
    parts_of,
    recorded_accuracy,
    run_from,
    saved_groups,
    train,
)

from lastgood import Store

pytestmark = pytest.mark.train

LIMIT_S = 60
EPOCHS = 5
KILLED_SAVE = 3


@pytest.fixture(scope="module")
def uninterrupted() -> list[SavedGroup]:
    return saved_groups(EPOCHS)


def kill_in_a_save(store: Path, form: str, call: str, fragment: str) -> None:
    """Train in a child process and kill it when it stands at the given place of a save."""
    command = [sys.executable, "-m", "tests.train.killed_run", str(store), form, str(EPOCHS)]
    command += [str(KILLED_SAVE), call, fragment]
    path = os.pathsep.join([str(ROOT / "model"), str(ROOT / "impl"), str(ROOT)])
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # A child that never reaches the place ends the wait for its line by its death.
    watchdog = threading.Timer(LIMIT_S, child.kill)
    watchdog.start()
    try:
        assert child.stdout is not None
        said = child.stdout.readline()
    finally:
        watchdog.cancel()
        child.send_signal(signal.SIGKILL)
        _, errors = child.communicate(timeout=LIMIT_S)
    assert said.startswith(f"stopped at {call}"), f"{said!r}\n{errors}"
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("form", "call", "fragment", "epoch_found"),
    [
        pytest.param("record", "write", "optimizer", KILLED_SAVE - 1, id="half a part"),
        pytest.param("record", "write", "MANIFEST", KILLED_SAVE - 1, id="half a manifest"),
        pytest.param("record", "fsync_dir", "", KILLED_SAVE, id="record, before the directory"),
        pytest.param("rename", "rename", "", KILLED_SAVE - 1, id="before the rename"),
        pytest.param("rename", "write", "MANIFEST", KILLED_SAVE - 1, id="an attempt"),
    ],
)
def test_a_run_killed_in_a_save_ends_with_the_same_weights(
    form: str,
    call: str,
    fragment: str,
    epoch_found: int,
    tmp_path: Path,
    uninterrupted: list[SavedGroup],
) -> None:
    kill_in_a_save(tmp_path / "store", form, call, fragment)

    with Store(tmp_path / "store", form=form) as store:  # type: ignore[arg-type]
        loaded = store.load_latest()
        assert loaded is not None
        run = run_from(loaded)
        assert run.epoch == epoch_found
        assert recorded_accuracy(loaded.read(MODEL)) == uninterrupted[epoch_found - 1].accuracy
        assert accuracy(run.weights, digits()) == uninterrupted[epoch_found - 1].accuracy
        assert loaded.metadata["accuracy"] == uninterrupted[epoch_found - 1].accuracy

        end = train(store, EPOCHS, run)
        last = store.load_latest()

    assert parts_of(end, digits()) == uninterrupted[-1].parts
    assert last is not None
    assert {part: last.read(part) for part in uninterrupted[-1].parts} == uninterrupted[-1].parts


def test_training_teaches_the_network_something(uninterrupted: list[SavedGroup]) -> None:
    assert [group.accuracy for group in uninterrupted] != [uninterrupted[0].accuracy] * EPOCHS
    assert uninterrupted[-1].accuracy > 0.8


def test_another_seed_gives_other_weights(uninterrupted: list[SavedGroup]) -> None:
    (other,) = saved_groups(1, seed=21)

    assert other.parts[MODEL] != uninterrupted[0].parts[MODEL]


def test_the_program_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], uninterrupted: list[SavedGroup]
) -> None:
    store = str(tmp_path / "made" / "by" / "it")

    assert main([store, "--epochs", "2"]) == 0
    assert main([store, "--epochs", "3"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"epoch 2: {uninterrupted[1].accuracy:.1%} of the test images",
        f"resumed after epoch 2, step {uninterrupted[1].step}",
        f"epoch 3: {uninterrupted[2].accuracy:.1%} of the test images",
    ]
