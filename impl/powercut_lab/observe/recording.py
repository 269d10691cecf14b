"""Records one save: on a disk of the rig, or on this machine's own file system without one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from attrs import frozen

from powercut.report.timeline import TimelineSpan
from powercut_lab.errors import LabError
from powercut_lab.observe.layers import DiskRequest, join_layers
from powercut_lab.observe.save_program import Told, told_from
from powercut_rig import run_in_worker
from powercut_rig.blocks.block_log import LoggedFlush, LoggedWrite
from powercut_rig.errors import RigError
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.linux.recorded_disk import RecordedDisk
from powercut_rig.linux.recorder import record_on
from powercut_rig.system.ptrace import WatchedCall, run_traced, why_no_tracing
from powercut_rig.system.worker import private_folder

CallSource = Literal["ptrace", "seam", "fs_usage"]
"""The source of the calls: the rig's ptrace, the library's disk seam, or macOS's fs_usage."""

TIMEOUT_S: Final = 60.0


@frozen
class RecordedSave:
    """A save, layer by layer, and where its calls come from."""

    file_system: str
    source: CallSource
    spans: tuple[TimelineSpan, ...]


def arguments_of(store: str, protocol: str, mode: str) -> list[str]:
    """The command line of the program that saves."""
    return [sys.executable, "-m", "powercut_lab.observe.save_program", store, protocol, mode]


def record_on_rig(fs: str, protocol: str, mode: str) -> RecordedSave:
    """A save on a fresh file system, whose disk the rig records.

    RigUnavailable, RigError; LabError where the save itself fails.  Nothing is left mounted.
    """
    return run_in_worker(_record_in_worker, fs, protocol, mode)


def _record_in_worker(fs: str, protocol: str, mode: str) -> RecordedSave:
    entry = FILE_SYSTEMS[fs]
    with private_folder() as folder, RecordedDisk(folder, entry.size_bytes) as disk:
        entry.make(disk.device)
        log, (told, calls, store) = record_on(
            disk,
            folder,
            entry,
            disk.chunks(),
            lambda root, _mark: (*save_and_watch(f"{root}/store", protocol, mode), f"{root}/store"),
        )
    requests = [
        DiskRequest(True, record.at_ns)
        if isinstance(record, LoggedFlush)
        else DiskRequest(False, record.at_ns, len(record.data), record.offset_bytes)
        for record in log.records
        if isinstance(record, LoggedFlush | LoggedWrite) and record.at_ns is not None
    ]
    source: CallSource = "seam" if calls is None else "ptrace"
    return RecordedSave(fs, source, join_layers(told, calls, requests, store))


def record_here(folder: Path, protocol: str, mode: str) -> RecordedSave:
    """A save below a folder of this machine: its phases and calls alone. LabError."""
    store = str(folder / "store")
    told, calls = save_and_watch(store, protocol, mode)
    source: CallSource = "seam" if calls is None else "ptrace"
    return RecordedSave(told.file_system, source, join_layers(told, calls, (), store))


def save_and_watch(
    store: str, protocol: str, mode: str
) -> tuple[Told, tuple[WatchedCall, ...] | None]:
    """Run the program that saves; with its system calls where they can be traced. LabError."""
    arguments = arguments_of(store, protocol, mode)
    if why_no_tracing() is None:
        try:
            return _traced(arguments)
        except OSError:  # ptrace is forbidden here, as in some containers
            pass
        except RigError as error:
            raise LabError(f"The observed save did not end: {error}") from error
    return save_and_tell(arguments), None


def save_and_tell(arguments: list[str]) -> Told:
    """Run the program that saves, without a tracer. LabError."""
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"The observed save took more than {TIMEOUT_S:g} s.") from error
    return _told(done.returncode, done.stdout)


def _traced(arguments: list[str]) -> tuple[Told, tuple[WatchedCall, ...]]:
    calls: list[WatchedCall] = []
    with tempfile.TemporaryFile() as said:
        run = run_traced(
            arguments, output_fd=said.fileno(), timeout_s=TIMEOUT_S, watch=calls.append
        )
        said.seek(0)
        text = said.read().decode()
    return _told(os.waitstatus_to_exitcode(run.status), text), tuple(calls)


def _told(status: int, text: str) -> Told:
    if status != 0:
        raise LabError(f"The observed save ended with status {status}: {text.strip()[-500:]}")
    try:
        return told_from(text)
    except ValueError as error:
        raise LabError(f"The observed save: {error}.") from error
