"""The agent's requests, on a folder of this machine instead of a mount."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from powercut_rig.guest.machine import agent as module
from powercut_rig.guest.machine.agent import Agent


class Kept:
    """A disk that counts its calls, to be told from another one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def rename(self, *paths: str) -> int:
        self.calls.append(paths)
        return len(self.calls)

    def kind(self, path: str) -> int:
        self.calls.append((path,))
        return len(self.calls)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    return Agent()


def disk(number: int) -> list[Any]:
    return [number, __name__, "Kept"]


def test_a_disk_lives_from_call_to_call_and_another_number_is_another_disk(agent: Agent) -> None:
    assert agent.call(disk(1), "kind", ["/"]) == 1
    assert agent.call(disk(1), "rename", ["/a", "/b"]) == 2
    assert agent.call(disk(2), "kind", ["/"]) == 1


def test_paths_lie_below_the_mount_and_the_root_is_the_mount(agent: Agent, tmp_path: Path) -> None:
    agent.call(disk(1), "kind", ["/"])
    agent.call(disk(1), "rename", ["/a", "/b"])
    kept = agent._disk  # what it has seen is what is asked here
    assert kept.calls == [(str(tmp_path),), (f"{tmp_path}/a", f"{tmp_path}/b")]


def test_what_is_provided_lies_where_it_does_on_the_host(agent: Agent, tmp_path: Path) -> None:
    agent.provide([(str(tmp_path / "new/folder/m.pyc"), b"code")])
    assert (tmp_path / "new/folder/m.pyc").read_bytes() == b"code"


def test_a_module_that_is_not_there_is_an_error_of_the_system(agent: Agent) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        agent.load(["no_such_module"])
    assert caught.value.errno == errno.ENOENT
