"""A Mac of paper: it answers as the commands' manual pages and transcripts say, on this machine.

An "image" is a file that holds a pickled tree: what the image's drive has.  Attaching one lays the
tree out as files; what a program does to those files is its page cache.  A sync brings the whole
tree to the drive, as one transaction, unless the fake is told to misbehave.
"""

from __future__ import annotations

import os
import pickle
import plistlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from powercut_rig.macos.subprocesses import CommandError, FinishedTool

BUSY = 'hdiutil: couldn\'t unmount "disk5" - Resource busy\n'
SW_VERS = b"ProductName:\t\tmacOS\nProductVersion:\t\t14.5\nBuildVersion:\t\t23F79\n"
DF = b"""Filesystem   512-blocks      Used Available Capacity  Mounted on
/dev/disk3s5  965595304 433227592 496783368    47%    /System/Volumes/Data
"""
CLEAN = b"""** Checking the container superblock.
** Checking the space manager.
** Checking the object map.
** Checking volume /dev/rdisk5s1.
** The volume /dev/rdisk5s1 appears to be OK.
** The container /dev/rdisk4s1 appears to be OK.
"""
Tree = dict[str, bytes | None]


def attach_plist(number: int, mount_point: str = "") -> bytes:
    """What `hdiutil attach -plist` prints for an image with one APFS volume."""
    volume: dict[str, Any] = {
        "content-hint": "41504653-0000-11AA-AA11-00306543ECAC",
        "dev-entry": f"/dev/disk{number + 1}s1",
        "potentially-mountable": True,
        "unmapped-content-hint": "41504653-0000-11AA-AA11-00306543ECAC",
        "volume-kind": "apfs",
    }
    if mount_point:
        volume["mount-point"] = mount_point
    entities = [
        {
            "content-hint": "GUID_partition_scheme",
            "dev-entry": f"/dev/disk{number}",
            "potentially-mountable": False,
        },
        {
            "content-hint": "Apple_APFS",
            "dev-entry": f"/dev/disk{number}s1",
            "potentially-mountable": False,
        },
        {
            "content-hint": "EF57347C-0000-11AA-AA11-00306543ECAC",
            "dev-entry": f"/dev/disk{number + 1}",
            "potentially-mountable": False,
        },
        volume,
    ]
    return plistlib.dumps({"system-entities": entities})


@define
class FakeMac:
    """A runner, a cloner and the Darwin calls, all over one set of pretended images."""

    commands: list[tuple[str, ...]] = field(factory=list)
    attached: dict[int, tuple[str, str, bool]] = field(factory=dict)
    mine: set[int] = field(factory=set)
    drive: Tree = field(factory=dict)
    image: str = ""
    root: Path = field(factory=Path)
    busy: int = 0
    most_attached: int = 0
    next_device: int = 4
    fsck_output: bytes = CLEAN
    fsck_status: int = 0
    host: str = "apfs"
    on_command: Callable[[tuple[str, ...]], None] = lambda _: None
    after_command: Callable[[tuple[str, ...]], None] = lambda _: None
    keeps: Callable[[Tree, Tree, str], Tree] = lambda _before, now, _path: now
    """What a sync of a path leaves on the drive, of what was there and what a program sees."""
    at_once: bool = False
    """Everything reaches the drive as soon as it is asked for, synced or not."""
    shows: Callable[[Tree], Tree] = lambda tree: tree
    """What a clone shows of what the drive has."""
    one_file: tuple[str, ...] = ()
    """Names that are laid out as hard links of one file, where more than one of them is there."""
    freed: bytes = b""
    """What the blocks of an image hold that no file has any more."""
    driver_keeps: bool = False
    """What is written to a device stays in the cache of the image's driver."""
    syncs: list[str] = field(factory=list)
    paused: list[float] = field(factory=list)

    def __call__(self, arguments: Sequence[str], timeout_s: float) -> FinishedTool:
        assert timeout_s > 0
        words = tuple(arguments)
        self.commands.append(words)
        self.on_command(words)
        done = self._answer(words)
        self.after_command(words)
        return done

    def _answer(self, words: tuple[str, ...]) -> FinishedTool:
        match words:
            case ("hdiutil", "create", *how, path):
                assert not ("-fs" in how and "-layout" in how)
                Path(path).write_bytes(pickle.dumps({}))
                return FinishedTool(0, b"", "")
            case ("hdiutil", "attach", path, *rest):
                return self._attach(path, rest)
            case ("hdiutil", "info", "-plist"):
                return FinishedTool(0, self.info(), "")
            case ("hdiutil", "detach", device, *rest):
                return self._detach(device, "-force" in rest)
            case ("df", "-P", _):
                return FinishedTool(0, DF, "")
            case ("diskutil", "info", "-plist", "/dev/disk3s5"):
                answer = {
                    "FilesystemType": self.host,
                    "DeviceNode": "/dev/disk3s5",
                    "BusProtocol": "Apple Fabric",
                    "SolidState": True,
                    "Encryption": True,
                }
                return FinishedTool(0, plistlib.dumps(answer), "")
            case ("sw_vers",):
                return FinishedTool(0, SW_VERS, "")
            case ("fsck_apfs", "-n", device):
                assert device in {f"/dev/rdisk{n}s1" for n in self.attached}
                return FinishedTool(self.fsck_status, self.fsck_output, "")
            case _:
                raise CommandError(words, None, "it cannot be started: no such program")

    def info(self) -> bytes:
        """What `hdiutil info -plist` prints."""
        images = [
            {
                "image-path": path,
                "system-entities": [{"dev-entry": f"/dev/disk{number}"}],
            }
            for number, (path, _, _) in self.attached.items()
        ]
        return plistlib.dumps({"framework": "671", "images": images})

    def _attach(self, path: str, rest: Sequence[str]) -> FinishedTool:
        try:
            tree: Tree = pickle.loads(Path(path).read_bytes())  # noqa: S301 - our own bytes
        except FileNotFoundError:
            return FinishedTool(1, b"", "hdiutil: attach failed - No such file or directory\n")
        except pickle.UnpicklingError:
            return FinishedTool(1, b"", "hdiutil: attach failed - no mountable file systems\n")
        number, self.next_device = self.next_device, self.next_device + 2
        point = rest[rest.index("-mountpoint") + 1] if "-mountpoint" in rest else ""
        writable = "-readonly" not in rest
        self.attached[number] = (path, point, writable)
        self.mine.add(number)
        self.most_attached = max(self.most_attached, len(self.attached))
        if point:
            lay_out(tree, Path(point), self.one_file)
            if writable:
                self.drive, self.image, self.root = tree, path, Path(point)
        return FinishedTool(0, attach_plist(number, point), "")

    def _detach(self, device: str, force: bool) -> FinishedTool:
        number = int(device.removeprefix("/dev/disk"))
        assert number in self.mine, f"{device} was never attached by the rig"
        if number not in self.attached:
            return FinishedTool(1, b"", "hdiutil: detach failed - No such file or directory\n")
        if self.busy and not force:
            self.busy -= 1
            return FinishedTool(16, b"", BUSY)
        path, point, writable = self.attached.pop(number)
        if point:
            if writable and Path(path).exists():
                Path(path).write_bytes(pickle.dumps(gathered(Path(point))))
            clear(Path(point))
        return FinishedTool(0, f'"disk{number}" ejected.\n'.encode(), "")

    def clone(self, src: Path, dst: Path) -> None:
        """A clone: of an image that is attached, what its drive has."""
        assert not dst.exists()
        live = {path for path, point, writable in self.attached.values() if point and writable}
        if str(src) not in live:
            dst.write_bytes(src.read_bytes())
            return
        # In a second life the library's own disk syncs, past the calls of this fake.
        at_once = self.at_once or src.name == "again.dmg"
        tree = gathered(self.root) if at_once else self.drive
        dst.write_bytes(pickle.dumps(self.shows(tree)) + self.freed)

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    def _sync(self, name: str, fd: int) -> None:
        self.syncs.append(name)
        synced = os.fstat(fd)
        every = (self.root, *self.root.rglob("*"))
        path = next(path for path in every if os.path.samestat(path.stat(), synced))
        self.drive = self.keeps(self.drive, gathered(self.root), str(path.relative_to(self.root)))

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def barrier(self, fd: int) -> None:
        self._sync("barrier", fd)

    def full(self, fd: int) -> None:
        self._sync("full", fd)

    def volume(self, fd: int) -> None:
        """A sync of the volume always works, so that a recording has a base."""
        self.syncs.append("volume")
        self.drive = gathered(self.root)

    def rename(self, src: str, dst: str, *flags: str) -> None:
        assert not flags
        Path(src).rename(dst)

    def open_device(self, device: str) -> int:
        path, point, writable = self.attached[int(device.removeprefix("/dev/disk"))]
        assert writable
        assert not point
        return os.open(os.devnull if self.driver_keeps else path, os.O_WRONLY)

    def write_mapped(self, fd: int, offset: int, data: bytes) -> None:
        assert os.pwrite(fd, data, offset) == len(data)

    def sync_mapped(self, fd: int, offset: int, size: int) -> None:
        assert os.fstat(fd).st_size >= offset + size
        self._sync("msync", fd)


def at_once(step: Callable[[], bool]) -> Callable[[], None]:
    """Takes clones before the sync instead of beside it: the same each time."""
    while step():
        pass
    return lambda: None


def gathered(point: Path) -> Tree:
    """All below a mount point."""
    return {
        str(path.relative_to(point)): None if path.is_dir() else path.read_bytes()
        for path in sorted(point.rglob("*"))
    }


def lay_out(tree: Tree, point: Path, one_file: Sequence[str] = ()) -> None:
    first: Path | None = None
    for name, content in sorted(tree.items()):
        path = point / name
        if content is None:
            path.mkdir()
        elif name in one_file and first is not None:
            path.hardlink_to(first)
        else:
            path.write_bytes(content)
            first = path if name in one_file else first


def clear(point: Path) -> None:
    for path in point.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
