"""The command line: pure readers, one clear line for each fault, documented exit statuses."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.impl.cli.commands import run
from tests.impl.disks import PARTS, fill, open_store, tree
from tests.impl.recovery.test_recovery import DAMAGE, IDS, NEW, OLD, Harm

MALFORMED = ("manifest_error", "unsafe_path", "not_regular")
# The newest directory without a MANIFEST may be a save that is going on: test_unfinished_saves.py.
AT_REST = [each for each in zip(DAMAGE, IDS, strict=True) if each[0][1] != "no_commit"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path, (1, 2), form="record")


def test_latest_prints_the_path_and_nothing_else(store: Path) -> None:
    done = run("latest", str(store))

    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{store}/{NEW}\n", "")


def test_latest_falls_back_and_tells_on_stderr(store: Path) -> None:
    (store / NEW / "model").unlink()
    done = run("latest", str(store))

    assert (done.exit_code, done.stdout) == (0, f"{store}/{OLD}\n")
    assert done.stderr == (
        f"lastgood: {store}/{NEW}: 'model' is missing (missing:model). Nothing was changed.\n"
    )


def test_ls_shows_every_group_and_reads_no_part(store: Path) -> None:
    (store / NEW / "model").unlink()
    done = run("ls", str(store))

    assert done.exit_code == 0
    assert NEW in done.stdout
    assert OLD in done.stdout
    assert "missing" not in done.stdout


def test_json_says_the_same_to_programs(store: Path) -> None:
    (store / NEW / "model").write_bytes(b"bad")

    listed: dict[str, Any] = json.loads(run("ls", str(store), "--json").stdout)
    verified = json.loads(run("verify", str(store), "--json").stdout)
    latest = json.loads(run("latest", str(store), "--json").stdout)

    assert [(row["generation"], row["verdict"]) for row in listed["groups"]] == [
        (2, "listed"),
        (1, "listed"),
    ]
    assert [(row["generation"], row["verdict"]) for row in verified["groups"]] == [
        (2, "size_mismatch:model"),
        (1, "valid"),
    ]
    assert latest["latest"]["path"] == f"{store}/{OLD}"
    assert [row["name"] for row in latest["rejected"]] == [NEW]


@pytest.mark.parametrize(("harm", "reason"), [d for d, _ in AT_REST], ids=[i for _, i in AT_REST])
def test_each_damage_has_its_line_and_status_and_changes_nothing(
    store: Path, harm: Harm, reason: str
) -> None:
    """Malformed: 2, unless `latest` has found another group. Other damage: 1."""
    harm(store / NEW)
    before = tree(store)
    malformed = reason.startswith(MALFORMED)
    for command in ("verify", "latest"):
        done = run(command, str(store), "--generation", "2")
        assert done.exit_code == (2 if malformed else 1)
        assert len(done.stderr.splitlines()) == 1
        assert f"({reason})" in done.stderr
        assert f"{store}/{NEW}" in done.stderr
    assert run("verify", str(store)).exit_code == (2 if malformed else 1)
    assert run("latest", str(store)).exit_code == 0
    assert f"({reason})" in run("latest", str(store)).stderr
    assert tree(store) == before


@pytest.mark.parametrize(("harm", "reason"), [d for d, _ in AT_REST], ids=[i for _, i in AT_REST])
def test_ls_tells_a_malformed_group_without_reading_a_part(
    store: Path, harm: Harm, reason: str
) -> None:
    harm(store / NEW)
    before = tree(store)
    for arguments in ([], ["--json"]):
        done = run("ls", str(store), *arguments)
        if reason.startswith(MALFORMED):
            assert done.exit_code == 2
            assert done.stderr.startswith(f"lastgood: {store}/{NEW}: ")
            assert f"({reason})" in done.stderr
            assert "expected" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        elif reason == "commit_manifest_mismatch":
            assert done.exit_code == 1
            assert f"({reason})" in done.stderr
        else:
            assert (done.exit_code, done.stderr) == (0, "")
    assert tree(store) == before


def test_one_malformed_group_outweighs_other_damage(store: Path) -> None:
    (store / OLD / "model").unlink()
    (store / NEW / "MANIFEST").write_bytes(b"")
    before = tree(store)

    for command in ("verify", "latest"):
        done = run(command, str(store))
        assert done.exit_code == 2
        assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
            f"{store}/{NEW}",
            f"{store}/{OLD}",
        ]
    assert tree(store) == before


def test_a_size_of_thousands_of_digits_is_malformed_and_no_traceback(store: Path) -> None:
    path = store / NEW / "MANIFEST"
    body = path.read_bytes().rpartition(b"# sha256 ")[0]
    huge = body.replace(b'"size_bytes":7', b'"size_bytes":' + b"7" * 4300, 1)
    assert len(huge) > 4300
    path.write_bytes(huge + f"# sha256 {hashlib.sha256(huge).hexdigest()}\n".encode())

    for command in ("ls", "verify"):
        done = run(command, str(store))
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
        assert "an integer of 4300 digits, expected" in done.stderr


def test_where_the_only_group_is_malformed_the_status_is_2(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        opened.save(1, PARTS)
    manifest = tmp_path / "store" / OLD / "MANIFEST"
    os.truncate(manifest, 100)

    for command in ("verify", "latest"):
        done = run(command, str(tmp_path / "store"))
        assert done.exit_code == 2
        assert "MANIFEST: it ends after 100 bytes, expected" in done.stderr


def test_where_nothing_is_loadable_the_status_is_1(store: Path) -> None:
    for name in (OLD, NEW):
        (store / name / "model").unlink()

    assert run("latest", str(store)).exit_code == 1


def test_an_empty_store_has_no_latest_and_no_damage(tmp_path: Path) -> None:
    open_store(tmp_path).close()

    assert run("latest", str(tmp_path / "store")).exit_code == 1
    assert run("verify", str(tmp_path / "store")).exit_code == 0


def test_a_dead_attempt_is_shown_and_is_no_damage(store: Path) -> None:
    (store / "attempt-gen-00000003-step-00000003").mkdir()
    done = run("verify", str(store), "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout)["groups"][0]["verdict"] == "attempt"


@pytest.mark.parametrize("command", ["ls", "verify", "latest"])
def test_what_is_no_store_is_bad_input(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    before = tree(tmp_path)

    for name, found in [("file", "found a regular file"), ("none", "found nothing")]:
        done = run(command, str(tmp_path / name))
        assert done.exit_code == 2
        assert found in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert tree(tmp_path) == before


def test_a_generation_that_is_not_there_is_bad_input(store: Path) -> None:
    done = run("verify", str(store), "--generation", "9")

    assert (done.exit_code, "no group of generation 9" in done.stderr) == (2, True)
    assert run("latest", str(store), "--generation", "-1").exit_code == 2


def test_help_gives_the_exit_statuses() -> None:
    for arguments in (["--help"], ["verify", "--help"], ["latest", "-h"], ["ls", "-h"]):
        done = run(*arguments)
        assert done.exit_code == 0
        assert "a truncated or foreign manifest" in done.stdout
        assert "3  this machine cannot do it" in done.stdout


@pytest.mark.parametrize("library", ["click", "rich"])
def test_without_its_libraries_the_command_names_the_extra(library: str) -> None:
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from lastgood.__main__ import main; sys.argv = ['lastgood', '--help']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 3
    assert "pip install 'lastgood[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_module_is_the_command(store: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lastgood", "latest", str(store)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, f"{store}/{NEW}\n")
