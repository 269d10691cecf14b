"""What `prune` and `repair` say of what they did, and what the readers say meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood import LatestN
from lastgood.backends.interface import describe_kind
from lastgood.backends.posix import PosixDisk
from lastgood.cli.inspection import find_latest
from tests.impl.cli.commands import run, said
from tests.impl.disks import (
    EXT4,
    PARTS,
    WatchedDisk,
    failing,
    fill,
    names_aside,
    names_in,
    open_store,
    tree,
)

GROUPS = [f"gen-{n:08d}-step-{10 * n:08d}" for n in (1, 2, 3)]
LEFTOVER = "pruned-gen-00000000-step-00000000"
KEEP = ["--keep-latest", "1"]
NOTHING_VALID = [("model", 1), ("MANIFEST", 1), ("link", 2)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path, (10, 20, 30))


def harm(group: Path, how: str) -> None:
    if how == "link":
        (group / "MANIFEST").unlink()
        (group / "MANIFEST").symlink_to("model")
    else:
        (group / how).unlink()


@pytest.mark.parametrize(("how", "status"), NOTHING_VALID)
@pytest.mark.parametrize("command", [["prune", *KEEP], ["repair"]])
def test_where_nothing_valid_is_left_the_status_is_that_of_latest(
    store: Path, command: list[str], how: str, status: int
) -> None:
    for name in GROUPS:
        harm(store / name, how)
    before = tree(store)
    arguments = [command[0], str(store), *command[1:]]
    assert run("latest", str(store)).exit_code == status
    dry = run(*arguments, "--dry-run")
    assert (dry.exit_code, tree(store)) == (status, before)
    wet = run(*arguments)

    assert wet.exit_code == status
    # Of groups without MANIFEST, quarantine keeps the newest.
    kept = GROUPS[2:] if how == "MANIFEST" else GROUPS
    assert names_aside(store) == kept
    for name in GROUPS:
        said_dry, said_wet = (
            ("would move to quarantine", "moved to quarantine")
            if name in kept
            else ("would be deleted", "deleted")
        )
        assert f"{said_dry}: {name}: " in dry.stdout
        assert f"{said_wet}: {name}: " in wet.stdout
    again = run(*arguments)
    assert (again.exit_code, "quarantine" in again.stdout) == (1, False)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["--keep-latest", "2"], [2, 1]),
        (["--keep-every", "1"], [2, 1, 0]),
        (["--keep-every", "20"], [2, 1]),
        (["--keep-every", "7"], [2]),
        (["--keep-seconds", "1"], [2, 0]),
        (["--keep-latest", "1", "--keep-every", "10"], [2, 1, 0]),
    ],
)
def test_prune_keeps_what_any_of_its_options_keeps(
    store: Path, options: list[str], kept: list[int]
) -> None:
    answer = said("prune", str(store), *options)

    assert answer["kept"] == [GROUPS[number] for number in kept]
    assert names_in(store) == [*(GROUPS[number] for number in sorted(kept)), "lock"]


@pytest.mark.parametrize("option", ["--keep-latest", "--keep-every", "--keep-seconds"])
def test_prune_refuses_to_keep_every_zeroth(store: Path, option: str) -> None:
    done = run("prune", str(store), option, "0")

    assert (done.exit_code, option in done.stderr) == (2, True)
    assert names_in(store) == [*GROUPS, "lock"]


def test_prune_says_what_it_sets_aside_and_goes_on(store: Path) -> None:
    (store / GROUPS[2] / "model").write_bytes(b"weight?")
    (store / "attempt-gen-00000004-step-00000040").mkdir()
    (store / "quarantine").mkdir()
    (store / "quarantine" / GROUPS[2]).mkdir()
    before = tree(store)
    dry = said("prune", str(store), *KEEP, "--dry-run")
    assert tree(store) == before
    done = said("prune", str(store), *KEEP)

    for answer in (dry, done):
        for key, found in (
            ("moved", (GROUPS[2], "sha_mismatch:model")),
            ("discarded", ("attempt-gen-00000004-step-00000040", "attempt")),
        ):
            assert [(each["name"], each["reason"]) for each in answer[key]] == [found]
        assert (answer["kept"], answer["given_up"]) == ([GROUPS[1]], [GROUPS[0]])
    assert names_in(store) == [GROUPS[1], "lock", "quarantine"]


@pytest.mark.parametrize(
    ("command", "key"), [(["prune", *KEEP], "leftovers"), (["repair"], "finished")]
)
def test_a_deletion_that_is_finished_is_told(store: Path, command: list[str], key: str) -> None:
    (store / LEFTOVER).mkdir()
    (store / LEFTOVER / "model").touch()
    arguments = [command[0], str(store), *command[1:]]
    dry, dry_json = run(*arguments, "--dry-run"), said(*arguments, "--dry-run")
    assert (store / LEFTOVER / "model").exists()
    assert dry_json[key] == [LEFTOVER]
    assert f"would be finished: the deletion of {LEFTOVER}" in dry.stdout
    done = run(*arguments)

    assert f"\nfinished: the deletion of {LEFTOVER}" in f"\n{done.stdout}"
    assert not (store / LEFTOVER).exists()
    (store / LEFTOVER).mkdir()
    assert said(*arguments)[key] == [LEFTOVER]


@pytest.mark.parametrize("command", [["prune", *KEEP], ["repair"]])
def test_what_cannot_be_deleted_is_told_and_left(store: Path, command: list[str]) -> None:
    put("link", store / LEFTOVER)
    arguments = [command[0], str(store), *command[1:]]
    for options in (["--dry-run"], []):
        done = run(*arguments, *options)
        assert done.exit_code == 0
        assert f"left: {LEFTOVER} cannot be deleted: found a symlink" in done.stdout
        assert "finished" not in done.stdout
        (stuck,) = said(*arguments, *options)["stuck"]
        assert (stuck["name"], stuck["reason"]) == (LEFTOVER, f"not_regular:{LEFTOVER}")
    assert (store / LEFTOVER).is_symlink()


def test_a_dry_run_frees_nothing(store: Path) -> None:
    dry = run("prune", str(store), *KEEP, "--dry-run").stdout.splitlines()[-1]
    wet = run("prune", str(store), *KEEP).stdout.splitlines()[-1]

    assert dry == "2 would go, 1 stay, 28 bytes would be freed"
    assert wet == "2 went, 1 stay, 28 bytes freed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep-seconds", "nan"], "expected seconds, more than 0"),
        (["--keep-seconds", "inf"], "expected seconds, more than 0"),
        (["--keep-seconds", "1e999"], "expected seconds, more than 0"),
        (["--keep-seconds", "0"], "expected seconds, more than 0"),
        (["--keep-seconds", "-1"], "expected seconds, more than 0"),
        (["--keep-best", "loss:min:" + "9" * 5000], "expected METRIC:min:N"),
        (["--keep-best", ":min:1"], "expected METRIC:min:N"),
        (["--keep-best", "loss:min:\u0663\u0663"], "expected METRIC:min:N"),
        (["--keep-latest", "9" * 5000], "keep-latest"),
    ],
)
def test_numbers_that_are_none_are_refused(store: Path, arguments: list[str], message: str) -> None:
    before = tree(store)
    done = run("prune", str(store), *arguments)

    assert (done.exit_code, message in done.stderr, done.stdout) == (2, True, "")
    assert tree(store) == before


@pytest.mark.parametrize(
    "command", ["ls", "show", "verify", "latest", "why", "quarantine", "diff", "doctor", "bench"]
)
def test_an_empty_path_is_not_the_current_directory(
    store: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store)
    numbers = {"show": ["1"], "diff": ["1", "2"]}.get(command, [])
    done = run(command, "", *numbers)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "it is empty, expected the path of a directory" in done.stderr
    assert run("prune", "", *KEEP).exit_code == run("repair", "").exit_code == 2
    assert names_in(store) == [*GROUPS, "lock"]


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "-1", "x"])
def test_a_generation_that_no_name_can_carry_is_refused(store: Path, number: str) -> None:
    for arguments in (["show", number], ["diff", number, "1"], ["verify", "--generation", number]):
        done = run(arguments[0], str(store), *arguments[1:])
        assert (done.exit_code, "Traceback" in done.stderr) == (2, False)


@pytest.mark.parametrize("command", ["ls", "verify", "latest", "why", "quarantine"])
def test_a_directory_that_nobody_saved_in_is_no_store(
    store: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").touch()
    plain = run(command, str(tmp_path / "plain"))
    group = run(command, str(store / GROUPS[0]))

    assert (plain.exit_code, group.exit_code) == (2, 2)
    assert "expected a store" in plain.stderr
    assert "looks like a group" not in plain.stderr
    assert "It looks like a group: name the directory that it is in" in group.stderr
    (tmp_path / "copied").mkdir()
    (store / GROUPS[0]).rename(tmp_path / "copied" / GROUPS[0])
    assert run(command, str(tmp_path / "copied")).exit_code == 0


class Overtaken(PosixDisk):
    """A disk on which something happens between a listing and whatever follows it."""

    def __init__(self, store: Path, happens: list[Callable[[], object]]) -> None:
        super().__init__(EXT4)
        self._store, self._happens = str(store), happens

    def names(self, path: str) -> list[str]:
        found = super().names(path)
        if path == self._store and self._happens:
            self._happens.pop(0)()
        return found


def save_and_prune(root: Path) -> None:
    with open_store(root, keep=LatestN(1)) as opened:
        opened.save(40, PARTS)


def test_a_reader_that_a_prune_overtakes_looks_again(store: Path, tmp_path: Path) -> None:
    happens: list[Callable[[], object]] = [lambda: save_and_prune(tmp_path)] * 3
    report = find_latest(Overtaken(store, happens), str(store), None)

    assert (report.exit_status, happens) == (0, [])
    assert [(row.generation, row.verdict) for row in report.rows] == [(6, "valid")]


@pytest.mark.parametrize("command", ["latest", "why"])
def test_a_writer_that_prunes_faster_than_it_is_read_is_said(
    store: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens: list[Callable[[], object]] = [lambda: save_and_prune(tmp_path)] * 100
    monkeypatch.setattr("lastgood.cli.read_commands.disk_here", lambda: Overtaken(store, happens))
    done = run(command, str(store))

    assert (done.exit_code, done.stdout) == (3, "")
    assert "Its writer prunes faster than this process reads" in done.stderr


def test_a_generation_that_went_away_meanwhile_is_not_found_good(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens: list[Callable[[], object]] = [lambda: save_and_prune(tmp_path)]
    monkeypatch.setattr("lastgood.cli.read_commands.disk_here", lambda: Overtaken(store, happens))
    done = run("latest", str(store), "--generation", "2")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "it is not in the store any more (gone)" in done.stderr


def put(kind: str, path: Path) -> None:
    match kind:
        case "file":
            path.touch()
        case "dir":
            path.mkdir()
        case "link":
            path.symlink_to("/tmp")  # noqa: S108 - it is never followed
        case _:
            os.mkfifo(path)


@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_where_the_quarantine_is_none_damage_stays_and_commands_go_on_and_say_so(
    store: Path, kind: str
) -> None:
    put(kind, store / "quarantine")
    place = str(store)
    assert run("repair", place, "--dry-run").exit_code == 0
    (store / GROUPS[2] / "model").unlink()
    listed = run("quarantine", place)
    assert (listed.exit_code, "expected a directory" in listed.stderr) == (2, True)
    for command in (["repair", place], ["prune", place, *KEEP]):
        for options in (["--dry-run"], []):
            done = run(*command, *options)
            assert (done.exit_code, done.stderr) == (3, "")
            assert (
                f"left: {GROUPS[2]} cannot be set aside: it is damaged (missing:mo" in done.stdout
            )
            assert "expected a directory. Nothing was moved. Move that entry away" in done.stdout
            (stuck,) = said(*command, *options)["stuck"]
            assert (stuck["name"], stuck["reason"]) == (GROUPS[2], "not_set_aside")
    diagnosis = run("doctor", place)
    assert (diagnosis.exit_code, "'quarantine' is a " in diagnosis.stderr) == (1, True)
    assert names_in(store) == [*GROUPS[1:], "lock", "quarantine"]


@pytest.mark.parametrize(
    ("kind", "found"),
    [("dir", "a directory"), ("link", "a symlink or special file"), ("fifo", "a symlink or")],
)
def test_a_lock_that_is_none_is_said_as_what_it_is(store: Path, kind: str, found: str) -> None:
    (store / "lock").unlink()
    put(kind, store / "lock")
    for command in (["repair", str(store)], ["prune", str(store), *KEEP]):
        done = run(*command)
        assert (done.exit_code, f"found {found}" in done.stderr) == (2, True)
    diagnosis = run("doctor", str(store))
    assert (diagnosis.exit_code, f"'lock' is {found}" in diagnosis.stderr) == (1, True)
    assert "no writer can open a store there" in diagnosis.stderr


def test_a_directory_that_may_not_be_looked_into_is_no_damage(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call, ending in (("kind", "lock"), ("names", "store"), ("kind", "quarantine")):
        disk = WatchedDisk(store, failing(call, ending, errno.EACCES))
        if call == "names":
            disk.fault = failing(call, ".", errno.EACCES)
        for module in ("changes", "read_commands"):
            monkeypatch.setattr(f"lastgood.cli.{module}.disk_here", lambda disk=disk: disk)
        command = {"lock": "repair", "store": "ls", "quarantine": "quarantine"}[ending]
        done = run(command, str(store))
        assert (done.exit_code, len(done.stderr.splitlines())) == (3, 1)
        assert "EACCES (Permission denied). That is no sign of damage" in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "line", "told"),
    [
        ({"a": None}, {}, "metadata a: null -> nothing", {"first": None}),
        ({}, {"a": None}, "metadata a: nothing -> null", {"second": None}),
        ({"a": 1}, {"a": True}, "metadata a: 1 -> true", {"first": 1, "second": True}),
        ({"a": [0]}, {"a": [False]}, "metadata a: [0] -> [false]", None),
        ({"a": {"b": 1}}, {"a": {"b": 1.0}}, 'metadata a: {"b": 1} -> {"b": 1.0}', None),
    ],
)
def test_diff_takes_nothing_for_null_nor_a_number_for_a_truth(
    tmp_path: Path, before: Any, after: Any, line: str, told: Any
) -> None:
    with open_store(tmp_path) as opened:
        opened.save(1, PARTS, before)
        opened.save(2, PARTS, after)
        opened.save(3, PARTS, after)
    place = str(tmp_path / "store")
    done = run("diff", place, "1", "2")

    assert (done.exit_code, done.stdout) == (1, f"{line}\n")
    assert told is None or said("diff", place, "1", "2")["metadata"] == {"a": told}
    assert run("diff", place, "2", "3").exit_code == 0


def test_kinds_are_said_with_their_article() -> None:
    assert describe_kind("other") == "a symlink or special file"
    assert describe_kind("missing") == "nothing"
    assert "a other" not in "".join(map(describe_kind, ("other", "socket", "dir", "file")))


def test_bench_does_not_fill_the_disk(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PosixDisk, "free_bytes", lambda _disk, _path: (5 << 20) - 1)
    before = tree(store)
    done = run("bench", str(store), "--mib", "5")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "a group of 5 MiB is asked for" in done.stderr
    assert "has 4 MiB free. Nothing was changed." in done.stderr
    assert tree(store) == before


@pytest.mark.parametrize("command", ["prune", "repair", "purge"])
def test_the_help_says_that_a_dry_run_tries_nothing(command: str) -> None:
    assert "it tries nothing, so the disk may refuse" in " ".join(
        run(command, "--help").stdout.split()
    )
