"""`lastgood purge`, and the bytes of a quarantine in `ls`, `quarantine` and `doctor`."""

from __future__ import annotations

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
