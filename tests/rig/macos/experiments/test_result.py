"""Result files: what goes in comes out, and a hostile or broken one gets one helpful line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from powercut_rig.blocks.block_log import Recipe
from powercut_rig.cli.apfs import report
from powercut_rig.judge.result import OUTSIDE, Comparison, Finding
from powercut_rig.macos.experiments.report import result_page
from powercut_rig.macos.experiments.result import MacResult, ResultError, read_result, write_result
from powercut_rig.macos.experiments.verdicts import ExperimentVerdict
from powercut_rig.macos.requirements import MacMachine


def a_result() -> MacResult:
    comparison = Comparison("t.toml", "apfs", "apfs", "lastgood:atomic_dirsync", "P1", "holds")
    comparison.images, comparison.outside, comparison.fsck_run = 7, 1, 2
    comparison.allowed = None
    comparison.plans, comparison.trees, comparison.seen = {0, 1}, {5, 1 << 63}, {5}
    comparison.tried["prefix"] = comparison.possible["prefix"] = 9
    comparison.violations["P3"] = 2
    comparison.seconds = 1.5
    comparison.keep(Finding(OUTSIDE, 1, 2, Recipe(4), "2/3 (kernel)", "<b>a</b>: b'x'"))
    comparison.errors.append("trace 2 could not be run")
    settled = ExperimentVerdict(
        "fsync-directory", "Does it?", "add", "3 clones", 3, 2, "the power class"
    )
    machine = MacMachine(
        "macOS", "14.5", "23F79", "23.5.0", "arm64", "3.13.0", "apfs", "Apple Fabric", True, None
    )
    return MacResult(
        machine, "lastgood 0.1.0", (comparison,), (settled,), ("fsck was not asked",), False
    )


def test_a_result_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_result(a_result(), path)

    assert read_result(path) == a_result()
    assert read_result(path).to_json() == a_result().to_json()


def test_a_result_never_overwrites_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("mine")
    with pytest.raises(FileExistsError):
        write_result(a_result(), tmp_path / "r.json")


def test_the_report_shows_tables_findings_experiments_and_what_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_result(a_result(), path)
    done = CliRunner().invoke(report, [str(path)], env={"COLUMNS": "200"})

    assert done.exit_code == 4  # outside the model, where the driver may keep writes back
    for words in (
        "macOS 14.5 (23F79), arm64", "P3 2 (allowed)", "outside the model", "fsync-directory",
        'add [[rule]] id = "fsync-directory"', "leaves open the power class", "fsck was not asked",
        "trace 2 could not be run",
    ):  # fmt: skip
        assert words in done.output, words


def test_the_page_is_one_file_and_shows_nothing_as_markup(tmp_path: Path) -> None:
    page = result_page(a_result())

    assert "<b>a</b>" not in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert "src=" not in page
    assert "fsync-directory" in page


Edit = Callable[[dict[str, Any]], object]


def _set(*path: str | int) -> Callable[[object], Edit]:
    def with_value(value: object) -> Edit:
        def edit(raw: dict[str, Any]) -> None:
            place: Any = raw
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value

        return edit

    return with_value


BAD: list[tuple[Edit, str]] = [
    (lambda raw: raw.pop("kind"), "kind is None, expected 'powercut apfs result'"),
    (_set("kind")("\x1b[2J"), "no result of a Mac"),
    (_set("schema")(2), "schema is 2, expected 1"),
    (_set("surprise")(1), "unknown key 'surprise'"),
    (lambda raw: raw.pop("machine"), "the key 'machine' is missing"),
    (_set("machine")([]), "machine is [], expected dict"),
    (_set("machine", "version")(14), "version is 14, expected str"),
    (_set("machine", "solid_state")(1), "solid_state is 1, expected bool"),
    (_set("machine", "owner")("x"), "unknown key 'owner'"),
    (_set("notes")([1]), "expected a list of strings"),
    (_set("comparisons")({}), "expected list"),
    (_set("comparisons")(["x"]), "comparisons, number 1: expected an object"),
    (_set("comparisons", 0, "images")(-1), "images is -1, expected 0 or more"),
    (_set("comparisons", 0, "images")("9" * 100_000), "Nothing was run"),
    (_set("comparisons", 0, "images")(True), "images is True, expected int"),
    (_set("comparisons", 0, "images")(1 << 70), "larger than any count"),
    (_set("comparisons", 0, "trees")([-1]), "whole numbers from 0 on"),
    (_set("comparisons", 0, "trees")(["x"]), "whole numbers from 0 on"),
    (_set("comparisons", 0, "seconds")("x"), "expected a number from 0 on"),
    (_set("comparisons", 0, "judged")("[/]"), "judged is '[/]', expected one of"),
    (_set("comparisons", 0, "violations")({"[/red]": 1}), "unknown key"),
    (_set("comparisons", 0, "subject")(7), "subject is 7, expected str"),
    (_set("comparisons", 0, "findings", 0, "position")("x"), "position is 'x'"),
    (_set("experiments", 0, "outcome")("proved"), "outcome is 'proved', expected one of"),
    (_set("experiments", 0, "rule")("no-such-rule"), "rule is 'no-such-rule'"),
]


@pytest.mark.parametrize(("edit", "words"), BAD, ids=[words for _, words in BAD])
def test_a_file_that_is_wrong_is_refused_with_the_place_and_what_was_expected(
    edit: Edit, words: str, tmp_path: Path
) -> None:
    raw = a_result().to_json()
    edit(raw)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(raw))
    done = CliRunner().invoke(report, [str(path), "--html", str(tmp_path / "out.html")])

    assert done.exit_code == 2
    assert str(path) in done.output
    assert words in done.output
    assert "\x1b" not in done.output
    assert not (tmp_path / "out.html").exists()
    assert len(done.output) < 2000


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"[1, 2", b"\xff\xfe", b"[" * 100_000, b'{"kind": NaN}', b'"text"', b"7"],
)
def test_what_is_no_json_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    done = CliRunner().invoke(report, [str(path)])

    assert done.exit_code == 2
    assert done.output.startswith(f"powercut: {path}: ")
    assert done.output.count("\n") == 1


def test_a_file_that_is_missing_or_huge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="missing"):
        read_result(tmp_path / "no.json")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as opened:
        opened.truncate(1 << 30)
    with pytest.raises(ResultError, match="larger than"):
        read_result(huge)


def test_texts_of_a_file_cannot_steer_a_terminal_or_its_markup(tmp_path: Path) -> None:
    raw = a_result().to_json()
    for place in (raw["comparisons"][0], raw["comparisons"][0]["findings"][0]):
        for key, value in place.items():
            if isinstance(value, str) and key not in ("judged", "expected"):
                place[key] = "\x1b[31m[/red]\x07" + value
    raw["experiments"][0]["because"] = "[/]\x1b]0;x\x07"
    raw["machine"]["version"] = "[bold]\x9b2J"
    path = tmp_path / "r.json"
    path.write_text(json.dumps(raw))
    done = CliRunner().invoke(report, [str(path)])

    assert done.exit_code == 4, done.exception
    assert not {"\x1b", "\x07", "\x9b"} & set(done.output)


def test_a_report_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_result(a_result(), path)
    done = CliRunner().invoke(report, [str(path), "--html", str(tmp_path / "no/such.html")])

    assert done.exit_code == 2
    assert "cannot be written" in done.output
