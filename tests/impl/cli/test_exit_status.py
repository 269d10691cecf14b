"""How a command ends: what it says is true, whatever became of its output or of the process."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import lastgood.cli.bench
from lastgood import Store
from lastgood.__main__ import main
from lastgood.backends.posix import PosixDisk
from lastgood.cli.output import ending_by_signal, exits_with_status, note_done
from tests.impl.cli.commands import run as invoked
from tests.impl.disks import PARTS, WEAK, fill, names_in, open_store, tree

GROUPS = [f"gen-{n:08d}-step-{n:08d}" for n in (1, 2, 3)]
ENV = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path, (1, 2, 3))


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lastgood", *arguments]
    return subprocess.run(command, text=True, timeout=60, check=False, env=ENV, **more)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    ("arguments", "left", "ending"),
    [
        (["prune", "--keep-latest", "1"], GROUPS[2:], "The prune was carried out"),
        (["prune", "--keep-latest", "1", "--json"], GROUPS[2:], "The prune was carried out"),
        (["prune", "--keep-latest", "1", "--dry-run"], GROUPS, "Nothing was changed."),
        (["repair"], GROUPS, "The repair was carried out"),
        (["ls"], GROUPS, "Nothing was changed."),
        (["latest"], GROUPS, "Nothing was changed."),
        (["show", "2"], GROUPS, "Nothing was changed."),
        (["doctor"], GROUPS, "Nothing was changed."),
        (["doctor", "--probe"], GROUPS, "What was made to try things out was removed"),
        (["--help"], GROUPS, "Nothing was changed."),
    ],
)
def test_an_output_that_is_full_is_said_and_what_was_done_as_well(
    store: Path, arguments: list[str], left: list[str], ending: str
) -> None:
    place = [] if arguments == ["--help"] else [str(store)]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = run(arguments[0], *place, *arguments[1:], stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 3
    # A machine whose own file system is weak says so before it.
    line = done.stderr.splitlines()[-1]
    assert line.startswith("lastgood: standard output cannot be written: ENOSPC")
    assert ending in line
    assert names_in(store) == [*left, "lock"]


@pytest.mark.parametrize("command", ["ls", "latest", "verify"])
def test_a_reader_that_has_left_is_no_fault(store: Path, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = run(command, str(store), stdout=pipe, stderr=subprocess.PIPE)

    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_changes_no_status(store: Path, closed: str) -> None:
    for place, status in ((store, 0), (store / "none", 2)):
        command = f'"$0" -m lastgood verify "$1" {closed}'
        done = subprocess.run(
            ["/bin/sh", "-c", command, sys.executable, str(place)],
            env=ENV,
            timeout=60,
            check=False,
            capture_output=True,
        )
        assert done.returncode == status


@pytest.mark.parametrize("arguments", [["ls"], ["verify"], ["repair"], ["doctor"], ["bench"]])
def test_ctrl_c_has_the_status_130_in_every_command(
    store: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object, **_more: object) -> None:
        raise KeyboardInterrupt

    for name in ("names", "kind"):
        monkeypatch.setattr(PosixDisk, name, interrupt)
    before = tree(store)
    done = invoked(arguments[0], str(store), *arguments[1:])

    assert done.exit_code == 130
    assert done.stderr == "lastgood: interrupted. Nothing was changed.\n"
    assert tree(store) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_before_a_command_has_begun_has_the_same_status(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(**_more: object) -> None:
        raise error

    monkeypatch.setattr("lastgood.cli.main.cli", interrupt)
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 130
    assert capsys.readouterr().err == "lastgood: interrupted.\n"


def test_ctrl_c_inside_a_prune_does_not_say_that_nothing_was_changed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PosixDisk, "unlink", interrupt)
    done = invoked("prune", str(store), "--keep-latest", "1")

    assert done.exit_code == 130
    assert "Nothing was changed" not in done.stderr
    assert "What had been done by then stands" in done.stderr
    assert [name for name in names_in(store) if name.startswith("pruned-")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_bench_removes_its_folder_when_it_is_told_to_end(
    store: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*_args: object) -> None:
        assert any(name.startswith(".lastgood-bench-") for name in names_in(store))
        signal.raise_signal(number)

    monkeypatch.setattr(lastgood.cli.bench, "_plain", told)
    handlers = signal.getsignal(number), signal.getsignal(signal.SIGINT)
    before = tree(store)
    done = invoked("bench", str(store), "--mib", "1", "--runs", "1")

    assert done.exit_code == 128 + number
    assert tree(store) == before
    assert (signal.getsignal(number), signal.getsignal(signal.SIGINT)) == handlers


def test_a_second_signal_does_not_end_the_cleaning_up() -> None:
    cleaned = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.raise_signal(number)
            cleaned.append(True)

    with pytest.raises(SystemExit), ending_by_signal():
        work()

    assert cleaned == [True]


def test_the_command_has_one_name_however_it_is_called() -> None:
    for option, begins in (("--version", "lastgood, version "), ("--help", "Usage: lastgood ")):
        done = run(option, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(begins)


def test_a_directory_that_may_not_be_written_is_said_with_its_errno(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(prefix: str, dir: str) -> str:  # noqa: A002 - as tempfile has it
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/{prefix}")

    monkeypatch.setattr("lastgood.cli.bench.tempfile.mkdtemp", refuse)
    done = invoked("bench", str(store))

    assert done.exit_code == 3
    assert "the system refused: EACCES (Permission denied) at " in done.stderr
    assert done.stderr.endswith("Nothing was changed.\n")


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "too many"), MemoryError()])
def test_what_the_machine_refuses_has_the_status_3(error: Exception) -> None:
    @click.command()
    @exits_with_status
    def command() -> None:
        note_done("Half of it was done.")
        raise error

    done = CliRunner().invoke(command, [], catch_exceptions=False)

    assert done.exit_code == 3
    assert done.stderr.startswith("lastgood: ")
    assert done.stderr.endswith("Half of it was done.\n")


def test_an_error_is_json_where_json_was_asked_for(tmp_path: Path) -> None:
    done = invoked("verify", str(tmp_path / "none"), "--json")

    error = json.loads(done.stdout)["error"]
    assert (error["kind"], error["exit_status"], done.exit_code) == ("UsageError", 2, 2)
    assert done.stderr == f"lastgood: {error['message']}\n"


def test_a_weakness_is_said_once_and_in_one_line(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lastgood.backends.detect.disk_here", lambda: PosixDisk(WEAK))
    done = invoked("repair", str(store))

    assert done.exit_code == 0
    assert done.stderr.count("a program stands between") == 1
    assert done.stderr.startswith(f"lastgood: store '{store}' is on fuse.s3: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_weakness_is_printed_once_where_no_logging_is_set_up(tmp_path: Path) -> None:
    program = (
        "import sys; from lastgood import Store; from lastgood.backends.posix import PosixDisk\n"
        "Store(sys.argv[1], disk=PosixDisk()).close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENV,
    )

    assert done.returncode == 0
    assert done.stderr.count("survive a crash of the program only") == 1


def test_a_path_that_is_no_text_is_printed_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"run-\xff")
    odd.mkdir()
    with open_store(odd) as opened:
        opened.save(1, PARTS)
    done = invoked("latest", str(odd / "store"))

    assert done.exit_code == 0
    assert done.stdout_bytes == os.fsencode(odd / "store" / GROUPS[0]) + b"\n"
    for arguments in (["ls"], ["why"], ["doctor"], ["repair"], ["verify", "--json"]):
        assert invoked(arguments[0], str(odd / "store"), *arguments[1:]).exit_code == 0
    assert "run-\\udcff" in invoked("ls", str(odd / "none")).stderr


@pytest.mark.filterwarnings("ignore::lastgood.LastgoodWarning")
def test_metadata_of_a_stranger_does_not_reach_the_terminal(tmp_path: Path) -> None:
    with Store(tmp_path / "store", disk=PosixDisk(), new_id=lambda: "\x1b[2J\ud800") as opened:
        for step in (1, 2):
            opened.save(step, PARTS, {"\x1b[31m\ud800": step, "plain": step})
    place = str(tmp_path / "store")

    for command in (["show", place, "1"], ["diff", place, "1", "2"]):
        done = invoked(*command)
        assert done.exit_code == (command[0] == "diff")
        assert "\x1b" not in done.stdout
        assert "\\u001b[31m\\ud800" in done.stdout
        assert "plain" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls", "--json"], "DIR"),
        (["ls", "", "--json"], "it is empty"),
        (["show", "DIR", "x", "--json"], "is no generation"),
        (["ls", "DIR", "--nope", "--json"], "--nope"),
        (["prune", "DIR", "--keep-latest", "0", "--json"], "--keep-latest"),
        (["nope", "DIR", "--json"], "nope"),
        (["ls", "DIR", "more", "--json"], "more"),
        (["ls", "no-such-folder", "--json"], "found nothing"),
    ],
)
def test_a_usage_error_is_json_as_well_where_that_was_asked_for(
    store: Path, arguments: list[str], words: str
) -> None:
    given = [str(store) if each == "DIR" else each for each in arguments]
    done = run(*given, capture_output=True)

    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert (error["kind"], error["exit_status"]) == ("UsageError", 2)
    assert words in error["message"]
    assert words in done.stderr
    plain = run(*[each for each in given if each != "--json"], capture_output=True)
    assert (plain.returncode, plain.stdout) == (2, "")
