"""The disk becomes full, read-only or dead before a step of an operation, for real."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from attrs import frozen

from lastgood import LatestN, open_read_only
from lastgood.backends.posix import PosixDisk
from powercut_rig.filesystems import FileSystem
from powercut_rig.system import linux_syscalls
from powercut_rig.system.deadline import DeadlineError, deadline
from powercut_rig.system.worker import private_folder, report_alive
from tests.faults.disks import (
    BTRFS,
    EXT4,
    XFS,
    Disk,
    Filler,
    made_for,
    make_image,
    memory_file_system,
)
from tests.faults.operations import (
    CAN_PURGE,
    CHANGING,
    LOOKING,
    NEW,
    Answer,
    Call,
    carry_out,
    purge,
)
from tests.faults.stores import HERE, Truth, lost, make_store, open_store
from tests.faults.tally import Tally
from tests.impl.disks import CHANGES, WatchedDisk

DEADLINE_S: Final = 60.0
_TMPFS: Final = "tmpfs"
_TMPFS_OPTIONS: Final = "size=4m,nr_inodes=400"
_SHUTDOWN: Final = 0x8004587D
"""The request of ext4 and xfs to go down at once, without writing their log."""
_NOLOGFLUSH: Final = struct.pack("<I", 2)
_REMOUNT: Final = 32
_BARE: Final = "no quarantine yet, "
_METADATA: Final = "no room for metadata"
_HOWS: Final = (
    "no block left",
    "4096 bytes left",
    "12288 bytes left",
    "32768 bytes left",
    f"{_BARE}no block left",
)
_INODES: Final = ("no inode left", f"{_BARE}no inode left")
_MORE_HOWS: Final = {"ext4": _INODES, "tmpfs": _INODES, "btrfs": (_METADATA,)}
"""Only two have a number of inodes that a small file can exhaust, and one has room of two kinds."""
_ADVICE: Final = ("make room", "open it again")

_ASIDE: Final = 300_000
"""So much lies in quarantine. It and any group but the newest are what xfs asks for at least."""
_LITTLE: Final = {"r": b"a little"}

DISKS: Final[Mapping[str, FileSystem | None]] = {
    "ext4": made_for(EXT4, "-m", "0", options="errors=remount-ro"),
    "xfs": XFS,
    "btrfs": BTRFS,
    _TMPFS: None,
}
"""The disks by name; None is a tmpfs."""


@frozen
class Ground:
    """A file system with a store in the folder `run`: each `fresh` one is as it was at first."""

    name: str
    truth: Truth
    fresh: Callable[[], contextlib.AbstractContextManager[Path]]
    again: Callable[[], contextlib.AbstractContextManager[Path]] | None
    device: str = ""


@contextlib.contextmanager
def grounds(name: str, fs: FileSystem | None) -> Iterator[Ground]:
    """The disk of a name, with its store."""
    with private_folder() as folder:
        if fs is None:
            kept = Path(folder) / "kept"
            truth = make_store(kept, quarantined_bytes=_ASIDE)

            @contextlib.contextmanager
            def fresh() -> Iterator[Path]:
                with memory_file_system(folder, _TMPFS_OPTIONS) as root:
                    shutil.copytree(kept, root / "run")
                    yield root

            yield Ground(name, truth, fresh, None)
            return
        base, truth = make_image(
            fs, folder, lambda root: make_store(root / "run", quarantined_bytes=_ASIDE)
        )
        with Disk(fs, folder, base) as disk:
            yield Ground(name, truth, lambda: disk.holding({}), disk.again, disk.device)


def before(number: int, act: Callable[[], None], root: Path) -> WatchedDisk:
    """A disk on which something happens before its call of that number that asks for a change."""
    count = 0

    def hook(call: str, _path: str) -> None:
        nonlocal count
        if call in CHANGES:
            count += 1
            if count == number:
                act()

    return WatchedDisk(root, hook)


def steps_of(ground: Ground, operation: str) -> int:
    """The number of calls that ask for a change in an operation where nothing fails."""
    with ground.fresh() as root:
        disk = WatchedDisk(root)
        answer = carry_out(CHANGING[operation], _call(root, ground.truth.copy(), disk))
        assert (answer.raw, answer.said, answer.wrong) == ("", "", []), (operation, answer)
        return len(disk.changes())


def _call(root: Path, truth: Truth, disk: PosixDisk) -> Call:
    return Call(root / "run", root / "run", truth, disk)


@frozen
class Moment:
    """When in an operation it happens, and how: blocks, inodes, some room left; read-only, dead."""

    operation: str
    step: int
    how: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.how} before step {self.step}"


def _dice(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - drawn with a seed


def drawn(ground: Ground, hows: Sequence[str], share: float, dice: random.Random) -> list[Moment]:
    """Every step of every operation, or a share of them; at least one of each operation."""
    found = []
    for operation in CHANGING:
        every = [
            Moment(operation, step, how)
            for step in range(1, steps_of(ground, operation) + 1)
            for how in hows
        ]
        found += dice.sample(every, max(1, round(share * len(every))) if share else 0)
    return found


def run_full(share: float, seed: int, names: Sequence[str] = tuple(DISKS)) -> Tally:
    """A share of all steps at which a disk can become full, on each disk. In a worker."""
    tally = Tally()
    for name in names:
        with grounds(name, DISKS[name]) as ground:
            hows = (*_HOWS, *_MORE_HOWS.get(name, ()))
            for moment in drawn(ground, hows, share, _dice(f"{seed} full {name}")):
                _judge(ground, moment, tally, f"full disk: {name}", _fill)
                report_alive()
    return tally


def run_read_only(share: float, seed: int) -> Tally:
    """A share of all steps at which a disk can become read-only, or go down. In a worker."""
    tally = Tally()
    for name, hows in {"ext4": ("read-only", "gone"), "xfs": ("gone",)}.items():
        with grounds(name, DISKS[name]) as ground:
            for moment in drawn(ground, hows, share, _dice(f"{seed} ro {name}")):
                part = f"{moment.how} in the middle: {name}"
                _judge(ground, moment, tally, part, _take_away)
                report_alive()
    return tally


def run_between(names: Sequence[str] = tuple(DISKS)) -> Tally:
    """Every operation on each disk, remounted read-only before it and writable again after it."""
    tally = Tally()
    for name in names:
        with grounds(name, DISKS[name]) as ground:
            _between(ground, tally)
            report_alive()
    return tally


def _judge(
    ground: Ground,
    moment: Moment,
    tally: Tally,
    part: str,
    how: Callable[[Ground, Moment, Truth], tuple[str, list[str]]],
) -> None:
    try:
        with deadline(DEADLINE_S):
            ended, found = how(ground, moment, ground.truth.copy())
    except DeadlineError as error:
        ended, found = "hang", [str(error)]
    tally.count(part, [ended])
    tally.find(part, str(moment), found)


def _fill(ground: Ground, moment: Moment, truth: Truth) -> tuple[str, list[str]]:
    """Fill the disk before a step; judge what is there, the way out, and what comes after."""
    with ground.fresh() as root:
        filler, path = Filler(root), root / "run"
        how = moment.how.removeprefix(_BARE)
        if how != moment.how:
            shutil.rmtree(path / "quarantine")
        room = int(how.split()[0]) if how[0].isdigit() else 0
        no_metadata = how == _METADATA
        fill = filler.inodes if "inode" in how else lambda: filler.fill(room, metadata=no_metadata)
        disk = before(moment.step, fill, root)
        answer = carry_out(CHANGING[moment.operation], _call(root, truth, disk))
        found = _clear(answer, ("ENOSPC", "EDQUOT"), _ADVICE)
        if not disk.changes() or not (root / "filler").exists():
            return "not reached", found
        found += lost(path, truth)
        found += _tried("a reader on the full disk", lambda: _reads(path, truth))
        if not no_metadata:  # of that no group has enough to give it back
            out = moment.step % 2
            found += _tried("a writer on the full disk", lambda: _way_out(path, truth, out))
        filler.free()
        found += _tried("a writer with room again", lambda: _goes_on(path, truth))
        return answer.ended, found + lost(path, truth)


def _take_away(ground: Ground, moment: Moment, truth: Truth) -> tuple[str, list[str]]:
    """Make the disk read-only, or let it go down, before a step; judge it mounted anew."""
    assert ground.again is not None
    try:
        with ground.fresh() as root:
            act = _error_of_ext4 if moment.how == "read-only" else _go_down
            disk = before(moment.step, lambda: act(ground, root), root)
            answer = carry_out(CHANGING[moment.operation], _call(root, truth, disk))
            found = _clear(answer, ("EROFS",), ("read-only",))
            if moment.how == "read-only":
                found += _tried("a reader", lambda: _reads(root / "run", truth))
                found += _tried("a reader's verify", lambda: _looks(root / "run", truth))
    except OSError as error:
        return "raw", [f"the lane failed: {error!r}"]
    with ground.again() as root:
        found += lost(root / "run", truth)
        found += _tried("a writer, mounted anew", lambda: _goes_on(root / "run", truth))
        found += lost(root / "run", truth)
    return answer.ended, found


def _between(ground: Ground, tally: Tally) -> None:
    """Remount the disk read-only between two operations, and back, for each operation."""
    part = f"remounted read-only between: {ground.name}"
    for operation, act in {**CHANGING, **LOOKING}.items():
        truth = ground.truth.copy()
        with ground.fresh() as root:
            path = root / "run"
            with _read_only(root):
                answer = carry_out(act, _call(root, truth, PosixDisk(HERE)))
                found = _clear(answer, ("",), ("read-only",))
                if operation in LOOKING and answer.ended != "returned":
                    found.append(f"a look failed: {answer.said}")
                found += _tried("a reader", partial(_reads, path, truth))
            found += _tried("a writer", partial(_goes_on, path, truth))
            found += lost(path, truth)
        tally.count(part, [answer.ended])
        tally.find(part, operation, found)


@contextlib.contextmanager
def _read_only(root: Path) -> Iterator[None]:
    _remount(root, linux_syscalls.MS_RDONLY)
    try:
        yield
    finally:
        _remount(root, 0)


def _remount(root: Path, flags: int) -> None:
    linux_syscalls.mount("none", str(root), "none", _REMOUNT | flags)


def _error_of_ext4(ground: Ground, _root: Path) -> None:
    """Let ext4 find an error in itself: with errors=remount-ro it writes nothing from now on."""
    device = Path(ground.device).name
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test of lastgood")


def _go_down(_ground: Ground, root: Path) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, _NOLOGFLUSH)
    finally:
        os.close(fd)


def _clear(answer: Answer, errnos: Sequence[str], advice: Sequence[str]) -> list[str]:
    """What is wrong with an error of its own: it is raw, or says not what to do."""
    found = [*answer.wrong, *([f"let out {answer.raw}"] if answer.raw else [])]
    is_of_these = answer.said and any(each in answer.said for each in errnos)
    if is_of_these and not any(word in answer.said.lower() for word in advice):
        found.append(f"says not what to do: {answer.said}")
    return found


def _tried(who: str, act: Callable[[], str | None]) -> list[str]:
    try:
        wrong = act()
    except Exception as error:
        return [f"{who}: {type(error).__name__}: {error}"]
    return [] if wrong is None else [f"{who} {wrong}"]


def _reads(path: Path, truth: Truth) -> str | None:
    """What is wrong with a load by a reader."""
    loaded = open_read_only(path, disk=PosixDisk(HERE)).load_latest()
    newest = truth.newest()
    if loaded is None or newest is None:
        return "finds nothing"
    name = str(loaded.group.name)
    if name < newest:
        return f"loads {name}, not {newest}"
    got = {part: bytes(loaded[part]) for part in loaded.parts}
    return None if got == truth.parts(name) else f"loads other bytes than those of {name}"


def _looks(path: Path, truth: Truth) -> str | None:
    answers = open_read_only(path, disk=PosixDisk(HERE)).verify()
    names = {str(each.name) for each in answers}
    missing = set(truth.groups) - truth.given_up - names
    return f"does not see {sorted(missing)}" if missing else None


def _way_out(path: Path, truth: Truth, by_purge: int) -> str | None:
    """On the full disk: recover, make room by what the library has for it, and save."""
    aside = path / "quarantine"
    with open_store(path) as store:
        loaded = store.load_latest()
        if loaded is None:
            return "finds nothing"
        newest = str(loaded.group.name)
        del loaded
        if not (by_purge and CAN_PURGE and aside.is_dir() and any(aside.glob("gen-*"))):
            truth.given_up |= {name for name in truth.groups if name < newest}
            store.prune(LatestN(1))
        else:
            purge(store)
        # So little that it fits where the smallest of the groups was.
        receipt = store.save(81, _LITTLE)
        truth.note(path, Path(receipt.path).name, _LITTLE)
    return _reads(path, truth)


def _goes_on(path: Path, truth: Truth) -> str | None:
    """Recover, save, and load what was saved."""
    with open_store(path) as store:
        loaded = store.load_latest()
        newest = truth.newest()
        if loaded is None or newest is None or str(loaded.group.name) < newest:
            return f"loads {loaded}, not {newest}"
        receipt = store.save(82, NEW)
        truth.note(path, Path(receipt.path).name, NEW)
    return _reads(path, truth)
