"""Real file systems of a small size, each set back to what it held as often as it is asked."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from attrs import evolve

from powercut_rig.filesystems import FILE_SYSTEMS, FileSystem
from powercut_rig.linux.recorder import mounted
from powercut_rig.mounted.memory_disk import Cells, ScratchDisk, SparseFile
from powercut_rig.system import linux_syscalls
from powercut_rig.system.loop_device import LoopDevice

_T = TypeVar("_T")
SECTOR: Final = 512
_BLOCK: Final = 4096
_ATTRIBUTE: Final = 3800
"""Attributes take room for metadata, of which btrfs has its own and files hardly need any."""
_NO_MORE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ENOTSUP, errno.ENOENT})

EXT4: Final = evolve(FILE_SYSTEMS["ext4"], size_bytes=16 << 20)
XFS: Final = FILE_SYSTEMS["xfs"]
BTRFS: Final = FILE_SYSTEMS["btrfs"]


def made_for(fs: FileSystem, *mkfs: str, options: str = "", size_bytes: int = 0) -> FileSystem:
    """The same file system with more words for its mkfs and its mount."""
    return evolve(
        fs,
        mkfs=(*fs.mkfs, *mkfs),
        mount_options=",".join(filter(None, (fs.mount_options, options))),
        size_bytes=size_bytes or fs.size_bytes,
    )


def make_image(
    fs: FileSystem, folder: str, fill: Callable[[Path], _T]
) -> tuple[Mapping[int, bytes], _T]:
    """The chunks of a new file system that `fill` has filled, unmounted, and its answer."""
    with SparseFile(fs.size_bytes) as file:
        backing = f"/proc/self/fd/{file.fd}"
        loop = LoopDevice(backing, folder, block_bytes=fs.image_block_bytes, direct=False)
        with contextlib.closing(loop) as device:
            fs.make(device.path)
            with mounted(fs, device.path, folder) as root:
                answer = fill(Path(root))
            device.write_back()
        return file.chunks(), answer


class Disk:
    """One disk that holds an image, changed in some chunks, as often as it is asked.

    A context: its mount and its device go with it.
    """

    def __init__(self, fs: FileSystem, folder: str, base: Mapping[int, bytes]) -> None:
        self.fs, self._folder = fs, folder
        self.target = Path(folder) / "disk"
        self._scratch = ScratchDisk(folder, fs.size_bytes, base, block_bytes=fs.image_block_bytes)
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Disk:
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._scratch)
            self.target.mkdir()
            undo.callback(self.target.rmdir)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._undo.close()

    @contextlib.contextmanager
    def holding(self, cells: Cells, options: str = "") -> Iterator[Path]:
        """The mount of the image with these chunks in it. OSError: the kernel refuses it."""
        self._scratch.hold(cells)
        with self.again(options) as root:
            yield root

    @contextlib.contextmanager
    def again(self, options: str = "") -> Iterator[Path]:
        """The mount of what is on the disk now. OSError."""
        device = self._scratch.device
        every = ",".join(filter(None, (self.fs.mount_options, options)))
        try:
            linux_syscalls.mount(device, str(self.target), self.fs.kind, 0, every)
            try:
                yield self.target
            finally:
                _unmount(self.target)
        finally:
            with contextlib.suppress(OSError):
                self.fs.forget(device, self._folder)

    @property
    def device(self) -> str:
        """The path of the block device."""
        return self._scratch.device


def _unmount(target: Path) -> None:
    try:
        linux_syscalls.umount(str(target))
    except OSError as error:
        linux_syscalls.umount(str(target), linux_syscalls.MNT_DETACH)
        if error.errno != errno.EBUSY:
            raise


@contextlib.contextmanager
def memory_file_system(folder: str, options: str) -> Iterator[Path]:
    """A tmpfs with these options, below a private folder."""
    target = Path(folder) / "tmpfs"
    target.mkdir()
    try:
        linux_syscalls.mount("powercut-faults", str(target), "tmpfs", 0, f"mode=0700,{options}")
        try:
            yield target
        finally:
            linux_syscalls.umount(str(target), linux_syscalls.MNT_DETACH)
    finally:
        target.rmdir()


class Filler:
    """Fills a disk to the brim, in its own folder beside the store, and empties it again."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "filler"
        self._count = 0

    def fill(self, room_bytes: int = 0, *, metadata: bool = False) -> None:
        """Take every block that an ordinary file can have, but for some room.

        With `metadata` also what a disk keeps for other things than the bytes of files.
        """
        self._folder.mkdir(exist_ok=True)
        reserve = self._folder / "reserve"
        if room_bytes:
            reserve.write_bytes(bytes(room_bytes))
        size = 1 << 30
        while size > _BLOCK:
            if not self._one(size):
                size = max(_BLOCK, min(size // 2, self._free_bytes() // _BLOCK * _BLOCK))
        for size in (_BLOCK, 100):
            while self._one(size):
                pass
        if metadata:
            for size in (_ATTRIBUTE, 100):
                while self._attribute(size):
                    pass
            self.inodes()
        reserve.unlink(missing_ok=True)

    def _free_bytes(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bfree * found.f_frsize

    def _one(self, size: int) -> bool:
        """One file more of that size; False where there is no room for it."""
        path = self._folder / f"{self._count}"
        self._count += 1
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
        try:
            if size > _BLOCK:
                os.posix_fallocate(fd, 0, size)
            else:
                os.write(fd, b"f" * size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return False
        finally:
            os.close(fd)
        return True

    def _attribute(self, size: int) -> bool:
        """One attribute more of that size on the folder; False where there is no room for it."""
        self._count += 1
        try:
            os.setxattr(self._folder, f"user.{self._count}", bytes(size))
        except OSError as error:
            if error.errno not in _NO_MORE:
                raise
            return False
        return True

    def inodes(self) -> None:
        """Take every inode, and hardly a block."""
        self._folder.mkdir(exist_ok=True)
        while self._one(0):
            pass

    def free(self) -> None:
        """Give all of it back."""
        for path in list(self._folder.iterdir()):
            path.unlink()
        self._folder.rmdir()
