"""One virtual machine: a QEMU process in software emulation, with one disk that the host shares.

Nothing of it has a name: disk, log and console are files in memory, the connection is a pair of
sockets.  The process is killed by its id, and by the kernel when this process dies, so that no
kind of end leaves anything behind.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from powercut_rig import linux, worker
from powercut_rig.errors import RigUnavailable
from powercut_rig.guest import agent, initramfs
from powercut_rig.guest.prepare import Guest, load_order
from powercut_rig.guest.protocol import Connection, GuestLostError
from powercut_rig.tools import SEARCH_PATH

BOOT_S: Final = 30.0
"""How long a guest may take to boot; where it gets little of the processor, as much of its time."""

_BOOT_AT_MOST_S: Final = 150.0
MEMORY_MIB: Final = 256
DEVICE: Final = "/dev/vda"

LOOKING: Final = ("powercut_rig.linux", "powercut_rig.tree", "powercut_rig.guest.sightwire")
"""What the agent needs to mount and read."""

RECORDING: Final = (
    "powercut_rig.linux",
    "powercut_rig.workload",
    "powercut_rig.guest.opwire",
)
"""What the agent needs to perform ops."""

_CONSOLE_LINES: Final = 12
_CONSOLE_BYTES: Final = 1 << 16
_WAIT_S: Final = 10.0


def arguments(
    guest: Guest, initrd_fd: int, disk_fd: int, log_fd: int | None, port_fd: int, console_fd: int
) -> list[str]:
    """The command line of QEMU; each file is one that it inherits."""
    disk = ["-blockdev", f"driver=file,filename=/proc/self/fd/{disk_fd},node-name=file0"]
    disk += ["-blockdev", "driver=raw,file=file0,node-name=raw0"]
    drive = "raw0"
    if log_fd is not None:
        disk += ["-blockdev", f"driver=file,filename=/proc/self/fd/{log_fd},node-name=log0"]
        writes = "driver=blklogwrites,node-name=writes0,file=raw0,log=log0"
        disk += ["-blockdev", f"{writes},log-sector-size=512,log-super-update-interval=1"]
        drive = "writes0"
    # Discards are refused, so they come as plain writes.
    blocks = "discard=off,write-zeroes=off"
    if log_fd is None:  # then no file system need drop the cache when it sets its block size
        blocks += ",logical_block_size=4096,physical_block_size=4096"
    return [
        "qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", str(MEMORY_MIB), "-smp", "1",
        "-nodefaults", "-no-reboot", "-display", "none",
        "-serial", f"file:/proc/self/fd/{console_fd}",
        "-kernel", str(guest.vmlinux), "-initrd", f"/proc/self/fd/{initrd_fd}",
        # An oops ends it: what such a kernel says afterwards is worth nothing.  It guards nothing,
        # so it need not pay for its own defences.
        "-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr apparmor=0",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        "-chardev", f"socket,id=agent,fd={port_fd}",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
        *disk, "-device", f"virtio-blk-pci,drive={drive},{blocks}",
    ]  # fmt: skip


class Machine:
    """A guest that is booting or running, on the disk behind `disk_fd`; `stop` ends it.

    `module` names the module of its file system.  `log_fd` takes the log of its writes.
    """

    def __init__(self, guest: Guest, module: str, disk_fd: int, log_fd: int | None = None) -> None:
        self._guest = guest
        with contextlib.ExitStack() as undo:
            self._console = _memory_file("console", b"")
            undo.callback(os.close, self._console)
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            initrd = _memory_file("initrd", guest.initrd.read_bytes() + _this_boot(guest, module))
            undo.callback(os.close, initrd)
            with theirs:
                fds = [initrd, disk_fd, theirs.fileno(), self._console]
                fds += [] if log_fd is None else [log_fd]
                self._process = _start(
                    arguments(guest, initrd, disk_fd, log_fd, theirs.fileno(), self._console), fds
                )
            self.connection = Connection(ours)
            undo.pop_all()
        os.close(initrd)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wait_until_ready(self, modules: Sequence[str] = LOOKING, timeout_s: float = BOOT_S) -> None:
        """Wait for the agent's first answer, when it has imported those modules.

        Raises `RigUnavailable`, with the guest's last words, where it does not come in time or is
        another kernel's.
        """
        end = time.monotonic() + _BOOT_AT_MOST_S

        def starved() -> bool:
            """This machine is so busy that the guest has not had its time yet."""
            worker.tell_alive()
            return self.processor_s() < timeout_s / 2 and time.monotonic() < end

        try:
            said: Any = self.connection.request(
                "hello", list(modules), timeout_s=timeout_s, go_on=starved
            )
        except GuestLostError as error:
            words = self.words()
            raise RigUnavailable(
                [f"The guest did not boot within {timeout_s:.0f} s ({error}); it said: {words}"]
            ) from error
        if not isinstance(said, dict) or said.get("release") != self._guest.release:
            raise RigUnavailable(
                [f"The guest runs {said!r}; expected kernel {self._guest.release}."]
            )

    def processor_s(self) -> float:
        """How many seconds of processor time the guest has had; it takes part in no other."""
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

    def stop(self) -> None:
        """Kill it and give everything back; harmless when that was done already."""
        if self._console < 0:
            return
        self.connection.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel's affair then
            self._process.wait(_WAIT_S)
        os.close(self._console)
        self._console = -1


def _start(command: Sequence[str], fds: Sequence[int]) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=fds[3],  # its own complaints beside the guest's
            pass_fds=fds,
            # Ctrl-C is for us: we end it in order.
            start_new_session=True,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
            # A worker has one thread.
            preexec_fn=lambda: linux.die_with_parent(parent),  # noqa: PLW1509
        )
    except FileNotFoundError as error:
        raise RigUnavailable([f"The program {command[0]} is not installed."]) from error


def _memory_file(name: str, content: bytes) -> int:
    fd = os.memfd_create(f"powercut-guest-{name}", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def _this_boot(guest: Guest, module: str) -> bytes:
    """What this boot adds to the archive that all boots share."""
    python = os.path.realpath(sys.executable)
    paths = [os.path.realpath(path) for path in sys.path if path and Path(path).is_dir()]
    return initramfs.at_boot(
        Path(agent.__file__).read_bytes(), python, paths, load_order(guest, module)
    )


def trial_boot(guest: Guest, module: str, clock: Callable[[], float] = time.monotonic) -> float:
    """Boot once, on an empty disk, and end; the seconds that it took. RigUnavailable."""
    disk = os.memfd_create("powercut-guest-trial", os.MFD_CLOEXEC)
    try:
        os.ftruncate(disk, 1 << 20)
        began = clock()
        machine = Machine(guest, module, disk)
        try:
            machine.wait_until_ready()
            if "cannot" in (words := machine.words()):
                raise RigUnavailable([f"The guest boots, but said: {words}"])
            return clock() - began
        finally:
            machine.stop()
    finally:
        os.close(disk)
