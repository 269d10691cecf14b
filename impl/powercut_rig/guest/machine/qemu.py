"""One virtual machine: a QEMU process in software emulation, with one disk that the host shares.

A guest boots once for all: it is saved when its agent answers (`powercut_rig.guest.snapshot`), and
every machine goes on from there, its memory a private copy of the saved one.

Nothing of it has a name: disk, log and console are files in memory, the connections are pairs of
sockets.  The process is killed by its id, and by the kernel when this process dies, so that no
kind of end leaves anything behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest.machine.connection import Connection, GuestLostError
from powercut_rig.guest.machine.qemu_monitor import Monitor
from powercut_rig.system import linux_syscalls, worker
from powercut_rig.system.lifecycle import ManagedResource
from powercut_rig.system.subprocesses import TOOL_ENVIRONMENT

BOOT_S: Final = 30.0
"""How long a guest may take to boot; where it gets little of the processor, as much of its time."""

_BOOT_AT_MOST_S: Final = 150.0
MEMORY_MIB: Final = 384
DISK_BYTES: Final = max(fs.size_bytes for fs in FILE_SYSTEMS.values() if fs.in_guest)
"""The size of the disk that a guest sees as memory; a smaller file system is at its beginning."""

RECORDED_DEVICE: Final = "/dev/vda"
MEMORY_DEVICE: Final = "/dev/pmem0"

_CONSOLE_LINES: Final = 12
_CONSOLE_BYTES: Final = 1 << 16
CONSOLE_AT_MOST: Final = 1 << 20
"""How much of what a guest says is kept, in bytes; it is cut to its end each second."""
_WAIT_S: Final = 10.0

PROGRAM: Final = "qemu-system-x86_64"


@frozen
class BootKernel:
    """The files that a guest boots from: its kernel, and an open one with its first file system."""

    vmlinux: Path
    initrd_fd: int


@frozen
class SavedGuest:
    """A guest as it was saved when its agent answered: two files in `folder`."""

    folder: Path
    release: str

    @property
    def memory(self) -> Path:
        """Its memory."""
        return self.folder / "memory"

    @property
    def devices(self) -> Path:
        """The state of its devices."""
        return self.folder / "devices"


@frozen
class InheritedFiles:
    """The descriptors that a machine inherits: what its disks are, and the ends of its talks.

    `memory_disk` is the disk that it sees as memory: no request leaves the guest for it.  Where
    `recorded_disk` is given, that is a second one, of which `log` takes every write and flush.
    """

    memory_disk: int
    port: int
    monitor: int
    console: int
    recorded_disk: int | None = None
    log: int | None = None

    def all(self) -> list[int]:
        """Those that there are."""
        every = (self.memory_disk, self.port, self.monitor, self.console)
        return [*every, *(fd for fd in (self.recorded_disk, self.log) if fd is not None)]


def qemu_arguments(files: InheritedFiles, memory: Path, kernel: BootKernel | None) -> list[str]:
    """The command line of QEMU: with a kernel, of a boot that writes to `memory`; else of a copy.

    The devices are always the same, because a copy must have those that were saved.
    """
    share = "off" if kernel is None else "on"
    most_mib = MEMORY_MIB + (DISK_BYTES >> 20) + 1024
    begin = ["-incoming", "defer"]
    if kernel is not None:
        begin = ["-kernel", str(kernel.vmlinux), "-initrd", f"/proc/self/fd/{kernel.initrd_fd}"]
        # An oops ends it: what such a kernel says afterwards is worth nothing.  It guards nothing,
        # so it need not pay for its own defences.
        said = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr apparmor=0"
        begin += ["-append", said]
    return [
        PROGRAM, "-M", "pc,nvdimm=on,memory-backend=ram", "-accel", "tcg", "-smp", "1",
        "-m", f"{MEMORY_MIB}M,slots=1,maxmem={most_mib}M",
        "-nodefaults", "-no-reboot", "-display", "none",
        "-object", _memory("ram", str(memory), MEMORY_MIB << 20, share),
        "-object", _memory("disk", f"/proc/self/fd/{files.memory_disk}", DISK_BYTES, "on"),
        "-device", "nvdimm,memdev=disk",
        # Appended, so that the file can be cut while it is written.
        "-chardev", f"file,id=console,path=/proc/self/fd/{files.console},append=on",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=agent,fd={files.port}",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
        "-chardev", f"socket,id=monitor,fd={files.monitor}",
        "-mon", "chardev=monitor,mode=control",
        *_recorded(files),
        # Discards are refused, so they come as plain writes.
        "-device", "virtio-blk-pci,drive=recorded,discard=off,write-zeroes=off",
        *_confined(kernel),
        *begin,
    ]  # fmt: skip


def _confined(kernel: BootKernel | None) -> list[str]:
    """Confine QEMU: a guest has disks that nobody vouches for, and QEMU may have errors."""
    # The one that boots sees no such disk, and has to start a program to be saved.
    spawn = "allow" if kernel else "deny"
    rest = "obsolete=deny,elevateprivileges=deny,resourcecontrol=deny"
    return ["-sandbox", f"on,{rest},spawn={spawn}"]


def _memory(name: str, path: str, size_bytes: int, share: str) -> str:
    # A comma in a path is doubled, as QEMU has it.
    path = path.replace(",", ",,")
    return f"memory-backend-file,id={name},mem-path={path},size={size_bytes},share={share}"


def _recorded(files: InheritedFiles) -> list[str]:
    """The disk whose writes are logged; without one, a disk that nobody uses."""
    if files.recorded_disk is None or files.log is None:
        return ["-blockdev", "driver=null-co,node-name=recorded,size=1048576,read-zeroes=on"]
    fds = {"file0": files.recorded_disk, "log0": files.log}
    nodes = [
        f"driver=file,filename=/proc/self/fd/{fd},node-name={name}" for name, fd in fds.items()
    ]
    nodes += ["driver=raw,file=file0,node-name=raw0"]
    logged = "driver=blklogwrites,node-name=recorded,file=raw0,log=log0"
    nodes += [f"{logged},log-sector-size=512,log-super-update-interval=1"]
    return [part for node in nodes for part in ("-blockdev", node)]


class VirtualMachine(ManagedResource):
    """A guest that is booting or running; leaving the context kills it.

    It goes on from `saved`, or boots `kernel` with a memory to be saved in `saved`.
    """

    connection: Connection

    def __init__(
        self,
        saved: SavedGuest,
        memory_disk_fd: int,
        *,
        recorded_disk_fd: int | None = None,
        log_fd: int | None = None,
        kernel: BootKernel | None = None,
    ) -> None:
        self._saved = saved
        self._disk_fds = memory_disk_fd, recorded_disk_fd, log_fd
        self._kernel = kernel

    def _open(self, undo: contextlib.ExitStack) -> None:
        saved, kernel = self._saved, self._kernel
        memory_disk_fd, recorded_disk_fd, log_fd = self._disk_fds
        self._console = os.memfd_create("powercut-guest-console", os.MFD_CLOEXEC)
        undo.callback(os.close, self._console)
        # For QEMU's own complaints, which go there too.
        fcntl.fcntl(self._console, fcntl.F_SETFL, os.O_RDWR | os.O_APPEND)
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        talk, monitor = socket.socketpair()
        undo.callback(talk.close)
        with theirs, monitor, self._devices(kernel) as devices:
            files = InheritedFiles(
                memory_disk_fd,
                theirs.fileno(),
                monitor.fileno(),
                self._console,
                recorded_disk_fd,
                log_fd,
            )
            extra = [] if kernel is None else [kernel.initrd_fd]
            command = qemu_arguments(files, saved.memory, kernel)
            self._process = _start(command, [*files.all(), *extra, *devices], self._console)
            undo.callback(self._kill)
        # Only QEMU has the other ends now: when it dies that is noticed at once.
        self._monitor = Monitor(talk)
        self._go_on(devices)
        self.connection = Connection(ours, lambda: cut_console(self._console))
        undo.callback(self.connection.close)

    @contextlib.contextmanager
    def _devices(self, kernel: BootKernel | None) -> Iterator[list[int]]:
        """The saved state of the devices, where the machine goes on from one."""
        if kernel is not None:
            yield []
            return
        try:
            fd = os.open(self._saved.devices, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            why = f"The saved guest {self._saved.devices} cannot be opened ({error.strerror})."
            raise RigUnavailable([why]) from error
        try:
            yield [fd]
        finally:
            os.close(fd)

    def _go_on(self, devices: Sequence[int]) -> None:
        try:
            self._monitor.greet()
            for fd in devices:
                self._monitor.load(f"fd:{fd}")
        except RigError as error:
            raise RigUnavailable([f"QEMU does not start a guest: {error} {self.words()}"]) from None

    def save(self) -> None:
        """Save it, when its agent waits for a request; it does nothing any more then. RigError."""
        self._monitor.save(f"exec:cat > {shlex.quote(str(self._saved.devices))}")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wait_until_ready(self, modules: Sequence[str] = (), timeout_s: float = BOOT_S) -> None:
        """Wait for the agent's first answer, when it has imported those modules.

        Raises `RigUnavailable`, with the guest's last words, where it does not come in time or is
        another kernel's.
        """
        end = time.monotonic() + _BOOT_AT_MOST_S

        def starved() -> bool:
            """This machine is so busy that the guest has not had its time yet."""
            worker.report_alive()
            return self.processor_s() < timeout_s / 2 and time.monotonic() < end

        try:
            said: Any = self.connection.request(
                "hello", list(modules), timeout_s=timeout_s, go_on=starved
            )
        except GuestLostError as error:
            words = self.words()
            raise RigUnavailable(
                [f"The guest did not start within {timeout_s:.0f} s ({error}); it said: {words}"]
            ) from error
        if not isinstance(said, dict) or said.get("release") != self._saved.release:
            raise RigUnavailable(
                [f"The guest runs {said!r}; expected kernel {self._saved.release}."]
            )

    def processor_s(self) -> float:
        """The seconds of processor time that the guest has had; it takes part in no other."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it is gone
            return float("inf")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def words(self) -> str:
        """The last lines of the guest's console."""
        size = os.fstat(self._console).st_size
        start = max(0, size - _CONSOLE_BYTES)
        text = os.pread(self._console, size - start, start).decode(errors="replace")
        return "\n".join(text.split("\n")[-_CONSOLE_LINES:]).strip()

    def _kill(self) -> None:
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel's affair then
            self._process.wait(_WAIT_S)


def cut_console(
    console_fd: int, at_most: int = CONSOLE_AT_MOST, left: int = _CONSOLE_BYTES
) -> None:
    """Leave only the end of a console that has become too long; who writes it appends."""
    size = os.fstat(console_fd).st_size
    if size > at_most:
        end = os.pread(console_fd, left, size - left)
        os.ftruncate(console_fd, 0)
        os.write(console_fd, end)


def _start(command: Sequence[str], fds: Sequence[int], console_fd: int) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=console_fd,  # its own complaints beside the guest's
            pass_fds=fds,
            # Ctrl-C is for us: we end it in order.
            start_new_session=True,
            env=TOOL_ENVIRONMENT,
            # A worker has one thread.
            preexec_fn=lambda: linux_syscalls.die_with_parent(parent),  # noqa: PLW1509
        )
    except FileNotFoundError as error:
        raise RigUnavailable([f"The program {command[0]} is not installed."]) from error
