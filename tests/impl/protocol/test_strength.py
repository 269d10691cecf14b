"""What a store promises where it stands: the strongest that is honoured, and loudly where weak."""

from __future__ import annotations

import errno
import re
import warnings
from pathlib import Path

import pytest

import powercut
from lastgood import Event, LastgoodWarning, Store, UsageError
from lastgood.backends import darwin, linux, linux_mounts
from lastgood.backends.interface import FileSystemTraits
from lastgood.backends.linux_mounts import find_mount
from lastgood.backends.posix import PosixDisk
from lastgood.protocol import strength
from tests.impl.disks import EXT4, PARTS, WatchedDisk, WeakOnceSynced, tree

PROFILES = Path(powercut.__file__).parent / "profiles"
MAC = darwin.file_system_of("/", "/dev/disk3s1s1 on / (apfs, sealed, local, journaled)\n")
FUSE = linux.describe("fuse.s3fs", "/")


class Mac(WatchedDisk):
    """A disk with a full sync, as macOS has it."""

    def file_system(self, path: str) -> FileSystemTraits:
        return MAC

    def full_sync_dir(self, path: str) -> None:
        self.calls.append(f"full_sync_dir {self._below(path)}")


class Weak(WatchedDisk):
    def file_system(self, path: str) -> FileSystemTraits:
        return FUSE


def test_on_a_mac_the_strongest_mode_ends_in_one_full_sync(tmp_path: Path) -> None:
    disk = Mac(tmp_path)
    with Store(tmp_path / "store", disk=disk, workers=1) as store:
        disk.calls.clear()
        receipt = store.save(1, PARTS)
        store.load_latest()

    assert (receipt.mode, receipt.form) == ("atomic_fullsync", "rename")
    assert receipt.guarantee.survives == "process"
    assert "nobody has measured it" in receipt.guarantee.power
    syncs = [call for call in disk.calls if "sync" in call]
    saved, recovered = syncs[:6], syncs[6:]
    assert [s.split()[0] for s in saved] == ["fsync"] * 3 + ["fsync_dir"] * 2 + ["full_sync_dir"]
    assert recovered[-1] == "full_sync_dir store"


def test_where_fsync_flushes_the_strongest_mode_is_plain(tmp_path: Path) -> None:
    with Store(tmp_path / "store", disk=PosixDisk(EXT4)) as store:
        assert store.strength.mode == "atomic_dirsync"
        assert store.save(1, PARTS).guarantee.survives == "power"
    with Store(tmp_path / "store", disk=PosixDisk(EXT4), mode="atomic_fullsync") as store:
        assert store.save(2, PARTS).guarantee.survives == "power"


@pytest.mark.parametrize(
    ("name", "options", "serves", "renames"),
    [
        ("ext4", "", "power", True),
        ("ext4", "nobarrier", "process", True),
        ("ext4", "barrier=0", "process", True),
        ("ext4", "data=writeback", "process", True),
        ("ext4", "data=journal,nodelalloc", "power", True),
        ("ext4", "journal_async_commit", "process", True),
        ("xfs", "", "power", True),
        ("xfs", "nobarrier", "process", True),
        ("btrfs", "nodatacow,notreelog,lazytime", "power", True),
        ("btrfs", "nobarrier", "process", True),
        ("f2fs", "fsync_mode=posix", "process", True),
        ("f2fs", "fsync_mode=strict", "process", True),
        ("f2fs", "fsync_mode=nobarrier", "process", True),
        ("f2fs", "nobarrier", "process", True),
        ("f2fs", "checkpoint=disable:0", "process", True),
        ("f2fs", "disable_roll_forward", "process", True),
        ("nilfs2", "order=relaxed", "power", False),
        ("nilfs2", "barrier=0", "process", False),
        ("ext3", "", "process", True),
        ("ext2", "", "process", False),
        ("apfs", "", "process", True),
        ("bcachefs", "", "process", False),
        ("wekafs", "", "process", False),
        ("overlay", "", "process", False),
        ("overlay", "volatile", "process", False),
        ("tmpfs", "", "process", True),
        ("nfs4", "", "process", False),
        ("cifs", "", "process", False),
        ("smb3", "", "process", False),
        ("9p", "", "process", False),
        ("fuse.mountpoint-s3", "", "process", False),
        ("fuse.gcsfuse", "", "process", False),
        ("fuse", "", "process", False),
        ("fuseblk", "", "process", False),
        ("vfat", "", "process", False),
        ("zfs", "", "process", False),
    ],
)
def test_what_is_relied_on_of_each_file_system(
    name: str, options: str, serves: str, renames: bool
) -> None:
    mount = find_mount(1, f"1 0 8:1 / / rw,relatime - {name} /dev/x rw,{options}\n")
    assert mount is not None
    found = linux.describe(mount.kind, mount.point, mount.options)

    assert (found.sync_serves, found.rename_is_atomic) == (serves, renames)
    assert bool(found.weakness) == (serves == "process")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("vfat msdos exfat ntfs ntfs3 fuseblk ext2", "has no journal that lastgood could rely on"),
        ("nfs nfs4 cifs smb3 smbfs 9p virtiofs vboxsf afs ceph lustre", "its disk is a server's"),
        ("gpfs beegfs beegfs_nodev glusterfs ocfs2 gfs2 wekafs orangefs", "its disk is a server's"),
        ("tmpfs ramfs", "it lives in memory"),
        ("f2fs", "it is in doubt"),
        ("fuse fuse.sshfs", "a program stands between"),
    ],
)
def test_a_weak_file_system_is_told_by_what_it_is(names: str, reason: str) -> None:
    for name in names.split():
        assert reason in linux.describe(name, "/").weakness


def test_a_power_cut_is_promised_only_where_a_profile_speaks_for_the_file_system() -> None:
    profiles = {path.name.split("-")[0].split(".")[0] for path in PROFILES.glob("*.toml")}

    assert profiles >= linux.PROFILED
    for name in linux.PROFILED:
        assert linux.describe(name, "/").sync_serves == "power"
    assert "no profile of the model speaks for zfs" in linux.describe("zfs", "/").weakness


@pytest.mark.parametrize("option", ["nobarrier", "barrier=0", "fsync_mode=nobarrier"])
def test_a_mount_option_that_breaks_the_promise_is_named_with_what_to_do(option: str) -> None:
    weakness = linux.describe("f2fs", "/", frozenset({"rw", option})).weakness

    assert f"mounted with {option}, so that the drive is never told to flush" in weakness
    assert "mount it without that" in weakness


def test_where_nothing_says_what_it_is_little_is_promised_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux_mounts, "MOUNTS", str(tmp_path / "none"))
    disks = [linux.LinuxDisk(), darwin.DarwinDisk(), PosixDisk()]
    monkeypatch.setattr(darwin, "_MOUNT", str(tmp_path / "none"))

    for disk in disks:
        found = disk.file_system(str(tmp_path))
        assert (found.sync_serves, found.full_sync_serves) == ("process", None)
        assert not found.rename_is_atomic
        with pytest.warns(LastgoodWarning, match="no mount table could be read"):
            store = Store(tmp_path / "store", disk=PosixDisk(found))
        with store:
            receipt = store.save(1, PARTS)
        assert (receipt.form, receipt.guarantee.survives) == ("record", "process")
    (tmp_path / "empty").touch()
    monkeypatch.setattr(linux_mounts, "MOUNTS", str(tmp_path / "empty"))
    assert linux.LinuxDisk().file_system("/").weakness == found.weakness


def test_whatever_the_advice_names_is_promised_a_power_cut() -> None:
    advice = strength._ADVICE
    known = linux.PROFILED | linux.DOUBTED | linux.ATOMIC_RENAME - {"ext3"}
    named = {name for name in known if re.search(rf"\b{name}\b", advice)}

    assert named == linux.PROFILED
    assert "ext4 (with a journal, without fast_commit and data=writeback)" in advice


def test_a_weak_file_system_is_said_aloud_in_three_ways(tmp_path: Path) -> None:
    events: list[Event] = []
    with pytest.warns(LastgoodWarning, match=r"fuse.s3fs.*a program stands between") as caught:
        store = Store(tmp_path / "store", disk=Weak(tmp_path), on_event=events.append)
    with store:
        receipt = store.save(1, PARTS)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [event.kind for event in events] == ["weakened", "saved"]
    assert (receipt.mode, receipt.form) == ("atomic_dirsync", "record")
    assert receipt.guarantee.survives == "process"
    assert "a program stands between" in receipt.guarantee.kernel


def test_a_weakness_that_the_first_save_brings_out_is_in_its_receipt_and_said_once(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    with Store(tmp_path / "store", disk=WeakOnceSynced(), on_event=events.append) as store:
        with pytest.warns(LastgoodWarning, match="is on ext4: it commits fast") as caught:
            first = store.save(1, PARTS)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second = store.save(2, PARTS)

    assert [each.guarantee.survives for each in (first, second)] == ["process", "process"]
    assert first.guarantee.power == "not promised: it commits fast"
    assert (first.mode, first.form) == ("atomic_dirsync", "rename")
    assert len(caught) == 1
    assert [event.kind for event in events] == ["saved", "weakened", "saved"]
    assert events[0].fields["survives"] == "process"


def test_a_weakness_that_was_said_at_the_opening_is_not_said_again_after_a_save(
    tmp_path: Path,
) -> None:
    """On a Mac the mode that was asked for is weak, and its file system is not."""
    with pytest.warns(LastgoodWarning):
        store = Store(tmp_path / "store", disk=Mac(tmp_path), mode="atomic_dirsync")
    with store, warnings.catch_warnings():
        warnings.simplefilter("error")
        store.save(1, PARTS)


def test_where_a_directory_cannot_be_synced_the_mode_is_weaker_and_said(tmp_path: Path) -> None:
    disk = Weak(tmp_path)
    disk.fault = lambda call, _path: errno.EINVAL if call == "fsync_dir" else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Store(tmp_path / "store", disk=disk) as store:
            receipt = store.save(1, PARTS)
    assert receipt.mode == "atomic_nodirsync"
    assert any("cannot be synced" in str(warning.message) for warning in caught)
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="atomic_dirsync cannot be had"):
        Store(tmp_path / "other", disk=disk, mode="atomic_dirsync")
    assert tree(tmp_path) == before


def test_a_mode_that_promises_little_needs_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Store(tmp_path / "store", disk=Weak(tmp_path), mode="unsafe").close()
        Store(tmp_path / "store", disk=Weak(tmp_path), writable=False).close()


@pytest.mark.parametrize(
    ("line", "name", "serves", "full"),
    [
        ("/dev/disk3s5 on /System/Volumes/Data (apfs, local)", "apfs", "process", "process"),
        ("//me@nas/share on /Volumes/share (smbfs, nodev)", "smbfs", "process", None),
    ],
)
def test_a_macs_mount_table_tells_where_a_full_sync_reaches_the_drive(
    line: str, name: str, serves: str, full: str | None
) -> None:
    point = line.split(" on ")[1].split(" (", maxsplit=1)[0]
    found = darwin.file_system_of(f"{point}/x", f"/dev/disk3s1 on / (apfs, sealed)\n{line}\n")

    assert (found.name, found.sync_serves, found.full_sync_serves) == (name, serves, full)
    assert bool(found.weakness) == (full is None)
