"""The talk with a guest and the log that its disk keeps, without a guest."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut_rig.blocks.block_log import BlockLog, LoggedFlush, LoggedMark, LoggedWrite, LogRecord
from powercut_rig.campaigns.random_programs import random_program
from powercut_rig.errors import RigError
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest.machine import messages
from powercut_rig.guest.machine.connection import Connection, GuestLostError
from powercut_rig.guest.machine.op_codec import op_from, op_to
from powercut_rig.guest.machine.qemu import (
    DISK_BYTES,
    MEMORY_MIB,
    BootKernel,
    InheritedFiles,
    qemu_arguments,
)
from powercut_rig.guest.machine.qemu_monitor import Monitor
from powercut_rig.guest.machine.tree_codec import snapshot_from, snapshot_to
from powercut_rig.guest.machine.write_log import MAGIC, LogReader
from powercut_rig.guest.session import merge_marks
from powercut_rig.mounted.tree_reader import Tag, TreeSnapshot
from powercut_rig.system.deadline import DeadlineError

# Messages

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text() | st.binary(max_size=99),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_a_message_arrives_as_it_was_sent(value: Any) -> None:
    stream = io.BytesIO(messages.packed(value) + messages.packed("next"))

    assert messages.receive(stream.read) == value
    assert messages.receive(stream.read) == "next"
    with pytest.raises(EOFError):
        messages.receive(stream.read)


@given(values)
def test_a_message_arrives_byte_by_byte(value: Any) -> None:
    stream = io.BytesIO(messages.packed(value))
    assert messages.receive(lambda count: stream.read(min(count, 1))) == value


@given(st.binary(max_size=99))
def test_whatever_arrives_is_a_message_or_refused(data: bytes) -> None:
    with suppress(EOFError, messages.BadMessageError):
        messages.receive(io.BytesIO(data).read)


def test_a_message_that_announces_too_much_is_refused_unread() -> None:
    head = struct.pack("<II", messages.LARGEST_BYTES, 1)
    with pytest.raises(messages.BadMessageError, match="announced"):
        messages.receive(io.BytesIO(head).read)


@pytest.mark.parametrize("span", [[0, 4], [-1, 2], [2, 1], [1], "ab"])
def test_bytes_outside_of_the_message_are_refused(span: object) -> None:
    head = json.dumps({"\0bytes": span}).encode()
    data = struct.pack("<II", len(head), 3) + head + b"abc"
    with pytest.raises(messages.BadMessageError):
        messages.receive(io.BytesIO(data).read)


# Requests


@contextmanager
def a_guest(answer: Callable[[Any], bytes | None]) -> Iterator[Connection]:
    """The other end, in a thread; `answer` gives the bytes to send, or None to hang up."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, suppress(EOFError, OSError):
            while (data := answer(messages.receive(theirs.recv))) is not None:
                theirs.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    connection = Connection(ours)
    try:
        yield connection
    finally:
        connection.close()
        thread.join(10)


def test_a_request_is_answered() -> None:
    with a_guest(lambda request: messages.packed({"ok": request})) as guest:
        assert guest.request("read", "/a", b"\xff") == {"do": "read", "with": ["/a", b"\xff"]}
        assert not guest.lost


def test_an_error_of_the_guests_kernel_is_the_same_error_here() -> None:
    said = {"errno": errno.ENOENT, "error": "No such file"}
    with a_guest(lambda request: messages.packed(said)) as guest:
        with pytest.raises(FileNotFoundError, match="No such file"):
            guest.request("call")
        assert not guest.lost


@pytest.mark.parametrize("said", [{"kind": "KeyError", "error": "x"}, [1], {}])
def test_another_answer_is_an_error_of_the_rig(said: object) -> None:
    with a_guest(lambda request: messages.packed(said)) as guest:
        with pytest.raises(RigError):
            guest.request("look")
        assert not guest.lost


def test_a_guest_that_is_silent_is_lost_and_stays_so() -> None:
    with a_guest(lambda request: b"") as guest:
        with pytest.raises(GuestLostError, match="no answer to `mount` within 0"):
            guest.request("mount", timeout_s=0)
        assert guest.lost
        with pytest.raises(GuestLostError, match="mount"):
            guest.request("look")


def test_a_guest_gets_more_time_when_somebody_says_so() -> None:
    asked: list[int] = []

    def go_on() -> bool:
        asked.append(1)
        return True

    with a_guest(lambda request: messages.packed({"ok": 7})) as guest:
        assert guest.request("hello", timeout_s=0, go_on=go_on) == 7
    assert asked


@pytest.mark.parametrize("data", [None, b"\xff" * 99])
def test_a_guest_that_dies_or_babbles_is_lost(data: bytes | None) -> None:
    with a_guest(lambda request: data) as guest:
        with pytest.raises(GuestLostError, match="`look`"):
            guest.request("look")
        assert guest.lost


def test_a_request_that_was_broken_off_leaves_the_guest_lost() -> None:
    class Stop(BaseException):
        pass

    def stop() -> bool:
        raise Stop

    with a_guest(lambda request: b"") as guest:
        with pytest.raises(Stop):
            guest.request("look", timeout_s=0, go_on=stop)
        assert guest.lost


def test_no_program_takes_a_lost_guest_for_a_failed_read() -> None:
    assert issubclass(GuestLostError, DeadlineError)
    assert not issubclass(GuestLostError, Exception)


# Ops and trees as messages

EVERY_OP: list[ops.Op] = [
    ops.Write("/a", 3, Fill(7, 100)),
    ops.Write("/a", 0, b"\0\xff", ("O_SYNC",)),
    ops.Rename("/a", "/b", ("NOREPLACE",)),
    ops.Mapwrite("/a", 0, b"x"),
    ops.Msync("/a", 0, 4096),
    ops.Truncate("/a", 0),
    ops.Tmpfile("/", "h"),
    ops.Sync(),
    ops.Mark("seen"),
    *(op for number in range(40) for op in random_program(number)),
]


def test_every_op_arrives_as_it_was() -> None:
    for op in EVERY_OP:
        arrived = messages.receive(io.BytesIO(messages.packed(op_to(op))).read)
        assert op_from(arrived) == op


@pytest.mark.parametrize("value", [[], ["Format", "/"], ["__class__"]])
def test_what_is_no_op_is_refused(value: list[Any]) -> None:
    with pytest.raises(ValueError, match="no op"):
        op_from(value)


def test_a_tree_arrives_as_it_was_seen() -> None:
    odd = b"\xff\n".decode(errors="surrogateescape")
    tree = {"d": None, "d/" + odd: b"\0x", "l": Tag("symlink", odd), "u": Tag("unreadable", "EIO")}
    snapshot = TreeSnapshot(tree, (("a", "b"), ("d/x", "d/y")))

    arrived = snapshot_from(
        messages.receive(io.BytesIO(messages.packed(snapshot_to(snapshot))).read)
    )

    assert arrived == snapshot
    assert arrived.digest == snapshot.digest


@pytest.mark.parametrize(
    "value", [None, 3, [], [[], []][:1], [[["a", None]], []], [[[b"a", 7]], []], [[[b"a"]], []]]
)
def test_what_is_no_tree_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"tree|content|unpack"):
        snapshot_from(value)


# The log


def entry(sector: int, data: bytes, flags: int = 0) -> bytes:
    head = struct.pack("<QQQQ", sector, len(data) // 512, flags, 0)
    return head.ljust(512, b"\0") + data


def log_file(*entries: bytes, count: int | None = None) -> int:
    fd = os.memfd_create("log")
    head = struct.pack("<QQQI", MAGIC, 1, len(entries) if count is None else count, 512)
    os.write(fd, head.ljust(512, b"\0") + b"".join(entries))
    return fd


A, B = b"a" * 512, b"b" * 1024


def test_writes_and_flushes_come_out_in_their_order() -> None:
    reader = LogReader(log_file(entry(8, A), entry(0, b"", 1), entry(16, B)))

    assert reader.count() == 3
    assert list(reader.until(3)) == [
        (0, LoggedWrite(4096, A)),
        (1, LoggedFlush()),
        (2, LoggedWrite(8192, B)),
    ]


def test_a_write_with_flush_and_fua_stands_between_two_flushes() -> None:
    records = [record for _, record in LogReader(log_file(entry(1, A, 3))).until(1)]
    assert records == [LoggedFlush(), LoggedWrite(512, A), LoggedFlush()]


def test_a_log_is_read_while_it_grows_and_what_was_read_is_given_back() -> None:
    fd = log_file(entry(0, A), entry(8, B), count=1)
    reader = LogReader(fd)
    assert reader.skip() == 1
    os.pwrite(fd, struct.pack("<QQQI", MAGIC, 1, 2, 512), 0)

    assert list(reader.until(reader.count())) == [(1, LoggedWrite(4096, B))]
    assert os.pread(fd, 1024, 512) == bytes(1024)
    assert reader.count() == 2


def test_a_log_that_was_never_written_is_empty() -> None:
    assert LogReader(os.memfd_create("log")).count() == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"short", "less than its own header"),
        (struct.pack("<QQQI", 7, 1, 0, 512), "begins with 0x7"),
        (struct.pack("<QQQI", MAGIC, 2, 0, 512), "version 2"),
        (struct.pack("<QQQI", MAGIC, 1, 0, 4096), "sectors of 4096"),
    ],
)
def test_what_is_no_log_is_refused(data: bytes, why: str) -> None:
    fd = os.memfd_create("log")
    os.write(fd, data)
    with pytest.raises(RigError, match=why):
        LogReader(fd).count()


@pytest.mark.parametrize(
    "last", [entry(0, A)[:40], entry(0, A)[:16], entry(0, A, 4), entry(0, A, 8), entry(0, A, 64),
             struct.pack("<QQQQ", 0, 1 << 40, 0, 0).ljust(512, b"\0")],
)  # fmt: skip
def test_an_entry_that_is_cut_short_or_unknown_is_refused(last: bytes) -> None:
    reader = LogReader(log_file(entry(8, A), last, count=2))
    with pytest.raises(RigError, match=r"[Ee]ntry 1\b"):
        list(reader.until(2))


def test_marks_stand_where_they_were_made() -> None:
    begin, end = LoggedMark("write", 0, "begin"), LoggedMark("write", 0, "end")
    one, two = LoggedWrite(0, A), LoggedWrite(512, A)
    numbered: list[tuple[int, LogRecord]] = [
        (4, one),
        (5, LoggedFlush()),
        (6, two),
        (6, LoggedFlush()),
    ]

    assert list(merge_marks(iter(numbered), [(4, begin), (6, end)])) == [
        begin, one, LoggedFlush(), end, two, LoggedFlush(),
    ]  # fmt: skip
    assert list(merge_marks(iter(numbered[:1]), [(4, begin), (5, end)])) == [begin, one, end]
    assert list(merge_marks(iter([]), [(0, begin)])) == [begin]


def test_an_entry_that_was_counted_and_not_written_is_refused() -> None:
    with pytest.raises(RigError, match="Entry 1 "):
        list(LogReader(log_file(entry(8, A), bytes(512), count=2)).until(2))


# What a recording says of its flushes


def synced(*records: LogRecord, label: str = "fsync") -> BlockLog:
    return BlockLog(
        1 << 20,
        {},
        (LoggedMark(label, 0, "begin"), *records, LoggedMark(label, 0, "end"), LoggedWrite(0, A)),
    )


def test_syncs_without_a_flush_are_counted() -> None:
    assert synced(LoggedWrite(0, A), LoggedFlush()).syncs() == (1, 0)
    assert synced(LoggedFlush(), LoggedWrite(0, A)).syncs() == (1, 0)
    assert synced(LoggedWrite(0, A)).syncs() == (1, 1)
    assert synced().syncs() == (1, 0)
    assert synced(LoggedWrite(0, A), label="write").syncs() == (0, 0)


# What a guest is started with


RECORDING = InheritedFiles(12, 14, 16, 15, recorded_disk=11, log=13)
CHECKING = InheritedFiles(12, 14, 16, 15)
MEMORY = Path("/c/memory,1")


def test_only_what_is_recorded_is_logged_and_nothing_has_a_name_on_this_machine() -> None:
    recording = " ".join(qemu_arguments(RECORDING, MEMORY, None))
    checking = " ".join(qemu_arguments(CHECKING, MEMORY, None))

    assert "driver=blklogwrites" in recording
    assert "filename=/proc/self/fd/11" in recording
    assert "filename=/proc/self/fd/13" in recording
    assert "blklogwrites" not in checking
    assert "log-super-update-interval=1" in recording
    for line in (recording, checking):
        assert "-accel tcg" in line
        assert "discard=off,write-zeroes=off" in line
        assert "mem-path=/proc/self/fd/12" in line
    assert RECORDING.all() == [12, 14, 16, 15, 11, 13]
    assert CHECKING.all() == [12, 14, 16, 15]


def test_a_guest_that_goes_on_changes_neither_the_saved_memory_nor_its_devices() -> None:
    booted = qemu_arguments(CHECKING, MEMORY, BootKernel(Path("/c/vmlinux"), 17))
    going_on = qemu_arguments(CHECKING, MEMORY, None)

    def devices(line: list[str]) -> list[str]:
        return [line[n + 1].partition(",")[0] for n, word in enumerate(line) if word == "-device"]

    assert devices(booted) == devices(going_on) == devices(qemu_arguments(RECORDING, MEMORY, None))
    assert f"mem-path=/c/memory,,1,size={MEMORY_MIB << 20},share=on" in " ".join(booted)
    assert f"mem-path=/c/memory,,1,size={MEMORY_MIB << 20},share=off" in " ".join(going_on)
    assert "-kernel" in booted
    assert "-incoming" in going_on
    assert "elevateprivileges=deny,resourcecontrol=deny,spawn=deny" in " ".join(going_on)


def test_every_file_system_of_the_guest_fits_on_its_disk() -> None:
    assert all(fs.size_bytes <= DISK_BYTES for fs in FILE_SYSTEMS.values() if fs.in_guest)


# QEMU's monitor


@contextmanager
def a_monitor(*answers: object) -> Iterator[tuple[Monitor, list[dict[str, Any]]]]:
    """QEMU's side, in a thread: a greeting, then an answer for each command."""
    ours, theirs = socket.socketpair()
    asked: list[dict[str, Any]] = []

    def serve() -> None:
        with theirs, suppress(OSError), theirs.makefile("rw") as lines:
            lines.write('{"QMP": {}}\n')
            lines.flush()
            for answer in answers:
                found = ""
                while True:  # commands come without a line's end
                    if not (piece := lines.read(1)):
                        return
                    found += piece
                    with suppress(ValueError):
                        asked.append(json.loads(found))
                        break
                lines.write('{"event": "STOP"}\n' + json.dumps(answer) + "\n")
                lines.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Monitor(ours), asked
    finally:
        ours.close()
        thread.join(10)


OK: dict[str, Any] = {"return": {}}


def test_a_guest_is_stopped_before_it_is_saved_and_goes_on_once_it_is_there() -> None:
    with a_monitor(OK, OK, OK, OK, {"return": {"status": "completed"}}) as (monitor, asked):
        monitor.greet()
        monitor.save("exec:cat > /x")
    assert [each["execute"] for each in asked] == [
        "qmp_capabilities", "migrate-set-capabilities", "stop", "migrate", "query-migrate",
    ]  # fmt: skip

    done = {"return": {"status": "completed"}}
    with a_monitor(OK, OK, OK, OK, done, OK) as (monitor, asked):
        monitor.greet()
        monitor.load("fd:5")
    assert [each["execute"] for each in asked][2:] == [
        "migrate-incoming", "query-migrate", "query-migrate", "cont",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([{"error": {"desc": "no such capability"}}], "no such capability"),
        ([OK, OK, OK, {"return": {"status": "failed"}}], "failed"),
        ([OK, OK], "ended|nothing"),
    ],
)
def test_a_guest_that_cannot_be_restored_is_an_error(answers: list[Any], why: str) -> None:
    def restore() -> None:
        with a_monitor(*answers) as (monitor, _):
            monitor.greet()
            monitor.load("fd:5")

    with pytest.raises(RigError, match=why):
        restore()


def test_the_disks_of_the_guest_are_known_by_name() -> None:
    guests = {name: fs for name, fs in FILE_SYSTEMS.items() if fs.in_guest}

    assert set(guests) == {"apfs-linux", "apfs-linux-packaged", "guest-ext4", "guest-f2fs"}
    assert {fs.profile for name, fs in guests.items() if "apfs" in name} == {"apfs-linux"}
    assert guests["guest-ext4"].profile == FILE_SYSTEMS["ext4"].profile


def test_a_program_has_no_op_that_its_file_system_lacks() -> None:
    lacks = FILE_SYSTEMS["apfs-linux"].lacks
    for number in range(60):
        for op in random_program(number, 14, lacks):
            assert not isinstance(op, ops.Tmpfile)
            assert not (isinstance(op, ops.Rename) and "EXCHANGE" in op.flags)
        assert random_program(number) == random_program(number, 10, frozenset())
