"""`lastgood purge`, and the bytes of a quarantine in `ls`, `quarantine` and `doctor`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.impl.cli.commands import run, said
from tests.impl.disks import fill, names_in, open_store, tree

GROUP = "gen-00000002-step-00000002"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with its second group set aside."""
    path = fill(tmp_path, (1, 2))
    (path / GROUP / "model").write_bytes(b"weight?")
    with open_store(tmp_path) as opened:
        opened.load_latest()
    return path


@pytest.mark.parametrize("how", [["--all"], ["--entry", GROUP], ["--older-than", "1"]])
def test_purge_says_what_it_deletes_and_a_dry_run_deletes_nothing(
    store: Path, how: list[str]
) -> None:
    before = tree(store)
    dry, dry_json = (
        run("purge", str(store), *how, "--dry-run"),
        said("purge", str(store), *how, "--dry-run"),
    )
    assert (dry.exit_code, tree(store)) == (0, before)
    (entry,) = dry_json["deleted"]
    assert (entry["entry"], entry["reason"]) == (GROUP, "sha_mismatch:model")
    bytes_ = f"{entry['size_bytes']:,} bytes"
    assert (
        dry.stdout == f"would go: {GROUP} ({bytes_})\n1 would go, 0 stay, {bytes_} would be freed\n"
    )
    wet = run("purge", str(store), *how)

    assert wet.stdout == f"went: {GROUP} ({bytes_})\n1 went, 0 stay, {bytes_} freed\n"
    assert names_in(store / "quarantine") == []


def test_an_entry_of_unknown_age_is_left_and_said(store: Path) -> None:
    (store / "quarantine" / f"{GROUP}.report.json").unlink()
    done = run("purge", str(store), "--older-than", "0")

    assert (done.exit_code, names_in(store / "quarantine")) == (0, [GROUP])
    assert f"left: {GROUP}: no report says since when it is there" in done.stdout
    assert [
        each["entry"] for each in said("purge", str(store), "--older-than", "0")["of_unknown_age"]
    ] == [GROUP]


@pytest.mark.parametrize("how", [[], ["--all", "--entry", GROUP], ["--entry", "gen-3"]])
def test_purge_without_one_thing_to_delete_is_refused(store: Path, how: list[str]) -> None:
    before = tree(store)
    done = run("purge", str(store), *how)

    assert (done.exit_code, "Nothing was changed" in done.stderr) == (2, True)
    assert {k: v for k, v in tree(store).items() if k != "lock"} == {
        k: v for k, v in before.items() if k != "lock"
    }


def test_the_bytes_in_quarantine_are_said(store: Path) -> None:
    with open_store(store.parent) as opened:
        usage = opened.quarantine_usage()
    total, one = f"{usage.size_bytes:,}", f"{usage.entries[0].size_bytes:,}"

    assert f"1 in quarantine, {total} bytes" in run("ls", str(store)).stdout
    assert said("ls", str(store))["quarantined_bytes"] == usage.size_bytes
    assert one in run("quarantine", str(store)).stdout
    (row,) = said("quarantine", str(store))["groups"]
    assert row["used_bytes"] == usage.entries[0].size_bytes
    assert said("doctor", str(store))["store"]["quarantined_bytes"] == usage.size_bytes


def test_bytes_that_are_no_entries_are_said_to_be_none(store: Path) -> None:
    run("purge", str(store), "--all")
    (store / "quarantine" / "backup").write_bytes(b"x" * 100_000)
    told = said("quarantine", str(store))["strangers_bytes"]
    line = f"{told:,} bytes in quarantine are no entry of lastgood's, which never deletes them\n"

    assert told >= 100_000
    commands = (
        ["ls"],
        ["quarantine"],
        ["doctor"],
        ["purge", "--all"],
        ["purge", "--all", "--dry-run"],
    )
    for name, *options in commands:
        done = run(name, str(store), *options)
        assert line in done.stdout, name
    for name, *options in (["ls"], ["purge", "--all"]):
        assert said(name, str(store), *options)["strangers_bytes"] == told
    assert said("doctor", str(store))["store"]["strangers_bytes"] == told
    assert (store / "quarantine" / "backup").stat().st_size == 100_000


def test_what_a_purge_could_not_delete_is_counted_as_staying(store: Path) -> None:
    report = store / "quarantine" / f"{GROUP}.report.json"
    report.unlink()
    report.mkdir()
    for how in (["--dry-run"], []):
        done = run("purge", str(store), "--all", *how)
        assert done.exit_code == 3
        assert "1 stay, 0 bytes" in done.stdout
        assert "Remove that directory by hand" in done.stdout
        told = said("purge", str(store), "--all", *how)
        assert (told["kept"], [each["reason"] for each in told["stuck"]]) == ([], ["refused"])


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (Path.touch, "a regular file"),
        (lambda path: path.symlink_to(path.parent), "a symlink or special file"),
        (os.mkfifo, "a symlink or special file"),
    ],
)
def test_ls_says_in_a_line_that_a_quarantine_is_none(
    tmp_path: Path, make: Callable[[Path], object], found: str
) -> None:
    store = fill(tmp_path, (1,))
    make(store / "quarantine")
    done = run("ls", str(store))

    assert done.exit_code == 0
    assert "the quarantine cannot be listed: " in done.stdout.splitlines()[-1]
    assert f"found {found}, expected a directory" in done.stdout.splitlines()[-1]
    assert found in said("ls", str(store))["quarantine_error"]
