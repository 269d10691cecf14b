"""A scan of groups: the paper's columns and words, for its layout and for lastgood's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood import Store, UsageError, guard
from lastgood.backends.detect import disk_here
from lastgood.crashtest.subjects import PAPER

PARTS = {"model.bin": b"m" * 4000, "optim.bin": b"o" * 2000, "rng.json": b"{}"}


def papers(tmp_path: Path) -> Path:
    session = PAPER.open(disk_here(), str(tmp_path / "groups"), "unsafe", True)
    for epoch in (3, 6):
        session.save(epoch, PARTS)
    return tmp_path / "groups"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    file.write_bytes(b"!" + file.read_bytes()[1:])


def link(file: Path) -> None:
    outside = file.parent.parent / "outside"
    file.rename(outside)
    file.symlink_to(outside)


def zeros(file: Path) -> None:
    os.truncate(file, 1 << 40)


def test_intact_groups_are_ok(tmp_path: Path) -> None:
    rows = [each.row() for each in guard.scan_groups(papers(tmp_path))]

    assert guard.GROUP_COLUMNS[0] == "epoch"
    assert [(row[0], *row[2:]) for row in rows] == [(3, 1, 1, 1, 1, ""), (6, 1, 1, 1, 1, "")]


@pytest.mark.parametrize(
    ("name", "damage", "note"),
    [
        ("model.bin", cut, "size_mismatch:model.bin"),
        ("model.bin", flip, "sha_mismatch:model.bin"),
        ("model.bin", Path.unlink, "missing:model.bin"),
        ("model.bin", link, "not_regular:model.bin"),
        ("model.bin", zeros, "size_mismatch:model.bin"),
        ("COMMIT.json", Path.unlink, "no_commit"),
        ("COMMIT.json", cut, "commit_error:JSONDecodeError"),
        ("COMMIT.json", link, "commit_error:OSError"),
        ("COMMIT.json", zeros, "commit_error:OSError"),
        ("MANIFEST.json", flip, "manifest_error:JSONDecodeError"),
        ("MANIFEST.json", Path.unlink, "manifest_error:FileNotFoundError"),
    ],
)
def test_damage_is_named_in_the_words_of_the_paper(
    tmp_path: Path, name: str, damage: Callable[[Path], None], note: str
) -> None:
    root = papers(tmp_path)
    damage(root / "epoch_0006" / name)

    older, newer = guard.scan_groups(root)

    assert older.group_ok
    assert (newer.group_ok, newer.reasons) == (False, (note,))


def test_a_manifest_of_another_group_does_not_fit_its_commit(tmp_path: Path) -> None:
    root = papers(tmp_path)
    data = (root / "epoch_0003" / "MANIFEST.json").read_bytes()
    (root / "epoch_0006" / "MANIFEST.json").write_bytes(data)

    assert guard.scan_groups(root)[1].reasons == ("commit_manifest_mismatch",)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_path_that_leaves_the_group_is_not_followed(tmp_path: Path, path: str) -> None:
    import hashlib
    import json

    root = papers(tmp_path)
    (root / "secret").write_bytes(b"secret")
    group = root / "epoch_0006"
    part = {"path": path, "bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    manifest = json.dumps({"parts": [part]}).encode()
    (group / "MANIFEST.json").write_bytes(manifest)
    commit = {"manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    (group / "COMMIT.json").write_text(json.dumps(commit))

    (reason,) = guard.scan_groups(root)[1].reasons

    assert reason.startswith("unsafe_path:")


def test_groups_of_lastgood_have_the_same_columns(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        receipts = [store.save(step, PARTS) for step in (10, 20, 30)]
    names = sorted(path.name for path in (tmp_path / "store").glob("gen-*"))
    assert len(names) == len(receipts)
    flip(tmp_path / "store" / names[1] / "model.bin")
    cut(tmp_path / "store" / names[2] / "MANIFEST")

    rows = [each.row() for each in guard.scan_groups(tmp_path / "store")]

    assert [row[0] for row in rows] == [10, 20, 30]
    assert [row[2:6] for row in rows] == [(1, 1, 1, 1), (1, 1, 0, 0), (0, 1, 0, 0)]
    assert [row[6] for row in rows] == [
        "", "sha_mismatch:model.bin", "manifest_error:truncated",
    ]  # fmt: skip


def test_a_scan_needs_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no directory"):
        guard.scan_groups(tmp_path / "missing")
    with pytest.raises(UsageError, match="no directory"):
        guard.scan(tmp_path / "missing")
