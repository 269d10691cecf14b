"""The file systems that the rig knows, as a table: how each is made, mounted, checked and held.

A variant differs from its family in options only.  What a file system is held against is the
profile that its entry names; nothing else in the rig asks which file system it has before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from attrs import Factory, evolve, field, frozen

from powercut_rig.system import linux_syscalls
from powercut_rig.system.subprocesses import find_program, run_tool

_KERNEL_FILE_SYSTEMS: Final = Path("/proc/filesystems")
_FIXED_ID: Final = "6c617374-676f-4f64-8000-000000000001"

_BTRFS_CONTROL: Final = (10, 234)
_BTRFS_FORGET_DEVICE: Final = 0x50009405
_BTRFS_START_SYNC: Final = 0x80089418
_BTRFS_WAIT_SYNC: Final = 0x40089416
_BTRFS_ARGS: Final = struct.Struct("=q4088s")


def fresh_id() -> str:
    """An id that no other file system of this machine has."""
    return str(uuid.uuid4())


@frozen(kw_only=True)
class FileSystem:
    """One file system with its options.

    `kind` is the kernel's name for it, `profile` the model's: `name`, where they say nothing else.
    `size_bytes` is the disk that it gets by default, `smallest_bytes` the smallest that its mkfs
    takes, the same by default.  `atomic_unit_bytes` is what it asks of a drive: a write tears only
    between such units, and not inside of the ranges of bytes that `whole` names.
    `image_block_bytes` is the logical block of the device that carries crash images: where it
    equals the file system's own, the kernel need not drop its cache at each mount.  `commit` says
    how its journal or transaction is made to commit without the data of files: by a sync of the
    root directory, or by the file system's own call.  An `own_id` is drawn for each recording where
    the kernel keeps track of ids: two disks with one id are never mounted side by side.
    `guest_module` names the module that a guest loads for it; without one this machine's kernel has
    it.  `lacks` names kinds of ops that it does not have, as
    `powercut_rig.campaigns.random_programs` calls them.  Where a mount that only reads shows the
    same tree, since nothing is replayed, `read_only_options` are for it.
    """

    name: str
    kind: str = Factory(lambda self: self.name, takes_self=True)
    profile: str = Factory(lambda self: self.name, takes_self=True)
    title: str
    mkfs: tuple[str, ...]
    mount_options: str
    fsck: tuple[str, ...]
    packages: tuple[str, ...]
    size_bytes: int
    smallest_bytes: int = Factory(lambda self: self.size_bytes, takes_self=True)
    atomic_unit_bytes: int
    whole: tuple[tuple[int, int], ...] = ()
    image_block_bytes: int
    commit: Literal["sync-root", "btrfs-call"] = "sync-root"
    own_id: bool = False
    mkfs_environment: Mapping[str, str] = field(factory=dict)
    guest_module: str = ""
    lacks: frozenset[str] = frozenset()
    read_only_options: str | None = None

    @property
    def in_guest(self) -> bool:
        """It is the file system of a guest's kernel, not of this machine's."""
        return bool(self.guest_module)

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that it needs."""
        return (self.mkfs[0], self.fsck[0])

    def make(self, device: str, new_id: Callable[[], str] = fresh_id) -> None:
        """Make the file system; raise `RigError` when mkfs fails."""
        chosen = new_id() if self.own_id else _FIXED_ID
        arguments = [part.replace("{id}", chosen) for part in self.mkfs]
        run_tool((*arguments, device), environment=self.mkfs_environment)

    def commit_on_demand(self, root: str) -> None:
        """Commit what the running transaction holds, as the kernel's timer would. OSError."""
        if self.commit == "sync-root":
            linux_syscalls.commit_by_root(root)
            return
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            transaction = fcntl.ioctl(folder, _BTRFS_START_SYNC, bytes(8))
            fcntl.ioctl(folder, _BTRFS_WAIT_SYNC, transaction)
        finally:
            os.close(folder)

    def forget(self, device: str, folder: str) -> None:
        """Let the kernel forget an unmounted device, where it keeps a list of them by id.

        Else another disk with the same content, a little older, would be refused.  `folder` is
        a private folder that takes a node of the control device.
        """
        if self.kind != "btrfs":
            return
        control = str(Path(folder) / "btrfs-control")
        with contextlib.suppress(FileExistsError):
            os.mknod(control, stat.S_IFCHR | 0o600, os.makedev(*_BTRFS_CONTROL))
        fd = os.open(control, os.O_RDWR | os.O_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):  # it was never scanned
                arguments = bytearray(_BTRFS_ARGS.pack(0, os.fsencode(device)))
                fcntl.ioctl(fd, _BTRFS_FORGET_DEVICE, arguments)
        finally:
            os.close(fd)


def missing_for(fs: FileSystem) -> list[str]:
    """One sentence for each thing that one file system lacks here, beside what its rig needs.

    Elsewhere than on Linux the rig itself is what is missing, and nothing is listed.
    """
    if sys.platform != "linux":
        return []
    missing = [
        f"The program {program} is not installed (package {' or '.join(fs.packages)})."
        for program in fs.programs
        if find_program(program) is None
    ]
    if not fs.in_guest and (sentence := _kernel_support(fs.kind)):
        missing.append(sentence)
    return missing


def _kernel_support(kind: str) -> str | None:
    """/proc/filesystems lists what is loaded only, so a module on disk counts as well."""
    try:
        lines = _KERNEL_FILE_SYSTEMS.read_text().splitlines()
    except OSError:
        return None
    folder = Path("/lib/modules") / os.uname().release / "kernel" / "fs" / kind
    if kind in {line.split()[-1] for line in lines if line} or folder.is_dir():
        return None
    return f"This kernel has no {kind}."


EXT4: Final = FileSystem(
    name="ext4",
    profile="ext4-ordered",
    title="ext4 with its default options: data=ordered, delayed allocation",
    # `-T default`: the features and ratios of a usual disk, not those of a floppy.  No lazy
    # initialisation: its thread would write to the recording at moments of its own.
    mkfs=(
        "mkfs.ext4", "-q", "-F", "-T", "default", "-b", "4096", "-J", "size=4", "-U", "{id}",
        "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed={id}",
    ),
    mkfs_environment={"E2FSPROGS_FAKE_TIME": "1700000000"},  # the same bytes each time
    mount_options="noinit_itable,nodiscard",
    fsck=("e2fsck", "-f", "-n"),
    packages=("e2fsprogs",),
    size_bytes=32 << 20,
    smallest_bytes=16 << 20,
    atomic_unit_bytes=512,
    # Its superblock is 1024 bytes with one checksum, which is looked at before the journal: torn,
    # it does not mount (EBADMSG), and that is the drive's fault.
    whole=((1024, 2048),),
    image_block_bytes=4096,
)  # fmt: skip


def _ext4(
    variant: str,
    title: str,
    options: str = "",
    *,
    features: tuple[str, ...] = (),
    profile: str = "",
    atomic_unit_bytes: int = EXT4.atomic_unit_bytes,
) -> FileSystem:
    """A variant of ext4: other mount options, other features, and what that changes besides."""
    return evolve(
        EXT4,
        name=f"ext4-{variant}",
        title=title,
        mkfs=(*EXT4.mkfs, *(part for feature in features for part in ("-O", feature))),
        mount_options=",".join(filter(None, (EXT4.mount_options, options))),
        profile=profile or f"ext4-{variant}",
        atomic_unit_bytes=atomic_unit_bytes,
    )


XFS: Final = FileSystem(
    name="xfs",
    title="xfs with its default options",
    mkfs=("mkfs.xfs", "-q", "-f", "-K", "-m", "uuid={id}"),
    # `nouuid`: each rig has a device of its own, so the check for a second mount of one disk,
    # which goes by the id, would only refuse what another rig holds at the same time.
    mount_options="nouuid,nodiscard",
    fsck=("xfs_repair", "-n"),
    packages=("xfsprogs",),
    size_bytes=300 << 20,
    atomic_unit_bytes=512,
    image_block_bytes=512,
)

BTRFS: Final = FileSystem(
    name="btrfs",
    title="btrfs with its default options: data single, metadata dup",
    mkfs=("mkfs.btrfs", "-q", "-f", "-K", "-U", "{id}"),
    mount_options="nodiscard",
    fsck=("btrfs", "check", "--readonly"),
    packages=("btrfs-progs",),
    size_bytes=128 << 20,
    # Its superblock is one write of 4096 bytes with one checksum: torn, it is not found, and
    # that is the drive's fault.
    atomic_unit_bytes=4096,
    image_block_bytes=4096,
    commit="btrfs-call",
    own_id=True,
)

APFS_LINUX: Final = FileSystem(
    name="apfs-linux",
    kind="apfs",
    title="the linux-apfs-rw driver in a guest, with its flushes put right",
    # Case-sensitive, as the model is; a container of 16 GiB seldom commits by itself.
    mkfs=("mkapfs", "-s", "-U", "{id}", "-u", "{id}"),
    mount_options="readwrite",
    # Not -c: that a disk was not unmounted is no fault of a crash image.
    fsck=("apfsck", "-uw"),
    packages=("apfsprogs",),
    size_bytes=16 << 30,
    smallest_bytes=512 << 20,
    # Its blocks have checksums of their own, the superblock too.
    atomic_unit_bytes=4096,
    image_block_bytes=4096,
    guest_module="apfs_strict",
    read_only_options="",
    lacks=frozenset({"exchange", "tmpfile"}),
)

F2FS: Final = FileSystem(
    name="guest-f2fs",
    kind="f2fs",
    profile="f2fs-posix",
    title="f2fs of the guest's kernel, with its default options",
    mkfs=("mkfs.f2fs", "-q", "-f", "-t", "0", "-U", "{id}"),
    mount_options="nodiscard",
    fsck=("fsck.f2fs", "--dry-run"),
    packages=("f2fs-tools",),
    size_bytes=64 << 20,
    atomic_unit_bytes=4096,
    image_block_bytes=4096,
    guest_module="f2fs",
)

FILE_SYSTEMS: Final[Mapping[str, FileSystem]] = {
    fs.name: fs
    for fs in (
        EXT4,
        _ext4(
            "nodelalloc",
            "ext4 without delayed allocation",
            "nodelalloc",
            profile="ext4-ordered-nodelalloc",
        ),
        _ext4("journal", "ext4, data in the journal", "data=journal"),
        _ext4("writeback", "ext4, data in no order with the journal", "data=writeback"),
        # With the first block of a fast commit torn, Linux 6.18 refuses to mount (ECANCELED); so it
        # asks for whole blocks.
        _ext4(
            "fast-commit",
            "ext4 with fast commits",
            features=("fast_commit",),
            atomic_unit_bytes=4096,
        ),
        XFS,
        BTRFS,
        APFS_LINUX,
        evolve(
            APFS_LINUX,
            name="apfs-linux-packaged",
            title="the same driver as it is packaged: it sends no flush",
            guest_module="apfs_packaged",
        ),
        evolve(
            EXT4,
            name="guest-ext4",
            title="ext4 of the guest's kernel, with its default options",
            # Linux 6.1 refuses to mount (EUCLEAN) where the commit block of a journal is torn.
            atomic_unit_bytes=4096,
            guest_module="ext4",
        ),
        F2FS,
    )
}
"""The file systems that the rig records, by name."""
