"""The library's pages: every example runs, the API page is fresh, every command is named."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

import lastgood
from lastgood.cli.main import cli
from lastgood.events import Kind
from lastgood.recovery.quarantine_report import SYNC_FAILED
from lastgood.recovery.recovery import GONE
from tests import ROOT

GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def test_every_block_of_the_guide_runs_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        # A test machine may keep its temporary files in memory.
        warnings.simplefilter("ignore", lastgood.LastgoodWarning)
        for number, block in enumerate(BLOCKS, 1):
            exec(compile(block, f"guide.md, block {number}", "exec"), names)  # noqa: S102

    assert len(BLOCKS) >= 5
    made = {path.name for path in (tmp_path / "runs").iterdir()}
    assert made == {"arrays", "chunked", "kept", "preempted", "watched"}


def test_what_the_readme_types_runs_and_its_commands_find_what_it_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    commands = [
        shlex.split(line, comments=True)[1:]
        for line in re.findall(r"^lastgood .*$", README, re.MULTILINE)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lastgood.LastgoodWarning)
        names: dict[str, object] = {}
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"README.md, block {number}", "exec"), names)  # noqa: S102

    assert blocks
    assert [words[0] for words in commands] == ["why", "verify", "prune", "doctor"]
    for words in commands:
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, (words, done.output)


def test_a_reader_is_told_how_to_reach_the_programs_and_of_no_package_that_is_not_published() -> (
    None
):
    assert ". .venv/bin/activate" in README.partition("## Five minutes")[0]
    for name, page in {"README.md": README, "guide.md": GUIDE}.items():
        assert not re.search(r"pip install '?lastgood(?!\[)", page), name


def test_the_block_for_pytorch_is_there_and_is_python() -> None:
    (block,) = re.findall(r"^```python torch\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)

    compile(block, "guide.md", "exec")
    assert "store.attempt" in block


def test_the_page_of_the_api_is_fresh_and_names_everything() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_api.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [name for name in lastgood.__all__ if f"## `{name}" not in page] == []


def test_every_command_and_kind_of_event_is_in_the_guide() -> None:
    assert [name for name in cli.commands if f"lastgood {name} " not in GUIDE] == []
    assert [kind for kind in Kind.__args__ if f"`{kind}`" not in GUIDE] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "reason",
    [
        "no_commit",
        "attempt",
        "commit_manifest_mismatch",
        "name_mismatch",
        "digest_mismatch",
        GONE,
        SYNC_FAILED,
    ],
)
def test_every_reason_is_explained(reason: str) -> None:
    assert f"`{reason}" in PROTOCOL
