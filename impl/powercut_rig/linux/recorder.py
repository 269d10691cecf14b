"""Records what a program makes a file system write, block by block."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from powercut.filesystem.ops import Op
from powercut_rig.blocks.block_log import (
    BlockLog,
    LoggedFlush,
    LoggedMark,
    LoggedWrite,
    LogRecord,
    MarkPhase,
)
from powercut_rig.errors import RigError
from powercut_rig.filesystems import FileSystem
from powercut_rig.linux import fuse_server
from powercut_rig.linux.recorded_disk import RecordedDisk
from powercut_rig.mounted.op_runner import LocalOpRunner, MarkWriter, ProgramRunner
from powercut_rig.mounted.writeback import WriteBack
from powercut_rig.system import linux_syscalls

_T = TypeVar("_T")

_QUIET_ATTEMPTS: Final = 20


def record(
    folder: str,
    fs: FileSystem,
    size_bytes: int,
    ops: Sequence[Op],
    *,
    setup: Sequence[Op] = (),
    plan: Sequence[WriteBack] = (),
    mount_options: str = "",
) -> BlockLog:
    """Makes the file system on a fresh disk, runs `ops` on it, and returns all that it wrote.

    The `setup` ops come first and are synced: they are in the base.  The log ends with a note
    `end of program` and what a last syncfs writes, so that images after the program are there
    too.  Raises `RigError` when an op fails; everything is unmounted then.
    """
    with RecordedDisk(folder, size_bytes) as disk:
        fs.make(disk.device)
        with (
            mounted(fs, disk.device, folder, mount_options) as root,
            contextlib.ExitStack() as stack,
        ):
            program = stack.enter_context(
                contextlib.closing(
                    ProgramRunner(
                        LocalOpRunner(root, fs.commit_on_demand), lambda *mark: _mark(disk, *mark)
                    )
                )
            )
            program.perform(setup)
            base = _start_recording(disk, program)
            program.run(ops, plan)
            _mark(disk, "end of program", len(ops), "note")
            program.sync()
            disk.command(fuse_server.COMMAND_LOAD)
            records = tuple(parse_log(disk.log_bytes()))
    return BlockLog(size_bytes, base, records)


def record_on(
    disk: RecordedDisk,
    folder: str,
    fs: FileSystem,
    content: Mapping[int, bytes],
    act: Callable[[str, MarkWriter], _T],
    *,
    mount_options: str = "",
) -> tuple[BlockLog, _T]:
    """Mounts a disk with this content, lets `act` work on it, and returns all that was written.

    The mount's own writes, such as a journal's replay, come first.  `act` gets the mount point and
    puts marks into the log; its answer is handed back.
    """
    disk.command(fuse_server.COMMAND_LOAD)
    disk.hold(content)
    disk.clear_log()
    disk.command(fuse_server.COMMAND_RECORD)
    with mounted(fs, disk.device, folder, mount_options) as root:
        answer = act(root, lambda *mark: _mark(disk, *mark))
        disk.command(fuse_server.COMMAND_LOAD)
        records = tuple(parse_log(disk.log_bytes()))
    return BlockLog(disk.size_bytes, content, records), answer


@contextlib.contextmanager
def mounted(fs: FileSystem, device: str, folder: str, options: str = "") -> Iterator[str]:
    """A mount of `device` at a new directory in `folder`; both are gone afterwards."""
    target = Path(folder) / "record"
    target.mkdir(mode=0o700)
    every_option = ",".join(filter(None, (fs.mount_options, options)))
    try:
        linux_syscalls.mount(device, str(target), fs.kind, 0, every_option)
        try:
            yield str(target)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                linux_syscalls.umount(str(target), linux_syscalls.MNT_DETACH)
            raise
        else:
            linux_syscalls.umount(str(target))
        fs.forget(device, folder)
    finally:
        target.rmdir()


def _start_recording(disk: RecordedDisk, program: ProgramRunner) -> dict[int, bytes]:
    """Begin the log at a moment when nothing is being written; return the content then."""
    for _ in range(_QUIET_ATTEMPTS):
        program.sync()
        disk.command(fuse_server.COMMAND_LOAD)
        disk.clear_log()
        disk.command(fuse_server.COMMAND_RECORD)
        base = disk.chunks()
        disk.command(fuse_server.COMMAND_RECORD)  # a fence: what was under way has arrived
        if not disk.log_bytes():
            return base
    raise RigError(
        "The file system never stopped writing by itself, so a recording has no clear start. "
        "Nothing is left mounted."
    )


def _mark(disk: RecordedDisk, label: str, op_index: int, phase: MarkPhase) -> None:
    disk.command(fuse_server.COMMAND_MARK, json.dumps([label, op_index, phase]).encode())


def parse_log(data: bytes) -> Iterator[LogRecord]:
    """The records in the bytes that the disk's server wrote.

    Raises `RigError` when they end in the middle of a record or hold an unknown one.
    """
    place = 0
    while place < len(data):
        try:
            kind, offset, length, at_ns = fuse_server.LOG_ENTRY.unpack_from(data, place)
        except struct.error as error:
            raise RigError(f"The log of {len(data)} B ends inside a record at {place}.") from error
        place += fuse_server.LOG_ENTRY.size
        body = data[place : place + length]
        place += length
        if len(body) != length:
            raise RigError(f"The log of {len(data)} B ends inside a record of {length} B.")
        if kind == fuse_server.LOG_WRITE:
            yield LoggedWrite(offset, body, at_ns)
        elif kind == fuse_server.LOG_FLUSH:
            yield LoggedFlush(at_ns)
        elif kind == fuse_server.LOG_MARK:
            label, op_index, phase = json.loads(body)
            yield LoggedMark(label, op_index, phase, at_ns)
        else:
            raise RigError(f"The log holds a record of unknown kind {kind}; expected 1, 2 or 3.")
