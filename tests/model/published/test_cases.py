"""Reading published cases: what no kernel would take, and words that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from powercut.cli.commands import powercut
from powercut.published.cases import EVIDENCE, RESULTS, read_cases
from powercut.published.conformance import LARGEST_FILE
from tests import ROOT

HOW = ROOT / "tests/litmus/published.json"


def case(*program: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = {
        "id": "x-1",
        "family": "x",
        "setup": [],
        "ops": [{"op": "creat", "path": "a"}, *program],
        "question": {"crash": "end", "kind": "must", "predicate": ["exists", "a"]},
        "outcome": {"ext4": {"result": "violated", "evidence": "doc"}},
        "crash_class": "power",
    }
    return {**made, **changes}


def run(tmp_path: Path, made: dict[str, Any], *options: str) -> Result:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"schema": 1, "tests": [made]}))
    return CliRunner().invoke(powercut, ["litmus", str(path), *options], catch_exceptions=False)


def not_run(tmp_path: Path, made: dict[str, Any]) -> str:
    done = run(tmp_path, made, "--json")
    (row,) = json.loads(done.stdout)["cases"]
    assert (done.exit_code, row["gated"], row["ours"]) == (0, False, None)
    return str(row["not_run"])


@pytest.mark.parametrize(
    ("op", "complaint"),
    [
        ({"op": "append", "path": "a", "data": "x€"}, "data holds '€', expected characters up to"),
        ({"op": "append", "path": "a", "data": "\ud800"}, r"data holds '\ud800', expected"),
        ({"op": "append", "path": "a", "fill": "€", "len": 1}, "fill holds '€', expected"),
        (
            {"op": "append", "path": "a", "fill": "", "len": 1},
            "fill is b'', expected one character",
        ),
        ({"op": "creat", "path": "b\0c"}, r"path is 'b\x00c', which no program can pass on"),
        ({"op": "creat", "path": "\ud800"}, r"path is '\ud800', which no program can pass on"),
        ({"op": "write", "path": "a", "off": 10**26, "data": "x"}, "off is 1000000000000000000000"),
        ({"op": "truncate", "path": "a", "size": 1 << 63}, "size is 9223372036854775808, expected"),
    ],
)
def test_an_op_that_no_program_can_make_is_bad_input(
    tmp_path: Path, op: dict[str, Any], complaint: str
) -> None:
    done = run(tmp_path, case(op))

    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert "(x-1)" in done.stderr
    assert (done.stderr.count("\n"), done.stderr.endswith("Nothing was run.\n")) == (1, True)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ({"op": "creat", "path": ""}, "ENOENT"),
        ({"op": "symlink", "target": "", "path": "s"}, "ENOENT"),
        ({"op": "creat", "path": "n" * 256}, "ENAMETOOLONG"),
        ({"op": "creat", "path": "ä" * 128}, "ENAMETOOLONG"),
        ({"op": "rename", "src": "a", "dst": "n" * 300}, "ENAMETOOLONG"),
        ({"op": "creat", "path": "/".join(["n" * 200] * 21)}, "ENAMETOOLONG"),
        ({"op": "truncate", "path": "a", "size": (1 << 63) - 1}, "EFBIG"),
        ({"op": "truncate", "path": "a", "size": LARGEST_FILE + 1}, "EFBIG"),
        ({"op": "write", "path": "a", "off": LARGEST_FILE, "data": "x"}, "EFBIG"),
        ({"op": "append", "path": "a", "fill": "x", "len": LARGEST_FILE + 1}, "EFBIG"),
    ],
)
@pytest.mark.parametrize("crash", ["end", "anywhere"])
def test_an_op_that_the_kernel_refuses_is_not_run_and_says_its_error(
    tmp_path: Path, op: dict[str, Any], reason: str, crash: str
) -> None:
    question = {"crash": crash, "kind": "must", "predicate": ["exists", "a"]}
    told = not_run(tmp_path, case(op, question=question))

    assert told.startswith("the kernel refuses an op of it: ")
    assert f" {reason}: " in told
    assert len(told) < 200


def test_the_setup_is_held_to_the_same_limits(tmp_path: Path) -> None:
    assert "ENAMETOOLONG" in not_run(tmp_path, case(setup=[{"op": "creat", "path": "n" * 256}]))


@pytest.mark.parametrize(
    "op",
    [
        {"op": "creat", "path": "n" * 255},
        {"op": "truncate", "path": "a", "size": LARGEST_FILE},
    ],
)
def test_what_just_fits_is_run(tmp_path: Path, op: dict[str, Any]) -> None:
    (row,) = json.loads(run(tmp_path, case(op), "--json").stdout)["cases"]

    assert (row["not_run"], row["ours"]) == (None, "violated")


def test_a_repeat_inside_a_repeat_is_called_that(tmp_path: Path) -> None:
    inner = {"op": "repeat", "from": 1, "to": 2, "ops": [{"op": "creat", "path": "b{i}"}]}
    outer = {"op": "repeat", "from": 1, "to": 2, "ops": [inner]}

    assert not_run(tmp_path, case(outer)) == "a repeat inside a repeat is not spelt out"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (
            {"result": "hold", "evidence": "doc"},
            "the result 'hold' is none that is known (did you mean 'holds'?)",
        ),
        (
            {"result": "violated", "evidence": "astrology"},
            "the evidence 'astrology' is none that is known",
        ),
    ],
)
def test_a_published_word_that_nobody_knows_is_told_and_its_row_alone_is_not_run(
    tmp_path: Path, outcome: dict[str, str], reason: str
) -> None:
    made = case(outcome={"ext4": outcome, "xfs": {"result": "violated", "evidence": "doc"}})
    done = run(tmp_path, made, "--json")
    odd, other = json.loads(done.stdout)["cases"]

    assert (odd["not_run"], odd["gated"], odd["ours"]) == (reason, False, None)
    assert (other["not_run"], other["gated"], other["agrees"]) == (None, True, True)
    assert done.stderr.startswith("powercut: 1 row of ")
    assert done.stderr.endswith(f" not run, nor gated: {reason}\n")
    assert f"not run, 1 row: {reason}" in " ".join(run(tmp_path, made).stdout.split())


def test_the_words_that_are_known_are_those_that_the_collection_explains() -> None:
    explained = json.loads(HOW.read_text())["how_to_read"]

    assert all(word in explained["result"] for word in RESULTS)
    assert all(word in explained["evidence"] for word in EVIDENCE)
    assert [p for c in read_cases(HOW) for p in c.published if p.odd] == []
