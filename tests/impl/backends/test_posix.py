"""The POSIX back end: real calls, real errors, nothing followed, nothing unbounded."""

from __future__ import annotations

import errno
import fcntl
import gc
import hashlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lastgood.backends import darwin, posix
from lastgood.backends.darwin_syscalls import map_file
from lastgood.backends.interface import ReadFailedError
from lastgood.backends.linux_mounts import find_mount
from lastgood.backends.posix import PosixDisk
from tests.impl.disks import names_in
from tests.impl.forks import Child


def code(call: Callable[..., object], *args: object) -> int | None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what is asked
        call(*args)
    return caught.value.errno


@pytest.fixture
def disk() -> PosixDisk:
    return PosixDisk()


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A file, a directory, links to both, a dangling link and a fifo."""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "dir").mkdir()
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "to-dir").symlink_to("dir")
    (tmp_path / "to-nothing").symlink_to("nothing")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def test_a_link_is_never_what_it_points_to(disk: PosixDisk, odd: Path) -> None:
    kinds = {name: disk.kind(f"{odd}/{name}") for name in [*names_in(odd), "none", "file/x"]}

    assert kinds == {
        "file": "file",
        "dir": "dir",
        "to-file": "other",
        "to-dir": "other",
        "to-nothing": "other",
        "fifo": "other",
        "none": "missing",
        "file/x": "missing",
    }


def test_only_regular_files_are_read(disk: PosixDisk, odd: Path) -> None:
    assert disk.read(f"{odd}/file", 3) == b"abc"
    assert disk.digest(f"{odd}/file", 3) == (3, hashlib.sha256(b"abc").hexdigest())
    for look in (disk.read, disk.digest):
        assert code(look, f"{odd}/to-file", 9) == errno.ELOOP
        assert code(look, f"{odd}/fifo", 9) == errno.EINVAL
        assert code(look, f"{odd}/dir", 9) == errno.EINVAL
        assert code(look, f"{odd}/none", 9) == errno.ENOENT
        assert code(look, f"{odd}/file", 2) == errno.EFBIG


def test_what_is_no_file_is_not_even_opened(
    disk: PosixDisk, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open wakes whoever waits at the other end of a fifo, and starts some devices."""
    opened: list[str] = []
    real = os.open

    def watched(path: str, *more: int) -> int:
        opened.append(path)
        return real(path, *more)

    monkeypatch.setattr(os, "open", watched)
    for name in ("fifo", "to-file", "dir"):
        path = f"{odd}/{name}"
        for look in (disk.read, disk.digest, disk.map):
            assert code(look, path, 9) in (errno.ELOOP, errno.EINVAL)
        for call in (disk.fsync, disk.lock):
            assert code(call, path) in (errno.ELOOP, errno.EINVAL)
    assert opened == []
    assert disk.read(f"{odd}/file", 3) == b"abc"
    assert opened == [f"{odd}/file"]


def test_a_listing_is_sorted_and_follows_no_link(disk: PosixDisk, odd: Path) -> None:
    assert disk.names(str(odd)) == names_in(odd)
    assert code(disk.names, f"{odd}/to-dir") == errno.ENOTDIR


def test_nothing_is_ever_created_over_something(disk: PosixDisk, odd: Path) -> None:
    for name in ("file", "dir", "to-file", "to-nothing", "fifo"):
        assert code(disk.create, f"{odd}/{name}") == errno.EEXIST
        assert code(disk.mkdir, f"{odd}/{name}") == errno.EEXIST
    assert (odd / "file").read_bytes() == b"abc"
    assert not (odd / "nothing").exists()


def test_writes_append_until_close(disk: PosixDisk, tmp_path: Path) -> None:
    path = f"{tmp_path}/new"
    disk.create(path)
    disk.write(path, b"ab")
    disk.write(path, memoryview(b"cd"))
    disk.fsync(path)
    disk.close(path)

    assert Path(path).read_bytes() == b"abcd"
    assert code(disk.write, path, b"e") == errno.EBADF
    assert code(disk.close, path) == errno.EBADF
    disk.fsync(path)  # without a handle it opens the file
    disk.fsync_dir(str(tmp_path))
    assert code(disk.fsync_dir, path) == errno.ENOTDIR


def test_a_failed_sync_is_not_hidden(
    disk: PosixDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "no")

    disk.create(f"{tmp_path}/new")
    monkeypatch.setattr("lastgood.backends.posix.os.fsync", fail)

    assert code(disk.fsync, f"{tmp_path}/new") == errno.EIO
    assert code(disk.fsync_dir, str(tmp_path)) == errno.EIO
    disk.close(f"{tmp_path}/new")


def test_a_lock_is_exclusive_even_within_one_process(disk: PosixDisk, tmp_path: Path) -> None:
    path, other = f"{tmp_path}/lock", PosixDisk()
    disk.lock(path)

    assert code(disk.lock, path) == errno.EWOULDBLOCK
    assert code(other.lock, path) == errno.EWOULDBLOCK
    disk.unlock(path)
    other.lock(path)
    other.unlock(path)


def test_a_lock_file_that_is_a_link_is_refused(disk: PosixDisk, odd: Path) -> None:
    assert code(disk.lock, f"{odd}/to-nothing") == errno.ELOOP
    assert not (odd / "nothing").exists()


def test_a_forked_child_may_look_and_not_touch(disk: PosixDisk, tmp_path: Path) -> None:
    """The child keeps no descriptor of the lease, and outlives the parent's close."""
    path = f"{tmp_path}/lock"
    disk.lock(path)
    ready, done = os.pipe(), os.pipe()

    def look_and_touch() -> list[object]:
        found: list[object] = [code(disk.mkdir, f"{tmp_path}/child"), disk.kind(path)]
        os.write(ready[1], b"y")
        os.read(done[0], 1)
        return found

    child = Child(look_and_touch)
    os.close(ready[1])  # or a child that fails would be waited for
    try:
        if os.read(ready[0], 1):
            disk.unlock(path)
            other = PosixDisk()
            other.lock(path)  # the child is alive and does not hold it
            other.unlock(path)
    finally:
        os.write(done[1], b"x")
        found = child.answer()
        for fd in (ready[0], *done):
            os.close(fd)
    assert found == [errno.ENOLCK, "file"]
    assert not (tmp_path / "child").exists()


MOUNTINFO = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /var rw,nosuid - tmpfs tmpfs rw
31 22 0:40 / /data\040set rw master:2 - xfs /dev/vd\040b rw,noquota
32 30 0:41 / /var rw - btrfs /dev/vdc rw
cut off
"""


@pytest.mark.parametrize(
    ("number", "kind", "point", "device", "source"),
    [
        (22, "ext4", "/", "254:0", "/dev/vda"),
        (30, "tmpfs", "/var", "0:26", "tmpfs"),
        (31, "xfs", "/data set", "0:40", "/dev/vd b"),
        (32, "btrfs", "/var", "0:41", "/dev/vdc"),
    ],
)
def test_the_mount_table_says_what_a_mount_is_by_its_number(
    number: int, kind: str, point: str, device: str, source: str
) -> None:
    found = find_mount(number, MOUNTINFO)

    assert found is not None
    assert (found.kind, found.point, found.device, found.source) == (kind, point, device, source)
    assert "rw" in found.options
    assert find_mount(2, MOUNTINFO) is None


def test_on_macos_fsync_serves_the_kernel_class_only() -> None:
    mounts = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled)\n"
        "/dev/disk4s1 on /Volumes/My Disk (exfat, local)\n"
    )

    assert darwin.file_system_of("/Users/me", mounts).name == "apfs"
    assert darwin.file_system_of("/Users/me", mounts).full_sync_call == "F_FULLFSYNC"
    assert darwin.file_system_of("/Users/me", mounts).rename_is_atomic
    hfs = darwin.file_system_of("/", mounts.replace("apfs", "hfs"))
    assert (hfs.full_sync_call, hfs.rename_is_atomic) == ("F_FULLFSYNC", False)
    other = darwin.file_system_of("/Volumes/My Disk/run", mounts)
    assert (other.name, other.mount_point, other.rename_is_atomic) == (
        "exfat",
        "/Volumes/My Disk",
        False,
    )


class _SyncsAFile(mmap.mmap):
    """Python's map as it is on macOS, where one over a file is a full sync of the drive."""

    def __new__(cls, fd: int, *arguments: int, **named: int) -> _SyncsAFile:
        if fd != -1:
            raise AssertionError("mmap.mmap over a file issues F_FULLFSYNC on macOS")
        return super().__new__(cls, fd, *arguments, **named)


def test_a_map_on_macos_syncs_nothing_and_lives_as_long_as_a_view_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 200
    path = tmp_path / "part"
    path.write_bytes(content)
    disk = darwin.DarwinDisk()
    monkeypatch.setattr(mmap, "mmap", _SyncsAFile)

    view = disk.map(str(path), len(content))
    piece = view[1000:2000]
    path.unlink()
    del view
    gc.collect()

    assert (piece.readonly, piece.format, bytes(piece)) == (True, "B", content[1000:2000])
    assert (
        bytes(disk.read_and_digest(__file__, 1 << 20, "sha256")[0]) == Path(__file__).read_bytes()
    )


def test_a_map_on_macos_is_ended_with_its_last_view(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"x" * 5000)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc here to say what is mapped")
    view = darwin.DarwinDisk().map(str(path), 5000)
    assert str(path) in maps.read_text()
    del view
    gc.collect()

    assert str(path) not in maps.read_text()


def test_a_map_on_macos_refuses_as_every_other_and_maps_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"")
    disk = darwin.DarwinDisk()

    assert bytes(disk.map(str(path), 0)) == b""
    path.write_bytes(b"ab")
    assert code(disk.map, str(path), 1) == errno.EFBIG
    with path.open("wb") as written:  # a descriptor that may not be read
        assert code(map_file, written.fileno(), 1) == errno.EACCES


@pytest.mark.parametrize(
    "number",
    [
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.EISDIR,
        errno.ENXIO,
        errno.EFBIG,
    ],
)
def test_an_open_that_says_of_a_regular_file_that_it_is_none_is_a_read_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "part").write_bytes(b"there")
    monkeypatch.setattr(os, "open", refusing(number))

    with pytest.raises(ReadFailedError) as caught:
        PosixDisk().read(str(tmp_path / "part"), 100)

    assert caught.value.errno == number


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ELOOP, errno.EINVAL])
def test_a_file_that_appears_while_it_is_opened_is_opened_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path, really, asked = tmp_path / "MANIFEST", os.open, []

    def born(*args: Any) -> int:
        asked.append(args)
        if len(asked) == 1:
            fd = really(path, os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"there")
            os.close(fd)
            raise OSError(number, os.strerror(number), str(path))
        return really(*args)

    monkeypatch.setattr(os, "open", born)

    assert PosixDisk().read(str(path), 100) == b"there"
    assert len(asked) == 2


def test_a_name_that_its_directory_lists_is_not_missing_because_a_look_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part").write_bytes(b"there")
    monkeypatch.setattr(os, "lstat", refusing(errno.ENOENT))
    disk = PosixDisk()

    with pytest.raises(ReadFailedError):
        disk.kind(str(tmp_path / "part"))
    with pytest.raises(ReadFailedError):
        disk.read(str(tmp_path / "part"), 100)
    assert disk.kind(str(tmp_path / "other")) == "missing"


def test_a_close_that_fails_after_a_read_says_nothing_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part").write_bytes(b"there")
    monkeypatch.setattr(os, "close", refusing(errno.EFBIG))

    with pytest.raises(ReadFailedError):
        PosixDisk().read(str(tmp_path / "part"), 100)


@pytest.mark.parametrize(("available", "free", "told"), [(3, 5, 3), (0, 5, 5), (0, 0, 0)])
def test_a_disk_that_has_free_blocks_is_not_said_to_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int, free: int, told: int
) -> None:
    status = SimpleNamespace(f_bavail=available, f_bfree=free, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _path: status)

    assert PosixDisk().free_bytes(str(tmp_path)) == told * 4096


def refusing(number: int) -> Callable[..., Any]:
    """A call of the system that fails."""

    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_new_file_is_what_the_umask_leaves_of_one_that_is_no_program(
    disk: PosixDisk, tmp_path: Path
) -> None:
    before = os.umask(0o002)
    try:
        disk.create(str(tmp_path / "part"))
        disk.close(str(tmp_path / "part"))
    finally:
        os.umask(before)

    assert (tmp_path / "part").stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOTSUP, None), (errno.ENOTTY, None), (errno.ENOSPC, errno.ENOSPC)]
)
def test_on_macos_space_that_cannot_be_kept_is_no_error_and_a_full_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: int | None
) -> None:
    def refuse(_fd: int, _command: int, _store: bytes) -> None:
        raise OSError(number, os.strerror(number))

    disk, path = darwin.DarwinDisk(), str(tmp_path / "part")
    disk.create(path)
    monkeypatch.setattr(fcntl, "fcntl", refuse)

    try:
        if told is None:
            disk.preallocate(path, 4096)
        else:
            assert code(disk.preallocate, path, 4096) == told
    finally:
        disk.close(path)


def test_whose_a_path_is_that_nobody_can_look_at_is_not_known(
    disk: PosixDisk, tmp_path: Path
) -> None:
    (tmp_path / "file").touch(mode=0o640)

    assert disk.owner(str(tmp_path / "none")) is None
    known = disk.owner(str(tmp_path / "file")) or ""
    assert f"(uid {os.getuid()}) and has the mode 640" in known


def test_the_kernel_is_told_to_begin_to_write_after_so_many_bytes_whatever_their_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(posix, "WRITE_BACK_BYTES", 10)
    monkeypatch.setattr(
        PosixDisk, "_write_back", lambda _disk, fd: sizes.append(os.fstat(fd).st_size)
    )
    disk, path = PosixDisk(), str(tmp_path / "part")
    disk.create(path)
    for _ in range(5):
        disk.write(path, b"x" * 6)
    disk.close(path)

    assert sizes == [12, 24]
