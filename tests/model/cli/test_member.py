"""`powercut member`: tree files, moments, answers and exit statuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given

from powercut.cli.commands import powercut
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.errors import TraceError, TreeError
from powercut.filesystem import ops
from powercut.filesystem.content import ByteRun, Content
from powercut.filesystem.inodes import visible_tree
from powercut.filesystem.state import State, run_program
from powercut.membership.crash_points import membership_query, program_of
from powercut.membership.observed_tree import FILE_LIMIT_BYTES, Observed, parse_tree
from powercut.profile import load_profile
from powercut.simulation.world import Perform
from powercut.trace.trace_file import Trace
from tests import ROOT
from tests.harness.profiles import PROFILES
from tests.harness.programs import states
from tests.harness.trees import render_tree

STEPS = """
  { id = "c", op = "create", path = "/f.tmp" },
  { id = "w", op = "write", path = "/f.tmp", offset = 0, text = "hello" },
  { id = "s", op = "fsync", path = "/f.tmp" },
  { id = "r", op = "rename", src = "/f.tmp", dst = "/f" },
  { id = "d", op = "fsync", path = "/" },
"""
HELLO = [[104, 1], [101, 1], [108, 2], [111, 1]]
PROGRAM = (
    Perform("c", ops.Create("/f.tmp")),
    Perform("w", ops.Write("/f.tmp", 0, b"hello")),
    Perform("s", ops.Fsync("/f.tmp")),
    Perform("r", ops.Rename("/f.tmp", "/f")),
    Perform("d", ops.Fsync("/")),
)


def member(tmp_path: Path, tree: Any, *options: str, steps: str = STEPS) -> Result:
    trace, seen = tmp_path / "t.toml", tmp_path / "tree.json"
    head = 'schema = 1\nkind = "pinned"\nprofile = "ext4-ordered"\nproperty = "P3"\n'
    trace.write_text(f'{head}verdict = "fails"\nsteps = [{steps}]\n')
    seen.write_text(tree if isinstance(tree, str) else json.dumps(tree))
    return CliRunner().invoke(powercut, ["member", str(trace), "--tree", str(seen), *options])


def test_a_tree_that_a_crash_can_leave_is_a_yes_and_says_what_was_lost(tmp_path: Path) -> None:
    result = member(tmp_path, {"f.tmp": HELLO}, "--at", "r")

    assert result.exit_code == 0
    assert result.output.startswith("yes: a power crash at r under ext4-ordered")
    assert "lost: r.add, r.remove" in result.output


def test_a_no_names_the_observed_fact_and_the_durable_event(tmp_path: Path) -> None:
    result = member(tmp_path, {"f.tmp": HELLO})

    assert result.exit_code == 1
    assert "f.tmp is there; but" in result.output

    result = member(tmp_path, {})

    assert result.exit_code == 1
    assert "f is missing; but r.add is durable: a sync of it had returned" in result.output


def test_a_no_names_the_limits_of_the_profile_and_a_yes_does_not(tmp_path: Path) -> None:
    no, yes = member(tmp_path, {}), member(tmp_path, {"f.tmp": HELLO}, "--at", "r")
    without_any = member(tmp_path, {}, "--profile", "nilfs2")
    limits = load_profile("ext4-ordered").limits

    said = f"the profile declares limits: {' '.join(limit.what for limit in limits)}"
    assert no.output.splitlines()[-1] == said
    assert "declares limits" not in yes.output + without_any.output
    assert without_any.exit_code == 1
    trial = member(tmp_path, {}, "--profile", "ext4-ordered+op-atomic", "--json")
    assert json.loads(trial.output)["limits"] == [limit.to_json() for limit in limits]


def test_a_rule_can_be_added_to_the_profile_and_changes_the_answer(tmp_path: Path) -> None:
    asked = ("--at", "s", "--profile")
    own = member(tmp_path, {}, *asked, "posix-minimal")
    strict = member(tmp_path, {}, *asked, "posix-minimal+fsync-logs-names")

    assert (own.exit_code, strict.exit_code) == (0, 1)
    assert "under posix-minimal+fsync-logs-names" in strict.output
    refused = member(tmp_path, {}, *asked, "xfs+log-may-bring")
    assert refused.exit_code == 2
    assert "is a permission" in refused.output


def test_a_no_names_the_rule_that_ties_two_facts(tmp_path: Path) -> None:
    steps = (
        STEPS
        + '{ id = "x", op = "create", path = "/x" }, { id = "y", op = "create", path = "/y" },'
    )
    result = member(tmp_path, {"f": HELLO, "y": []}, steps=steps)

    assert result.exit_code == 1
    assert "directory-in-order" in result.output
    assert "because x is missing" in result.output or "because y is there" in result.output


def test_an_answer_that_costs_too_much_is_undecided(tmp_path: Path) -> None:
    result = member(tmp_path, {"f.tmp": HELLO}, "--at", "w", "--budget", "1")

    assert result.exit_code == 4
    assert "budget" in result.output


def test_json_says_all_of_it(tmp_path: Path) -> None:
    result = member(tmp_path, {"f": HELLO}, "--at", "d:begun", "--json")
    data = json.loads(result.output)

    assert result.exit_code == 0
    assert (data["answer"], data["moment"], data["lost"]) == ("yes", "d:begun", [])
    assert (data["profile"], data["crash_class"]) == ("ext4-ordered", "power")


@pytest.mark.parametrize(
    ("tree", "at", "status"),
    [
        ({}, None, 1),
        ({}, "anywhere", 0),
        ({}, "c", 0),
        ({"f.tmp": []}, "w", 0),
        ({"f.tmp": []}, "s", 1),
        ({"f.tmp": []}, "s:begun", 0),
        ({"f.tmp": []}, "anywhere", 0),
        ({"f.tmp": HELLO}, "d", 1),
        ({"f.tmp": HELLO}, "d:begun", 0),
        ({"f": []}, "anywhere", 1),
        ({"f.tmp": HELLO, "f": HELLO}, "anywhere", 1),
    ],
)
def test_the_moment_decides(tmp_path: Path, tree: Any, at: str | None, status: int) -> None:
    result = member(tmp_path, tree, *(["--at", at] if at else []))

    assert result.exit_code == status, result.output


def test_a_process_kill_keeps_all_and_may_cut_a_write_short(tmp_path: Path) -> None:
    def status(tree: Any, at: str) -> int:
        return member(tmp_path, tree, "-c", "process", "--at", at).exit_code

    assert status({"f.tmp": HELLO}, "w") == 0
    assert status({"f.tmp": []}, "w") == 1
    assert status({"f.tmp": []}, "w:begun") == 0
    assert status({"f.tmp": HELLO[:3]}, "w:begun") == 0
    assert status({"f.tmp": [*HELLO[:2], [0, 1]]}, "w:begun") == 1
    assert status({"f.tmp": HELLO[:3]}, "anywhere") == 0
    assert status({"f": HELLO}, "anywhere") == 0
    assert status({}, "anywhere") == 0
    assert status({"f": HELLO[:3]}, "anywhere") == 1


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ("[", "not JSON"),
        ("[1]", "expected an object"),
        ('{"a": [], "a": []}', "'a' stands there twice"),
        ({"d/f": []}, "lies in 'd'"),
        ({"d/": []}, "expected null for a directory"),
        ({"d": None}, "expected a list of"),
        ({"/d/": None}, "no path below the root"),
        ({"a/": None, "a/../b": []}, "no path below the root"),
        ({"f": [[256, 1]]}, "expected [byte, count]"),
        ({"f": [[1, 0]]}, "expected [byte, count]"),
        ({"f": [[True, 1]]}, "expected [byte, count]"),
        ({"f": [[1, 1.0]]}, "expected [byte, count]"),
        ({"f": [[1, FILE_LIMIT_BYTES + 1]]}, "expected [byte, count]"),
        ({"f": [[1, FILE_LIMIT_BYTES], [1, 1]]}, "longer than"),
        ({"f": {"link": "x"}}, "unknown key 'link'"),
        ({"links": [["a", "b"]]}, "links names 'a'"),
        ({"\ud800": []}, r"'\ud800' is no path below the root"),
        ({"a": [], "links": ["\ud800"]}, "expected lists of paths"),
        ({"a": [], "links": [["a", "\ud800"]]}, r"'\ud800' is no path below the root"),
        ({"a": [], "links": ["a"]}, "expected lists of paths"),
        ({"a": [], "b": [[1, 1]], "links": [["a", "b"]]}, "are one inode, and differ"),
        ({"a": [], "b": [], "links": [["a", "b"], ["a"]]}, "twice"),
        ({"a": [], "a/": None}, "as a file and as a directory"),
        (
            {"d/": None, "d/f": [], "e/": None, "links": [["d/", "e/"]]},
            "are one inode, and differ",
        ),
    ],
)
def test_a_malformed_tree_is_bad_input(tmp_path: Path, tree: Any, says: str) -> None:
    result = member(tmp_path, tree)

    assert result.exit_code == 2
    assert says in result.output
    assert "tree.json" in result.output
    assert "Nothing was run." in result.output


def test_an_unknown_op_is_bad_input_and_the_known_ones_are_named(tmp_path: Path) -> None:
    result = member(tmp_path, {}, "--at", "q:begun")

    assert result.exit_code == 2
    assert "no op before the first crash has the id 'q'" in result.output
    assert "known: c, w, s, r, d" in result.output


def test_only_the_ops_before_the_first_crash_count(tmp_path: Path) -> None:
    crash = '{ crash = "power" }, { id = "later", op = "create", path = "/later" },'

    assert member(tmp_path, {"f": HELLO}, steps=STEPS + crash).exit_code == 0
    assert member(tmp_path, {}, "--at", "later", steps=STEPS + crash).exit_code == 2


def test_an_impossible_op_is_bad_input(tmp_path: Path) -> None:
    result = member(tmp_path, {}, steps='{ id = "u", op = "unlink", path = "/u" },')

    assert result.exit_code == 2
    assert "op 1 is impossible" in result.output


def test_a_tree_file_comes_back_as_it_was_written() -> None:
    tree = Observed.of(
        {
            "links": b"a name of its own",
            "d/": None,
            "d/big": Content(1 << 50, (ByteRun(0, 1 << 40, 7),)),
            "d/l": b"a name of its own",
            "e": b"",
        },
        [["links", "d/l"]],
    )

    assert parse_tree(render_tree(tree), "here") == tree


def test_the_tree_of_the_documentation_is_one() -> None:
    text = (ROOT / "docs/traces.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    tree = parse_tree(example, "docs/traces.md")

    assert [node.path for node in tree.nodes] == ["", "copy", "run", "run/newest"]
    assert parse_tree(render_tree(tree), "here") == tree


@given(state=states())
def test_every_view_can_be_written_and_read_back(state: State) -> None:
    tree = Observed.of_tree(state.view)
    back = parse_tree(render_tree(tree), "here")

    assert [n.path for n in back.nodes] == [n.path for n in tree.nodes]
    assert [n.content and n.content.look() for n in back.nodes] == [
        n.content and n.content.look() for n in tree.nodes
    ]


def test_a_huge_file_costs_no_more_than_a_small_one() -> None:
    program = (
        Perform("c", ops.Create("/f")),
        Perform("t", ops.Truncate("/f", 1 << 50)),
        Perform("w", ops.Write("/f", 1 << 49, b"x")),
    )
    question = membership_query(program, load_profile("posix-minimal"))
    huge = parse_tree(json.dumps({"f": [[0, 1 << 50]]}), "here")

    assert question.ask(huge).answer.verdict == "yes"
    wrong = parse_tree(json.dumps({"f": [[1, 1 << 50]]}), "here")
    assert question.ask(wrong).answer.verdict == "no"


@pytest.mark.parametrize("crash_class", ["kernel", "power"])
@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_answers_as_its_enumeration_does(name: str, crash_class: str) -> None:
    profile = PROFILES[name]
    state = run_program([(p.id, p.op) for p in PROGRAM])
    space = CrashSpace.of(state, profile, crash_class, no_cuts)
    possible = {visible_tree(after.base) for _, _, after in space.states()}
    question = membership_query(PROGRAM, profile, crash_class)

    def agrees(view: State) -> bool:
        verdict = question.ask(Observed.of_tree(view.view)).answer.verdict
        return verdict == ("yes" if visible_tree(view.view) in possible else "no")

    assert possible
    assert all(agrees(run_program([(p.id, p.op) for p in PROGRAM[:n]])) for n in range(6))
    assert agrees(run_program([("g", ops.Create("/g"))]))


def test_a_trace_that_runs_a_subjects_code_before_its_crash_is_refused(tmp_path: Path) -> None:
    steps = '{ mark = "begin", save = 1 }, { run = "recover" },'
    trace = tmp_path / "t.toml"
    head = 'schema = 1\nkind = "regression"\nsubject = "lastgood:atomic_dirsync"\n'
    head += 'profile = "btrfs"\nproperty = "P3"\nverdict = "holds"\n'
    trace.write_text(f"{head}steps = [{steps}]\n")
    (tmp_path / "tree.json").write_text("{}")
    result = CliRunner().invoke(
        powercut, ["member", str(trace), "--tree", str(tmp_path / "tree.json")]
    )

    assert result.exit_code == 2
    assert "step 2 runs a subject's code" in result.output


def test_a_trace_with_damage_before_its_crash_is_refused() -> None:
    bad = Perform("bad", ops.Damage("/f", "changed"))
    trace = Trace("pinned", "btrfs", "P7", "holds", (*PROGRAM, bad))

    with pytest.raises(TraceError, match=r"step \d+ is damage at rest, which no crash leaves"):
        program_of(trace, "t.toml")


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(TreeError, match="no path"):
        Observed.of({"": b""})
