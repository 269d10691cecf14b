"""Threads that cannot be started, are not worth it, or are interrupted by Ctrl-C."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood import LatestN, Store, threads
from lastgood.protocol.executor import BIG_BYTES
from lastgood.recovery.recovery import Group
from lastgood.threads import Crew, Helper, share
from tests.impl.cli.commands import run
from tests.impl.disks import open_store

BIG = bytes(range(256)) * (BIG_BYTES // 256)
MANY = {f"part{n}": bytearray(BIG) for n in range(3)} | {"small": bytearray(b"x")}
ONE = {"part": bytearray(BIG), "small": bytearray(b"x")}


def allow_threads(monkeypatch: pytest.MonkeyPatch, most: int) -> list[object]:
    """Let so many threads be started, by whatever means; one entry for each attempt."""
    asked: list[object] = []
    for owner, name in ((_thread, "start_new_thread"), (threading.Thread, "start")):
        start = getattr(owner, name)

        def limited(*args: Any, start: Callable[..., Any] = start) -> Any:
            asked.append(args)
            if len(asked) > most:
                raise RuntimeError("can't start new thread")
            return start(*args)

        monkeypatch.setattr(owner, name, limited)
    return asked


def all_of_it(root: Path, parts: Any, workers: int, chunk_bytes: int | None) -> list[Any]:
    """The manifests of a save, an attempt and what a load, a prune and a repair make of them."""
    with open_store(root, workers=workers, chunk_bytes=chunk_bytes, keep=LatestN(2)) as store:
        store.save(1, parts)
        with store.attempt(2) as attempt:
            for name, data in parts.items():
                (attempt.path / name).write_bytes(data)
        for hold in ("nothing", "memory"):
            loaded = store.load_latest(hold=hold)
            assert loaded is not None
            assert {name: bytes(loaded.read(name)) for name in parts} == parts
        assert all(isinstance(each, Group) for each in store.verify())
        store.prune()
        manifests = [group.manifest for group in store.groups()]
        damaged = store.path / "gen-00000002-step-00000002" / "part"
        (damaged if damaged.exists() else damaged.with_name("part1")).write_bytes(b"")
        found = store.verify()[0]
        assert not isinstance(found, Group)
        return [*manifests, found.reason, found.damaged]


@pytest.mark.parametrize("chunk_bytes", [None, 1 << 20])
@pytest.mark.parametrize("parts", [MANY, ONE], ids=["many", "one"])
@pytest.mark.parametrize("most", [0, 1])
def test_where_no_thread_can_be_started_the_caller_does_the_same_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    parts: Any,
    chunk_bytes: int | None,
) -> None:
    alone = all_of_it(tmp_path / "alone", parts, 1, chunk_bytes)
    asked = allow_threads(monkeypatch, most)

    assert all_of_it(tmp_path / "few", parts, 8, chunk_bytes) == alone
    assert len(asked) > most


def test_commands_do_without_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path) as store:
        store.save(1, MANY)
    allow_threads(monkeypatch, 0)

    for command in ("verify", "prune", "repair"):
        more = ["--keep-latest", "1"] if command == "prune" else []
        assert run(command, str(tmp_path / "store"), *more).exit_code == 0


def test_little_starts_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = allow_threads(monkeypatch, 0)
    few = {f"part{number}": b"xy" for number in range(100)}
    with Store(tmp_path / "store", workers=8, chunk_bytes=4096) as store:
        store.save(1, few)
        with store.attempt(2) as attempt:
            for name, data in few.items():
                (attempt.path / name).write_bytes(data)
        store.load_latest()
        store.restore()
        store.verify()

    assert asked == []


def test_a_thread_shares_the_work() -> None:
    here, begun = threading.get_ident(), threading.Event()

    def check(number: int) -> None:
        if threading.get_ident() == here:
            assert begun.wait(60)
        else:
            begun.set()

    assert share(check, range(2), 1) == [None, None]


def test_an_interrupt_begins_nothing_more_and_waits_for_what_was_begun() -> None:
    begun, told, done = threading.Event(), threading.Event(), list[int]()

    def call(number: int) -> None:
        begun.set()
        assert told.wait(60)
        done.append(number)

    def interrupted() -> None:
        assert begun.wait(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share(call, range(9), 1, meanwhile=interrupted, stop=told.set)

    assert done == [0]


class Interrupting:
    """A lock; the first who waits for it in the main thread is interrupted while it is taken."""

    def __init__(self, lock: Any, told: threading.Event) -> None:
        self.acquire, self.release, self.lock, self.told = lock.acquire, lock.release, lock, told

    def __enter__(self) -> None:
        if not self.told.is_set():
            assert self.lock.locked()
            self.told.set()
            raise KeyboardInterrupt
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the wait was interrupted."""
    event, really = threading.Event(), _thread.allocate_lock

    class Locks:
        LockType = _thread.LockType
        start_new_thread = staticmethod(_thread.start_new_thread)

        @staticmethod
        def allocate_lock() -> Interrupting:
            return Interrupting(really(), event)

    monkeypatch.setattr(threads, "_thread", Locks)
    return event


def test_an_interrupt_of_the_wait_for_others_comes_out_when_they_have_ended(
    told: threading.Event,
) -> None:
    here, begun, done = threading.get_ident(), threading.Event(), list[int]()

    def call(number: int) -> None:
        if threading.get_ident() == here:
            assert begun.wait(60)
            return
        begun.set()
        assert told.wait(60)
        done.append(number)

    with pytest.raises(KeyboardInterrupt):
        share(call, range(9), 1)

    assert len(done) == 1


def test_an_interrupt_of_the_wait_for_a_helper_cancels_what_it_had_not_begun(
    told: threading.Event,
) -> None:
    done: list[str] = []

    def first() -> None:
        assert told.wait(60)
        done.append("first")

    def interrupted() -> None:
        with Helper() as helper:
            helper.submit(first).result()

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert done in ([], ["first"])  # it may not have been begun


def test_a_helper_that_is_forgotten_ends() -> None:
    helper = Helper().__enter__()
    crew: Crew = helper._crew
    del helper
    crew.wait()


def test_an_error_of_the_helper_is_told_where_its_answer_is_asked_for() -> None:
    with Helper() as helper, pytest.raises(ZeroDivisionError):
        helper.submit(lambda: 1 // 0).result()
