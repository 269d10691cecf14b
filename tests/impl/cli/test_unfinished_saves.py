"""A save without MANIFEST, going on or cut off by a crash, is shown, and is called no damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lastgood.protocol.plan import Form
from tests.impl.cli.commands import run, said
from tests.impl.disks import fill, open_store, tree
from tests.impl.recovery.test_recovery import NEW, OLD

GOING_ON = "a save that is still going on, or that ended before its"
FORMS: list[tuple[Form, str, str]] = [
    ("record", "gen-00000003-step-00000003", "no_commit"),
    ("rename", "attempt-gen-00000003-step-00000003", "attempt"),
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path, (1, 2), form="record")


def rows(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = said(*arguments)["groups"]
    return found


@pytest.mark.parametrize(("form", "name", "reason"), FORMS)
def test_a_save_that_is_going_on_is_no_damage(
    store: Path, form: Form, name: str, reason: str
) -> None:
    """The commands look while the source of a part is asked for its next piece."""
    seen = []

    def part() -> Iterator[bytes]:
        yield b"half"
        before = tree(store)
        for command in ("ls", "verify", "latest", "why"):
            done = run(command, str(store))
            assert (done.exit_code, done.stderr) == (0, ""), command
            if command == "ls":
                assert reason in done.stdout
        for command in ("ls", "verify"):
            shown = rows(command, str(store))[0]
            assert (shown["name"], shown["verdict"], shown["damage"]) == (name, reason, False)
            assert GOING_ON in shown["detail"]
        assert tree(store) == before
        seen.append(name)

    with open_store(store.parent, form=form) as opened:
        opened.save(3, {"model": part()})

    assert seen == [name]
    assert run("verify", str(store)).exit_code == 0


@pytest.mark.parametrize(("form", "name", "reason"), FORMS)
def test_what_a_crash_has_cut_off_is_no_damage(
    store: Path, form: Form, name: str, reason: str
) -> None:
    (store / name).mkdir()
    (store / name / "model").write_bytes(b"half")

    for command in ("ls", "verify", "latest"):
        done = run(command, str(store))
        assert (done.exit_code, done.stderr) == (0, ""), command
    assert run("repair", str(store)).exit_code == 0
    assert [row["name"] for row in rows("ls", str(store))] == [NEW, OLD]


def test_with_nothing_but_a_save_that_is_going_on_there_is_no_damage_and_no_latest(
    tmp_path: Path,
) -> None:
    open_store(tmp_path).close()
    store = tmp_path.resolve() / "store"
    (store / OLD).mkdir()

    assert run("verify", str(store)).exit_code == 0
    done = run("latest", str(store))
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{store / OLD}: MANIFEST is missing: {GOING_ON} commit (no_commit)" in done.stderr


def test_a_group_without_a_manifest_that_is_older_than_a_committed_one_is_damage(
    store: Path,
) -> None:
    """Nobody saves it any more: there is one writer, and its generations grow."""
    (store / OLD / "MANIFEST").unlink()
    before = tree(store)

    for command in ("ls", "verify"):
        done = run(command, str(store))
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1
        assert "or a group that has lost its MANIFEST (no_commit)" in done.stderr
        assert [row["damage"] for row in rows(command, str(store))] == [False, True]
    alone = run("verify", str(store), "--generation", "1")
    assert (alone.exit_code, "(no_commit)" in alone.stderr) == (1, True)
    assert tree(store) == before


@pytest.mark.parametrize("cut", [b"", b"# lastgood manifest 1\n# gen"])
def test_a_manifest_that_a_crash_has_cut_off_looks_like_damage_until_a_recovery(
    store: Path, cut: bytes
) -> None:
    """In the record form. An acknowledged group whose MANIFEST was cut looks the same."""
    name = FORMS[0][1]
    (store / name).mkdir()
    (store / name / "model").write_bytes(b"whole")
    (store / name / "MANIFEST").write_bytes(cut)

    for command in ("ls", "verify"):
        assert run(command, str(store)).exit_code == 2
        shown = rows(command, str(store))[0]
        assert (shown["verdict"].split(":")[0], shown["damage"]) == ("manifest_error", True)
    with open_store(store.parent, form="record") as opened:
        assert opened.load().step == 2
        assert opened.save(4, {"model": b"x"}).generation == 4
    assert run("verify", str(store)).exit_code == 0
    # Nothing but a purge deletes it.
    assert [row["name"] for row in rows("quarantine", str(store))] == [name]


def test_the_help_says_which_cut_off_save_is_no_damage() -> None:
    told = " ".join(run("ls", "--help").stdout.split())

    assert "cut off before its MANIFEST, is no damage" in told
    assert "One that is cut off inside its MANIFEST (the record form) looks like damage" in told
