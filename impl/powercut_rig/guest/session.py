"""A disk in memory with the guest that has it: started when it is needed, anew when it was lost."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from powercut_rig.blocks.block_log import LoggedMark, LogRecord, MarkPhase
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.filesystems import FileSystem
from powercut_rig.guest.build.python_bundle import agents_bundle, bundle_of
from powercut_rig.guest.machine import qemu
from powercut_rig.guest.machine.connection import REQUEST_S, GuestLostError
from powercut_rig.guest.machine.write_log import LOG_BYTES, LogReader, is_full, log_file
from powercut_rig.guest.prepare import ReadyGuest, prepared, replaced
from powercut_rig.mounted.memory_disk import Cells, MemoryDisk
from powercut_rig.system import linux_syscalls, worker
from powercut_rig.system.lifecycle import ManagedResource

_QUIET_ATTEMPTS: Final = 20


class GuestSession(ManagedResource):
    """One disk and one guest for one file system; with `recording`, its writes are logged.

    Use as a context, which ends the guest.  `boots` counts how often one was started; a request
    that takes longer than `request_s` means that it hangs.
    """

    def __init__(self, fs: FileSystem, *, recording: bool) -> None:
        self.fs = fs
        self.boots = 0
        self.request_s = REQUEST_S
        self._recording = recording
        self._machine: qemu.VirtualMachine | None = None
        self._mounted = False
        self._provided: set[str] = set()
        self._log_fd = -1
        self._log = LogReader(-1)
        self._base: Mapping[int, bytes] = {}
        self._marks: list[tuple[int, LoggedMark]] = []
        # What is recorded has the size of its file system.  What is looked at is memory of the
        # guest, which is always the same; there the file system is at the beginning.
        self.disk = MemoryDisk(fs.size_bytes if recording else qemu.DISK_BYTES)
        self._other_disk_fd = -1

    def _open(self, undo: contextlib.ExitStack) -> None:
        undo.enter_context(self.disk)
        if self._recording:
            self._log_fd = log_file()
            undo.callback(os.close, self._log_fd)
            # Every guest has both kinds of disk; nobody looks at the memory of this one.
            self._other_disk_fd = os.memfd_create("powercut-guest-none", os.MFD_CLOEXEC)
            undo.callback(os.close, self._other_disk_fd)
            os.ftruncate(self._other_disk_fd, qemu.DISK_BYTES)
        undo.callback(self.stop)

    @property
    def path(self) -> str:
        """The disk as a file, for mkfs and fsck while it is not mounted."""
        return f"/proc/{os.getpid()}/fd/{self.disk.fd}"

    @property
    def pid(self) -> int:
        """The guest's process; 0 where none runs."""
        return 0 if self._machine is None else self._machine.pid

    def stop(self) -> None:
        """End the guest, whatever it does."""
        machine, self._machine, self._mounted = self._machine, None, False
        self._provided.clear()
        if machine is not None:
            machine.close()

    def start(self) -> None:
        """Have a guest that answers: the one that runs, or a new one. RigUnavailable.

        One that runs makes room for a new one while its disk is not in use and its log is long.
        """
        long = self._recording and not self._mounted and self._log.place > LOG_BYTES // 4
        if self._machine is not None and not self._machine.connection.lost and not long:
            return
        self.stop()
        guest = prepared()
        try:
            self._start(guest)
        except RigUnavailable:
            fresh = replaced(guest)
            if fresh is None:
                raise
            self._start(fresh)

    def _start(self, guest: ReadyGuest) -> None:
        if self._recording:
            linux_syscalls.punch_hole(self._log_fd, 0, LOG_BYTES)
            self._log = LogReader(self._log_fd)
            machine = qemu.VirtualMachine(
                guest.saved,
                self._other_disk_fd,
                recorded_disk_fd=self.disk.fd,
                log_fd=self._log_fd,
            )
        else:
            machine = qemu.VirtualMachine(guest.saved, self.disk.fd)
        self._machine = machine.open()
        self.boots += 1
        worker.report_alive()
        needed = (self.fs.guest_module, *(("virtio_blk",) if self._recording else ()))
        load = [each for name in needed for each in guest.orders.get(name, ())]
        try:
            self._machine.wait_until_ready()
            self.request("load", load)
        except BaseException:
            self.stop()
            raise
        worker.report_alive()

    def request(self, do: str, *arguments: Any) -> Any:
        """Ask the running guest; see `Connection.request`.

        RigError where it wrote more than its log can hold: then it is ended.
        """
        if self._machine is None:
            raise GuestLostError("it was stopped")
        try:
            answer = self._machine.connection.request(do, *arguments, timeout_s=self.request_s)
        except (OSError, RigError, GuestLostError):
            self._refuse_if_full(do)  # a full log refuses the guest's writes
            raise
        self._refuse_if_full(do)
        return answer

    def _refuse_if_full(self, do: str) -> None:
        if self._recording and is_full(self._log_fd):
            self.stop()
            raise RigError(
                f"The guest wrote so much during `{do}` that its log of {LOG_BYTES >> 20} MiB "
                "is full, and was ended. Record less at a time."
            )

    def provide(self, module: str) -> None:
        """Give the running guest what it needs to import a module, if it has not got it yet."""
        if module in self._provided:
            return
        has = agents_bundle()
        if module not in has.modules:
            files = bundle_of((module,)).files()
            for path in (*(path + "c" for path in has.sources), *has.binaries):
                files.pop(path, None)
            self.request("provide", [[path, content] for path, content in files.items()])
        self._provided.add(module)

    def words(self) -> str:
        """The last lines of the guest's console."""
        return "" if self._machine is None else self._machine.words()

    def mount(self, flags: int = 0, options: str | None = None) -> None:
        """Mount the disk, with the file system's own options or others.

        OSError as the guest's kernel gave it; GuestLostError.
        """
        options = self.fs.mount_options if options is None else options
        device = qemu.RECORDED_DEVICE if self._recording else qemu.MEMORY_DEVICE
        self.request("mount", device, self.fs.kind, flags, options)
        self._mounted = True

    def unmount(self) -> None:
        """Unmount the disk, if it is mounted.

        `RigError` where something still uses it, GuestLostError where the guest hangs over it.
        After an error the guest is ended, and one that was lost before is too, so that the disk is
        not in use in any case.
        """
        if self._machine is not None and self._machine.connection.lost:
            self.stop()
        if not self._mounted:
            return
        try:
            self.request("umount")
            self._mounted = False
        except OSError as error:
            self.stop()
            if error.errno == errno.EBUSY:
                raise RigError(
                    "A disk in the guest is still in use: a file in it is open. Close what was "
                    "opened before going on."
                ) from error
            raise
        except BaseException:
            self.stop()
            raise

    def hold(self, base: Mapping[int, bytes], cells: Cells) -> None:
        """Set the disk, which must not be mounted, to a base with cells."""
        if self._base is not base:
            self.disk.load(base)
            self._base = base
        self.disk.hold(cells)

    # What was written

    def mark(self, label: str, op_index: int, phase: MarkPhase) -> None:
        """Remember that this happened after all entries that the log has now."""
        self._marks.append((self._log.count(), LoggedMark(label, op_index, phase)))

    def begin_recording(self) -> None:
        """The log begins here, with a disk that is not in use or has nothing under way."""
        self._marks = []
        self._log.skip()

    def begin_quietly(self) -> Mapping[int, bytes]:
        """Begin at a moment when nothing is being written; return the content then."""
        for _ in range(_QUIET_ATTEMPTS):
            self.request("sync")
            self.begin_recording()
            start = self._log.count()
            base = self.disk.chunks()
            self.request("ping")
            if self._log.count() == start:
                return base
        raise RigError("The guest never stopped writing by itself; a recording has no clear start.")

    def records(self) -> tuple[LogRecord, ...]:
        """All that was written since the beginning, with the marks in their places."""
        return tuple(merge_marks(self._log.until(self._log.count()), self._marks))


def merge_marks(
    entries: Iterator[tuple[int, LogRecord]], marks: list[tuple[int, LoggedMark]]
) -> Iterator[LogRecord]:
    """Numbered records, and marks that stand before the entry of their number."""
    waiting = iter(marks)
    mark = next(waiting, None)
    for number, record in entries:
        while mark is not None and mark[0] <= number:
            yield mark[1]
            mark = next(waiting, None)
        yield record
    while mark is not None:
        yield mark[1]
        mark = next(waiting, None)
