"""What a guest can fill, and what its answers can be: it mounts disks that nobody vouches for."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from lastgood.crashtest.subjects import RECORD
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest import session as module
from powercut_rig.guest.machine import messages, qemu
from powercut_rig.guest.machine.connection import Connection, GuestLostError
from powercut_rig.guest.machine.qemu import SavedGuest, cut_console
from powercut_rig.guest.machine.write_log import LOG_BYTES, MAGIC, LogReader, is_full, log_file
from powercut_rig.guest.prepare import BuiltGuest, ReadyGuest
from powercut_rig.guest.remote import RemoteDisk
from powercut_rig.guest.session import GuestSession

# What it fills


def test_a_log_never_grows_and_says_when_it_is_full() -> None:
    fd = log_file(8192)
    reader = LogReader(fd)
    assert reader.count() == 0
    os.pwrite(fd, b"entry", 512)
    assert not is_full(fd, 4096)
    os.pwrite(fd, b"x", 8191)
    assert is_full(fd, 4096)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 8192)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 1 << 40)
    os.close(fd)


def test_while_an_answer_is_waited_for_somebody_looks_at_the_console() -> None:
    ours, theirs = socket.socketpair()
    looked: list[int] = []

    def look() -> None:
        looked.append(1)
        if len(looked) == 2:  # before the request, and while its answer does not come
            theirs.sendall(messages.packed({"ok": None}))

    with theirs:
        connection = Connection(ours, look)
        connection.request("ping", timeout_s=0, go_on=lambda: True)
        connection.close()
    assert len(looked) == 2


def test_a_console_that_is_long_is_cut_to_its_end_and_goes_on_there() -> None:
    console = os.memfd_create("console")
    with os.fdopen(os.open(f"/proc/self/fd/{console}", os.O_WRONLY | os.O_APPEND), "wb", 0) as qemu:
        qemu.write(b"a" * 90 + b"0123456789")
        cut_console(console, at_most=100, left=10)
        assert os.fstat(console).st_size == 100
        qemu.write(b"!")
        cut_console(console, at_most=100, left=10)
        qemu.write(b"?")
    assert os.pread(console, 99, 0) == b"123456789!?"
    os.close(console)


class Machines:
    """What a session starts, without a guest: `start` is called for each, `answer` for requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[ReadyGuest] = []
        self.start: Callable[[], None] = lambda: None
        self.answer: Callable[[], object] = lambda: None
        here = Path("/nowhere")
        self.first = ReadyGuest(BuiltGuest(here, "1"), SavedGuest(here, "1"), {})
        self.second = ReadyGuest(BuiltGuest(here, "2"), SavedGuest(here, "2"), {})
        self.replacement: ReadyGuest | None = self.second
        monkeypatch.setattr(module, "prepared", lambda: self.first)
        monkeypatch.setattr(module, "replaced", lambda broken: self.replacement)
        monkeypatch.setattr(qemu, "VirtualMachine", self._machine)

    def _machine(self, saved: SavedGuest, *fds: int, **more: int) -> Any:
        self.started.append(self.second if saved == self.second.saved else self.first)
        self.start()
        machine = Mock()
        machine.open.return_value = machine
        machine.connection.lost = False
        machine.connection.request = lambda *_, **__: self.answer()
        return machine


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(monkeypatch)


def test_a_guest_whose_files_are_damaged_is_started_anew_once(machines: Machines) -> None:
    def fail_at_first() -> None:
        if len(machines.started) == 1:
            raise RigUnavailable(["it did not start"])

    machines.start = fail_at_first
    with GuestSession(FILE_SYSTEMS["guest-ext4"], recording=False) as session:
        session.start()
    assert machines.started == [machines.first, machines.second]


def test_a_guest_whose_files_are_sound_is_not_started_again(machines: Machines) -> None:
    def fail() -> None:
        raise RigUnavailable(["it did not start"])

    machines.start, machines.replacement = fail, None
    with (
        GuestSession(FILE_SYSTEMS["guest-ext4"], recording=False) as session,
        pytest.raises(RigUnavailable, match="did not start"),
    ):
        session.start()
    assert len(machines.started) == 1


@pytest.mark.parametrize("error", [None, OSError(errno.EIO, "full"), GuestLostError("hung")])
def test_a_guest_that_fills_its_log_is_ended_and_that_is_said(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    log = log_file()
    monkeypatch.setattr(module, "log_file", lambda: log)

    def fill() -> None:
        os.pwrite(log, b"x", LOG_BYTES - 1)
        if error is not None:
            raise error

    with GuestSession(FILE_SYSTEMS["guest-ext4"], recording=True) as session:
        session.start()
        machines.answer = fill
        with pytest.raises(RigError, match="so much during `perform` that its log of 1024 MiB"):
            session.request("perform")
        assert session.pid == 0


def test_a_guest_makes_room_between_recordings_when_its_log_has_become_long(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_BYTES", 2048)
    log = log_file()
    monkeypatch.setattr(module, "log_file", lambda: log)
    with GuestSession(FILE_SYSTEMS["guest-ext4"], recording=True) as session:
        session.start()
        session.start()
        assert len(machines.started) == 1
        flush = struct.pack("<QQQQ", 0, 0, 1, 0)
        os.pwrite(log, struct.pack("<QQQI", MAGIC, 1, 1, 512).ljust(512, b"\0") + flush, 0)
        session.begin_recording()
        session.mount()
        session.start()
        assert len(machines.started) == 1
        session.unmount()
        session.start()
        assert len(machines.started) == 2


# What a guest answers to a subject's disk


class Answers(GuestSession):
    """A session whose guest gives one answer to everything."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def request(self, do: str, *arguments: Any) -> Any:
        return self.answer

    def provide(self, module: str) -> None:
        pass


def disk_that_answers(answer: object) -> RemoteDisk:
    return RemoteDisk(Answers(answer), RECORD)


DIGEST = "0" * 64


def test_answers_of_the_right_kind_are_given_on() -> None:
    assert disk_that_answers(["a", "b c"]).names("/") == ["a", "b c"]
    assert disk_that_answers([3, DIGEST]).digest("/a", 3) == (3, DIGEST)
    assert disk_that_answers(b"abc").read("/a", 3) == b"abc"
    assert disk_that_answers("dir").kind("/") == "dir"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        *(("names", bad) for bad in (None, 7, "ab", [7], ["a", None], ["a/b"], [".."], ["a\0"])),
        *(("digest", bad) for bad in (None, 7, [], [1], ["1", DIGEST], [-1, DIGEST])),
        *(("digest", bad) for bad in ([True, DIGEST], [1, b""], [1, "x"], [9, DIGEST])),
        *(("read", bad) for bad in (None, "abc", b"more than asked")),
        *(("kind", bad) for bad in (None, 7, ["dir"])),
    ],
)
def test_another_answer_is_an_error_of_the_rig_and_nothing_else(
    method: str, answer: object
) -> None:
    limit = () if method in ("names", "kind") else (3,)
    with pytest.raises(RigError, match="The guest"):
        getattr(disk_that_answers(answer), method)("/a", *limit)
