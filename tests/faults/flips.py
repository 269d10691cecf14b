"""Flips at rest: a byte or a sector of an image changes, and the store on it is loaded."""

from __future__ import annotations

import json
import os
import random
import select
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from lastgood import Group, LastgoodError, LatestN, open_read_only
from lastgood.backends.posix import PosixDisk
from powercut_rig.blocks.block_log import CHUNK_BYTES
from powercut_rig.filesystems import FileSystem
from powercut_rig.system.subprocesses import wait_for_exit
from powercut_rig.system.worker import private_folder, report_alive
from tests.faults.disks import BTRFS, EXT4, SECTOR, XFS, Disk, made_for, make_image
from tests.faults.operations import KEPT, LOOKING, NEW, Call, carry_out
from tests.faults.stores import (
    HERE,
    Truth,
    intact_in,
    make_store,
    moved_intact,
    name_of,
)
from tests.faults.tally import Tally

DEADLINE_S: Final = 60.0
IMAGES: Final[Mapping[str, FileSystem]] = {
    "btrfs, metadata dup": made_for(BTRFS, "-d", "single", "-m", "dup"),
    "btrfs, metadata single": made_for(BTRFS, "-d", "single", "-m", "single"),
    "btrfs, no data checksums": made_for(
        BTRFS, "-d", "single", "-m", "single", options="nodatasum"
    ),
    "ext4": EXT4,
    "xfs": XFS,
}
"""The images by name. Each of btrfs gets its share of the flips, ext4 and xfs a quarter of that."""
AIMS: Final = ("data", "manifest", "metadata", "metadata", "anywhere")


@frozen
class Flip:
    """A change of an image: at these places, of one byte (`mask`) or of a whole sector."""

    aim: str
    places: tuple[int, ...]
    mask: int
    sector: bytes = b""

    def __str__(self) -> str:
        what = f"sector {self.sector[:4].hex()}…" if self.sector else f"mask {self.mask:02x}"
        return f"{self.aim} at {', '.join(map(str, self.places))}, {what}"


class Image:
    """An image at rest, and where on it lies what."""

    def __init__(self, fs: FileSystem, base: Mapping[int, bytes], truth: Truth) -> None:
        self.fs, self.base, self.truth = fs, base, truth
        self._data = [
            [number for number, chunk in base.items() if chunk[:64] in blocks]
            for group in truth.groups.values()
            if (blocks := _blocks_of(group))
        ]
        manifests = [group["MANIFEST"] for group in truth.groups.values()]
        self._manifests = [
            (number, at)
            for number, chunk in base.items()
            for manifest in manifests
            if (at := chunk.find(manifest[: min(len(manifest), 120)])) >= 0
        ]
        with_data = {number for numbers in self._data for number in numbers}
        self._metadata = [n for n in base if n not in with_data]
        self._same = defaultdict(list)
        for number in self._metadata:
            self._same[base[number]].append(number)

    def flip(self, dice: random.Random) -> Flip:
        """A change drawn among what is used, or anywhere."""
        aim = dice.choice(AIMS)
        within = dice.randrange(CHUNK_BYTES)
        if aim == "data":
            places = [dice.choice(dice.choice(self._data))]
        elif aim == "manifest":
            number, start = dice.choice(self._manifests)
            within = min(start + dice.randrange(300), CHUNK_BYTES - 1)
            places = [number]
        elif aim == "metadata":
            number = dice.choice(self._metadata)
            # Of metadata that lies there twice one copy mends the other: mostly both change.
            both = self._same[self.base[number]] if dice.random() < 0.8 else [number]
            places = both if 1 < len(both) <= 2 else [number]
        else:
            places = [dice.randrange(self.fs.size_bytes // CHUNK_BYTES)]
        sector = b""
        if dice.random() < 0.3:
            sector = dice.choice((bytes(SECTOR), dice.randbytes(SECTOR)))
            within -= within % SECTOR
        at = tuple(number * CHUNK_BYTES + within for number in places)
        return Flip(aim, at, 1 << dice.randrange(8), sector)

    def cells(self, flip: Flip) -> dict[int, tuple[bytes, int]]:
        """The chunks that a flip changes, as a disk takes them."""
        found = {}
        for place in flip.places:
            number, within = divmod(place, CHUNK_BYTES)
            chunk = bytearray(self.base.get(number, bytes(CHUNK_BYTES)))
            if flip.sector:
                chunk[within : within + SECTOR] = flip.sector
            else:
                chunk[within] ^= flip.mask
            found[number] = bytes(chunk), 0
        return found


def _blocks_of(group: Mapping[str, bytes]) -> set[bytes]:
    """The beginnings of the blocks of all files that have blocks of their own."""
    files = [data for data in group.values() if len(data) > 2048]
    return {data[at : at + 64] for data in files for at in range(0, len(data), CHUNK_BYTES)}


def run_flips(flips: int, seed: int) -> Tally:
    """`flips` of btrfs, shared among its images, and half as many of the others. In a worker."""
    tally = Tally()
    of_btrfs = [name for name in IMAGES if name.startswith("btrfs")]
    for name, fs in IMAGES.items():
        share = of_btrfs.index(name) if name in of_btrfs else None
        count = (
            flips // 4 if share is None else (flips + len(of_btrfs) - 1 - share) // len(of_btrfs)
        )
        if count:
            flip_image(name, fs, count, seed, tally)
    return tally


def flip_image(name: str, fs: FileSystem, count: int, seed: int, tally: Tally) -> None:
    """Flip one image so often, each time from what it was."""
    part, dice = f"flips: {name}", random.Random(f"{seed} {name}")  # noqa: S311
    with private_folder() as folder:
        base, truth = make_image(fs, folder, lambda root: make_store(root / "run"))
        image = Image(fs, base, truth)
        with Disk(fs, folder, base) as disk:
            for _ in range(count):
                flip = image.flip(dice)
                outcomes, found = judge(disk, image, flip)
                tally.count(part, outcomes)
                tally.find(part, str(flip), found)
                report_alive()


def judge(disk: Disk, image: Image, flip: Flip) -> tuple[list[str], list[str]]:
    """The outcomes of one flip, and what may not be."""
    cells, truth = image.cells(flip), image.truth.copy()
    try:
        # Once for a look that trusts no library, and once more for the library.
        with disk.holding(cells) as root:
            whole = intact_in(root / "run", truth)
        with disk.holding(cells) as root:
            said = in_a_child(lambda: use(root / "run", truth, whole), DEADLINE_S)
            if said is None:
                return ["hang"], [f"not done after {DEADLINE_S:g} s"]
            found = [*said["wrong"], *left_behind(root / "run", truth, whole, said)]
    except OSError as error:
        if error.filename != str(disk.target):
            raise
        return ["not mounted by the kernel"], []
    return [*said["outcomes"]], found


def use(store: Path, truth: Truth, whole: set[str]) -> dict[str, Any]:
    """Load, look, recover, prune, repair and save; all that was said. In a child of its own."""
    said: dict[str, Any] = {"outcomes": [], "wrong": [], "saved": "", "given_up": []}
    newest = max(whole, default=None)
    said["outcomes"].append(_reader(store, truth, newest, said["wrong"]))
    for name in (
        "verify, groups, quarantined",
        "lastgood ls, latest, why",
        "lastgood verify, quarantine",
    ):
        answer = carry_out(LOOKING[name], Call(store, store, truth.copy()))
        said["wrong"] += [f"{name}: {each}" for each in (*answer.wrong, answer.raw) if each]
    said["wrong"] += _verified(store, truth, whole)
    answer = carry_out(lambda call: _write(call, newest, said), Call(store, store, truth.copy()))
    said["wrong"] += [each for each in (*answer.wrong, answer.raw) if each]
    said["outcomes"].append(f"writer: {answer.ended}")
    return said


def _reader(store: Path, truth: Truth, newest: str | None, wrong: list[str]) -> str:
    """The outcome of a load by a reader."""
    try:
        loaded = open_read_only(store, disk=PosixDisk(HERE)).load_latest()
    except LastgoodError as error:
        if newest is not None:
            wrong += _excuse(str(error), newest)
        return f"a load's clear {type(error).__name__}"
    except Exception as error:
        wrong.append(f"a load let out {type(error).__name__}: {error}")
        return "raw"
    wrong += _loaded(loaded, truth, newest)
    if loaded is None:
        return "nothing to load"
    return (
        "the newest loaded"
        if str(loaded.group.name) == max(truth.groups)
        else "an older one loaded"
    )


def _loaded(loaded: Any, truth: Truth, newest: str | None) -> Iterator[str]:
    name = None if loaded is None else str(loaded.group.name)
    if name != newest:
        yield f"a load took {name}, and the newest intact one is {newest}"
    if loaded is None or name not in truth.groups:
        return
    if {part: bytes(loaded[part]) for part in loaded.parts} != truth.parts(name):
        yield f"a load handed out other bytes than those of {name}"
    told = {each.name for each in loaded.rejected}
    if silent := {each for each in truth.groups if each > name} - told:
        # A directory that the file system has lost leaves no name to tell of.
        there = {each for each in silent if os.path.lexists(loaded.group.path.replace(name, each))}
        if there:
            yield f"a load took {name} and passed over {sorted(there)} silently"


def _excuse(said: str, newest: str) -> Iterator[str]:
    """An error although a group is intact: it says which call of the system failed."""
    if not any(word in said for word in ("EIO", "EUCLEAN", "EBADMSG", "EROFS", "ESTALE", "ENOSPC")):
        yield f"an error, and {newest} is intact: {said[:300]}"


def _verified(store: Path, truth: Truth, whole: set[str]) -> Iterator[str]:
    """What `verify` says is what an independent look says."""
    try:
        answers = open_read_only(store, disk=PosixDisk(HERE)).verify()
    except LastgoodError:
        return
    for answer in answers:
        name = str(answer.name)
        if isinstance(answer, Group) and name not in whole:
            yield f"verify says that {name} is valid, and it is not"
        elif not isinstance(answer, Group) and name in whole:
            yield f"verify says that {name} is damaged ({answer.reason}), and it is not"


def _write(call: Call, newest: str | None, said: dict[str, Any]) -> None:
    with call.writer() as store:
        call.wrong += _loaded(store.load_latest(), call.truth, newest)
        store.prune(LatestN(KEPT), dry_run=True)
        pruning = store.prune(LatestN(KEPT))
        said["given_up"] = [] if pruning is None else [str(g.name) for g in pruning.given_up]
        store.repair()
        receipt = store.save(70, NEW)
        said["saved"] = name_of(receipt.generation, 70)
        loaded = store.load_latest()
        if loaded is None or loaded.generation != receipt.generation:
            call.wrong.append(f"after a save, a load took {loaded}")
    said["outcomes"].append("saved")


def left_behind(
    store: Path, truth: Truth, whole: set[str], said: Mapping[str, Any]
) -> Iterator[str]:
    """What may not be after all of it: something intact that was moved, or is gone."""
    given_up, kept = set(said["given_up"]), set(sorted(whole)[-KEPT:])
    there = intact_in(store, truth)
    aside = moved_intact(store, truth)
    for name in sorted(whole & aside):
        yield f"{name} is intact and was moved to quarantine"
    for name in sorted(whole - there - given_up - aside):
        if not os.path.isdir(store):  # the file system has shut down since
            return
        if not os.path.lexists(store / f"pruned-{name}"):
            yield f"{name} was intact and is gone or changed"
    for name in sorted(kept & given_up):
        yield f"{name} was given up, and is among the newest {KEPT} that are intact"


def in_a_child(work: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any] | None:
    """What a child says, as JSON; None where it did not answer in time: it is killed then."""
    take, give = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(take)
            with os.fdopen(give, "wb") as out:
                out.write(json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(give)
    said = b""
    try:
        while select.select([take], [], [], timeout_s)[0]:
            piece = os.read(take, 1 << 16)
            if not piece:
                break
            said += piece
    finally:
        os.close(take)
        if not wait_for_exit(child, 1.0):
            os.kill(child, signal.SIGKILL)
            wait_for_exit(child, 10.0)
    if not said:
        return None
    answer: dict[str, Any] = json.loads(said)
    return answer
