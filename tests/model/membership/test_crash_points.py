"""Kills in the middle of a write: what a page cache keeps of it."""

from __future__ import annotations

import pytest

from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.state import State, run_program
from powercut.membership.crash_points import membership_query
from powercut.profile import load_profile
from powercut.simulation.world import Perform
from tests.model.membership.near_trees import Paths

OLD = b"ooabcooo"


def half_written(data: bytes, *, offset: int = 0) -> dict[bytes, str]:
    """The verdict on each content that the beginnings of a write leave, and on two that none do."""
    before = run_program([("c", ops.Create("/a")), ("w", ops.Write("/a", 0, OLD))])
    state = State.settled(before.view, before.next_inode)
    question = membership_query(
        [Perform("x", ops.Write("/a", offset, data))],
        load_profile("ext4-ordered"),
        "process",
        "x:begun",
        state,
    )
    end = OLD[offset + len(data) :]
    cut_short = [
        (OLD[:offset] + data[:n]).ljust(min(len(OLD), offset + n), b"?") + OLD[offset + n :]
        for n in range(len(data) + 1)
    ]
    other = [OLD[:offset] + data[:1] + b"?" * (len(data) - 1) + end, OLD[:-1]]
    return {
        content: question.ask(Paths({"a": content}, {"a": 2}).observed()).answer.verdict
        for content in (*cut_short, *other)
    }


@pytest.mark.parametrize(
    ("data", "offset"),
    [(b"mnpq", 0), (b"mnpqrs", 0), (b"mmmcmmmm", 0), (b"mnpq", 6), (b"mnp", 8), (b"abc", 2)],
)
def test_a_kill_leaves_any_beginning_of_a_write_and_nothing_else(data: bytes, offset: int) -> None:
    found = half_written(data, offset=offset)
    *beginnings, torn, shorter = found

    assert {found[content] for content in beginnings} == {"yes"}
    assert found[torn] == found[shorter] == "no"


def test_a_direct_write_ends_at_a_sector() -> None:
    before = run_program([("c", ops.Create("/a")), ("w", ops.Write("/a", 0, b"o" * 2048))])
    state = State.settled(before.view, before.next_inode)
    write = ops.Write("/a", 0, Fill(109, 1536), ("O_DIRECT",))
    profile = load_profile("ext4-ordered")
    question = membership_query([Perform("x", write)], profile, "process", "x:begun", state)

    def verdict(written: int) -> str:
        content = (b"m" * written).ljust(2048, b"o")
        return question.ask(Paths({"a": content}, {"a": 2}).observed()).answer.verdict

    assert [verdict(n) for n in (0, 512, 1024, 1536)] == ["yes"] * 4
    assert [verdict(n) for n in (100, 1000, 2048)] == ["no"] * 3


def test_a_direct_write_that_grows_a_file_ends_at_a_sector_past_its_old_end() -> None:
    before = run_program([("c", ops.Create("/a")), ("w", ops.Write("/a", 0, b"o" * 100))])
    state = State.settled(before.view, before.next_inode)
    write = ops.Write("/a", 0, Fill(109, 1536), ("O_DIRECT",))
    profile = load_profile("ext4-ordered")
    question = membership_query([Perform("x", write)], profile, "process", "x:begun", state)

    seen = [Paths({"a": b"m" * n}, {"a": 2}).observed() for n in (100, 512, 600, 1024)]

    assert [question.ask(tree).answer.verdict for tree in seen] == ["no", "yes", "no", "yes"]
