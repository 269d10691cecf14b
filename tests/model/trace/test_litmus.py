"""The reader of litmus tests: what is malformed gets one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from powercut.errors import TraceError
from powercut.profile import load_profile
from powercut.trace.litmus import Litmus, read_litmus, run_litmus

LITMUS = """schema = 1
kind = "litmus"
question = "A file is made: is it there after a crash?"
crash = "end"
steps = [{ id = "c", op = "create", path = "/a" }]
ask = [{ path = "/a", is = "file" }]
answers = { always = ["sequential"] }
states = { 1 = ["sequential"] }
"""


def litmus(tmp_path: Path, text: str) -> Litmus:
    path = tmp_path / "l.toml"
    path.write_text(text, encoding="utf-8")
    return read_litmus(path)


def test_the_litmus_test_that_is_made_worse_below_is_well_formed(tmp_path: Path) -> None:
    outcome = run_litmus(litmus(tmp_path, LITMUS), load_profile("sequential"))

    assert (outcome.answer, len(outcome.looks)) == ("always", 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", 'expected schema = 1 and kind = "litmus"'),
        ('"litmus"', '"pinned"', 'expected schema = 1 and kind = "litmus"'),
        (
            "question",
            "quest",
            "unknown key 'quest' (did you mean 'quiet'?); known here: answers, ask, crash, ",
        ),
        ('crash = "end"\n', "", "the key 'crash' is missing. Nothing was run."),
        ('"end"', '"start"', "crash is 'start', expected one of anywhere, end. "),
        ("always", "often", "answers: unknown key 'often'; known here: always, never, sometimes"),
        ('is = "file"', 'is = "fifo"', "ask: is is 'fifo', expected one of file, directory, "),
        (
            'is = "file"',
            'be = "file"',
            "ask: unknown key 'be'; known here: at, hex, is, path, text. ",
        ),
        (
            '"create"',
            '"mmap"',
            "step 1: op is 'mmap': a mapping is not an op of the model: use mapwrite",
        ),
        ("steps = [", 'steps = [{ crash = "power" }, ', "a litmus test has ops only"),
        (
            "steps = [",
            'steps = [{ id = "b", op = "damage", path = "/a", how = "changed" }, ',
            "a litmus test has no damage: no rule speaks of it",
        ),
        ("crash =", "crash", "not TOML: "),
    ],
    ids=range(12),
)
def test_a_malformed_litmus_test_gives_one_error_that_names_the_file(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in LITMUS

    with pytest.raises(TraceError) as caught:
        litmus(tmp_path, LITMUS.replace(old, new))

    assert str(caught.value).startswith(f"{tmp_path / 'l.toml'}: {message}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('crash = "end"', 'crash = "end"\nsetup = 3'),
        ('crash = "end"', 'crash = "end"\npieces = "two"'),
        ('crash = "end"', 'crash = "end"\npieces = 0'),
        ('crash = "end"', 'crash = "end"\ncrash_class = "flood"'),
        ('{ 1 = ["sequential"] }', "3"),
        ("always = [", 'always = ["ext5", '),
        ("always = [", 'never = ["sequential"], always = ['),
        ('states = { 1 = ["sequential"] }', ""),
        ('1 = ["sequential"]', '0 = ["sequential"]'),
        ('1 = ["sequential"]', '1 = ["tmpfs"]'),
        ('is = "file"', 'is = "file", at = [3]'),
        ('is = "file"', 'is = "file", at = [[0, "ab"]]'),
        (
            '{ id = "c",',
            '{ id = "m", op = "mapwrite", path = "/a", offset = 0, text = "x" }, { id = "c",',
        ),
    ],
    ids=range(13),
)
def test_a_value_of_the_wrong_sort_in_a_litmus_test_is_refused(
    old: str, new: str, tmp_path: Path
) -> None:
    assert old in LITMUS

    with pytest.raises(TraceError):
        litmus(tmp_path, LITMUS.replace(old, new))
