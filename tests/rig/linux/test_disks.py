"""The rig on real disks: what it records, and what the kernel makes of crash images."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest
from attrs import evolve

from powercut.filesystem.ops import Create, Fsync, Mark, Mkdir, Op, Rename, Write
from powercut_rig import (
    PREFIXES_ONLY,
    BlockLog,
    Bounds,
    Flush,
    FsckReport,
    ImageRefused,
    Recipe,
    Rig,
    RigError,
    Tree,
    WriteBack,
    crash_images,
    read_tree,
    run_in_worker,
    run_in_worker_within,
)
from powercut_rig import Mark as LogMark
from powercut_rig import Write as LogWrite
from powercut_rig.blocks.block_log import CHUNK_BYTES, Replay
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.linux import fuse_server
from powercut_rig.linux.recorder import parse_log
from powercut_rig.mounted.image_mounter import ImageMounter
from powercut_rig.mounted.memory_disk import ScratchDisk
from powercut_rig.system import linux_syscalls
from powercut_rig.system.worker import private_folder

pytestmark = pytest.mark.rig

FAMILIES = ("ext4", "xfs", "btrfs")
SYNCED = b"synced content " * 800
LOOSE = b"loose content  " * 800
PIECE_BYTES = 1 << 20
EMPTY = bytes(CHUNK_BYTES)

PROGRAM: list[Op] = [
    Mkdir("/ckpt"),
    Create("/ckpt/synced"),
    Write("/ckpt/synced", 0, SYNCED),
    Fsync("/ckpt/synced"),
    Fsync("/ckpt"),
    Mark("acknowledged"),
    Create("/ckpt/loose"),
    Write("/ckpt/loose", 0, LOOSE),
    Rename("/ckpt/loose", "/ckpt/renamed"),
]
FSYNC_INDEX = 3


def record_program(
    fs: str,
    ops: list[Op],
    writeback: list[WriteBack] | None = None,
    setup: tuple[Op, ...] = (),
) -> BlockLog:
    with Rig(fs) as rig:
        return rig.record(ops, setup=setup, writeback=writeback)


def bounds(fs: str) -> Bounds:
    return Bounds(atomic_unit_bytes=FILE_SYSTEMS[fs].atomic_unit_bytes)


def trees_of(fs: str, recording: BlockLog, limit: int) -> list[tuple[int, Tree]]:
    found = crash_images(recording, bounds(fs)).sample(limit)
    with Rig(fs) as rig:
        return [
            (item.ops_completed, read_tree(image.mountpoint))
            for item, image in zip(found, rig.images(recording, found), strict=True)
        ]


@pytest.fixture(scope="module", params=FAMILIES)
def fs(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def recording(fs: str) -> BlockLog:
    return run_in_worker(record_program, fs, PROGRAM)


@pytest.fixture(scope="module")
def trees(fs: str, recording: BlockLog) -> list[tuple[int, Tree]]:
    return run_in_worker(trees_of, fs, recording, 200)


def test_a_synced_file_is_whole_in_each_image_after_its_fsync(
    trees: list[tuple[int, Tree]],
) -> None:
    after = [tree for completed, tree in trees if completed > FSYNC_INDEX]
    assert after
    assert all(tree.get("ckpt/synced") == SYNCED for tree in after)


def test_an_unsynced_file_is_sometimes_lost_and_sometimes_there(
    trees: list[tuple[int, Tree]],
) -> None:
    after = [tree for completed, tree in trees if completed == len(PROGRAM)]
    assert any("ckpt/loose" not in tree and "ckpt/renamed" not in tree for tree in after)
    assert any(tree.get("ckpt/renamed") == LOOSE for tree in after)


def test_before_its_fsync_the_file_is_sometimes_missing(trees: list[tuple[int, Tree]]) -> None:
    assert any("ckpt/synced" not in tree for completed, tree in trees if completed == FSYNC_INDEX)


def test_an_fsync_writes_the_bytes_and_then_flushes_before_it_returns(recording: BlockLog) -> None:
    records = recording.records
    begin = records.index(LogMark("fsync", FSYNC_INDEX, "begin"))
    end = records.index(LogMark("fsync", FSYNC_INDEX, "end"))
    during = records[begin:end]
    data = next(
        i for i, r in enumerate(during) if isinstance(r, LogWrite) and SYNCED[:4096] in r.data
    )
    assert Flush() in during[data:]


def test_every_op_has_its_two_marks_in_order(recording: BlockLog) -> None:
    marks = [r for r in recording.records if isinstance(r, LogMark) and r.phase != "note"]
    assert [(m.op_index, m.phase) for m in marks] == [
        (index, phase) for index in range(len(PROGRAM)) for phase in ("begin", "end")
    ]


def test_setup_is_in_the_base_and_no_crash_loses_it(fs: str) -> None:
    setup = (Mkdir("/old"), Create("/old/f"), Write("/old/f", 0, b"old"))
    recording = run_in_worker(record_program, fs, [Mkdir("/new")], [], setup)
    trees = run_in_worker(trees_of, fs, recording, 50)
    assert all(tree.get("old/f") == b"old" for _, tree in trees)
    assert any("new" not in tree for _, tree in trees)


def test_a_commit_on_demand_brings_an_unsynced_directory_to_the_disk_early(
    fs: str,
) -> None:
    ops: list[Op] = [Mkdir("/d"), Mark("later")]
    plans: dict[str, list[WriteBack]] = {"with": [WriteBack(0, "commit")], "without": []}
    lost = {}
    for name, plan in plans.items():
        trees = run_in_worker(trees_of, fs, run_in_worker(record_program, fs, ops, plan), 200)
        lost[name] = any("d" not in tree for completed, tree in trees if completed == 2)
    assert lost == {"with": False, "without": True}


def test_data_written_back_early_reaches_the_disk_before_any_sync(fs: str) -> None:
    ops: list[Op] = [Create("/f"), Write("/f", 0, LOOSE), Mark("later")]
    log = run_in_worker(record_program, fs, ops, [WriteBack(1, "data", "/f", 0, 4096)])
    later = log.records.index(LogMark("later", 2, "begin"))
    early = [r for r in log.records[:later] if isinstance(r, LogWrite)]
    assert any(LOOSE[:4096] in r.data for r in early)


def read_back(fs: str, recording: BlockLog) -> list[int]:
    """The places at which the device has other bytes than it should, image by image."""
    replay, wrong = Replay(recording), []
    images = crash_images(recording, bounds(fs)).sample(2)
    with (
        private_folder() as folder,
        ImageMounter(folder, FILE_SYSTEMS[fs], recording) as mounter,
    ):
        for image in (*images, *reversed(images)):
            mounter.mount(image.recipe)  # dirties the image, so that leftovers would show
            mounter.unmount()
            mounter._disk.hold(replay.content(image.recipe).cells)
            expected = {**recording.base, **dict(replay.content(image.recipe).chunks())}
            with Path(mounter._disk.device).open("rb") as device:
                # Most of a disk is empty, so it is compared in pieces of many chunks.
                for start in range(0, recording.size_bytes, PIECE_BYTES):
                    chunks = range(start // CHUNK_BYTES, (start + PIECE_BYTES) // CHUNK_BYTES)
                    piece = b"".join(expected.get(chunk, EMPTY) for chunk in chunks)
                    if device.read(PIECE_BYTES) != piece:
                        wrong.append(start)
                assert device.read() == b""
    return wrong


def test_the_device_reads_back_just_what_the_recipe_says(fs: str, recording: BlockLog) -> None:
    assert run_in_worker(read_back, fs, recording) == []


def scribble_twice(fs: str, recording: BlockLog) -> list[list[str]]:
    end = Recipe(len(recording.records))
    with Rig(fs) as rig:
        seen = []
        for image in rig.images(recording, [end, end]):
            seen.append(sorted(read_tree(image.mountpoint)))
            Path(image.mountpoint, "scribble").write_bytes(b"x" * 100_000)
        return seen


def test_changes_to_an_image_are_thrown_away_with_it(fs: str, recording: BlockLog) -> None:
    first, second = run_in_worker(scribble_twice, fs, recording)
    assert first == second
    assert "scribble" not in second


def fsck_some(fs: str, recording: BlockLog) -> list[FsckReport]:
    found = crash_images(recording, PREFIXES_ONLY).sample(6)
    with Rig(fs) as rig:
        return [image.fsck() for image in rig.images(recording, found)]


def test_fsck_finds_the_recovered_prefixes_clean(fs: str, recording: BlockLog) -> None:
    reports = run_in_worker(fsck_some, fs, recording)
    assert [report.output for report in reports if not report.clean] == []


def mount_ruined(fs: str, recording: BlockLog) -> tuple[bool, str, Tree]:
    ruined = evolve(recording, base={}, records=())
    end = Recipe(len(recording.records))
    with Rig(fs) as rig:
        (image,) = rig.images(ruined, [Recipe(0)])
        try:
            said = image.mountpoint
        except ImageRefused as refusal:
            said = str(refusal)
        (whole,) = (read_tree(image.mountpoint) for image in rig.images(recording, [end]))
        return image.refusal is not None, said, whole


def test_an_image_that_does_not_mount_is_told_and_does_not_stop_the_next(
    fs: str, recording: BlockLog
) -> None:
    refused, said, whole = run_in_worker(mount_ruined, fs, recording)
    assert refused
    assert "does not mount" in said
    assert whole["ckpt/synced"] == SYNCED


def leave_open(fs: str, recording: BlockLog) -> list[int]:
    with Rig(fs) as rig:
        end = Recipe(len(recording.records))
        return [
            os.open(Path(image.mountpoint, "ckpt", "synced"), os.O_RDONLY)
            for image in rig.images(recording, [end, end])
        ]


def test_a_reader_that_leaves_a_file_open_is_told(fs: str, recording: BlockLog) -> None:
    with pytest.raises(RigError, match="still in use") as caught:
        run_in_worker(leave_open, fs, recording)
    assert "leave_open" in caught.value.__notes__[0]


def test_an_op_that_fails_is_named_across_the_process_boundary() -> None:
    with pytest.raises(RigError, match=r"Op 0, Fsync\(path='/none'.*\), failed"):
        run_in_worker(record_program, "ext4", [Fsync("/none")])


def test_a_worker_that_hangs_is_killed_at_its_deadline() -> None:
    with pytest.raises(RigError, match="did not answer within 0 s"):
        run_in_worker_within(0.2, time.sleep, 60)


def test_a_worker_that_dies_is_reported() -> None:
    with pytest.raises(RigError, match="died before it answered"):
        run_in_worker(os._exit, 9)


def test_an_answer_that_does_not_pickle_is_reported() -> None:
    with pytest.raises(RigError, match="does not pickle"):
        run_in_worker(lambda: lambda: 1)


def test_a_log_that_ends_inside_a_record_is_refused() -> None:
    for broken in (b"\1" * 5, b"\1" + bytes(8) + b"\4\0\0\0xy"):
        with pytest.raises(RigError, match="ends inside a record"):
            list(parse_log(broken))
    with pytest.raises(RigError, match="unknown kind 9"):
        list(parse_log(b"\x09" + bytes(fuse_server.LOG_ENTRY.size - 1)))


def seen_after_a_hold(touch: str) -> bytes:
    """What a reader of the device finds where a content was laid over what the kernel had cached.

    `touch` says what it had: a page that was read, or one that it has yet to write.
    """
    with private_folder() as folder, ScratchDisk(folder, 1 << 20, {}, block_bytes=512) as disk:
        fd = os.open(disk.device, os.O_RDWR)
        try:
            if touch == "read":
                os.pread(fd, CHUNK_BYTES, 0)
            else:
                os.pwrite(fd, b"o" * CHUNK_BYTES, 0)
            disk.hold({0: (b"n" * CHUNK_BYTES, 1)})
            return os.pread(fd, CHUNK_BYTES, 0)
        finally:
            os.close(fd)


@pytest.mark.parametrize("touch", ["read", "written"])
def test_a_content_is_what_is_read_whatever_the_kernel_had_cached(touch: str) -> None:
    assert run_in_worker(seen_after_a_hold, touch) == b"n" * CHUNK_BYTES


def kept_by_a_reader(pauses_kept: int) -> tuple[int, int]:
    """A page of a device stays in the kernel's cache while somebody has it mapped.

    How many pages there were, and how many pauses it took until there were none.
    """
    with private_folder() as folder, ScratchDisk(folder, 1 << 20, {}, block_bytes=512) as disk:
        fd = os.open(disk.device, os.O_RDWR)
        mapped = mmap.mmap(fd, CHUNK_BYTES)
        assert mapped[0] == 0  # which brings the page in
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == pauses_kept:
                mapped.close()

        try:
            before = linux_syscalls.cached_pages(fd, 1 << 20)
            disk.loop.forget_cached_pages(pause)
            assert linux_syscalls.cached_pages(fd, 1 << 20) == 0
        finally:
            mapped.close()
            os.close(fd)
        return before, len(pauses)


def test_a_page_that_somebody_still_holds_is_waited_for() -> None:
    pages, pauses = run_in_worker(kept_by_a_reader, 5)
    assert pages > 0
    assert pauses == 5


def seen_while_a_page_is_held() -> tuple[bytes, bool]:
    """What is read of a content whose device had a page that stays; and is it another device?"""
    with private_folder() as folder, ScratchDisk(folder, 1 << 20, {}, block_bytes=512) as disk:
        first = disk.device
        fd = os.open(first, os.O_RDWR)
        with mmap.mmap(fd, CHUNK_BYTES) as mapped:
            assert mapped[0] == 0  # which brings the page in
            disk.hold({0: (b"n" * CHUNK_BYTES, 1)})
        os.close(fd)
        with open(disk.device, "rb") as device:
            return device.read(CHUNK_BYTES), disk.device != first


def test_a_content_gets_another_device_where_a_page_stays_for_good() -> None:
    assert run_in_worker(seen_while_a_page_is_held) == (b"n" * CHUNK_BYTES, True)
