"""Predicates of published cases: bad ones are refused by name, big files are no burden."""

from __future__ import annotations

from typing import Any

import pytest

from powercut.crash.lazy_search import LazySearch
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.errors import CaseError
from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.published.predicate_arguments import FILE_BYTES_MAX
from powercut.published.predicates import NESTING_MAX, MarkedState, read_predicate, read_question

HUGE = 10**12


def nested(depth: int) -> list[Any]:
    predicate: list[Any] = ["exists", "f"]
    for _ in range(depth):
        predicate = ["not", predicate]
    return predicate


def ask(predicate: list[Any], *program: ops.Op) -> bool:
    """The answer of the one state that a program without a crash leaves."""
    state = State()
    for number, op in enumerate(program, start=1):
        state = state.perform(op, f"o{number}")
    space = CrashSpace.of(
        State.settled(state.view, state.next_inode, state.handles),
        load_profile("sequential"),
        "power",
        no_cuts,
    )
    question = read_predicate(predicate, "a test")
    ((answer, _),) = LazySearch(space).answers(
        lambda look: question(MarkedState(look, frozenset()))
    )
    return answer


@pytest.mark.parametrize(
    ("predicate", "complaint"),
    [
        (["not"], "not takes 1 argument, found 0"),
        (["not", ["exists", "a"], ["exists", "b"]], "not takes 1 argument, found 2"),
        (["implies", ["exists", "a"]], "implies takes 2 arguments, found 1"),
        (["and"], "and takes one argument or more, found 0"),
        (["or"], "or takes one argument or more, found 0"),
        (["exists"], "exists takes 1 argument, found 0"),
        (["exists", 3], "argument 1 of exists is 3, expected a path"),
        (["exists", ""], "argument 1 of exists is '', expected a path"),
        (["exists", "a/../b"], "argument 1 of exists is 'a/../b', expected a path"),
        (["exists", "a\0b"], r"argument 1 of exists is 'a\x00b', expected a path"),
        (["exists", "\ud800"], r"argument 1 of exists is '\ud800', expected a path"),
        (["any_exists", "ab"], "argument 1 of any_exists is 'ab', expected a list of paths"),
        (["size", "f", "x"], "argument 2 of size is 'x', expected a number of bytes"),
        (["size", "f", True], "argument 2 of size is True, expected a number of bytes"),
        (["nlink", "f", "x"], "argument 2 of nlink is 'x', expected a count"),
        (["nlink", "f", -1], "argument 2 of nlink is -1, expected a count"),
        (["readlink", "f", 3], "argument 2 of readlink is 3, expected a text"),
        (["marked", 3], "argument 1 of marked is 3, expected a text"),
        (["entries", ".", [1, 2]], "argument 2 of entries is [1, 2], expected a list of names"),
        (["entries", ".", ["a/b"]], "argument 2 of entries is ['a/b'], expected a list of names"),
        (["range", "f", 10**30, 1, "a"], "argument 2 of range is 1000000000000000000000000000000"),
        (["range", "f", 0, HUGE, "a"], "argument 3 of range is 1000000000000, expected a length"),
        (["range", "f", 0, 1, "ab"], "argument 4 of range is 'ab', expected one character"),
        (["byte", "f", -1, "a"], "argument 2 of byte is -1, expected a number of bytes"),
        (["byte", "f", 0, "€"], "argument 3 of byte is '€', expected one character"),
        (["content", "f", [["a", "b"]]], "argument 2 of content is [['a', 'b']], expected a list"),
        (["content", "f", [["\ud800", 1]]], "argument 2 of content is "),
        (["content", "f", [["a", FILE_BYTES_MAX], ["a", 1]]], "argument 2 of content is "),
        (["prefix_of", "f", "ab"], "argument 2 of prefix_of is 'ab', expected a list"),
        (nested(900), f"more than {NESTING_MAX} predicates stand inside one another"),
        (["and", 3], "a predicate is a list that begins with its name, found 3"),
    ],
)
def test_a_predicate_that_cannot_be_asked_is_refused_by_name(
    predicate: list[Any], complaint: str
) -> None:
    with pytest.raises(CaseError) as refused:
        read_predicate(predicate, "case 1")

    told = str(refused.value)
    assert told.startswith("case 1: ")
    assert complaint in told
    assert told.endswith("Nothing was run.")
    assert len(told) < 250


def test_predicates_may_be_nested_up_to_the_limit() -> None:
    assert ask(nested(NESTING_MAX - 2), ops.Create("/f")) is True


@pytest.mark.parametrize(
    ("predicate", "answer"),
    [
        (["byte", "f", HUGE - 1, "a"], True),
        (["byte", "f", HUGE, "a"], False),
        (["range", "f", HUGE - 3, 3, "a"], True),
        (["range", "f", HUGE - 3, 4, "a"], False),
        (["range", "f", 0, 5, "\0"], True),
        (["range", "f", 0, 5, "a"], False),
        (["prefix_of", "f", [["a", 8]]], False),
        (["content", "f", [["a", 8]]], False),
        (["size", "f", HUGE], True),
    ],
)
def test_a_question_about_a_huge_file_reads_what_it_is_about(
    predicate: list[Any], answer: bool
) -> None:
    written = ops.Write("/f", HUGE // 2, Fill(ord("a"), HUGE // 2))

    assert ask(predicate, ops.Create("/f"), written) is answer


@pytest.mark.parametrize(
    ("predicate", "answer"),
    [
        (["range", "f", 1, 2, "b"], True),
        (["range", "f", 0, 2, "b"], False),
        (["range", "f", 2, 2, "b"], False),
        (["byte", "f", 4, "c"], True),
        (["byte", "f", 5, "c"], False),
        (["prefix_of", "f", [["a", 1], ["b", 2], ["\0", 1], ["c", 9]]], True),
        (["prefix_of", "f", [["a", 1], ["b", 2], ["c", 9]]], False),
        (["prefix_of", "f", [["a", 1], ["b", 2]]], False),
        (["content", "f", [["a", 1], ["b", 2], ["\0", 1], ["c", 1]]], True),
    ],
)
def test_a_question_about_bytes_reads_across_runs_and_holes(
    predicate: list[Any], answer: bool
) -> None:
    program = ops.Create("/f"), ops.Write("/f", 0, b"abb"), ops.Write("/f", 4, b"c")

    assert ask(predicate, *program) is answer


def test_the_offsets_that_a_question_names_are_those_where_its_answer_may_change() -> None:
    asked = read_question(
        [
            "and",
            ["not", ["range", "f", 10, 5, "a"]],
            ["byte", "f", 3, "a"],
            ["or", ["size", "f", 77], ["content", "f", [["a", 20], ["b", 1]]]],
            ["implies", ["exists", "f"], ["prefix_of", "f", [["a", 100]]]],
        ],
        "a test",
    )

    assert asked.offsets == (3, 4, 10, 15, 20, 21, 77, 100)
    assert asked.unspoken == ()


def test_what_no_state_denies_is_told_apart_from_the_rest_of_a_conjunction() -> None:
    whole = read_question(["mountable"], "a test")
    part = read_question(["and", ["removable", "d"], ["exists", "f"]], "a test")
    inside = read_question(["or", ["mountable"], ["exists", "f"]], "a test")

    assert (whole.unspoken, whole.weaker) == (("mountable",), False)
    assert (part.unspoken, part.weaker) == (("removable",), True)
    assert (inside.unspoken, inside.weaker) == (("mountable",), False)
