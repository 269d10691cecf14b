"""The cache of guests: what a power cut, damage, another process or a failure leave of it."""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.guest import prepare as preparing
from powercut_rig.guest import snapshot
from powercut_rig.guest.build import cache, packages
from powercut_rig.guest.build.packages import DebianPackage, GuestPackages
from powercut_rig.guest.build.python_bundle import PythonBundle
from powercut_rig.guest.machine.qemu import SavedGuest
from powercut_rig.guest.prepare import (
    KEPT,
    BuiltGuest,
    ReadyGuest,
    anew_if_damaged,
    build,
    cache_folder,
    key_of,
    newest_kept,
    prepare,
    replaced,
)


def parts_of(*digests: str) -> GuestPackages:
    return GuestPackages(
        "6.1", tuple(DebianPackage(f"p{d}", f"p{d}_1_all.deb", 1, d) for d in digests)
    )


def make(parts: GuestPackages, work: Path, result: Path) -> None:
    assert work.is_dir()
    (result / "vmlinux").write_text(parts.release)


def never(parts: GuestPackages, work: Path, result: Path) -> None:
    pytest.fail("made again")


def test_the_key_changes_with_every_package_and_with_nothing_else() -> None:
    assert key_of(parts_of("a", "b")) == key_of(parts_of("a", "b"))
    assert len({key_of(parts_of(*digests)) for digests in (("a", "b"), ("a", "c"), ("a",))}) == 3


def test_the_key_changes_with_the_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from powercut_rig.guest.build import driver_patch

    before = key_of(parts_of("a"))
    other = tmp_path / "driver_patch.py"
    other.write_bytes(Path(driver_patch.__file__).read_bytes() + b"\n# changed\n")
    monkeypatch.setattr(driver_patch, "__file__", str(other))
    assert key_of(parts_of("a")) != before


def test_a_guest_is_made_once(tmp_path: Path) -> None:
    first = prepare(parts_of("a"), tmp_path, make)
    second = prepare(parts_of("a"), tmp_path, never)

    assert first == second
    assert first.vmlinux.read_text() == "6.1"


def test_a_guest_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(parts: GuestPackages, work: Path, result: Path) -> None:
        (result / "vmlinux").write_text("half")
        raise RigUnavailable(["the compiler said no"])

    with pytest.raises(RigUnavailable, match="the compiler said no"):
        prepare(parts_of("a"), tmp_path, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert prepare(parts_of("a"), tmp_path, make).vmlinux.exists()


def test_what_a_killed_run_left_is_removed_and_old_guests_with_it(tmp_path: Path) -> None:
    (tmp_path / "building-dead").mkdir()
    made = []
    for number in range(KEPT + 3):
        guest = prepare(parts_of(str(number)), tmp_path, make)
        os.utime(guest.vmlinux.parent, (number, number))
        made.append(guest.vmlinux.parent)

    assert [path for path in made if path.is_dir()] == made[-KEPT - 1 :]
    assert not (tmp_path / "building-dead").exists()


def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RigUnavailable, match="XDG_CACHE_HOME"):
        prepare(parts_of("a"), tmp_path / "file" / "below", make)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/powercut-rig")


# What a crash leaves


def synced_and_renamed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made durable, and what is renamed, in the order in which that happens."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def log_fsync(fd: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fsync(fd)

    def log_rename(self: Path, target: Path) -> Path:
        done.append(f"{self.name} -> {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(Path, "rename", log_rename)
    return done


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are named by /proc")
def test_a_guest_is_durable_before_it_has_its_name_and_its_name_is_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = synced_and_renamed(monkeypatch)
    home = prepare(parts_of("a"), tmp_path, make).home

    named = f"result -> {home.name}"
    assert done == ["about.json", "vmlinux", cache.RECORD, "result", named, tmp_path.name]


def test_an_empty_kernel_is_noticed_and_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = prepare(parts_of("a"), tmp_path, make)
    guest.vmlinux.write_bytes(b"")

    assert prepare(parts_of("a"), tmp_path, make).vmlinux.read_text() == "6.1"
    assert "vmlinux has 0 B and was made with 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "record", [None, b"", b"[]", b"{", b"\xff", b'{"vmlinux": 3}', b'{"vmlinux": [3, 1, 2]}']
)
def test_a_folder_without_a_sound_record_is_made_anew(record: bytes | None, tmp_path: Path) -> None:
    home = prepare(parts_of("a"), tmp_path, make).home
    (home / cache.RECORD).unlink()
    if record is not None:
        (home / cache.RECORD).write_bytes(record)

    assert cache.find_damage(home)
    prepare(parts_of("a"), tmp_path, make)
    assert not cache.find_damage(home, digests=True)


def test_other_bytes_of_the_same_size_are_found_when_a_guest_does_not_start(tmp_path: Path) -> None:
    guest = prepare(parts_of("a"), tmp_path, make)
    guest.vmlinux.write_text("6.x")

    def boot() -> str:
        prepare(parts_of("a"), tmp_path, make)
        if guest.vmlinux.read_text() != "6.1":
            raise RigUnavailable(["it did not boot"])
        return "booted"

    assert not cache.find_damage(guest.home)
    assert anew_if_damaged(boot, tmp_path, guest.home) == "booted"


def test_a_guest_that_is_sound_and_does_not_start_is_kept_and_the_error_stays(
    tmp_path: Path,
) -> None:
    guest = prepare(parts_of("a"), tmp_path, make)

    def boot() -> None:
        raise RigUnavailable(["it did not boot"])

    with pytest.raises(RigUnavailable, match="did not boot"):
        anew_if_damaged(boot, tmp_path, guest.home)
    assert not cache.find_damage(guest.home, digests=True)


# The saved guest in it


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Boots that were made, none of them real."""
    made: list[Path] = []

    def boot(home: Path, new: SavedGuest, bundle: PythonBundle) -> None:
        made.append(home)
        new.memory.write_bytes(b"memory")
        new.devices.write_bytes(b"devices")

    monkeypatch.setattr(snapshot, "boot_and_save", boot)
    monkeypatch.setattr(snapshot, "key_of", lambda bundle: "key")
    return made


BUNDLE = PythonBundle("/python", (), (), (), ())


def test_a_saved_guest_is_booted_again_only_where_it_is_damaged(
    tmp_path: Path, boots: list[Path]
) -> None:
    (tmp_path / "saving-dead").mkdir()
    first = snapshot.saved_guest(tmp_path, "6.1", BUNDLE)
    assert snapshot.saved_guest(tmp_path, "6.1", BUNDLE) == first
    assert len(boots) == 1
    first.memory.write_bytes(b"")
    assert snapshot.saved_guest(tmp_path, "6.1", BUNDLE).memory.read_bytes() == b"memory"
    assert len(boots) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["saved-key"]


def test_of_a_guest_that_does_not_start_only_what_is_damaged_is_replaced(
    tmp_path: Path, boots: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = prepare(parts_of("a"), tmp_path, make)
    broken = ReadyGuest(guest, snapshot.saved_guest(guest.home, "6.1", BUNDLE), {})
    fresh = ReadyGuest(guest, broken.saved, {"fresh": []})
    monkeypatch.setattr(preparing, "prepared", functools.cache(lambda: fresh))

    assert replaced(broken) is None
    broken.saved.memory.write_bytes(b"m-m-ry")
    assert replaced(broken) == fresh
    assert not broken.saved.folder.exists()
    assert guest.vmlinux.exists()


# What an error says


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file", "boot/x"), RigError("strip boot/x: no")]
)
def test_a_failed_step_is_not_called_a_failure_of_the_cache(
    error: Exception, tmp_path: Path
) -> None:
    def fail(parts: GuestPackages, work: Path, result: Path) -> None:
        raise error

    with pytest.raises(RigUnavailable, match=r"could not be built .*boot/x") as caught:
        prepare(parts_of("a"), tmp_path, fail)
    assert "XDG_CACHE_HOME" not in str(caught.value)


def test_a_package_without_its_kernel_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuestPackages, "fetch", lambda self, folder: folder)
    with pytest.raises(RigUnavailable, match=r"one boot/vmlinuz-6\.1 of the kernel's package"):
        build(parts_of("a"), tmp_path, tmp_path)


# Another process


def test_who_waits_says_for_whom_and_goes_on_when_the_other_has_ended(tmp_path: Path) -> None:
    said: list[str] = []
    with cache.exclusive(tmp_path, say=said.append) as _, pytest.MonkeyPatch.context() as patch:
        assert said == []
        held = iter([True, True, False])
        flock = fcntl.flock

        def busy(fd: int, how: int) -> None:
            if next(held):
                flock(fd, how)

        patch.setattr(fcntl, "flock", busy)
        with cache.exclusive(tmp_path, say=said.append, sleep=lambda _: None):
            assert said == [
                f"waiting for process {os.getpid()}, which makes the guest in {tmp_path}"
            ]


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    times = iter([0.0, 5.0, 9.0, 11.0])

    def wait() -> None:
        with cache.exclusive(
            tmp_path, 10.0, say=lambda _: None, clock=times.__next__, sleep=lambda _: None
        ):
            pytest.fail("both at a time")

    with (
        cache.exclusive(tmp_path),
        pytest.raises(RigUnavailable, match=f"Process {os.getpid()} has"),
    ):
        wait()
    assert list(times) == []


# Where apt's lists are gone


def test_the_newest_complete_guest_of_this_code_is_used_where_apt_knows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert newest_kept(tmp_path) is None
    homes = [prepare(parts_of(name), tmp_path, make).home for name in "abc"]
    for age, home in enumerate(homes):
        os.utime(home, (age, age))
    assert newest_kept(tmp_path) == BuiltGuest(homes[2], "6.1")
    (homes[2] / "vmlinux").write_bytes(b"")
    assert newest_kept(tmp_path) == BuiltGuest(homes[1], "6.1")
    monkeypatch.setattr(preparing, "_code", lambda: "other code")
    assert newest_kept(tmp_path) is None


@pytest.fixture
def apt_without_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    def none() -> GuestPackages:
        raise RigUnavailable(["apt knows no kernel"])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packages, "missing_programs", list)
    monkeypatch.setattr(packages, "known_parts", none)
    monkeypatch.setattr(preparing, "ready", lambda guest: guest)
    preparing.prepared.cache_clear()
    yield cache_folder()
    preparing.prepared.cache_clear()


def test_that_it_is_used_is_told(
    apt_without_lists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RigUnavailable, match="apt knows no kernel"):
        preparing.prepared()
    guest = prepare(parts_of("a"), apt_without_lists, make)
    found: object = preparing.prepared()

    assert found == guest
    assert f"the guest of before is used: Linux 6.1, {guest.home}" in capsys.readouterr().err
