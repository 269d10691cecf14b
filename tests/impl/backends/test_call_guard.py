"""One call at a time: threads wait, a call inside a call is refused, a forked child reads."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import Any

import pytest

from lastgood import LeaseError, Store, UsageError
from tests.impl.disks import PARTS, open_store, tree
from tests.impl.forks import Child

TIMEOUT_S = 60


CALLS: dict[str, Callable[[Store], Any]] = {
    "save": lambda store: store.save(9, PARTS),
    "load_latest": lambda store: store.load_latest(),
    "close": lambda store: store.close(),
}


@pytest.mark.parametrize("inner", CALLS)
def test_a_call_from_a_parts_source_is_refused_and_the_save_goes_on(
    tmp_path: Path, inner: str
) -> None:
    refused: list[UsageError] = []

    def source() -> Any:
        with pytest.raises(UsageError, match=f"a save of this thread.*a {inner} cannot begin") as e:
            CALLS[inner](store)
        refused.append(e.value)
        yield b"weights"

    with open_store(tmp_path) as store:
        assert store.save(1, {"model": source()}).generation == 1
        assert len(refused) == 1
        assert store.save(2, PARTS).generation == 2


def test_a_save_in_a_signal_handler_is_refused_and_undoes_the_save_it_is_in(
    tmp_path: Path,
) -> None:
    """The refusal leaves the handler through the save that it interrupted."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        store.save(2, PARTS)

    def source() -> Any:
        yield b"first"
        signal.raise_signal(signal.SIGUSR1)
        yield b"second"

    before_handler = signal.signal(signal.SIGUSR1, handler)
    try:
        with open_store(tmp_path) as store:
            before = tree(tmp_path)
            with pytest.raises(UsageError, match="a save of this thread is still going on"):
                store.save(1, {"model": source()})
            assert tree(tmp_path) == before
            signal.raise_signal(signal.SIGUSR1)  # outside a save it is welcome
            assert store.load(step=2).generation == 2
    finally:
        signal.signal(signal.SIGUSR1, before_handler)


def test_another_thread_waits_for_its_turn(tmp_path: Path) -> None:
    begun, go_on = Event(), Event()
    saved = []

    def source() -> Any:
        begun.set()
        assert go_on.wait(TIMEOUT_S)
        yield b"weights"

    with open_store(tmp_path) as store:
        first = Thread(target=lambda: saved.append(store.save(1, {"model": source()}).step))
        second = Thread(target=lambda: saved.append(store.save(2, PARTS).step))
        first.start()
        assert begun.wait(TIMEOUT_S)
        second.start()
        go_on.set()
        for thread in (first, second):
            thread.join(TIMEOUT_S)

    assert saved == [1, 2]


FORK = """
import os, signal, sys, threading
from lastgood import Store

begun, go_on = threading.Event(), threading.Event()

def source():
    begun.set()
    assert go_on.wait(60)
    yield b"new"

with Store(sys.argv[1], mode="unsafe") as store:
    store.save(1, {"model": b"old"})
    other = threading.Thread(target=store.save, args=(2, {"model": source()}))
    other.start()
    assert begun.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        loaded = store.load_latest()
        store.close()
        os._exit(0 if loaded is not None and loaded.read("model") == b"old" else 1)
    _, status = os.waitpid(child, 0)
    go_on.set()
    other.join(60)
    print(os.waitstatus_to_exitcode(status), store.load_latest().read("model").decode())
"""


def test_a_child_forked_while_a_thread_saves_loads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "0 new\n"), done.stderr


def test_a_forked_child_falls_back_moves_nothing_and_does_not_save(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        store.save(2, PARTS)
        (store.path / "gen-00000002-step-00000002" / "model").unlink()
        before = tree(tmp_path)

        def reads_only() -> bool:
            with pytest.raises(LeaseError, match="forked child"):
                store.save(3, PARTS)
            loaded = store.load_latest()
            store.close()
            return loaded is not None and loaded.generation == 1

        assert Child(reads_only).answer()
        assert tree(tmp_path) == before
        assert store.save(3, PARTS).generation == 3


def test_an_attempt_that_another_thread_leaves_becomes_a_group_and_wedges_nothing(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path) as store:
        block = store.attempt(1)
        attempt = block.__enter__()
        (attempt.path / "model").write_bytes(b"weights")
        with pytest.raises(UsageError, match="an attempt of this thread is still going on"):
            store.save(2, PARTS)
        failed: list[BaseException] = []

        def leave() -> None:
            try:
                block.__exit__(None, None, None)
            except BaseException as error:
                failed.append(error)

        saved: list[int] = []
        waiting = Thread(target=lambda: saved.append(store.save(2, PARTS).step), daemon=True)
        waiting.start()
        for thread in (leaving := Thread(target=leave, daemon=True), waiting):
            if thread is leaving:
                thread.start()
            thread.join(TIMEOUT_S / 6)

        assert failed == []
        assert attempt.receipt is not None
        assert saved == [2]
        assert store.save(3, PARTS).step == 3
        assert store.all_steps() == [1, 2, 3]


def test_an_attempt_that_fails_in_another_thread_wedges_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        block = store.attempt(1)
        block.__enter__()
        error = ValueError("the other thread failed")
        thread = Thread(target=block.__exit__, args=(ValueError, error, None), daemon=True)
        thread.start()
        thread.join(TIMEOUT_S)
        saved: list[int] = []
        after = Thread(target=lambda: saved.append(store.save(2, PARTS).step), daemon=True)
        after.start()
        after.join(TIMEOUT_S / 6)

        assert saved == [2]
        assert store.all_steps() == [2]
