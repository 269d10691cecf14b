"""What somebody meets who does not know the commands yet: empty stores, slips of the pen."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.cli.main import cli
from tests.impl.cli.commands import run, said
from tests.impl.disks import PARTS, open_store, tree


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with open_store(tmp_path) as opened:
        for number in (1, 2, 3):
            opened.save(10 * number, PARTS, {"loss": 1 / number, "note": "x"})
    return tmp_path.resolve() / "store"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    open_store(tmp_path / "new").close()
    return tmp_path.resolve() / "new" / "store"


def test_an_empty_store_is_called_that(empty: Path) -> None:
    for name in ("ls", "verify"):
        done = run(name, str(empty))
        assert (done.exit_code, done.stdout) == (0, f"no group in {empty}\n")
    assert run("quarantine", str(empty)).stdout == f"nothing in quarantine in {empty}\n"
    assert "holds no group" in run("latest", str(empty)).stderr
    for name in ("repair", "repair --dry-run"):
        assert run(*name.split(" "), str(empty)).stdout == "there is no group\n"


def test_the_commands_are_listed_each_in_one_whole_line() -> None:
    lines = run("--help").stdout.splitlines()[1:]

    assert not [line for line in lines if line.endswith("...")]
    assert "DIR is a store: a directory of groups" in " ".join(lines)
    for each in cli.commands.values():
        assert f"  {each.short_help}" in "\n".join(lines)
        options = [p for p in each.params if p.param_type_name == "option"]
        assert all(getattr(option, "help", "") for option in options)


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_metric_that_no_group_has_prunes_nothing(store: Path, dry_run: list[str]) -> None:
    """A slip of the pen would give up all but the newest."""
    before = tree(store)
    for metric in ("los", "note"):
        done = run("prune", str(store), "--keep-best", f"{metric}:min:1", *dry_run)
        assert done.exit_code == 2
        assert f"no group of {str(store)!r} has a number {metric!r}" in done.stderr
        assert "which has: loss, note. Nothing was changed." in done.stderr
    assert tree(store) == before
    assert run("prune", str(store), "--keep-best", "loss:min:1", *dry_run).exit_code == 0
    assert said("ls", str(store))["groups"][0]["generation"] == 3


@pytest.mark.parametrize("text", ["x", "1.5", "10000000000000000000", "1_0", "\u0663", "0x3"])
def test_what_is_no_generation_is_told_with_an_example(store: Path, text: str) -> None:
    for arguments in (["show", str(store), text], ["verify", str(store), "--generation", text]):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "is no generation, expected a number such as the 3 of gen-" in done.stderr
    for text in ("2", "0002"):
        assert said("show", str(store), text)["generation"] == 2


def test_a_generation_that_is_not_there_comes_with_those_that_are(store: Path) -> None:
    done = run("show", str(store), "30")

    assert done.exit_code == 2
    assert "has no group of generation 30, it has: 3, 2, 1." in done.stderr
    assert "the step of training is the second" in done.stderr


def test_what_is_no_store_comes_with_a_hint(store: Path) -> None:
    above = run("ls", str(store.parent))
    inside = run("ls", str(store / "gen-00000001-step-00000010"))

    assert (above.exit_code, inside.exit_code) == (2, 2)
    assert "is it above or below this?" in above.stderr
    assert "name the directory that it is in" in inside.stderr


def test_doctor_says_in_one_line_that_nothing_was_tried(store: Path) -> None:
    assert "nothing: --probe does it" in run("doctor", str(store)).stdout
    probed = run("doctor", str(store), "--probe").stdout
    assert "--probe" not in probed
    assert "sync a directory" in probed
