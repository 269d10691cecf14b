"""Guests at work: recordings, crash images, and what happens when a guest hangs or dies."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner

from powercut.filesystem.ops import Create, Fsync, Link, Mkdir, Op, Rename, Symlink, Sync, Write
from powercut_rig.blocks.block_log import Recipe
from powercut_rig.blocks.crash_images import crash_images
from powercut_rig.campaigns.random_programs import program_trace
from powercut_rig.campaigns.soak import SoakWorkload
from powercut_rig.cli.commands import soak_command
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest.machine import connection, qemu
from powercut_rig.guest.machine.connection import GuestLostError
from powercut_rig.guest.prepare import prepared
from powercut_rig.guest.rig import GuestRig, session_for
from powercut_rig.judge.judge import JudgeEffort, compare_in_worker
from powercut_rig.judge.result import HUNG, Comparison
from powercut_rig.mounted.tree_reader import Tag, TreeSnapshot
from powercut_rig.system.worker import Worker, run_without_mounts
from powercut_rig.system.worker_pool import Job, run_jobs
from tests.rig.processes import DEADLINE_S, alive, descendants, eventually, running

pytestmark = pytest.mark.guest

GUESTS = [name for name, fs in FILE_SYSTEMS.items() if fs.in_guest]
SOUND = ["apfs-linux", "guest-ext4"]
NOBODY = 65534
PR_SET_DUMPABLE = 4

PROGRAM: list[Op] = [
    Mkdir("/d"),
    Create("/d/a"),
    Write("/d/a", 0, b"x" * 5000),
    Fsync("/d/a"),
    Fsync("/"),
    Rename("/d/a", "/b"),
    Link("/b", "/d/c"),
    Symlink("b", "/s"),
    Sync(),
]
END = {"b": b"x" * 5000, "d": None, "d/c": b"x" * 5000, "s": Tag("symlink", "b")}
FEW = JudgeEffort(limit=12, again=1, again_limit=4, fsck_every=6, coverage=False)


InGuest = Callable[..., Any]


@pytest.fixture(scope="module")
def in_guest() -> Iterator[InGuest]:
    """Calls a function in a worker that all these tests share, and its guests with them."""
    worker = Worker(mounts=False)

    def call(function: Callable[..., object], *arguments: object) -> Any:
        worker.give(partial(function, *arguments))
        while True:
            for message in worker.read():
                if message.kind in ("result", "error"):
                    return message.unpack()

    yield call
    worker.end(patience_s=DEADLINE_S)


def first_and_last(fs: str) -> tuple[list[TreeSnapshot], tuple[int, int], int, list[bool]]:
    with GuestRig(fs) as rig:
        log = rig.record(PROGRAM)
        recipes = [Recipe(0), Recipe(len(log.records))]
        snapshots = [image.look() for image in rig.images(log, recipes)]
        fsck = [image.fsck().clean for image in rig.images(log, recipes)]
        return snapshots, log.syncs(), log.flushes, fsck


@pytest.mark.parametrize("fs", GUESTS)
def test_what_a_program_did_is_there_at_the_end_and_not_at_the_start(
    in_guest: InGuest, fs: str
) -> None:
    (before, after), (returned, bare), flushes, fsck = in_guest(first_and_last, fs)

    assert before.tree == {}
    assert after.tree == END
    assert after.links == (("b", "d/c"),)
    assert fsck == [True, True]
    assert returned == 3
    if fs == "apfs-linux-packaged":
        assert (bare, flushes) == (3, 0)
    else:
        assert bare == 0
        assert flushes >= 3


def as_nobody(folder: str) -> tuple[int, list[bool], TreeSnapshot]:
    """Give up all rights for good, then record and look, on a guest that was copied there."""
    saved = evolve(prepared().saved, folder=Path(folder))
    ready = evolve(prepared(), saved=saved)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    # What else a program that was started so has: it may be looked at by its own children.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("powercut_rig.guest.session.prepared", lambda: ready)
        (_, after), _, _, fsck = first_and_last("apfs-linux")
        return os.geteuid(), fsck, after


def start_without_a_memory(folder: str) -> str:
    disk = os.memfd_create("disk")
    os.ftruncate(disk, qemu.DISK_BYTES)
    try:
        qemu.VirtualMachine(qemu.SavedGuest(Path(folder), "6.1"), disk).open()
    except RigUnavailable as error:
        return str(error)
    return ""


def test_a_guest_that_qemu_cannot_start_is_told_at_once_with_its_words(tmp_path: Path) -> None:
    (tmp_path / "devices").write_bytes(b"")
    said = run_without_mounts(start_without_a_memory, str(tmp_path / "none"))
    assert "cannot be opened" in said
    (tmp_path / "memory").write_bytes(b"")
    said = run_without_mounts(start_without_a_memory, str(tmp_path))
    assert "Not a migration stream" in said
    assert "timed out" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="every guest here is started without root")
def test_a_guest_needs_no_root() -> None:
    # Not below tmp_path: whichever pytest starts next closes what is above it to other users.
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "saved")
        shutil.copytree(prepared().saved.folder, folder)
        for path in (Path(place), folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)

        user, fsck, after = run_without_mounts(as_nobody, str(folder))

    assert user == NOBODY
    assert fsck == [True, True]
    assert after.tree == END


def compared(fs: str, number: int) -> Comparison:
    return SoakWorkload(number, fs).compare(FEW)


@pytest.mark.parametrize("fs", SOUND)
@pytest.mark.parametrize("number", [0, 3])
def test_crash_images_are_in_the_model_and_saves_survive(
    in_guest: InGuest, fs: str, number: int
) -> None:
    result = in_guest(compared, fs, number)

    assert result.findings == []
    assert result.agrees
    assert result.images >= 30
    assert result.flushes > 0
    assert result.unclean == 0
    assert number % 2 or result.second_images > 0


def test_the_driver_as_packaged_is_refuted(in_guest: InGuest) -> None:
    result = in_guest(compared, "apfs-linux-packaged", 0)

    assert not result.agrees
    assert result.outside > 0
    assert result.violations["P3"] > 0
    assert result.flushes == 0
    assert result.syncs_unflushed == result.syncs > 0


def hang_over(by: signal.Signals) -> tuple[Comparison, int, int, int]:
    """Judge images while the checking guest gets a signal over one of them."""
    fs = FILE_SYSTEMS["guest-ext4"]
    seen = 0

    def clock() -> float:  # asked before the first image, and after the last one
        nonlocal seen
        seen += 1
        if seen == 1:
            checker = session_for(fs, recording=False)
            checker.request_s = 2.0
            checker.start()
            before.append((checker.pid, checker.boots))
            os.kill(checker.pid, by)
        return 0.0

    before: list[tuple[int, int]] = []
    trace = program_trace(PROGRAM, fs.profile)
    effort = JudgeEffort(limit=6, again=0, fsck_every=0, coverage=False)
    result = compare_in_worker(trace, "t", "guest-ext4", plans=(1,), effort=effort, clock=clock)
    checker = session_for(fs, recording=False)
    checker.request_s = connection.REQUEST_S
    ((pid, boots),) = before
    return result, checker.boots - boots, pid, checker.pid


@pytest.mark.parametrize("by", [signal.SIGSTOP, signal.SIGKILL])
def test_a_guest_that_hangs_or_dies_costs_one_image_and_is_started_anew(
    in_guest: InGuest, by: signal.Signals
) -> None:
    result, boots, first, second = in_guest(hang_over, by)

    assert result.hung == 1
    assert [each.kind for each in result.findings] == [HUNG]
    assert result.images == 6
    assert boots == 1
    assert first != second
    assert gone([first])


def lose_it_while_mounted(by: signal.Signals) -> tuple[list[str], list[dict[str, object]]]:
    """Look at four images; over the second one, once it is mounted, the guest gets a signal."""
    fs = FILE_SYSTEMS["guest-ext4"]
    said: list[str] = []
    trees: list[dict[str, object]] = []
    with GuestRig(fs.name) as rig:
        log = rig.record(PROGRAM)
        end = Recipe(len(log.records))
        checker = session_for(fs, recording=False)
        for number, image in enumerate(rig.images(log, [end] * 4)):
            if number == 1:
                checker.request_s = 2.0
                os.kill(checker.pid, by)
            try:
                trees.append(dict(image.look().tree))
            except GuestLostError as error:
                said.append(str(error))
            checker.request_s = connection.REQUEST_S
    return said, trees


@pytest.mark.parametrize("by", [signal.SIGSTOP, signal.SIGKILL])
def test_a_guest_that_is_lost_with_an_image_mounted_is_replaced_for_the_next_one(
    in_guest: InGuest, by: signal.Signals
) -> None:
    said, trees = in_guest(lose_it_while_mounted, by)

    assert len(said) == 1
    assert "`look`" in said[0]
    assert trees == [END] * 3


def record_with_a_dead_guest() -> tuple[str, int]:
    fs = FILE_SYSTEMS["guest-ext4"]
    with GuestRig(fs.name) as rig:
        recorder = session_for(fs, recording=True)
        recorder.start()
        os.kill(recorder.pid, signal.SIGKILL)
        try:
            rig.record(PROGRAM)
        except RigError as error:
            return str(error), len(crash_images(rig.record(PROGRAM)).images)
    return "", 0


def test_a_recording_whose_guest_dies_is_an_error_and_the_next_one_works(in_guest: InGuest) -> None:
    said, images = in_guest(record_with_a_dead_guest)

    assert "The guest was lost while it recorded" in said
    assert images > 10


def refused_op() -> str:
    with GuestRig("apfs-linux") as rig:
        try:
            rig.record([Create("/a"), Create("/b"), Rename("/a", "/b", ("EXCHANGE",))])
        except RigError as error:
            return str(error)
    return ""


def test_an_op_that_the_driver_does_not_have_is_named(in_guest: InGuest) -> None:
    assert "Op 2, Rename" in in_guest(refused_op)


def pid_of_guest(fs: str) -> int:
    checker = session_for(FILE_SYSTEMS[fs], recording=False)
    checker.start()
    return checker.pid


def test_jobs_of_a_lane_share_a_worker_and_its_guests() -> None:
    jobs = [Job(str(n), partial(pid_of_guest, "guest-ext4"), "guest") for n in range(3)]
    pids = [outcome.result for outcome in run_jobs(jobs, 1)]

    assert len(set(pids)) == 1
    assert gone(pids)


def gone(pids: list[int]) -> bool:
    return eventually(lambda: not any(map(alive, pids)))


def is_qemu(pid: int) -> bool:
    try:
        return b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_soak_that_is_ended_leaves_no_guest(how: signal.Signals, tmp_path: Path) -> None:
    soak = ("-m", "powercut", "soak", "--fs", "guest-ext4", "--jobs", "1")
    with running(*soak, cwd=tmp_path) as process:
        assert eventually(lambda: any(map(is_qemu, descendants(process.pid))))
        family = descendants(process.pid)
        os.kill(process.pid, how)
        process.communicate(timeout=DEADLINE_S)
    assert any(family)
    assert gone(family)
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_disks_of_the_guest_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One recording of each workload, and few images of it: the command is what is asked here.
    monkeypatch.setattr("powercut_rig.campaigns.soak.PLANS", 1)
    monkeypatch.setattr("powercut_rig.cli.commands.SOAK_EFFORT", FEW)
    done = CliRunner().invoke(
        soak_command,
        ["--fs", "apfs-linux,apfs-linux-packaged", "--images", "9000", "--workloads", "1",
         "--json", "--traces", str(tmp_path / "t"), "--junit", str(tmp_path / "j.xml")],
    )  # fmt: skip

    assert done.exit_code == 1, done.output
    strict, packaged = json.loads(done.stdout)["comparisons"]
    assert strict["agrees"], strict
    assert strict["syncs"]["flushes"] > 0
    assert not packaged["agrees"]
    assert packaged["syncs"]["flushes"] == 0
    (trace,) = (tmp_path / "t").iterdir()
    assert f"powercut compare {trace} --fs apfs-linux-packaged" in done.stderr
    assert 'fs = "apfs-linux-packaged"' in trace.read_text()
