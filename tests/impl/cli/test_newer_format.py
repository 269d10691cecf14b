"""The commands on groups that a newer version has written: listed, and not called damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.impl.cli.commands import run, said
from tests.impl.disks import fill, tree
from tests.impl.format.newer_manifests import group_path, make_newer

REASON = "newer_format:format 2"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three groups, of which a newer version has written the newest."""
    path = fill(tmp_path, (1, 2, 3))
    make_newer(group_path(path, 3))
    return path


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Three groups, of which a newer version has written the oldest."""
    path = fill(tmp_path, (1, 2, 3))
    make_newer(group_path(path, 1))
    return path


@pytest.mark.parametrize(
    ("command", "status"), [("ls", 0), ("verify", 3), ("latest", 3), ("why", 3), ("doctor", 1)]
)
def test_what_lists_it_says_what_is_needed_and_changes_nothing(
    store: Path, command: str, status: int
) -> None:
    before = tree(store)
    done = run(command, str(store))

    assert done.exit_code == status
    assert group_path(store, 3).name in done.output
    assert "format 2" in done.output
    assert "newer version" in done.output
    assert "damage" not in done.output
    assert tree(store) == before


def test_a_row_of_it_is_no_damage(store: Path) -> None:
    for command in ("ls", "verify"):
        newest, *others = said(command, str(store))["groups"]
        assert (newest["verdict"], newest["damage"], newest["damaged"]) == (REASON, False, [])
        assert [row["verdict"] for row in others] == ["listed" if command == "ls" else "valid"] * 2


def test_damage_elsewhere_keeps_its_status(store: Path) -> None:
    (group_path(store, 1) / "model").write_bytes(b"weight?")

    assert run("verify", str(store)).exit_code == 1
    (group_path(store, 2) / "MANIFEST").write_bytes(b"")
    assert run("verify", str(store)).exit_code == run("ls", str(store)).exit_code == 2


def test_why_takes_no_older_group(store: Path) -> None:
    shutil.copytree(group_path(store, 1), group_path(store, 4))
    found = said("why", str(store))
    done = run("why", str(store))

    assert found["taken"] is None
    assert [row["verdict"] for row in found["passed_over"]] == ["name_mismatch", REASON]
    assert "nothing: a load refuses" in done.stdout
    assert group_path(store, 2).name not in done.stdout
    assert said("latest", str(store))["latest"] is None
    assert run("latest", str(store), "--generation", "3").exit_code == 3
    assert run("latest", str(store), "--generation", "2").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "3"],
        ["diff", "2", "3"],
        ["prune", "--keep-latest", "1"],
        ["prune", "--keep-latest", "1", "--dry-run"],
        ["repair"],
        ["repair", "--dry-run"],
    ],
)
def test_what_cannot_do_without_it_refuses(store: Path, arguments: list[str]) -> None:
    before = tree(store)
    done = run(arguments[0], str(store), *arguments[1:])

    assert done.exit_code == 3
    assert f"group {group_path(store, 3).name} was written by a newer version" in done.stderr
    assert "needs format 2" in done.stderr
    assert tree(store) == before


def test_an_older_one_is_left_alone_and_named(older: Path) -> None:
    left = tree(group_path(older, 1))
    for dry in (["--dry-run"], []):
        repaired = run("repair", str(older), *dry)
        assert repaired.exit_code == 0
        assert f"left: {group_path(older, 1).name}: MANIFEST: its seal" in repaired.stdout
        assert said("repair", str(older), *dry)["unjudged"][0]["reason"] == REASON
    for dry in (["--dry-run"], []):
        pruned = run("prune", str(older), "--keep-latest", "1", *dry)
        assert pruned.exit_code == 0
        assert f"left: {group_path(older, 1).name}: MANIFEST: its seal" in pruned.stdout
        assert "is damaged" not in pruned.stdout
    found = said("prune", str(older), "--keep-latest", "1", "--dry-run")
    assert (found["moved"], found["damaged"]) == ([], [])
    assert [each["reason"] for each in found["unjudged"]] == [REASON]
    assert tree(group_path(older, 1)) == left
    assert run("latest", str(older)).exit_code == run("why", str(older)).exit_code == 0


def test_doctor_counts_it_and_says_that_no_writer_opens(store: Path) -> None:
    make_newer(group_path(store, 1))
    found = said("doctor", str(store))

    assert found["store"]["written_by_a_newer_version"] == 2
    assert any("opens no writer" in each for each in found["weaknesses"])
    shutil.rmtree(group_path(store, 3))
    found = said("doctor", str(store))
    assert found["store"]["written_by_a_newer_version"] == 1
    assert not any("opens no writer" in each for each in found["weaknesses"])


def test_quarantine_tells_what_an_older_version_has_set_aside(store: Path) -> None:
    (store / "quarantine").mkdir()
    group_path(store, 3).rename(store / "quarantine" / group_path(store, 3).name)
    (row,) = said("quarantine", str(store))["groups"]

    assert (row["verdict"], row["damage"]) == (REASON, False)
