"""Documents say what is so: generated parts are fresh, examples parse, every key is described."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from attrs import fields

from powercut.filesystem.ops import OP_NAMES
from powercut.profile import load_profile
from powercut.simulation.oracle import PROPERTIES
from powercut.trace.litmus import Litmus, read_litmus, run_litmus
from powercut.trace.replay import replay
from powercut.trace.trace_file import parse_steps, parse_trace, step_table
from tests import ROOT
from tests.harness.scripts import load_script

LIMIT_S = 60
TRACES_PAGE = (ROOT / "docs/traces.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", TRACES_PAGE, re.DOTALL | re.MULTILINE)
KINDS = [tomllib.loads(example).get("kind", "steps") for example in EXAMPLES]


def examples(*kinds: str) -> list[str]:
    found = [text for text, kind in zip(EXAMPLES, KINDS, strict=True) if kind in kinds]
    assert found
    return found


def litmus_example(tmp_path: Path) -> Litmus:
    (text,) = examples("litmus")
    path = tmp_path / "example.toml"
    path.write_text(text, encoding="utf-8")
    return read_litmus(path)


@functools.cache
def part(make: Callable[[Path], str]) -> str:
    """A generated part of this repository's pages, made once: the copies have the same traces."""
    return make(ROOT)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_script("generate_docs")
    for name, make in module.PARTS.items():
        monkeypatch.setitem(module.PARTS, name, lambda _root, make=make: part(make))
    return module


@pytest.fixture
def copy(tmp_path: Path, script: ModuleType) -> Path:
    """The two generated pages, fresh, and the traces that they are made from."""
    shutil.copytree(ROOT / "traces", tmp_path / "traces")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/model.md", tmp_path / "docs")
    script.main(["--root", str(tmp_path)])
    return tmp_path


def test_the_generated_parts_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/generate_docs.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", ["docs/model.md", "traces/README.md"])
def test_a_stale_page_is_named_and_left_alone_by_a_check(
    copy: Path, page: str, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = (copy / page).read_text(encoding="utf-8").replace("create-rename-fsync", "gone")
    (copy / page).write_text(stale, encoding="utf-8")

    capsys.readouterr()

    assert script.main(["--check", "--root", str(copy)]) == 1
    assert capsys.readouterr().out == f"{page} is stale; run python scripts/generate_docs.py\n"
    assert (copy / page).read_text(encoding="utf-8") == stale


def test_generating_mends_a_stale_page_and_keeps_its_prose(
    copy: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    page = copy / "docs/model.md"
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace("N 4", "A 9"), encoding="utf-8")

    capsys.readouterr()

    assert script.main(["--root", str(copy)]) == 0
    assert capsys.readouterr().out == "docs/model.md was written\n"
    assert page.read_text(encoding="utf-8") == fresh


def test_a_page_without_its_marker_is_refused_and_nothing_is_written(
    copy: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    page, other = copy / "docs/model.md", copy / "traces/README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("<!-- end: rules -->", ""))
    other.write_text(other.read_text(encoding="utf-8").replace("create-rename-fsync", "gone"))
    before = (page.read_text(encoding="utf-8"), other.read_text(encoding="utf-8"))

    assert script.main(["--root", str(copy)]) == 2
    assert (
        "docs/model.md: expected <!-- generated: rules --> and <!-- end: rules -->"
        in capsys.readouterr().err
    )
    assert (page.read_text(encoding="utf-8"), other.read_text(encoding="utf-8")) == before


@pytest.mark.parametrize(("name", "counts"), [("create-rename", 5), ("create-rename-fsync", 4)])
def test_the_counts_of_ferrite_are_given_by_the_profile_with_its_rules_in_doubt(
    name: str, counts: int
) -> None:
    test = read_litmus(ROOT / "traces/litmus" / f"{name}.toml")

    assert len(run_litmus(test, load_profile("ext4-ordered").with_unknown()).looks) == counts
    assert len(run_litmus(test, load_profile("sequential")).looks) == 4


def test_every_whole_trace_of_the_page_replays_to_its_verdict() -> None:
    for text in examples("pinned", "regression"):
        trace = parse_trace(text, "docs/traces.md")

        assert replay(trace, "docs/traces.md").verdict == trace.verdict


def test_both_kinds_of_trace_are_shown() -> None:
    assert {"pinned", "regression", "litmus", "steps"} == set(KINDS)


def test_the_litmus_example_gives_its_answers_and_counts(tmp_path: Path) -> None:
    test = litmus_example(tmp_path)

    outcomes = {name: run_litmus(test, load_profile(name)) for name in test.answers}

    assert {name: o.answer for name, o in outcomes.items()} == test.answers
    assert {name: len(o.looks) for name, o in outcomes.items()} == test.states


def test_the_examples_of_steps_show_every_op_and_every_other_step() -> None:
    shown: set[str] = set()
    for text in examples("steps"):
        for step in parse_steps(tomllib.loads(text)["steps"], "docs/traces.md"):
            table = step_table(step)
            kind = next(key for key in ("op", "mark", "run", "crash") if key in table)
            shown.add(f"{kind}:{table[kind]}")

    ops = {f"op:{name}" for name in OP_NAMES}
    others = {"mark:begin", "mark:ack", "run:save", "run:recover", "crash:process", "crash:kernel"}
    assert shown == ops | others


def test_every_op_and_each_of_its_keys_is_described() -> None:
    rows = {
        name: keys
        for names, keys in re.findall(r"^\| ((?:`\w+` ?)+)\| (.*) \|$", TRACES_PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    for name, op in OP_NAMES.items():
        wanted = {f.name for f in fields(op)} - {"data"}
        assert wanted <= set(re.findall(r"`(\w+)`", rows[name])), name


@pytest.mark.parametrize("kind", ["pinned", "litmus"])
def test_every_key_that_a_reader_knows_is_described(kind: str, tmp_path: Path) -> None:
    (text, *_) = examples(kind)
    path = tmp_path / "unknown.toml"
    path.write_text(f"no_such_key = 1\n{text}", encoding="utf-8")

    with pytest.raises(Exception, match="known here: ") as caught:
        read_litmus(path) if kind == "litmus" else parse_trace(path.read_text(), "x")
    known = re.findall(r"\w+", str(caught.value).partition("known here: ")[2].partition(".")[0])

    assert {"schema", "kind", "steps"} <= set(known)
    assert [key for key in known if f"`{key}`" not in TRACES_PAGE] == []


def test_every_property_that_a_trace_may_name_is_explained() -> None:
    page = (ROOT / "docs/properties.md").read_text(encoding="utf-8")

    assert PROPERTIES
    assert [name for name in PROPERTIES if f"**{name}**" not in page] == []
