"""How each file system is made and mounted on the recorded disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from powercut_rig.tools import run_tool

_UUID: Final = "6c617374-676f-4f64-8000-000000000001"


@frozen
class FileSystem:
    """One kind of file system: its programs, and the options of a mount.

    `image_block_bytes` is the logical block size of the device that carries crash images.
    Where it equals the file system's block the kernel need not drop its cache at each mount.
    """

    name: str
    mkfs: tuple[str, ...]
    mkfs_environment: Mapping[str, str]
    mount_options: str
    fsck: tuple[str, ...]
    fsck_clean: tuple[int, ...]
    image_block_bytes: int
    smallest_bytes: int

    def make(self, device: str) -> None:
        """Make the file system; raise `RigError` when mkfs fails."""
        run_tool((*self.mkfs, device), environment=self.mkfs_environment)


EXT4: Final = FileSystem(
    name="ext4",
    # `-T default`: the features and ratios of a usual disk, not those of a floppy.  No lazy
    # initialisation: its thread would write to the recording at moments of its own.
    mkfs=(
        "mkfs.ext4", "-q", "-F", "-T", "default", "-b", "4096", "-J", "size=4", "-U", _UUID,
        "-E", f"lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed={_UUID}",
    ),
    mkfs_environment={"E2FSPROGS_FAKE_TIME": "1700000000"},  # the same bytes each time
    mount_options="noinit_itable,nodiscard",
    fsck=("e2fsck", "-f", "-n"),
    fsck_clean=(0,),
    image_block_bytes=4096,
    smallest_bytes=16 << 20,
)  # fmt: skip

FILE_SYSTEMS: Final[Mapping[str, FileSystem]] = {"ext4": EXT4}
"""The file systems that the rig records."""
