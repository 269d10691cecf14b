"""A child of a test that hangs, fails or dies fails its test: nobody waits for it for ever."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.impl.forks import Child


def hang() -> None:
    while True:
        signal.pause()


def refuse_to_end() -> None:
    """No handler of Python's runs in a child that waits for a lock."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    hang()


def fail() -> None:
    raise ValueError("no store")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("work", "deadline_s", "says"),
    [
        (hang, 0.05, "did not end within 0.05 s"),
        (refuse_to_end, 0.05, "did not end within 0.05 s"),
        (fail, 60.0, "ValueError: no store"),
        (die, 60.0, "ended with the status -9"),
        (lambda: os._exit(3), 60.0, "ended with the status 3"),
    ],
)
def test_a_child_that_does_not_answer_fails_its_test(
    work: Callable[[], object], deadline_s: float, says: str
) -> None:
    with pytest.raises(AssertionError, match=says):
        Child(work, deadline_s).answer()


def test_a_child_says_what_its_work_gives_or_that_it_was_killed_as_asked() -> None:
    assert Child(lambda: {"step": 1}).answer() == {"step": 1}
    assert Child(die).answer(killed_by=signal.SIGKILL) is None
