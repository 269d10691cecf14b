from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from powercut_lab.errors import LabError
from powercut_lab.result_folder import ResultFolder
from powercut_lab.runner import Progress, Request, Runner
from powercut_lab.study import Row
from tests.lab.toys import TOSSES, Toy, gives


def run(folder: Path, toy: Toy, **more: tuple[str, ...]) -> list[str]:
    """The keys that were carried out."""
    told: list[Progress] = []
    Runner(ResultFolder.open(folder), told.append).run(Request([toy], "quick", 0, **more))
    return [each.what for each in told]


def rows(folder: Path) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in ResultFolder.open(folder).rows(TOSSES)]


def test_rows_come_back_as_they_were_with_numbers_as_numbers(tmp_path: Path) -> None:
    run(tmp_path, Toy({"a": gives(('x,"y', 1), ("", -2), ("ü", 0.125))}))

    assert rows(tmp_path) == [('x,"y', 1), ("", -2), ("ü", 0.125)]
    with (tmp_path / "data" / "tosses.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.reader(stream)) == ["unit", "coin", "heads"]


def test_a_unit_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    assert run(tmp_path, Toy()) == ["toy: a/1", "toy: b/1"]
    assert run(tmp_path, Toy()) == []
    assert rows(tmp_path) == [("a", 1), ("a", 0), ("b", 1)]


def test_only_keeps_the_units_whose_key_contains_the_text(tmp_path: Path) -> None:
    assert run(tmp_path, Toy(), only=("b/",)) == ["toy: b/1"]


def test_after_ctrl_c_the_unit_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    def interrupted(_folder: Path) -> Iterator[Row]:
        yield ("b", 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Toy({"a": gives(("a", 1)), "b": interrupted}))

    assert rows(tmp_path) == [("a", 1)]
    assert run(tmp_path, Toy({"a": gives(("a", 1)), "b": gives(("b", 0))})) == ["toy: b"]
    assert rows(tmp_path) == [("a", 1), ("b", 0)]


def test_an_error_of_one_unit_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    def fails(folder: Path) -> Iterator[Row]:
        (folder / "left").write_text("over")
        raise OSError(28, "No space left on device")
        yield

    found: list[Path] = []

    def looks(folder: Path) -> Iterator[Row]:
        found.extend(folder.iterdir())
        yield ("b", 1)

    request = Request([Toy({"a": fails, "b": looks})], "quick", 0)
    result = Runner(ResultFolder.open(tmp_path)).run(request)

    assert [(f.key, "No space" in f.error) for f in result.failed] == [("a", True)]
    assert (rows(tmp_path), found) == ([("b", 1)], [])


@pytest.mark.parametrize("cut", range(1, 40))
def test_rows_or_a_journal_that_were_cut_off_inside_cost_that_unit_only(
    tmp_path: Path, cut: int
) -> None:
    """As a kill in the middle of an append leaves them: the journal's line, then the rows too."""
    run(tmp_path, Toy())
    journal, data = tmp_path / "journal.jsonl", tmp_path / "data" / "tosses.csv"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + lines[1][: -cut * 3])
    if cut % 2:
        data.write_bytes(data.read_bytes()[: -min(cut, 7)])

    assert rows(tmp_path) == [("a", 1), ("a", 0)]
    assert run(tmp_path, Toy()) == ["toy: b/1"]
    assert rows(tmp_path) == [("a", 1), ("a", 0), ("b", 1)]


def test_a_heading_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tosses.csv").write_bytes(b"unit,co")
    run(tmp_path, Toy())

    assert rows(tmp_path) == [("a", 1), ("a", 0), ("b", 1)]


@pytest.mark.parametrize(
    "row", [("a",), ("a", 1, 2), ("a", "1"), (1, 1), ("a", True), ("a", None), ("a\n", 1)]
)
def test_a_row_that_does_not_fit_its_table_is_refused_before_it_is_written(
    tmp_path: Path, row: Row
) -> None:
    with pytest.raises(LabError, match="tosses"):
        run(tmp_path, Toy({"a": gives(row)}))

    assert not (tmp_path / "data").exists()


GOOD = {
    "experiment": "toy", "key": "a/1", "table": "tosses", "rows": 1, "seconds": 0.0,
    "size": "quick", "seed": 0, "packages": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "[]", "{}", "no JSON", "[" * 100_000, '"text"',
        *(json.dumps({**GOOD, name: wrong}) for name, wrong in {
            "key": 3, "rows": "many", "size": "huge", "packages": {"numpy": 2}, "seed": None,
        }.items()),
        json.dumps({**GOOD, "rows": 1e400}),
    ],
)  # fmt: skip
def test_a_journal_that_is_none_of_ours_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "journal.jsonl").write_text(json.dumps(GOOD) + "\n" + line + "\n")

    with pytest.raises(LabError, match=r"journal.jsonl:2 .* Nothing was changed"):
        ResultFolder.open(tmp_path)


@pytest.mark.parametrize("text", ["unit,coin,heads\na/1,x,many\n", "unit,coin\na/1,x\n", "\xff"])
def test_rows_that_are_none_of_ours_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "journal.jsonl").write_text(json.dumps(GOOD) + "\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tosses.csv").write_bytes(text.encode("latin-1"))

    with pytest.raises(LabError, match=r"tosses.csv"):
        rows(tmp_path)


def test_a_link_in_the_place_of_rows_is_not_followed(tmp_path: Path) -> None:
    run(tmp_path, Toy())
    data = tmp_path / "data" / "tosses.csv"
    data.rename(tmp_path / "elsewhere.csv")
    data.symlink_to(tmp_path / "elsewhere.csv")

    with pytest.raises(LabError, match="no regular file"):
        rows(tmp_path)


def test_two_units_with_one_key_are_refused(tmp_path: Path) -> None:
    class Twice(Toy):
        def plan(self, size: object, seed: int) -> object:  # type: ignore[override]
            plan = super().plan("quick", seed)
            return type(plan)(plan.units + plan.units)

    with pytest.raises(LabError, match="one key"):
        run(tmp_path, Twice())
