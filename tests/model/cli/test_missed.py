"""`powercut check` says what no history met, where a property then asked for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import powercut.cli.commands as commands
from powercut.simulation.subject import Subject
from tests.harness.toys import toy

QUICK = ["--saves", "1", "--parts", "1", "--pieces", "1", "--no-deep", "--examples", "5"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(patch: pytest.MonkeyPatch, subject: Subject, *more: str) -> Result:
    patch.setattr(commands, "load_subject", lambda _label: subject)
    arguments = ["check", subject.label, "-p", "ext4-ordered", *QUICK, *more]
    return CliRunner().invoke(commands.powercut, arguments, env={"COLUMNS": "200"})


def test_a_library_whose_every_save_fails_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = check(monkeypatch, toy("refuses_every_save")).stdout
    found = json.loads(check(monkeypatch, toy("refuses_every_save"), "--json").stdout)["properties"]

    assert "\nP2, P3, P4: no save was acknowledged.\n" in said
    assert "\nP1: no recovery returned a group.\n" in said
    assert {name for name, each in found.items() if each["verdict"] == "fails"} == {"P5"}
    for name in ("P2", "P3", "P4"):
        assert found[name]["missed"] == ["no save was acknowledged"]


def test_a_library_whose_saves_return_is_told_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = json.loads(check(monkeypatch, toy("good"), "--json").stdout)["properties"]

    assert [found[name]["missed"] for name in ("P2", "P3", "P4", "P5", "P7")] == [[]] * 5
