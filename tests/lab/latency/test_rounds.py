"""Ways of saving take turns, fairly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from powercut_lab.latency.meter import Times
from powercut_lab.latency.protocols import PROBE, WAYS, group_of
from powercut_lab.latency.rounds import measure, take_turns
from tests.lab.latency.clocks import DiceClock


class ToldSession:
    def __init__(self, name: str, told: list[tuple[str, str]]) -> None:
        self.name, self.told = name, told
        self.numbers: list[int] = []

    def save(self, number: int) -> Times:
        self.told.append(("save", self.name))
        self.numbers.append(number)
        return {"other": 1}

    def clear(self) -> None:
        self.told.append(("clear", self.name))

    def close(self) -> None:
        self.told.append(("close", self.name))


def turns(names: str, rounds: range) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    sessions: Mapping[str, ToldSession] = {name: ToldSession(name, told) for name in names}
    taken = [
        (name, number)
        for name, number, _ in take_turns(sessions, rounds, lambda: told.append(("settle", "")))
    ]
    for session in sessions.values():
        assert session.numbers == sorted(set(session.numbers))
    return taken, told


def test_each_saves_once_in_each_round_and_each_is_first_equally_often() -> None:
    taken, _ = turns("abc", range(6, 12))
    assert Counter(taken) == {(name, number): 1 for name in "abc" for number in range(6, 12)}
    assert Counter(name for name, _ in taken[::3]) == {"a": 2, "b": 2, "c": 2}


def test_the_first_save_of_each_is_not_counted() -> None:
    taken, told = turns("ab", range(5))
    saves = [name for what, name in told if what == "save"]
    assert len(saves) == len(taken) + 2
    assert saves[:2] == ["a", "b"]


def test_before_each_save_all_is_settled_and_after_it_cleared() -> None:
    _, told = turns("ab", range(3))
    whats = [what for what, _ in told]
    assert whats == ["settle", "save", "clear"] * (len(whats) // 3)


def test_no_group_that_was_saved_is_left_on_the_disk(tmp_path: Path) -> None:
    ways = [way for way in WAYS if not way.needs]
    parts = group_of(3000, 0)
    samples = measure(tmp_path, ways, parts, range(2), DiceClock(4))
    assert Counter(name for name, _, _ in samples) == {way.name: 2 for way in ways}
    assert all(sum(times) > 0 for _, _, times in samples)
    assert PROBE in {name for name, _, _ in samples}
    assert not list(tmp_path.rglob("model.bin"))
