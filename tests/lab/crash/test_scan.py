"""The scan says what the paper's says: each of its reasons, from a directory made by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from powercut_lab.crash.scan import scan_for, scan_lastgood, scan_paper

PARTS = {"model.bin": b"weights", "optim.bin": b"moments"}


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A valid epoch 3, made from the description of the format."""
    folder = tmp_path / "ckpt/run/epoch_0003"
    folder.mkdir(parents=True)
    listed = [
        {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in PARTS.items()
    ]
    for name, data in PARTS.items():
        (folder / name).write_bytes(data)
    manifest = json.dumps({"epoch": 3, "seed": 0, "parts": listed}).encode()
    (folder / "MANIFEST.json").write_bytes(manifest)
    commit = {"epoch": 3, "seed": 0, "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    (folder / "COMMIT.json").write_text(json.dumps(commit))
    return folder


def scanned(group: Path, number: int = 3) -> str:
    return scan_paper(str(group.parents[2]), number)


def test_a_valid_group_has_no_reason(group: Path) -> None:
    assert scanned(group) == "valid"
    assert scanned(group, 4) == "not_there"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("COMMIT.json", None, "no_commit"),
        ("COMMIT.json", b"{", "commit_error:JSONDecodeError"),
        ("COMMIT.json", b"{}", "commit_error:KeyError"),
        ("COMMIT.json", b'{"manifest_sha256": "0"}', "commit_manifest_mismatch"),
        ("MANIFEST.json", b'{"epoch": 3, "par', "manifest_error:JSONDecodeError"),
        ("MANIFEST.json", b"\xff\xfe{", "manifest_error:UnicodeDecodeError"),
        ("MANIFEST.json", None, "no_manifest"),
        ("MANIFEST.json", b"{}", "commit_manifest_mismatch"),
        ("model.bin", None, "missing:model.bin"),
        ("model.bin", b"weigh", "size_mismatch:model.bin"),
        ("optim.bin", b"MOMENTS", "sha_mismatch:optim.bin"),
    ],
)
def test_each_reason(group: Path, file: str, content: bytes | None, reason: str) -> None:
    if content is None:
        (group / file).unlink()
    else:
        (group / file).write_bytes(content)

    assert scanned(group) == reason


def test_several_reasons_stand_side_by_side(group: Path) -> None:
    (group / "MANIFEST.json").write_bytes(b"{")
    (group / "COMMIT.json").unlink()
    assert scanned(group) == "manifest_error:JSONDecodeError;no_commit"


def test_ours_knows_an_attempt_and_a_group_that_is_not_there(tmp_path: Path) -> None:
    store = tmp_path / "ckpt/run"
    (store / "attempt-gen-00000005-step-00000002").mkdir(parents=True)

    assert scan_lastgood(str(tmp_path), 2) == "no_commit"
    assert scan_lastgood(str(tmp_path), 3) == "not_there"
    assert scan_for("toy")(str(tmp_path), 2) == ""
