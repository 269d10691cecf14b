"""What the command does when nobody can read it, or when it is interrupted: never a traceback."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path
from typing import TextIO, cast

import pytest

from powercut import __main__ as command
from tests import ROOT

LIMIT_S = 60
TRACE = ROOT / "traces/counterexamples/lastgood-unsafe-ext4-ordered-power-P3.toml"
CASES = '{"schema": 1, "tests": []}'


class Full(io.TextIOBase):
    """A stream on a full disk: `write` or only `flush` fails."""

    def __init__(self, code: int, *, buffered: bool) -> None:
        self.code, self.buffered = code, buffered

    def write(self, text: str) -> int:
        return len(text) if self.buffered else self.fail()

    def flush(self) -> None:
        self.fail()

    def close(self) -> None:
        """Dropped it flushes nothing: its refusal would be an error that nobody can catch."""

    def fail(self) -> int:
        raise OSError(self.code, "made to fail")


def run_main(
    monkeypatch: pytest.MonkeyPatch, out: io.TextIOBase, *arguments: str
) -> tuple[object, str]:
    """The exit status of `main` with that standard output, and what it says on stderr."""
    err = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["powercut", *arguments])
    monkeypatch.setattr(sys, "stdout", cast("TextIO", out))
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit) as end:
        command.main()
    return end.value.code, err.getvalue()


def every_command(tmp_path: Path) -> list[list[str]]:
    cases = tmp_path / "cases.json"
    cases.write_text(CASES)
    tree = tmp_path / "tree.json"
    tree.write_text("{}")
    return [
        ["--help"],
        ["--version"],
        ["check", "--help"],
        ["subjects"],
        ["subjects", "--json"],
        ["profiles"],
        ["profiles", "xfs"],
        ["profiles", "--json"],
        ["profiles", "--rule", "op-atomic"],
        ["litmus", str(cases)],
        ["litmus", str(cases), "--json"],
        ["replay", str(TRACE)],
        ["explain", str(TRACE)],
        ["member", str(TRACE), "--tree", str(tree)],
    ]


@pytest.mark.parametrize("buffered", [False, True], ids=["at once", "at the end"])
def test_output_that_cannot_be_written_is_one_line_and_status_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffered: bool
) -> None:
    for arguments in every_command(tmp_path):
        status, told = run_main(monkeypatch, Full(errno.ENOSPC, buffered=buffered), *arguments)

        assert (status, told) == (
            3,
            "powercut: the output cannot be written: made to fail. It is not whole\n",
        ), arguments


def test_a_reader_that_went_away_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in every_command(tmp_path):
        status, told = run_main(monkeypatch, Full(errno.EPIPE, buffered=True), *arguments)

        assert (status, told) == (3, ""), arguments


def test_an_error_that_is_not_of_the_output_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> int:
        raise OSError(errno.EIO, "elsewhere")

    monkeypatch.setattr(command, "_run", broken)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    with pytest.raises(OSError, match="elsewhere"):
        command.main()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_python_itself_adds_nothing_at_its_end() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "powercut", "subjects"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "No space left on device" in done.stderr


def test_names_that_the_terminal_cannot_show_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)

    status, told = run_main(monkeypatch, out, "profiles", "ext4-ordered")
    out.write("\ud800")

    assert (status, told) == (0, "")
    assert raw.getvalue().endswith(b"\\ud800")


@pytest.mark.parametrize("module", ["click", "attrs"])
def test_ctrl_c_while_modules_are_loaded_is_status_130(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    places = [str(tmp_path), *(place for place in sys.path if place)]
    start = f"import sys; sys.path[:0] = {places!r}; from powercut.__main__ import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", start, "subjects"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "powercut: interrupted; nothing of it is left behind\n"


def test_every_public_name_is_loaded_when_it_is_asked_for() -> None:
    import powercut

    assert all(getattr(powercut, name) is not None for name in powercut.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = powercut.nothing
