"""The recorded disk: a server process, its FUSE mount, and a loop device on the file it serves.

The content and the log lie in memory files shared with the server, so the rig's worker reads
and changes them directly, and only reads and writes of the kernel cost a message.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from powercut_rig.errors import RigError
from powercut_rig.linux import fuse_server
from powercut_rig.mounted.memory_disk import SparseFile
from powercut_rig.system import linux_syscalls
from powercut_rig.system.loop_device import LoopDevice
from powercut_rig.system.subprocesses import wait_for_exit
from powercut_rig.system.worker import outer_namespace_fd

_STOP_S = 2.0


class RecordedDisk(SparseFile):
    """One disk of `size_bytes`, all zeros at first; `device` is the path of its block device.

    `folder` is a private folder of the rig that takes the mount point and the device node.
    Each flush takes `flush_s` seconds more than it does by itself.
    Leaving the context detaches the device, unmounts and ends the server, also after errors.
    """

    def __init__(
        self, folder: str, size_bytes: int, *, block_bytes: int = 512, flush_s: float = 0.0
    ) -> None:
        super().__init__(size_bytes)
        self._flush_s = flush_s
        self._block_bytes = block_bytes
        self._folder = folder
        self._mount_point = str(Path(folder) / "fuse")
        self._control_fd = -1
        self._log_fd = -1
        self.loop: LoopDevice

    @property
    def device(self) -> str:
        """The path of the block device."""
        return self.loop.path

    def _open(self, undo: contextlib.ExitStack) -> None:
        super()._open(undo)
        self._log_fd = os.memfd_create("powercut-rig-log", os.MFD_CLOEXEC)
        undo.callback(os.close, self._log_fd)

        fuse_fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        try:
            Path(self._mount_point).mkdir(mode=0o700)
            undo.callback(Path(self._mount_point).rmdir)
            options = f"fd={fuse_fd},rootmode=40000,user_id=0,group_id=0"
            flags = linux_syscalls.MS_NOSUID | linux_syscalls.MS_NODEV
            linux_syscalls.mount("powercut-rig", self._mount_point, "fuse", flags, options)
            server = self._fork_server(fuse_fd)
        finally:
            # Only the server may keep the connection open: when it dies the kernel must notice.
            os.close(fuse_fd)
        undo.callback(self._stop_server, server)
        undo.callback(linux_syscalls.umount, self._mount_point, linux_syscalls.MNT_DETACH)
        control = Path(self._mount_point) / fuse_server.CONTROL_NAME
        self._control_fd = os.open(control, os.O_WRONLY | os.O_CLOEXEC)
        undo.callback(os.close, self._control_fd)
        backing = str(Path(self._mount_point) / fuse_server.DISK_NAME)
        self.loop = LoopDevice(backing, self._folder, block_bytes=self._block_bytes)
        undo.callback(self.loop.close)

    def _fork_server(self, fuse_fd: int) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        parent, outer_namespace = os.getpid(), outer_namespace_fd()
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            # Ctrl-C goes to the whole group; the server must outlive the unmounts it serves.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            linux_syscalls.die_with_parent(parent)
            # The last process of a mount namespace unmounts it while it dies.  Were that the
            # server, it would wait for writes that only it can serve, forever.
            linux_syscalls.enter_mount_namespace(outer_namespace)
            _close_all_but({0, 1, 2, fuse_fd, self._log_fd})
            server = fuse_server.DiskServer(fuse_fd, self.flat, self._log_fd, flush_s=self._flush_s)
            server.serve()
            code = 0
        except BaseException as error:  # the last frame of a process
            os.write(2, f"powercut-rig: the disk server stopped: {error!r}\n".encode())
        finally:
            os._exit(code)

    @staticmethod
    def _stop_server(server: int) -> None:
        if not wait_for_exit(server, _STOP_S):
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)

    def command(self, letter: bytes, payload: bytes = b"") -> None:
        """Give the server a command; on return all writes issued before it are in the log."""
        try:
            os.pwrite(self._control_fd, letter + payload, 0)
        except OSError as error:
            raise RigError(
                f"The disk's server process is gone ({error.strerror}); this recording is lost. "
                "Run it again; its last words are on standard error."
            ) from error

    def clear_log(self) -> None:
        """Empty the log."""
        os.ftruncate(self._log_fd, 0)
        os.lseek(self._log_fd, 0, os.SEEK_SET)  # the offset is shared with the server

    def hold(self, content: Mapping[int, bytes]) -> None:
        """Set the content to these chunks and zeros elsewhere; the device must not be in use.

        What the kernel still has to write goes out first, or it would go over the content; and
        what it read while the content changed is dropped.
        """
        self.loop.write_back()
        self.load(content)
        self.loop.forget_cached_pages()

    def log_bytes(self) -> bytes:
        """All of the log as the server wrote it."""
        size = os.fstat(self._log_fd).st_size
        return os.pread(self._log_fd, size, 0) if size else b""


def _close_all_but(kept: set[int]) -> None:
    """Close what a fork inherited: an open file of another disk would keep that disk mounted."""
    first = 0
    for fd in sorted(kept):
        if first < fd:  # os.closerange(0, 0) closes everything: its end wraps around
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
