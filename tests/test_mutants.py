"""The script that makes mutants: what each operator changes, what none does, and how one ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.harness.scripts import load_script

mutation: Any = load_script("mutation")
mutants: Any = load_script("mutants")


def changed(source: str) -> dict[str, set[str]]:
    """The mutants of a text, by kind; those that are no program would be of no use."""
    found: dict[str, set[str]] = {}
    for each in mutation.mutations(source.encode()):
        text = each.apply(source.encode()).decode()
        compile(text, "mutant", "exec")
        found.setdefault(each.kind, set()).add(text)
    return found


def in_function(line: str) -> str:
    return f"def f():\n    {line}\n"


OPERATORS = [
    ("comparison", "x = a < b", ["x = a <= b"]),
    ("comparison", "x = a < b == c", ["x = a <= b == c", "x = a < b != c"]),
    ("comparison", "x = (a) in (b)", ["x = (a) not in (b)"]),
    ("comparison", "x = a not in b", ["x = a in b"]),
    ("comparison", "x = a is not b", ["x = a is b"]),
    ("boolean operator", "x = a and b or c", ["x = a or b or c", "x = a and b and c"]),
    ("not removed", "x = not a", ["x = a"]),
    ("sign removed", "x = -a", ["x = a"]),
    ("condition negated", "x = a if b > c else d", ["x = a if (not (b > c)) else d"]),
    ("condition negated", "x = [a for a in b if a]", ["x = [a for a in b if (not (a))]"]),
    ("constant", "x = 5", ["x = 6", "x = 4", "x = 0"]),
    ("constant", "x = 0", ["x = 1", "x = (-1)"]),
    ("constant", "x = True", ["x = False"]),
    ("constant", "x = 'word'", ['x = ""']),
    ("constant", "x = ''", ['x = "mutant"']),
    ("constant", "x = b'word'", ['x = b""']),
    ("constant", "x = f'{a}.json'", ['x = ""']),
    ("arithmetic", "x = a + b", ["x = a - b"]),
    ("arithmetic", "x = ä * (b  # + or -\n)", ["x = ä // (b  # + or -\n)"]),
    ("arithmetic", "x += a", ["x -= a"]),
    ("return value dropped", in_function("return a"), [in_function("return None")]),
    ("statement deleted", "f(a)", ["pass"]),
    ("statement deleted", "a.b = c", ["pass"]),
    ("statement deleted", "raise E('no')", ["pass"]),
    ("statement deleted", "del a", ["pass"]),
    ("continue and break", "for a in b:\n    continue", ["for a in b:\n    break"]),
    ("continue and break", "for a in b:\n    break", ["for a in b:\n    continue"]),
    (
        "exception widened",
        "try:\n    f()\nexcept OSError:\n    g()",
        ["try:\n    f()\nexcept Exception:\n    g()"],
    ),
    (
        "exception narrowed",
        "try:\n    f()\nexcept (A, B):\n    g()",
        ["try:\n    f()\nexcept (A,):\n    g()", "try:\n    f()\nexcept (B,):\n    g()"],
    ),
    (
        "exception narrowed",
        "with suppress(A, B): f()",
        ["with suppress(A): f()", "with suppress(B): f()"],
    ),
    ("order dropped", "x = sorted(a, key=b)", ["x = list(a)"]),
    ("order dropped", "x = reversed(a)", ["x = iter(a)"]),
    ("opposite function", "x = min(a, b)", ["x = max(a, b)"]),
    ("opposite function", "x = any(a)", ["x = all(a)"]),
    (
        "default argument",
        "def f(a=b, *, c=d): g()",
        ["def f(a=None, *, c=d): g()", "def f(a=b, *, c=None): g()"],
    ),
    ("constant", "def f(a=True): g()", ["def f(a=False): g()"]),
    ("slice", "x = a[b:c]", ["x = a[(b) + 1:c]", "x = a[b:(c) - 1]"]),
    ("slice", "x = a[:]", ["x = a[1:]", "x = a[:-1]"]),
    (
        "decorator removed",
        "@a\n@b.c(1)\ndef f(): g()",
        ["\n@b.c(1)\ndef f(): g()", "@a\n\ndef f(): g()"],
    ),
]


@pytest.mark.parametrize(("kind", "source", "expected"), OPERATORS)
def test_an_operator_makes_these_mutants_and_no_others(
    kind: str, source: str, expected: list[str]
) -> None:
    assert changed(source)[kind] == set(expected)


def test_every_kind_of_change_has_a_test_here() -> None:
    kinds = {mutant.change.kind for mutant in mutants.population(mutants.ROOMS["library"])}

    assert kinds == {kind for kind, _, _ in OPERATORS}


@pytest.mark.parametrize(
    "source",
    [
        '"""Docstring"""',
        'def f():\n    """Docstring"""',
        "def __repr__(self):\n    return 1 + 2",
        "def f(a: 'Word' = b) -> Literal['c']: ...",
        "x: Literal['word'] = a",
        "if TYPE_CHECKING:\n    x = 1",
        "__all__ = ['a']",
        "@overload\ndef f(a=1): ...",
        "x = 'words of a message'",
        "x = f'words of {a + 1}'",
        "x = field(repr=False)",
    ],
)
def test_wording_types_and_what_describes_an_object_are_left_alone(source: str) -> None:
    assert set(changed(source)) <= {"default argument"}


def test_the_wording_of_an_error_is_left_alone_and_its_raise_is_not() -> None:
    assert set(changed("raise E('word')")) == {"statement deleted"}


def test_a_condition_whose_operator_has_an_opposite_is_negated_once() -> None:
    assert set(changed("if a == b:\n    pass")) == {"comparison"}
    assert set(changed("if not a:\n    pass")) == {"not removed"}


def test_a_change_names_the_lines_that_run_with_it() -> None:
    source = b"x = 1\n\n\ndef f(a):\n    if (\n  a\n    ):\n        return g(\n  a, 2\n        )\n"
    found = mutation.mutations(source)

    of = {(each.kind, each.old): (each.lines, each.names) for each in found}

    assert of["constant", "1"] == ((1, 1), {"x"})
    assert of["condition negated", "a"] == ((5, 7), set())
    assert of["constant", "2"] == ((8, 10), set())


def test_a_sample_is_the_same_for_a_seed_and_another_for_another() -> None:
    everything = list(range(1000))

    first, again, other = (mutants.sample(everything, 30, seed) for seed in (1, 1, 2))

    assert first == again != other
    assert len(set(first)) == 30


def known_of(*lines: tuple[int, str]) -> Any:
    executed: dict[str, list[str]] = {}
    for line, test in lines:
        executed.setdefault(str(line), []).append(test)
    return mutants.Known({"slow": 2.0, "quick": 1.0, "other": 0.5}, {"m.py": executed})


def mutant_of(source: str, kind: str) -> Any:
    change = next(each for each in mutation.mutations(source.encode()) if each.kind == kind)
    return mutants.Mutant(0, "m.py", change)


def test_the_tests_of_a_mutant_are_those_that_execute_its_line_quickest_first() -> None:
    mutant = mutant_of(in_function("return a"), "return value dropped")

    assert known_of((2, "slow"), (2, "quick"), (1, "other")).tests_for(mutant) == ["quick", "slow"]
    assert known_of((1, "other")).tests_for(mutant) == []


def test_what_runs_as_a_module_is_imported_is_tested_by_all_that_use_the_module_or_the_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "m.py").write_text("x = 1\n\ndef f():\n    return 2\n")
    (tmp_path / "n.py").write_text("def g():\n    return m.x\n")
    executed = {"m.py": {"4": ["slow"]}, "n.py": {"1": ["other"], "2": ["quick"]}}
    known = mutants.Known({"slow": 2.0, "quick": 1.0, "other": 0.5}, executed)
    mutant = mutant_of("x = 1\n", "constant")

    assert known.tests_for(mutant, tmp_path) == ["quick", "slow"]


def toy(folder: Path, test: str) -> Path:
    """A copy of a project that has one module and one test file."""
    (folder / "tree").mkdir()
    (folder / "tree" / "toy.py").write_text("def f(a):\n    return a + 1\n")
    (folder / "tree" / "test_toy.py").write_text(f"import toy\n\n\ndef test_toy():\n    {test}\n")
    return folder


@pytest.mark.parametrize(
    ("test", "outcome"),
    [
        ("assert toy.f(1) == 2", ("killed", "test_toy.py::test_toy")),
        ("assert toy.f(0) in (1, -1)", ("survived", "")),
        ("while toy.f(1) != 2: pass", ("timeout", "")),
    ],
)
def test_a_mutant_is_killed_survives_or_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: str, outcome: tuple[str, str]
) -> None:
    monkeypatch.setattr(mutants, "LEAST_LIMIT_S", 2)
    work = toy(tmp_path, test)
    module = work / "tree" / "toy.py"
    (change,) = (m for m in mutation.mutations(module.read_bytes()) if m.kind == "arithmetic")
    mutant = mutants.Mutant(0, "toy.py", change)
    tests = ["test_toy.py::test_toy"]
    known = mutants.Known(dict.fromkeys(tests, 0.0), {"toy.py": {"2": tests}})
    before = module.read_bytes()

    result = mutants.judge(work, mutant, known, [], root=work / "tree")

    assert (result["outcome"], result["by"]) == outcome
    assert module.read_bytes() == before


def test_a_mutant_whose_line_no_test_executes_survives_and_nothing_runs(tmp_path: Path) -> None:
    mutant = mutant_of(in_function("return a"), "return value dropped")

    result = mutants.judge(tmp_path, mutant, known_of((1, "other")), [])

    assert (result["outcome"], result["tests"]) == ("survived", 0)


def test_the_tests_of_a_line_are_known_also_where_another_process_executes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import toy; toy.g()'])"
    work = toy(tmp_path, f"toy.f(1)\n\n\ndef test_child():\n    {child}")
    library = work / "tree" / "impl" / "lastgood"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("")
    (library / "toy.py").write_text("def f(a):\n    return a\n\n\ndef g():\n    return 2\n")
    (work / "tree" / "toy.py").write_text("from lastgood.toy import f, g\n")
    monkeypatch.setattr(mutants, "KEPT", tmp_path / "kept")
    room = mutants.Room("impl/lastgood", ("test_toy.py",), 60.0)
    monkeypatch.setattr(mutants, "ROOMS", {"toy": room, "hasty": room._replace(slowest_s=0.0)})

    known = mutants.learn(work, "digest", "toy")
    lines = known.executed["impl/lastgood/toy.py"]

    assert lines["2"] == ["test_toy.py::test_toy"]
    assert lines["6"] == ["test_toy.py::test_child"]
    assert set(known.seconds) == {"test_toy.py::test_toy", "test_toy.py::test_child"}
    assert mutants.learn(work, "digest", "toy") == known
    assert mutants.learn(work, "digest", "hasty").seconds == {}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "scripts" / "mutants.py")]
    return subprocess.run(
        [*script, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_script_lists_what_it_would_run_and_refuses_a_number_that_no_mutant_has() -> None:
    drawn = run("--list", "--count", "3", "--seed", "7")
    unknown = run("--list", "--only", "1,99999999")

    assert drawn.returncode == 0
    assert len(drawn.stdout.splitlines()) == 4
    assert unknown.returncode == 2
    assert "found mutants 0 to" in unknown.stderr


def test_each_room_has_mutants_of_its_own_code_and_of_no_other() -> None:
    for name, room in mutants.ROOMS.items():
        paths = {mutant.path for mutant in mutants.population(room)}

        assert paths
        assert all(path.startswith(f"{room.code}/") for path in paths), name
        assert not paths & set(room.not_code)
        assert all((ROOT / path).exists() for path in (*room.tests, *room.not_tests))

    drawn = run("--list", "--count", "3", "--room", "model")
    assert all(" model/powercut/" in line for line in drawn.stdout.splitlines()[1:])


def test_tests_that_fail_without_a_mutant_kill_none(tmp_path: Path) -> None:
    into = tmp_path / "result.json"

    done = run("--only", "1", "--tests", "tests/test_none.py", "--into", str(into))

    assert (done.returncode, into.exists()) == (3, False)
    assert "do not pass without a mutant" in done.stdout
