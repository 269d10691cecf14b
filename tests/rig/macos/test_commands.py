"""The external commands one by one: how they are called, and what becomes of their failures."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from powercut_rig.errors import RigError
from powercut_rig.macos import darwin_syscalls, requirements
from powercut_rig.macos.clones import SystemCloner
from powercut_rig.macos.darwin_syscalls import DarwinCalls, clonefile
from powercut_rig.macos.disk_images import DiskImages
from powercut_rig.macos.requirements import missing_for_mac, this_mac
from powercut_rig.macos.subprocesses import CommandError, FinishedTool, run_checked, run_system
from tests.rig.macos.fake_mac import BUSY, FakeMac


def disks(mac: FakeMac) -> DiskImages:
    return DiskImages(mac, mac.pause)


def image(mac: FakeMac, tmp_path: Path) -> Path:
    path = tmp_path / "x.dmg"
    disks(mac).create(path, 64 << 20)
    mac.commands.clear()
    return path


def test_an_image_is_made_with_its_size_in_sectors_and_nothing_attached(
    mac: FakeMac, tmp_path: Path
) -> None:
    disks(mac).create(tmp_path / "x.dmg", 64 << 20)

    (words,) = mac.commands
    assert words[:2] == ("hdiutil", "create")
    assert words[words.index("-size") + 1] == "131072b"
    assert words[words.index("-fs") + 1] == "APFS"
    assert mac.attached == {}


def test_an_image_that_create_did_not_make_is_an_error(tmp_path: Path) -> None:
    quiet = DiskImages(lambda words, timeout_s: FinishedTool(0, b"", ""), lambda s: None)
    with pytest.raises(RigError, match="it is not there"):
        quiet.create(tmp_path / "x.dmg", 1 << 20)
    full = DiskImages(
        lambda words, timeout_s: FinishedTool(1, b"", "hdiutil: create failed - No space left"),
        lambda s: None,
    )
    with pytest.raises(CommandError, match="No space left") as caught:
        full.create(tmp_path / "x.dmg", 1 << 20)
    assert caught.value.status == 1


def test_nothing_is_checked_or_repaired_on_the_way_in(mac: FakeMac, tmp_path: Path) -> None:
    path = image(mac, tmp_path)
    point = tmp_path / "m"
    point.mkdir()
    with disks(mac).attached(path, point, writable=False):
        pass
    (attach, detach) = mac.commands

    assert {"-plist", "-noverify", "-noautofsck", "-readonly", "-nobrowse"} <= set(attach)
    assert detach == ("hdiutil", "detach", "/dev/disk4")


def test_a_busy_volume_is_asked_again_each_time_later(mac: FakeMac, tmp_path: Path) -> None:
    mac.busy = 3
    with disks(mac).attached(image(mac, tmp_path), None, writable=False):
        pass

    assert mac.attached == {}
    assert mac.paused == [0.25, 0.5, 1.0]
    assert not any("-force" in words for words in mac.commands)


def test_a_volume_that_stays_busy_is_detached_by_force_at_last(
    mac: FakeMac, tmp_path: Path
) -> None:
    mac.busy = 99
    with disks(mac).attached(image(mac, tmp_path), None, writable=False):
        pass

    assert mac.attached == {}
    assert mac.commands[-1] == ("hdiutil", "detach", "/dev/disk4", "-force")


def test_a_device_that_is_gone_already_counts_as_detached(mac: FakeMac, tmp_path: Path) -> None:
    mine = disks(mac)
    with mine.attached(image(mac, tmp_path), None, writable=False):
        mac.attached.clear()

    assert not mine.any_attached
    assert mac.paused == []


def test_only_what_was_attached_here_is_detached(mac: FakeMac, tmp_path: Path) -> None:
    path, other = image(mac, tmp_path), tmp_path / "other.dmg"
    disks(mac).create(other, 1 << 20)
    mac(("hdiutil", "attach", str(other)), 1)
    mine = disks(mac)
    with mine.attached(path, None, writable=False):
        pass
    mine.close()

    assert [p for p, _, _ in mac.attached.values()] == [str(other)]


def test_an_attach_whose_answer_cannot_be_read_is_undone(mac: FakeMac, tmp_path: Path) -> None:
    path = image(mac, tmp_path)

    def garbled(words: Sequence[str], timeout_s: float) -> FinishedTool:
        done = mac(words, timeout_s)
        return FinishedTool(0, b"oops", "") if "attach" in words else done

    mine = DiskImages(garbled, mac.pause)
    with (
        pytest.raises(RigError, match="no property list"),
        mine.attached(path, None, writable=True),
    ):
        pass
    assert mac.mine == {4}
    assert mac.attached == {}


def test_an_attach_that_mounts_nothing_is_an_error_and_undone(mac: FakeMac, tmp_path: Path) -> None:
    path = image(mac, tmp_path)

    def unmounted(words: Sequence[str], timeout_s: float) -> FinishedTool:
        return mac([w for w in words if w != "-mountpoint"], timeout_s)

    mine = DiskImages(unmounted, mac.pause)
    with (
        pytest.raises(RigError, match="nothing was mounted"),
        mine.attached(path, tmp_path, writable=True),
    ):
        pass
    assert mac.attached == {}


def test_fsck_looks_at_the_raw_store_of_an_image_that_is_not_mounted(
    mac: FakeMac, tmp_path: Path
) -> None:
    assert disks(mac).fsck(image(mac, tmp_path)).clean
    attach, fsck, _ = mac.commands

    assert {"-nomount", "-readonly"} <= set(attach)
    assert fsck == ("fsck_apfs", "-n", "/dev/rdisk4s1")
    assert mac.attached == {}


def test_a_program_of_this_machine_is_run_and_its_words_are_kept() -> None:
    done = run_system(["sh", "-c", "echo out; echo err >&2; exit 3"], 30.0)

    assert (done.status, done.stdout, done.said) == (3, b"out\n", "err")
    assert run_system(["sh", "-c", "echo $LC_ALL"], 30.0).stdout == b"C\n"


def test_a_program_that_is_missing_or_too_slow_is_named() -> None:
    with pytest.raises(CommandError, match=r"no-such-program.*cannot be started"):
        run_system(["no-such-program"], 30.0)
    with pytest.raises(CommandError, match=r"not done after 0\.01 s, and killed") as caught:
        run_system(["sh", "-c", "sleep 600 & wait"], 0.01)
    assert caught.value.status is None
    with pytest.raises(CommandError, match="ended with status 3: it said nothing"):
        run_checked(run_system, ["sh", "-c", "exit 3"], 30.0)


def test_a_program_is_ended_when_this_process_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    communicate = subprocess.Popen.communicate
    children: list[subprocess.Popen[bytes]] = []

    def interrupted(child: subprocess.Popen[bytes], timeout: float) -> tuple[bytes, bytes]:
        if child not in children:
            children.append(child)
            raise KeyboardInterrupt
        return communicate(child, timeout=timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_system(["sleep", "600"], 30.0)
    assert [child.returncode for child in children] == [-9]


def test_clonefile_is_asked_first_and_cp_only_where_libc_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(words: Sequence[str], timeout_s: float) -> FinishedTool:
        asked.append(tuple(words))
        return FinishedTool(0, b"", "")

    src, dst = tmp_path / "a", tmp_path / "b"
    SystemCloner(run, lambda a, b: None)(src, dst)
    assert asked == []
    monkeypatch.setattr(darwin_syscalls, "_looked_up", lambda name: None)
    SystemCloner(run)(src, dst)
    assert asked == [("cp", "-c", str(src), str(dst))]


def test_a_file_system_that_cannot_clone_is_never_copied_instead(tmp_path: Path) -> None:
    def cannot(src: str, dst: str) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    def run(words: Sequence[str], timeout_s: float) -> FinishedTool:
        raise AssertionError("a copy is no clone")

    with pytest.raises(RigError, match="set TMPDIR to a folder on an APFS volume"):
        SystemCloner(run, cannot)(tmp_path / "a", tmp_path / "b")


def test_half_a_copy_is_removed_and_an_old_file_never_overwritten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(darwin_syscalls, "_looked_up", lambda name: None)
    dst = tmp_path / "b"

    def failing(words: Sequence[str], timeout_s: float) -> FinishedTool:
        dst.write_bytes(b"half")
        return FinishedTool(1, b"", "cp: b: No space left on device")

    with pytest.raises(CommandError, match="No space left"):
        SystemCloner(failing)(tmp_path / "a", dst)
    assert not dst.exists()
    dst.write_bytes(b"old")
    with pytest.raises(RigError, match="never overwrites"):
        SystemCloner(failing)(tmp_path / "a", dst)
    assert dst.read_bytes() == b"old"


def test_elsewhere_the_darwin_calls_say_that_they_are_not_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(darwin_syscalls, "_looked_up", lambda name: None)
    mine = DarwinCalls()
    asked: tuple[Callable[[], None], ...] = (
        lambda: mine.barrier(0),
        lambda: mine.full(0),
        lambda: mine.volume(0),
        lambda: mine.rename("a", "b", "EXCHANGE"),
        lambda: clonefile("a", "b"),
    )
    for call in asked:
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what is looked at
            call()
        assert caught.value.errno == errno.ENOSYS


def test_the_darwin_calls_have_the_numbers_and_names_of_its_headers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, command: asked.append((fd, command)))

    def function(name: str, *given: object) -> int:
        asked.append((name, *given))
        return 0

    monkeypatch.setattr(darwin_syscalls, "_function", function)
    mine = DarwinCalls()
    mine.barrier(3)
    mine.full(3)
    mine.volume(3)
    mine.rename("a", "b", "NOREPLACE")
    mine.rename("a", "b", "EXCHANGE")
    clonefile("a", "b")

    assert asked == [
        (3, 85), (3, 51), ("fsync_volume_np", 3, 2), ("renamex_np", b"a", b"b", 4),
        ("renamex_np", b"a", b"b", 2), ("clonefile", b"a", b"b", 1),
    ]  # fmt: skip


def test_a_call_that_fails_raises_its_errno(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object) -> int:
        ctypes.set_errno(errno.EEXIST)
        return -1

    monkeypatch.setattr(darwin_syscalls, "_looked_up", lambda name: fails)
    with pytest.raises(FileExistsError, match="clonefile"):
        clonefile("a", "b")


def test_a_sync_of_the_volume_returns_its_errno_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(darwin_syscalls, "_looked_up", lambda name: lambda *given: errno.ENOSPC)
    with pytest.raises(OSError, match="fsync_volume_np") as caught:
        DarwinCalls().volume(3)
    assert caught.value.errno == errno.ENOSPC


def test_on_linux_it_is_said_what_a_mac_would_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    (sentence,) = missing_for_mac()

    assert "this is linux, not macOS" in sentence
    for word in ("F_BARRIERFSYNC", "F_FULLFSYNC", "fsck_apfs", "kernel crash", "power cut"):
        assert word in sentence


def on_a_mac(monkeypatch: pytest.MonkeyPatch, *, installed: bool = True) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(requirements, "is_installed", lambda name: installed)


def test_a_mac_with_all_it_needs_lacks_nothing(
    monkeypatch: pytest.MonkeyPatch, mac: FakeMac, tmp_path: Path
) -> None:
    on_a_mac(monkeypatch)
    monkeypatch.setattr(requirements, "FREE_BYTES", 1)
    assert missing_for_mac(mac, tmp_path) == []
    monkeypatch.setattr(requirements, "FREE_BYTES", 1 << 80)
    assert "B are needed" in " ".join(missing_for_mac(mac, tmp_path))


def test_each_lack_of_a_mac_is_named(
    monkeypatch: pytest.MonkeyPatch, mac: FakeMac, tmp_path: Path
) -> None:
    on_a_mac(monkeypatch)
    mac.host = "hfs"
    assert "lies on hfs, which cannot clone files" in missing_for_mac(mac, tmp_path)[0]
    broken = missing_for_mac(
        lambda words, timeout_s: FinishedTool(1, b"", "no such disk"), tmp_path
    )
    assert "no such disk" in broken[0]
    on_a_mac(monkeypatch, installed=False)
    assert [line.split()[2] for line in missing_for_mac(mac, tmp_path)] == list(
        requirements.PROGRAMS
    )


def test_the_machine_is_described_without_names_of_people(mac: FakeMac, tmp_path: Path) -> None:
    found = this_mac(mac, tmp_path)

    assert found.in_words().startswith("macOS 14.5 (23F79)")
    assert (found.volume, found.bus, found.solid_state) == ("apfs", "Apple Fabric", True)
    assert str(tmp_path) not in str(found.to_json())


def test_the_transcript_of_a_busy_detach_is_the_one_that_is_retried(mac: FakeMac) -> None:
    mac.attached[4], mac.busy = ("x", "", False), 1
    mac.mine.add(4)
    done = mac(("hdiutil", "detach", "/dev/disk4"), 1)

    assert (done.status, done.stderr) == (16, BUSY)
