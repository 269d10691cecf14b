"""How each call grows with the store: its seconds, the exponent, and the looks that it took.

    python benchmarks/growth.py [--dir DIR] [--sizes 100,1000,10000] [--only TEXT] [--markdown]

A store of so many tiny groups, one of as many directories without MANIFEST, and a quarantine of as
many entries are written file by file, without a sync: in memory (/dev/shm), where there is such a
place, so that the disk hides nothing. A call runs once on each. The seconds are those of a
processor, so that other work does not count. Beside them is the exponent from the size before: 1 is
linear, 2 is quadratic. Below some hundredths of a second it says nothing. The last columns count,
at the largest size, how often the store was listed and how many manifests were read.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from attrs import evolve, frozen

from lastgood import (
    BestN,
    EveryKSteps,
    EverySeconds,
    LastgoodWarning,
    LatestN,
    Policy,
    Store,
)
from lastgood.backends.detect import disk_here
from lastgood.cli import read_commands, write_commands
from lastgood.format.digests import digest_of
from lastgood.format.manifest import Manifest, Part, encode
from lastgood.format.names import LOCK, MANIFEST, QUARANTINE, GroupName
from lastgood.recovery.quarantine_report import QuarantineReport, encode_report, report_name

MEMORY = "/dev/shm"  # noqa: S108 - a folder with a name of its own is made in it
SIZES = (100, 1000, 10_000)
DATA = b"tiny"
PART = Part("model", len(DATA), digest_of(DATA, "sha256"))
NOW_S = 1_800_000_000
LOSS = "loss"


@frozen
class Looks:
    """How often a store was listed, and how many manifests were read."""

    listings: int
    manifests: int


class Counter:
    """The disk of this machine; every look at the store is counted."""

    def __init__(self, store: Path) -> None:
        self.looks = Looks(0, 0)
        kind, top = type(disk_here()), str(store)

        def names(disk: object, path: str) -> list[str]:
            if path == top:
                self.looks = evolve(self.looks, listings=self.looks.listings + 1)
            return kind.names(disk, path)  # type: ignore[arg-type]

        def read(disk: object, path: str, limit_bytes: int) -> bytes:
            if path.endswith(f"/{MANIFEST}"):
                self.looks = evolve(self.looks, manifests=self.looks.manifests + 1)
            return kind.read(disk, path, limit_bytes)  # type: ignore[arg-type]

        self.disk = type("Counting", (kind,), {"names": names, "read": read})()


def write_group(home: Path, number: int) -> None:
    """One group of a single tiny part, as a save would leave it."""
    home.mkdir(parents=True)
    (home / PART.path).write_bytes(DATA)
    metadata = {LOSS: 1 / (number + 1)}
    manifest = Manifest(
        number, number, f"{number:032x}", (PART,), metadata=metadata, saved_at_s=NOW_S + 10 * number
    )
    (home / MANIFEST).write_bytes(encode(manifest))


def write_groups(store: Path, count: int) -> None:
    """A store of so many groups."""
    store.mkdir()
    (store / LOCK).touch()
    for number in range(1, count + 1):
        write_group(store / str(GroupName(number, number)), number)


def write_bare(store: Path, count: int) -> None:
    """A group, and after it so many directories that have a group's name and nothing in them."""
    write_groups(store, 1)
    for number in range(2, count + 2):
        (store / str(GroupName(number, number))).mkdir()


def write_quarantine(store: Path, count: int) -> None:
    """A group, and so many in quarantine, each of another generation, with a report beside it."""
    write_groups(store, 1)
    for number in range(2, count + 2):
        name = str(GroupName(number, number))
        write_group(store / QUARANTINE / name, number)
        what = name, name, number, number, "sha_mismatch:model", "it was damaged", NOW_S, "0", ()
        report = encode_report(QuarantineReport(*what))
        (store / QUARANTINE / report_name(name)).write_bytes(report)


Work = Callable[[], object]
Measured = Callable[[Path, int, Counter], contextlib.AbstractContextManager[Work]]
"""Given a store, how many are in it, and a counter: what is measured, between what is not."""


@frozen
class Subject:
    """A call on a store that somebody has written."""

    name: str
    write: Callable[[Path, int], None]
    measured: Callable[
        [Path, int, Counter], contextlib.AbstractContextManager[Callable[[], object]]
    ]


def command(
    *arguments: str,
) -> Measured:
    """A command of `lastgood`, in this process, its output kept from the screen."""

    @contextlib.contextmanager
    def measured(store: Path, _count: int, counter: Counter) -> Iterator[Work]:
        def run() -> None:
            out = io.StringIO()
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                    read_commands.cli.main([*arguments, str(store)], standalone_mode=False)
            except SystemExit as ended:
                if ended.code not in range(4):  # a signal, not a status of its own
                    raise

        modules = read_commands, write_commands
        with contextlib.ExitStack() as patched:
            disk = mock.Mock(return_value=counter.disk)
            for module in modules:
                patched.enter_context(mock.patch.object(module, "disk_here", disk))
            yield run

    return measured


def looking(
    call: Callable[[Store], object],
) -> Measured:
    """A call of a store that is open read-only."""

    @contextlib.contextmanager
    def measured(store: Path, _count: int, counter: Counter) -> Iterator[Work]:
        with Store(store, writable=False, disk=counter.disk) as opened:
            yield lambda: call(opened)

    return measured


def writing(
    call: Callable[[Store, int], object],
    keep: Callable[[int], Policy] | None = None,
    *,
    before: int = 0,
) -> Measured:
    """A call of a store that is open for writing, after so many saves."""

    @contextlib.contextmanager
    def measured(store: Path, count: int, counter: Counter) -> Iterator[Work]:
        policy = None if keep is None else keep(count)
        with open_to_write(store, counter, policy) as opened:
            for number in range(before):
                save(opened, count + number)
            yield lambda: call(opened, count + before)

    return measured


@contextlib.contextmanager
def opening(store: Path, _count: int, counter: Counter) -> Iterator[Work]:
    """A store that is opened for writing."""
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(open_to_write(store, counter, None))


def open_to_write(store: Path, counter: Counter, keep: Policy | None) -> Store:
    """A writable store; between two saves ten seconds pass."""
    times = itertools.count(NOW_S + 10**9, 10)
    return Store(store, disk=counter.disk, keep=keep, now=lambda: next(times))


def save(store: Store, count: int) -> object:
    """One more group after so many, with the loss that a run of this kind would have."""
    return store.save(count + 1, {PART.path: DATA}, {LOSS: 1 / (count + 2)})


# What is kept: all there is, with room for more, or as many as there are, so that one goes.
ALL_KEPT: dict[str, Callable[[int], Policy]] = {
    "LatestN": lambda count: LatestN(2 * count),
    "EveryKSteps": lambda _count: EveryKSteps(1),
    "EverySeconds": lambda _count: EverySeconds(1),
    "BestN": lambda count: BestN(LOSS, 2 * count, mode="min"),
}
ONE_GOES: dict[str, Callable[[int], Policy]] = {
    "LatestN": LatestN,
    "LatestN or EveryKSteps": lambda count: LatestN(count) | EveryKSteps(10**9),
    "BestN": lambda count: BestN(LOSS, count, mode="min"),
}


def subjects() -> list[Subject]:
    """All that is measured, in the order of the table."""
    found = [
        Subject("lastgood ls", write_groups, command("ls")),
        Subject("lastgood verify", write_groups, command("verify")),
        Subject("lastgood why", write_groups, command("why")),
        Subject("lastgood doctor", write_groups, command("doctor")),
        Subject("latest_step()", write_groups, looking(Store.latest_step)),
        Subject("all_steps()", write_groups, looking(Store.all_steps)),
        Subject("groups()", write_groups, looking(Store.groups)),
        Subject("load_latest()", write_groups, looking(Store.load_latest)),
        Subject("verify()", write_groups, looking(Store.verify)),
        Subject("open for writing", write_groups, opening),
        Subject("save, first", write_groups, writing(save)),
        Subject("save", write_groups, writing(save, before=1)),
    ]
    for name, keep in ALL_KEPT.items():
        found.append(
            Subject(f"save, {name}, all kept", write_groups, writing(save, keep, before=2))
        )
    for name, keep in ONE_GOES.items():
        found += [
            Subject(f"save, {name}, one goes, first", write_groups, writing(save, keep)),
            Subject(f"save, {name}, one goes", write_groups, writing(save, keep, before=2)),
        ]
    dry, half = "prune to half, dry run", "prune to half"
    return [
        *found,
        Subject(
            dry, write_groups, looking(lambda store: store.prune(EveryKSteps(2), dry_run=True))
        ),
        Subject(half, write_groups, writing(lambda store, _count: store.prune(EveryKSteps(2)))),
        Subject("lastgood ls, no MANIFEST", write_bare, command("ls")),
        Subject("lastgood why, no MANIFEST", write_bare, command("why")),
        Subject("lastgood verify, no MANIFEST", write_bare, command("verify")),
        Subject("load_latest(), no MANIFEST", write_bare, looking(Store.load_latest)),
        Subject(
            "load_latest() that sets them aside",
            write_bare,
            writing(lambda store, _count: store.load_latest()),
        ),
        Subject("lastgood ls, quarantine", write_quarantine, command("ls")),
        Subject("lastgood quarantine", write_quarantine, command("quarantine")),
    ]


def measure(subject: Subject, folder: Path, count: int) -> tuple[float, Looks]:
    """The seconds that a call takes on a store of its own, and its looks."""
    store = Path(os.path.realpath(folder)) / "store"
    subject.write(store, count)
    try:
        counter = Counter(store)
        with subject.measured(store, count, counter) as work:
            counter.looks = Looks(0, 0)
            begun_s = time.process_time()
            work()
            took_s = time.process_time() - begun_s
            looks = counter.looks
        return took_s, looks
    finally:
        shutil.rmtree(store)


def row(subject: Subject, folder: Path, sizes: list[int]) -> list[str]:
    """The figures of one call, in the order of the columns."""
    cells, before, looks = [subject.name], None, Looks(0, 0)
    for count in sizes:
        took_s, looks = measure(subject, folder, count)
        grown = ""
        if before is not None:
            grown = f" ({math.log(took_s / before[1]) / math.log(count / before[0]):.2f})"
        cells.append(f"{took_s:.4f}{grown}")
        before = count, took_s
    return [*cells, str(looks.listings), str(looks.manifests)]


def header(sizes: list[int]) -> list[str]:
    """The names of the columns."""
    return ["call", *(f"{count:,}: s" for count in sizes), "listings", "manifests read"]


def printed(cells: list[str], markdown: bool) -> None:
    """One line of the table."""
    if markdown:
        print(f"| {' | '.join(cells)} |", flush=True)
    else:
        print(f"{cells[0]:40}" + "".join(f"{cell:>18}" for cell in cells[1:]), flush=True)


def main() -> None:
    """Measure each call in a folder that is removed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    parser.add_argument("--dir", default=memory, help="the disk to measure")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="groups, ascending")
    parser.add_argument("--only", default="", help="calls with this in their name")
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is removed then too
    logging.getLogger("lastgood").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", LastgoodWarning)
    sizes = [int(size) for size in asked.sizes.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="lastgood-growth-", dir=asked.dir))
    try:
        chosen = [each for each in subjects() if asked.only in each.name]
        measure(chosen[0], folder, 1)  # not counted: it imports what it needs
        printed(header(sizes), asked.markdown)
        if asked.markdown:
            printed(["---"] * (len(sizes) + 3), markdown=True)
        for subject in chosen:
            printed(row(subject, folder, sizes), asked.markdown)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
