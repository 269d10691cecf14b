"""Ctrl-C at any moment of a call: nothing stays open, the lease is given back, a turn ends."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lastgood import LatestN, Store
from lastgood.backends.linux import LinuxDisk
from tests.impl.disks import EXT4, open_store

WHERE = re.compile(r"/lastgood/(backends|writer|protocol|store)")
"""The modules that open something, or that have to do with who may."""
STRIDE = int(os.environ.get("LASTGOOD_STRIDE", "23"))
"""Every so many of the moments, and all of the opening of a store."""
CONTENT = b"0123456789" * 900


class Interrupted(BaseException):
    """What Ctrl-C raises; another class, so that a real one still ends the tests."""


class Kept(LinuxDisk):
    def _sync(self, fd: int) -> None:
        os.fstat(fd)

    def file_system(self, path: str) -> Any:
        super().file_system(path)
        return EXT4


def save(store: Store) -> None:
    store.save(1, {"model": CONTENT, "optim/adam": [CONTENT, CONTENT]})


def save_as_attempt(store: Store) -> None:
    with store.attempt(2) as attempt:
        (attempt.path / "model").write_bytes(CONTENT)


def load(store: Store) -> None:
    store.load_latest()
    store.restore()
    store.load_latest(hold="map")


def work(root: Path) -> None:
    """One of everything that opens something."""
    with open_store(root, disk=Kept(), keep=LatestN(2), chunk_bytes=4096) as store:
        save(store)
        save_as_attempt(store)
        load(store)


def interrupted_at(number: int, call: Callable[[], None]) -> bool:
    """Run a call, and raise at the moment of that number at which Python looks for signals.

    It looks when a function of Python begins, and when one of C has ended. False where the call
    had ended by then.
    """
    left = number

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        if event not in ("call", "c_return") or not WHERE.search(frame.f_code.co_filename):
            return
        left -= 1
        if left < 0:
            raise Interrupted

    sys.setprofile(watch)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
    return False


def open_files() -> dict[str, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the listing's own
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what is open")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_leaves_nothing_open_and_the_lease_free(tmp_path: Path) -> None:
    gc.collect()
    before, leaks, number = open_files(), [], 0
    while interrupted_at(number, lambda: work(tmp_path / str(number))):  # noqa: B023
        gc.collect()
        after = open_files()
        if after != before:
            leaks.append((number, {path for fd, path in after.items() if fd not in before}))
            before = after
        if (tmp_path / str(number)).exists():
            open_store(tmp_path / str(number)).close()
        number += 1 if number < 150 else STRIDE
    assert number > 1000
    assert leaks == []


@pytest.mark.parametrize("call", [save, save_as_attempt, load])
def test_ctrl_c_at_any_moment_of_a_call_ends_its_turn(
    tmp_path: Path, call: Callable[[Store], None]
) -> None:
    with open_store(tmp_path, disk=Kept()) as store:
        save(store)
        number = 0
        while interrupted_at(number, lambda: call(store)):
            number += 1 if number < 60 else 37
            assert store.save(9, {"model": b"x"}).step == 9
        assert number > 300
