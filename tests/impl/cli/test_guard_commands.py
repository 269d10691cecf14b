"""`lastgood guard write|check|scan`: what they print, and their exit statuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lastgood import Store
from lastgood.guard import FILE_COLUMNS, GROUP_COLUMNS, SUFFIX
from tests import ROOT
from tests.impl.cli.commands import run, said


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "epoch_0003.npz", weights=np.arange(100.0))
    return tmp_path / "epoch_0003.npz"


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)


def test_a_file_is_written_checked_and_found_intact(file: Path) -> None:
    written = run("guard", "write", str(file))
    checked = run("guard", "check", str(file))

    assert (written.exit_code, written.stdout) == (0, f"{file}{SUFFIX}\n")
    assert said("guard", "write", str(file)) == {"written": [f"{file}{SUFFIX}"]}
    assert (checked.exit_code, checked.stdout) == (0, f"{file}: ok\n")


def test_damage_is_status_1_and_names_the_reason(file: Path) -> None:
    run("guard", "write", str(file))
    damage(file)

    done = run("guard", "check", str(file))

    assert done.exit_code == 1
    assert "load_error:BadZipFile;file_sha_mismatch" in done.stdout


def test_a_malformed_sidecar_and_a_missing_file_are_status_2(file: Path, tmp_path: Path) -> None:
    sidecar = Path(run("guard", "write", str(file)).stdout.strip())
    sidecar.write_text("{}")

    assert run("guard", "check", str(file)).exit_code == 2
    assert run("guard", "check", str(tmp_path / "none.npz")).exit_code == 2
    assert run("guard", "write", str(tmp_path / "none.npz")).exit_code == 2
    assert run("guard", "scan", str(tmp_path / "none")).exit_code == 2
    assert run("guard", "check").exit_code == 2


def test_what_nothing_can_judge_is_status_3(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_bytes(b"x")

    done = run("guard", "check", str(tmp_path / "notes.bin"))

    assert done.exit_code == 3
    assert "not judged" in done.stdout
    assert "no_sidecar" in done.stderr


def test_a_missing_library_is_status_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastgood.guard.torch_child.find_spec", lambda _name: None)
    (tmp_path / "a.pt").write_bytes(b"x")

    done = run("guard", "write", str(tmp_path / "a.pt"))

    assert done.exit_code == 3
    assert "pip install torch" in done.stderr
    assert run("guard", "write", "--format", "opaque", str(tmp_path / "a.pt")).exit_code == 0


def test_nonfinite_numbers_warn_and_reject_when_asked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([np.nan]))

    warned = run("guard", "check", str(tmp_path / "a.npz"))
    rejected = run("guard", "check", "--reject-nonfinite", str(tmp_path / "a.npz"))

    assert (warned.exit_code, rejected.exit_code) == (0, 1)
    assert "nan:1" in warned.stderr
    assert "nonfinite" in rejected.stdout


def test_a_scan_is_csv_json_or_a_table(file: Path, tmp_path: Path) -> None:
    run("guard", "write", str(file))

    table = run("guard", "scan", str(tmp_path))
    lines = list(csv.reader(run("guard", "scan", "--csv", str(tmp_path)).stdout.splitlines()))
    rows = json.loads(run("guard", "scan", "--json", str(tmp_path)).stdout)["rows"]

    assert table.exit_code == 0
    assert "epoch_0003.npz" in table.stdout
    assert lines[0] == list(FILE_COLUMNS)
    assert [row["epoch"] for row in rows] == [3]
    assert dict(zip(lines[0], lines[1], strict=True)) == {k: str(v) for k, v in rows[0].items()}


def test_a_scan_of_groups_has_their_columns_and_status(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.save(1, {"model": b"weights"})
    (group,) = tmp_path.glob("gen-*")

    intact = run("guard", "scan", "--groups", "--csv", str(tmp_path))
    os.truncate(group / "model", 3)
    damaged = run("guard", "scan", "--groups", "--json", str(tmp_path))

    assert intact.exit_code == 0
    assert intact.stdout.splitlines()[0] == ",".join(GROUP_COLUMNS)
    assert damaged.exit_code == 1
    assert json.loads(damaged.stdout)["rows"][0]["note"] == "size_mismatch:model"


def test_names_that_a_terminal_would_obey_are_printed_as_text(tmp_path: Path) -> None:
    name = "a\x1b[31m.npz"
    np.savez(tmp_path / name, x=np.arange(3))

    assert "\x1b" not in run("guard", "check", str(tmp_path / name)).stdout
    assert "\x1b" not in run("guard", "scan", str(tmp_path)).stdout


def test_the_other_commands_import_nothing_of_the_guard() -> None:
    program = "import sys, lastgood.cli.main; print('lastgood.guard' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=60, check=True, cwd=ROOT,
    )  # fmt: skip

    assert done.stdout == "False\n"
