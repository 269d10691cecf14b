"""Every trace of the repository: it is in the index, and replays to its verdict, always alike."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from powercut.cli.commands import powercut
from powercut.trace.replay import replay
from powercut.trace.trace_file import parse_trace, read_trace, render_trace
from tests import ROOT

FOLDER = ROOT / "traces"
HISTORIES = sorted([*FOLDER.glob("counterexamples/*.toml"), *FOLDER.glob("regressions/*.toml")])
each_history = pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)


@pytest.mark.parametrize("folder", ["counterexamples", "regressions", "litmus"])
def test_there_is_a_trace_of_each_sort(folder: str) -> None:
    assert list((FOLDER / folder).glob("*.toml"))


@each_history
def test_it_replays_to_its_recorded_verdict(path: Path) -> None:
    trace = read_trace(path)

    replayed = replay(trace, str(path))

    assert (replayed.verdict, replayed.because) == (trace.verdict, trace.because)


@each_history
def test_rendering_it_gives_the_same_steps_and_the_same_bytes_each_time(path: Path) -> None:
    trace = read_trace(path)
    rendered = render_trace(trace)

    assert parse_trace(rendered, path.name) == trace
    assert render_trace(parse_trace(rendered, path.name)) == rendered


def test_replaying_all_of_them_prints_the_same_bytes_twice() -> None:
    command = ["replay", "--json", *map(str, HISTORIES)]
    first, second = (CliRunner().invoke(powercut, command) for _ in range(2))

    assert first.exit_code == second.exit_code == 0
    assert first.stdout_bytes == second.stdout_bytes
    assert [r["trace"] for r in json.loads(first.stdout)["traces"]] == [str(p) for p in HISTORIES]


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("counterexamples/*.toml")), ids=lambda p: p.stem
)
def test_a_pinned_counterexample_fails_and_says_why_and_where_from(path: Path) -> None:
    trace = read_trace(path)

    assert trace.kind == "regression" or trace.verdict == "fails"
    assert trace.because
    assert trace.origin["by"]


def test_the_index_names_every_file_and_no_other() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"^\* \[[^]]+\]\(([^)]+)\):", index, re.MULTILINE)
    files = [path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.toml")]

    assert files
    assert sorted(links) == sorted(files)


def test_every_file_under_traces_is_the_index_or_a_trace() -> None:
    others = [
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*")
        if path.is_file() and not (path.suffix == ".toml" and path.parent.parent == FOLDER)
    ]

    assert others == ["README.md"]
