"""Nothing of a rig is left behind, however it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from powercut_rig.system.worker import FOLDER_PREFIX, private_folder, run_in_worker
from tests.rig.processes import DEADLINE_S, alive, eventually, running

pytestmark = pytest.mark.rig

# Mounts a disk that is being recorded, or a crash image, says who and where it is, and then
# waits to be ended.
SCRIPT = """
import os, sys, time
from pathlib import Path
from powercut.filesystem.ops import Mkdir
from powercut_rig import Recipe, Rig, run_in_worker
from powercut_rig.linux.recorded_disk import RecordedDisk
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.linux.recorder import mounted
from powercut_rig.system.worker import private_folder

def wait_in(root):
    (Path(root) / "dirty").write_bytes(b"x" * 100_000)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    backing = next(l for l in Path("/proc/self/mounts").read_text().splitlines() if root in l)
    print(os.getpid(), backing.split()[0].rpartition("loop")[2], *children or [0], flush=True)
    time.sleep(600)

def record():
    fs = FILE_SYSTEMS[sys.argv[2]]
    with private_folder() as folder, RecordedDisk(folder, fs.size_bytes) as disk:
        fs.make(disk.device)
        with mounted(fs, disk.device, folder) as root:
            wait_in(root)

def image():
    with Rig(sys.argv[2]) as rig:
        recording = rig.record([Mkdir("/d")])
        for image in rig.images(recording, [Recipe(len(recording.records))]):
            wait_in(image.mountpoint)

run_in_worker({"record": record, "image": image}[sys.argv[1]])
"""


@frozen
class Held:
    process: subprocess.Popen[str]
    worker: int
    loop: int
    server: int  # 0: an image has none
    mounts: int


HELD = [("record", "ext4"), ("image", "ext4"), ("image", "xfs"), ("record", "btrfs")]


@pytest.fixture(params=HELD, ids="-".join)
def held(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Held]:
    """A rig in another process that records, or with a crash image mounted; it is dirty."""
    with running("-c", SCRIPT, *request.param, TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], DEADLINE_S)[0]
        worker, loop, server = map(int, process.stdout.readline().split())
        yield Held(process, worker, loop, server, 3 if server else 2)


def attached(loop: int) -> bool:
    return Path(f"/sys/block/loop{loop}/loop/backing_file").exists()


def rig_mounts(pid: str = "self") -> list[str]:
    lines = Path(f"/proc/{pid}/mounts").read_text().splitlines()
    return [line for line in lines if FOLDER_PREFIX in line]


def all_gone(held: Held) -> bool:
    processes = filter(None, (held.process.pid, held.worker, held.server))
    return not any(map(alive, processes)) and not attached(held.loop) and not rig_mounts()


def test_while_a_rig_runs_its_mounts_are_seen_by_its_worker_only(held: Held) -> None:
    # The folder, where it records the disk's file, and the file system.
    assert len(rig_mounts(str(held.worker))) == held.mounts
    assert rig_mounts() == []
    assert attached(held.loop)


def test_a_killed_rig_leaves_no_mount_no_device_and_no_process(held: Held) -> None:
    os.kill(held.process.pid, signal.SIGKILL)
    held.process.wait(DEADLINE_S)
    assert eventually(lambda: all_gone(held))


def test_a_killed_worker_leaves_no_device_and_no_server_and_is_reported(held: Held) -> None:
    os.kill(held.worker, signal.SIGKILL)
    _, said = held.process.communicate(timeout=DEADLINE_S)
    assert "died before it answered" in said
    assert eventually(lambda: all_gone(held))


@pytest.mark.parametrize("held", [("record", "ext4"), ("record", "xfs")], indirect=True)
def test_a_killed_server_does_not_hang_the_rig(held: Held) -> None:
    os.kill(held.server, signal.SIGKILL)
    assert eventually(lambda: not alive(held.server))
    os.kill(held.process.pid, signal.SIGINT)
    held.process.communicate(timeout=DEADLINE_S)
    assert eventually(lambda: all_gone(held))


@pytest.mark.parametrize("held", HELD[1:], ids="-".join, indirect=True)
@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_leaves_nothing_at_all(held: Held, tmp_path: Path, whole_group: bool) -> None:
    if whole_group:  # a terminal sends it to every process of the group
        os.killpg(held.process.pid, signal.SIGINT)
    else:
        os.kill(held.process.pid, signal.SIGINT)
    _, said = held.process.communicate(timeout=DEADLINE_S)
    assert "KeyboardInterrupt" in said
    assert eventually(lambda: all_gone(held))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("held", HELD[:1], ids="-".join, indirect=True)
def test_the_next_run_removes_the_empty_folder_of_a_killed_one(
    held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (leftover,) = tmp_path.iterdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Path(run_in_worker(one_folder)).parent == tmp_path
    assert leftover.exists()  # its run is alive: the folder is in use
    os.kill(held.process.pid, signal.SIGKILL)
    held.process.wait(DEADLINE_S)
    assert eventually(lambda: all_gone(held))
    run_in_worker(one_folder)
    assert list(tmp_path.iterdir()) == []


def one_folder() -> str:
    with private_folder() as folder:
        return folder
