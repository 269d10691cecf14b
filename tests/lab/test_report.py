from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from powercut_lab.cli.commands import experiment
from powercut_lab.cli.session import ExperimentCall, carry_out
from powercut_lab.figure_style import THEMES, svg_of
from powercut_lab.study import Figure, Missing
from tests.lab.toys import Toy, gives

VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


def asked(folder: Path, what: str = "all", **more: object) -> ExperimentCall:
    given = {"size": "quick", "seed": 0, "only": (), "beside": None, "only_list": False, **more}
    return ExperimentCall(what=what, out=folder, **given)  # type: ignore[arg-type]


def page_of(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


class Balanced(HTMLParser):
    """Each element is closed where it should be; ids are unique; nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        for name in ("src", "srcset", "href"):
            value = given.get(name) or ""
            if value and not value.startswith(("data:", "#")):
                self.fetched.append(value)
        assert tag != "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_by_itself(tmp_path: Path) -> None:
    assert carry_out(asked(tmp_path), {"toy": Toy()}) == 0

    parser = Balanced()
    parser.feed(page_of(tmp_path))
    assert (parser.open, parser.fetched) == ([], [])
    assert len(set(parser.ids)) == len(parser.ids)
    assert "3 tosses &lt;b&gt;." in page_of(tmp_path)


def test_the_folder_holds_markdown_figures_rows_and_the_result(tmp_path: Path) -> None:
    carry_out(asked(tmp_path), {"toy": Toy()})

    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {
        "index.html", "report.md", "result.json", "run.json", "journal.jsonl", "data/tosses.csv",
        "figures/heads.svg", "figures/box.svg",
    }  # fmt: skip
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]*)\)", text):
        assert (tmp_path / target).is_file()
    assert "| a | 1 |" in text


def test_everything_is_drawn_anew_from_the_rows_alone(tmp_path: Path) -> None:
    carry_out(asked(tmp_path), {"toy": Toy(missing=(Missing("rig", "None.", "Get one."),))})
    files = ("index.html", "report.md", "result.json", "figures/heads.svg")
    before = {name: (tmp_path / name).read_bytes() for name in files}
    for name in files:
        (tmp_path / name).unlink()

    def never(_folder: Path) -> list[tuple[str, int]]:
        raise AssertionError("a report runs nothing")

    toy = Toy({"a/1": never, "b/1": never})
    assert carry_out(asked(tmp_path, "report"), {"toy": toy}) == 0
    assert {name: (tmp_path / name).read_bytes() for name in files} == before


def test_what_is_missing_failed_or_unfinished_is_listed(tmp_path: Path) -> None:
    def fails(_folder: Path) -> list[tuple[str, int]]:
        raise OSError(5, "Input/output error")

    missing = Missing("disks of a Mac", "This is no Mac.", "Run it on one.")
    toy = Toy({"a": gives(("a", 1)), "b": fails}, (missing,))

    assert carry_out(asked(tmp_path), {"toy": toy}) == 1
    page = page_of(tmp_path).split('id="not-run"')[1]
    for words in ("disks of a Mac", "Run it on one.", "Input/output error", "1 units are not done"):
        assert words in page


def test_a_part_that_another_environment_has_done_is_not_missing(tmp_path: Path) -> None:
    missing = Missing("b", "No torch.", "Install it.", prefix="b/")
    carry_out(asked(tmp_path), {"toy": Toy()})
    carry_out(asked(tmp_path), {"toy": Toy({"a/1": gives(("a", 1))}, (missing,))})

    assert "No torch." not in page_of(tmp_path)
    assert "No torch." in (tmp_path / "run.json").read_text()


def test_ctrl_c_keeps_what_is_done_and_reports_on_it(tmp_path: Path) -> None:
    def interrupted(_folder: Path) -> list[tuple[str, int]]:
        raise KeyboardInterrupt

    toy = Toy({"a": gives(("a", 1)), "b": interrupted})
    assert carry_out(asked(tmp_path), {"toy": toy}) == 130
    assert "1 tosses" in page_of(tmp_path)


@pytest.mark.parametrize("more", [{"seed": 1}, {"size": "full"}])
def test_a_folder_of_another_size_or_seed_is_not_mixed(
    tmp_path: Path, more: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(asked(tmp_path), {"toy": Toy()})
    assert carry_out(asked(tmp_path, **more), {"toy": Toy()}) == 2
    assert "Name another folder by --out" in capsys.readouterr().err


def test_the_result_of_another_machine_stands_beside(tmp_path: Path) -> None:
    other, here = tmp_path / "other", tmp_path / "here"
    carry_out(asked(other), {"toy": Toy({"m": gives(("mac", 1))})})
    carry_out(asked(here, beside=other / "result.json"), {"toy": Toy()})

    assert "The same on another machine" in page_of(here)
    assert "mac" in page_of(here)
    assert "on another machine" in (here / "report.md").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", 2), ("size", "huge"), ("seed", "x"), ("machine", []), ("packages", {"a": 1}),
        ("experiments", {"toy": {"findings": [1], "tables": []}}),
        ("experiments", {"toy": {"findings": [], "tables": [{"name": "t"}]}}),
        ("experiments", {"toy": {"findings": [], "tables": [
            {"name": "t", "title": "", "caption": "", "columns": ["a"], "rows": [["1", "2"]],
             "notes": []}]}}),
    ],
)  # fmt: skip
def test_a_malformed_result_of_another_machine_runs_nothing(
    tmp_path: Path, name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(asked(tmp_path / "other"), {"toy": Toy()})
    result = json.loads((tmp_path / "other" / "result.json").read_text())
    (tmp_path / "bad.json").write_text(json.dumps({**result, name: value}))

    call = asked(tmp_path / "here", beside=tmp_path / "bad.json")
    assert carry_out(call, {"toy": Toy()}) == 2
    assert not (tmp_path / "here").exists()
    assert "bad.json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[" * 200_000, "nul", '{"a": 1e999}', "\x00"])
def test_what_is_no_result_at_all_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    call = asked(tmp_path / "here", beside=tmp_path / "bad.json")
    assert carry_out(call, {"toy": Toy()}) == 2


def test_figures_are_the_same_bytes_for_the_same_rows_and_differ_by_theme() -> None:
    def draw(figure: object) -> None:
        figure.subplots().bar(["a", "b"], [1, 2])  # type: ignore[attr-defined]

    figure = Figure("f", "F", "c", "t", draw, ())
    drawn = {theme: svg_of(figure, theme) for theme in THEMES}
    assert drawn == {theme: svg_of(figure, theme) for theme in THEMES}
    assert drawn["light"] != drawn["dark"]
    ElementTree.fromstring(drawn["light"])  # noqa: S314 - ours


def test_without_its_packages_the_command_says_how_to_install_them() -> None:
    """In a Python that does not find matplotlib, as in an installation without the extra."""
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'matplotlib' else real(n, *a)\n"
        "from powercut_lab.cli.commands import experiment; experiment(['crash'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "pip install 'lastgood[lab]'" in done.stderr
    assert "matplotlib" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["all", "--seed", "-1"]])
def test_wrong_arguments_are_exit_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(experiment, arguments).exit_code == 2


def test_report_of_an_empty_folder_is_exit_2(tmp_path: Path) -> None:
    assert carry_out(asked(tmp_path / "none", "report"), {"toy": Toy()}) == 2
    assert not (tmp_path / "none").exists()
