"""Recording by clones, and mounting them, on a Mac of paper."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from attrs import evolve

from powercut.filesystem import ops
from powercut_rig.blocks.block_log import Recipe
from powercut_rig.blocks.crash_images import Bounds
from powercut_rig.errors import RigError
from powercut_rig.macos import session as session_module
from powercut_rig.macos.clone_recorder import count_in_file, loop_in_thread
from powercut_rig.macos.darwin_syscalls import DarwinCalls
from powercut_rig.macos.op_runner import MacOpRunner
from powercut_rig.macos.rig import CloneLog, MacRig
from powercut_rig.macos.session import PREFIX, own_folder, session
from powercut_rig.macos.subprocesses import CommandError
from powercut_rig.mounted.tree_reader import read_tree
from powercut_rig.mounted.writeback import WriteBack
from tests.rig.macos.fake_mac import FakeMac, at_once

OPS = (
    ops.Create("/a"),
    ops.Write("/a", 0, b"one"),
    ops.Fsync("/a"),
    ops.Barrier("/a"),
    ops.Fullsync("/"),
    ops.Write("/a", 0, b"two"),
)


def trees_by_ops(rig: MacRig, log: CloneLog) -> dict[int, object]:
    return {
        moment.progress.ops_completed: rig.tree(log, image.recipe).plain
        for image in log.found.images
        for moment in image.moments
    }


def test_a_clone_is_taken_for_each_step_and_shows_what_the_drive_had(rig: MacRig) -> None:
    log = rig.record(OPS, writeback=())

    assert trees_by_ops(rig, log) == {
        0: {},
        1: {},
        2: {},
        3: {"a": b"one"},
        4: {"a": b"one"},
        5: {"a": b"one"},
        6: {"a": b"two"},
    }
    assert {m.crash_class for image in log.found.images for m in image.moments} == {"kernel"}
    # One before the first op, one after each, four beside each of three syncs, two at the end.
    assert log.found.considered == 1 + len(OPS) + 3 * 4 + 2
    assert len(log.found.images) == len(log.clones) == 3


def test_each_sync_of_macos_is_itself(mac: FakeMac, rig: MacRig) -> None:
    rig.record(OPS, writeback=())

    assert mac.syncs == ["volume", "fsync", "barrier", "full", "volume"]


def test_clones_beside_a_sync_say_that_it_had_begun_and_not_returned(rig: MacRig) -> None:
    log = rig.record((ops.Create("/a"), ops.Fsync("/a")), writeback=())
    moments = [m.progress for image in log.found.images for m in image.moments]

    assert {(m.ops_completed, m.ops_begun) for m in moments} == {(0, 0), (1, 1), (1, 2), (2, 2)}


def test_images_are_mounted_read_only_and_then_read_write_and_never_two_at_a_time(
    mac: FakeMac, rig: MacRig
) -> None:
    log = rig.record(OPS, writeback=())
    mac.commands.clear()
    found = rig.crash_images(log, Bounds()).images
    trees = [read_tree(mounted.mountpoint) for mounted in rig.images(log, found)]

    assert trees == [{}, {"a": b"one"}, {"a": b"two"}]
    attaches = ["-readonly" in words for words in mac.commands if words[1] == "attach"]
    assert attaches == [True, False] * 3


def test_what_is_done_to_a_mounted_image_is_thrown_away(rig: MacRig) -> None:
    log = rig.record(OPS, writeback=())
    for _ in range(2):
        for mounted in rig.images(log, log.found.images[:1]):
            assert read_tree(mounted.mountpoint) == {}
            (Path(mounted.mountpoint) / "mess").write_bytes(b"x")


def test_an_image_that_does_not_mount_is_a_finding_and_the_others_go_on(rig: MacRig) -> None:
    log = rig.record(OPS, writeback=())
    log.clones[log.found.images[1].recipe.position].write_bytes(b"damaged")
    refusals = [mounted.refusal for mounted in rig.images(log, log.found.images)]

    assert [refusal is None for refusal in refusals] == [True, False, True]
    assert "no mountable file systems" in str(refusals[1])


def test_an_image_that_shows_two_trees_is_a_finding(mac: FakeMac, rig: MacRig) -> None:
    log = rig.record(OPS, writeback=())
    seen = 0

    def spoil(words: tuple[str, ...]) -> None:
        nonlocal seen
        if words[1] == "attach" and "-readonly" not in words and "recording" not in words[2]:
            Path(words[2]).write_bytes(log.clones[log.found.images[0].recipe.position].read_bytes())
            seen += 1

    mac.on_command = spoil
    (mounted,) = list(rig.images(log, log.found.images[1:2]))

    assert seen == 1
    assert "differs in ['a']" in str(mounted.refusal)


def test_a_life_on_a_clone_is_a_recording_of_its_own(mac: FakeMac, rig: MacRig) -> None:
    log = rig.record(OPS, writeback=())

    def act(make: object, mark: object) -> str:
        root = mac.root / "root"
        assert callable(mark)
        mark("write", 0, "begin")
        (root / "b").write_bytes(b"again")
        with (root / "b").open("rb") as opened:
            mac.fsync(opened.fileno())
        mark("write", 0, "end")
        return "done"

    again, answer = rig.record_on(log, log.found.images[1].recipe, act)
    trees = [
        read_tree(mounted.mountpoint) for mounted in rig.images_after(again, again.found.images)
    ]

    assert answer == "done"
    assert trees == [{"a": b"one"}, {"a": b"one", "b": b"again"}]


def test_fsck_ends_the_mount_and_looks_at_the_clone(mac: FakeMac, rig: MacRig) -> None:
    log = rig.record(OPS, writeback=())
    for mounted in rig.images(log, log.found.images[:1]):
        assert mounted.fsck().clean
        assert mac.attached == {}
    assert any(words[0] == "fsck_apfs" for words in mac.commands)


def test_an_op_that_macos_does_not_have_is_refused_with_its_name(rig: MacRig) -> None:
    with pytest.raises(RigError, match="O_TMPFILE"):
        rig.record((ops.Tmpfile("/", "h"),))


def test_a_recipe_without_a_clone_is_refused(rig: MacRig) -> None:
    log = rig.record(OPS, writeback=())
    with pytest.raises(RigError, match="No clone was taken"):
        rig.tree(log, Recipe(9999))


def test_an_early_write_reaches_the_drive_before_any_sync(rig: MacRig) -> None:
    log = rig.record(OPS[:2], writeback=[WriteBack(1, "syncfs")])

    assert trees_by_ops(rig, log) == {0: {}, 1: {}, 2: {"a": b"one"}}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RigError])
def test_an_error_in_the_middle_leaves_nothing_attached_and_no_folder(
    mac: FakeMac, tmp_path: Path, error: type[BaseException]
) -> None:
    def fail(make: object, mark: object) -> None:
        raise error

    opened = session(
        mac, clone=mac.clone, calls=mac, background=at_once, pause=mac.pause, parent=tmp_path
    )

    def use() -> None:
        with opened as rig:
            log = rig.record(OPS, writeback=())
            rig.record_on(log, log.found.images[0].recipe, fail)

    with pytest.raises(error):
        use()

    assert mac.attached == {}
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_inside_an_attach_detaches_what_the_attach_had_made(
    mac: FakeMac, tmp_path: Path
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(words: tuple[str, ...]) -> None:
        if words[1] == "attach":
            signal.raise_signal(signal.SIGINT)

    mac.after_command = interrupt
    opened = session(mac, clone=mac.clone, calls=mac, pause=mac.pause, parent=tmp_path)
    with pytest.raises(KeyboardInterrupt), opened as rig:
        rig.record(OPS)

    assert mac.mine
    assert mac.attached == {}
    assert list(tmp_path.iterdir()) == []
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_what_a_killed_run_left_is_detached_and_removed_and_a_live_run_is_left_alone(
    mac: FakeMac, tmp_path: Path
) -> None:
    dead, other = tmp_path / f"{PREFIX}dead", tmp_path / "somebody-else"
    for folder in (dead, other):
        folder.mkdir()
        mac(("hdiutil", "create", str(folder / "x.dmg")), 1)
        mac(("hdiutil", "attach", str(folder / "x.dmg")), 1)

    def another() -> AbstractContextManager[MacRig]:
        return session(mac, clone=mac.clone, calls=mac, pause=mac.pause, parent=tmp_path)

    with another() as living:
        with another():
            assert living.folder.exists()
        assert living.folder.exists()

    assert not dead.exists()
    assert [path for path, _, _ in mac.attached.values()] == [str(other / "x.dmg")]


def test_a_folder_whose_image_stays_attached_is_kept_and_the_command_is_said(
    mac: FakeMac, tmp_path: Path
) -> None:
    opened = session(
        mac, clone=mac.clone, calls=mac, background=at_once, pause=mac.pause, parent=tmp_path
    )

    def refuse(words: tuple[str, ...]) -> None:
        if words[1] == "detach":
            raise CommandError(words, 16, "Resource busy")

    def use() -> None:
        with opened as rig:
            log = rig.record(OPS[:1], writeback=())
            mac.next_device = 4
            mac.on_command = refuse
            rig.tree(log, log.found.images[0].recipe)

    with pytest.raises(RigError, match="hdiutil detach /dev/disk4 -force"):
        use()

    assert len(list(tmp_path.iterdir())) == 1


def test_a_new_folder_that_another_run_took_for_a_dead_ones_is_made_again(
    mac: FakeMac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = session_module._locked
    taken: list[Path] = []

    def taken_once(folder: Path) -> int:
        if not taken:
            taken.append(folder)
            folder.rmdir()
            raise BlockingIOError
        return locked(folder)

    monkeypatch.setattr(session_module, "_locked", taken_once)
    with session(mac, clone=mac.clone, calls=mac, parent=tmp_path) as rig:
        assert [rig.folder] == list(tmp_path.iterdir())
        assert rig.folder not in taken


def test_a_folder_of_its_own_is_gone_afterwards(rig: MacRig) -> None:
    with own_folder(rig, "one") as own:
        own.record(OPS[:1], writeback=())
        assert list(own.folder.iterdir())
    assert not (rig.folder / "one").exists()


def test_an_op_that_fails_ends_what_takes_clones_beside_it(mac: FakeMac, rig: MacRig) -> None:
    ended = []

    def background(step: Callable[[], bool]) -> Callable[[], None]:
        return lambda: ended.append("ended")

    failing = evolve(rig, background=background)
    with pytest.raises(RigError, match="Op 0"):
        failing.record((ops.Fsync("/nothing"),), writeback=())
    assert ended == ["ended"]


def test_what_fails_beside_the_program_is_raised_where_it_ends() -> None:
    def step() -> bool:
        raise RigError("no room for a clone")

    with pytest.raises(RigError, match="no room"):
        loop_in_thread(step)()
    loop_in_thread(lambda: False)()


def test_a_clone_beside_a_sync_that_never_ends_is_an_error() -> None:
    begun, let_go = threading.Event(), threading.Event()

    def step() -> bool:
        begun.set()
        let_go.wait()
        return False

    end = loop_in_thread(step, join_s=0)
    begun.wait()
    try:
        with pytest.raises(RigError, match="nothing is concluded"):
            end()
    finally:
        let_go.set()


def test_a_store_into_a_map_and_its_msync_are_no_full_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mmap.mmap` over a file issues F_FULLFSYNC on macOS, so no file may come to it."""

    class OfNoFile(mmap.mmap):
        def __new__(cls, fd: int, *arguments: int) -> OfNoFile:
            assert fd == -1
            return super().__new__(cls, fd, *arguments)

    monkeypatch.setattr(mmap, "mmap", OfNoFile)
    path = tmp_path / "a"
    path.write_bytes(bytes(3 * mmap.PAGESIZE))
    runner = MacOpRunner(str(tmp_path), DarwinCalls())
    at = 2 * mmap.PAGESIZE + 5

    runner.perform(ops.Mapwrite("/a", at, b"stored"))
    runner.perform(ops.Msync("/a", at, 6))

    assert path.read_bytes() == bytes(at) + b"stored" + bytes(mmap.PAGESIZE - 11)
    for beyond in (
        ops.Mapwrite("/a", path.stat().st_size - 1, b"xy"),
        ops.Msync("/a", at, 1 << 20),
    ):
        with pytest.raises(OSError, match="the file is shorter"):
            runner.perform(beyond)


def test_a_map_reaches_the_drive_at_its_msync(mac: FakeMac, rig: MacRig) -> None:
    program = (*OPS[:2], ops.Fsync("/a"), ops.Mapwrite("/a", 0, b"two"), ops.Msync("/a", 0, 3))
    log = rig.record(program, writeback=())
    seen = trees_by_ops(rig, log)

    assert (seen[4], seen[5]) == ({"a": b"one"}, {"a": b"two"})
    assert mac.syncs.count("msync") == 1


def test_all_room_is_filled_freed_and_both_reach_the_drive(
    mac: FakeMac, rig: MacRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    block, room = bytes(range(256)) * 16, 1_000_000
    written = 0
    fills: list[int] = []

    def write(fd: int, data: bytes) -> int:
        nonlocal written
        if written + len(data) > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += len(data)
        return os.pwrite(fd, data, written - len(data))

    synced = FakeMac.volume

    def volume(mac: FakeMac, fd: int) -> None:
        fill = mac.root / "fill"
        fills.append(fill.read_bytes().count(block) if fill.exists() else 0)
        synced(mac, fd)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(FakeMac, "volume", volume)
    log = rig.record(OPS[:1], setup=(ops.Mkdir("/d"),), writeback=(), fill=block)

    assert fills[:3] == [room // len(block), 0, 0]
    assert trees_by_ops(rig, log)[0] == {"d": None}


def test_a_block_is_counted_wherever_it_begins(tmp_path: Path) -> None:
    path, block = tmp_path / "image", b"ab" * 2048
    path.write_bytes(b"?" + block + b"?" * ((1 << 20) - 5000) + block * 3 + b"ab")

    assert count_in_file(path, block) == 4
    assert count_in_file(path, b"none of these") == 0
