"""The table of verdicts in docs/properties.md: whole, and as `powercut check` says."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from powercut.profile import load_profile, load_set, profile_names
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.subject import subject_names
from tests import ROOT
from tests.harness.scripts import load_script

PAGE = ROOT / "docs/properties.md"
START, END = "<!-- generated: verdicts -->\n", "<!-- end: verdicts -->"


@pytest.fixture
def script() -> ModuleType:
    return load_script("verdict_table")


def lines_of(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").partition(START)[2].partition(END)[0].splitlines()


def cells(page: Path = PAGE) -> dict[tuple[str, str], str]:
    """Each cell by its subject and its profile; the crash states of a row under "crash states"."""
    rows = [line.strip("| ").split(" | ") for line in lines_of(page) if line.startswith("| ")]
    (_, *names), _, *others = [[cell.strip("`") for cell in row] for row in rows]
    return {
        (row[0], name): cell for row in others for name, cell in zip(names, row[1:], strict=True)
    }


def test_each_subject_has_a_cell_under_each_profile(script: ModuleType) -> None:
    labels = script.labels()

    assert {label.partition(":")[0] for label in labels} == {
        label.partition(":")[0] for label in subject_names()
    }
    assert set(cells()) == {
        (label, name) for label in labels for name in (*profile_names(), "crash states")
    }


def test_each_cell_is_one_of_the_verdicts_and_names_properties() -> None:
    for (_, name), cell in cells().items():
        if name == "crash states" or cell == "holds":
            continue
        for group in cell.split(", "):
            word, _, properties = group.partition(" P")
            assert word in ("fails", "unknown", "not refuted")
            assert {f"P{each}" for each in properties.split(" P")} <= set(PROPERTIES)


def test_where_a_power_cut_is_promised_every_subject_of_ours_holds() -> None:
    refuted = {
        (label, name): cell
        for (label, name), cell in cells().items()
        if name in {profile.name for profile in load_set("linux-measured").members}
        and label.startswith("lastgood")
        and label.endswith((":atomic_dirsync", ":atomic_fullsync"))
        and cell != "holds"
    }

    assert refuted == {}


@pytest.mark.parametrize(
    ("label", "profile"),
    [
        ("lastgood:atomic_dirsync", "ext4-journal"),
        ("lastgood+remembers:atomic_dirsync", "sequential"),
        ("lastgood:unsafe", "tmpfs"),
        ("paper:atomic_dirsync", "xfs"),
    ],
)
def test_a_cell_that_is_asked_again_says_the_same(
    script: ModuleType, label: str, profile: str
) -> None:
    assert cells()[label, profile] == script.ask((label, profile))[0]


def test_the_bounds_and_the_crash_states_stand_above_the_table(script: ModuleType) -> None:
    said = " ".join(lines_of(PAGE)[:3])
    states = [
        int(cell.replace(",", ""))
        for (_, name), cell in cells().items()
        if name not in profile_names()
    ]

    assert f"{sum(states):,} crash states were looked at" in said
    for bound in script.BOUNDS:
        assert f"saves {bound.saves}, crashes {bound.crashes}, parts {bound.parts}" in said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs/properties.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    return page


def test_a_row_that_is_asked_anew_leaves_the_others_and_the_prose(
    copy: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, whole = copy.read_text(encoding="utf-8"), cells()
    row = "lastgood:unsafe"
    wrong = before.replace("fails P2 P3", "fails P1")
    copy.write_text(wrong, encoding="utf-8")
    monkeypatch.setattr(script, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(script, "ask", lambda question: (f"asked {question[1]}", 10))

    assert script.main([row, "--root", str(copy.parent.parent)]) == 0
    now = cells(copy)
    assert {name: now[row, name] for name in profile_names()} == {
        name: f"asked {name}" for name in profile_names()
    }
    assert now[row, "crash states"] == str(10 * len(profile_names()))
    assert [key for key in now if key[0] != row and now[key] != whole[key]] == [
        key for key, cell in whole.items() if key[0] != row and "fails P2 P3" in cell
    ]
    assert copy.read_text(encoding="utf-8").partition(START)[0] == before.partition(START)[0]
    assert copy.read_text(encoding="utf-8").partition(END)[2] == before.partition(END)[2]


class InThisProcess:
    """Stands for the pool of processes."""

    def __init__(self, jobs: int) -> None:
        assert jobs == 2

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    map = staticmethod(map)


@pytest.mark.parametrize(
    ("heading", "row", "said"),
    [
        ("`xfs`", "nobody:unsafe", "nobody:unsafe: expected some of lastgood+apart:"),
        ("`zfs`", "lastgood:unsafe", "its table has other profiles; ask all rows"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    copy: Path,
    script: ModuleType,
    capsys: pytest.CaptureFixture[str],
    heading: str,
    row: str,
    said: str,
) -> None:
    copy.write_text(copy.read_text(encoding="utf-8").replace("`xfs`", heading), encoding="utf-8")
    before = copy.read_text(encoding="utf-8")

    assert script.main([row, "--root", str(copy.parent.parent)]) == 2
    assert said in capsys.readouterr().err
    assert copy.read_text(encoding="utf-8") == before


def test_a_refuted_profile_is_named_beside_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    said = page.partition("No cell speaks of a limit of its profile")[2].partition("\n\n")[0]

    assert {name for name in profile_names() if f"`{name}`" in said} == {
        name for name in profile_names() if load_profile(name).is_refuted
    }
