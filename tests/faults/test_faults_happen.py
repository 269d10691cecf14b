"""What could not fail proves nothing: the faults reach the library, and the judges see."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lastgood import open_read_only
from lastgood.backends.posix import PosixDisk
from powercut_rig import run_in_worker
from powercut_rig.system.worker import private_folder
from tests.faults import calls, flips
from tests.faults.calls import Bench, Fault
from tests.faults.disks import Disk, Filler, make_image, memory_file_system
from tests.faults.flips import Flip, Image
from tests.faults.operations import Call
from tests.faults.passthrough import NAMES, failing_disk
from tests.faults.stores import HERE, SMALL_GROUPS, Truth, intact_in, lost, make_store, name_of
from tests.faults.tally import Tally

pytestmark = pytest.mark.rig

NEWEST = name_of(4, 3)
CALLS = ["create", "fsync", "getattr", "mkdir", "open", "read", "rename", "unlink", "write"]


@contextmanager
def bench() -> Iterator[Bench]:
    """A small store behind a disk that fails."""
    with private_folder() as folder:
        home = Path(folder)
        for name in ("backing", "target"):
            (home / name).mkdir()
        truth = make_store(home / "kept", SMALL_GROUPS)
        with failing_disk(home / "backing", home / "target") as control:
            seen = home / "target" / "store"
            yield Bench(home / "kept", home / "backing" / "store", seen, truth, control)


def errno_of_each_call() -> dict[str, int]:
    """The errno that a program sees where a call of a kind is made to fail."""
    seen = {}
    with private_folder() as folder:
        backing, target = Path(folder) / "backing", Path(folder) / "target"
        backing.mkdir()
        target.mkdir()
        with failing_disk(backing, target) as control:
            for kind in CALLS:
                (backing / "file").write_bytes(b"x")
                control.epoch += 1
                control.direct = 1
                control.arm(kind, 1, errno.EXDEV, sticky=False)
                try:
                    use_every_call(target)
                except OSError as error:
                    seen[kind] = error.errno or 0
                control.disarm()
                for path in backing.rglob("*"):
                    path.rmdir() if path.is_dir() else path.unlink()
    return seen


def use_every_call(target: Path) -> None:
    fd = os.open(target / "new", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"data")
    os.fsync(fd)
    os.fstat(fd)
    os.close(fd)
    (target / "file").read_bytes()
    (target / "folder").mkdir()
    (target / "new").rename(target / "newer")
    (target / "newer").unlink()


def test_each_kind_of_call_can_be_made_to_fail() -> None:
    assert set(CALLS) <= set(NAMES)
    assert run_in_worker(errno_of_each_call) == dict.fromkeys(CALLS, errno.EXDEV)


def judged(operation: str, kind: str, number: int) -> Tally:
    """One fault of an operation, judged: at the first call of its kind that is of a group."""
    with bench() as here:
        tally = Tally()
        for nth in range(1, here.counts(operation)[kind] + 1):
            calls.judge(here, Fault(operation, kind, nth, number, sticky=False), tally)
        return tally


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTDIR, errno.ELOOP, errno.ENOENT])
@pytest.mark.parametrize("operation", ["recovery", "repair"])
def test_no_errno_of_an_open_moves_an_intact_group(operation: str, number: int) -> None:
    tally = run_in_worker(judged, operation, "open", number)

    assert tally.findings == []
    assert tally.cases["calls"] > 5


@pytest.mark.parametrize("operation", ["recovery", "repair", "attempt (rename form)"])
def test_no_listing_that_ends_early_hides_a_group_or_a_part_from_a_writer(operation: str) -> None:
    tally = run_in_worker(judged, operation, "readdir", errno.ENOENT)

    assert tally.findings == []
    assert tally.cases["calls"] > 2


def silently_older(call: Call) -> None:
    """A library that passes over the newest group, and says nothing."""
    call.check(open_read_only(call.path, disk=PosixDisk(HERE)).load(generation=2))


def moved(call: Call) -> None:
    """A library that moves an intact group."""
    (call.plain / NEWEST).rename(call.plain / "quarantine" / NEWEST)


def unruly(call: Call) -> None:
    """A library that lets an error of the system out."""
    raise OSError(errno.EIO, "raw")


def judged_as(broken: str) -> list[str]:
    with bench() as here, pytest.MonkeyPatch.context() as patch:
        patch.setitem(calls.OPERATIONS, "broken", globals()[broken])
        tally = Tally()
        calls.judge(here, Fault("broken", "statfs", 1, errno.EIO, sticky=False), tally)
        return [each.what for each in tally.findings]


@pytest.mark.parametrize(
    ("broken", "wanted"),
    [
        ("silently_older", "passed over"),
        ("moved", "is whole and was moved to quarantine"),
        ("unruly", "let out OSError"),
    ],
)
def test_the_judge_of_calls_sees_a_library_that_is_wrong(broken: str, wanted: str) -> None:
    found = run_in_worker(judged_as, broken)

    assert any(wanted in each for each in found), found


def filled() -> dict[str, int]:
    """What a program is told on a disk that a filler has filled."""
    said = {}
    with private_folder() as folder:
        for what in ("fill", "inodes"):
            with memory_file_system(folder, "size=1m,nr_inodes=50") as root:
                filler = Filler(root)
                (root / "there").touch()
                filler.fill(metadata=True) if what == "fill" else filler.inodes()
                try:
                    (root / "new").touch()
                except OSError as error:
                    said[f"{what}: a new file"] = error.errno or 0
                try:
                    (root / "there").write_bytes(b"some")
                    said[f"{what}: some bytes"] = 0
                except OSError as error:
                    said[f"{what}: some bytes"] = error.errno or 0
                filler.free()
                (root / "new").write_bytes(b"some")
    return said


def test_a_filler_leaves_no_room_and_gives_it_back() -> None:
    full = errno.ENOSPC
    assert run_in_worker(filled) == {
        "fill: a new file": full,
        "fill: some bytes": full,
        "inodes: a new file": full,
        "inodes: some bytes": 0,
    }


def flipped() -> tuple[list[str], list[str], list[str]]:
    """The outcomes of a flip in the newest group's data, on ext4; and what the judge found."""
    fs = flips.IMAGES["ext4"]
    with private_folder() as folder:
        base, truth = make_image(fs, folder, lambda root: make_store(root / "run"))
        image = Image(fs, base, truth)
        newest = truth.groups[max(truth.groups)]["model"][:64]
        (place,) = [n * 4096 + c.find(newest) for n, c in base.items() if newest in c]
        with Disk(fs, folder, base) as disk:
            outcomes, found = flips.judge(disk, image, Flip("data", (place,), 1))
            # And with a truth that says that the other byte was the one that was saved.
            truth.groups[max(truth.groups)]["model"] = b"other"
            return outcomes, found, flips.judge(disk, image, Flip("none", (), 1))[1]


def test_a_flip_is_found_by_the_library_and_a_wrong_byte_by_the_judge() -> None:
    outcomes, found, told = run_in_worker(flipped)

    assert outcomes == ["an older one loaded", "saved", "writer: returned"]
    assert found == []
    assert any("verify says that" in each for each in told)


def test_flips_are_the_same_for_one_seed_and_aim_at_all_there_is() -> None:
    truth = Truth({"gen-1": {"model": bytes(range(256)) * 32, "MANIFEST": b"# manifest"}})
    chunk = bytes(range(256)) * 16
    base = {3: chunk, 4: chunk, 9: b"# manifest".ljust(4096, b"\0"), 11: b"m" * 4096}
    image = Image(flips.IMAGES["ext4"], base, truth)

    first, again = (
        [str(image.flip(dice)) for _ in range(200)]
        for dice in (random.Random(5), random.Random(5))  # noqa: S311
    )

    assert first == again
    assert {each.split()[0] for each in first} == set(flips.AIMS)


def test_a_group_that_is_moved_or_changed_is_lost_to_the_judge_of_steps(tmp_path: Path) -> None:
    truth = make_store(tmp_path / "run", SMALL_GROUPS)
    assert lost(tmp_path / "run", truth) == []
    assert intact_in(tmp_path / "run", truth) == set(truth.groups)

    (tmp_path / "run" / NEWEST / "model").write_bytes(b"other")
    (tmp_path / "run" / name_of(3, 2)).rename(tmp_path / "run" / "quarantine" / name_of(3, 2))

    assert lost(tmp_path / "run", truth) == [
        f"{name_of(3, 2)} is whole and was moved to quarantine",
        f"{NEWEST} was acknowledged and is lost or changed",
    ]
