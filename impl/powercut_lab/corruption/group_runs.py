"""Injections into groups: at rest, before the write, and before the digest is taken."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from lastgood.backends.detect import disk_here
from lastgood.guard import Guard
from powercut_lab.corruption.changes import (
    CONTROL,
    MANIFEST_FLIP,
    Change,
    Checkpoint,
    draw_file,
    faults_at_rest,
    nothing,
)
from powercut_lab.corruption.faults import FaultAction, byte_faults, flip_bits, no_fault
from powercut_lab.corruption.group_layers import Expected, expect, hand_out, judge_layers
from powercut_lab.corruption.groups import (
    NEWER,
    OLDER,
    FaultyDisk,
    GroupSubject,
    fill_store,
    parts_of,
)
from powercut_lab.corruption.raw import Injection

GROUP_KEPT: Final = 0.5
"""The share of a part that the paper's truncation of a group keeps."""
AT_REST: Final = "at rest"
BEFORE_WRITE: Final = "before the write"
BEFORE_DIGEST: Final = "before the digest"
REJECTED: Final = ("older", "nothing", "refused")
"""Outcomes of a reader that did not take the damaged group."""
MOMENTS: Final = (AT_REST, BEFORE_WRITE, BEFORE_DIGEST)


def inject(
    subject: GroupSubject, moment: str, count: int, seed: int, folder: Path
) -> Iterator[Injection]:
    """`count` injections of each fault that there is at that moment, and as many controls."""
    with Guard() as guard:
        if moment == AT_REST:
            yield from _at_rest(guard, subject, count, seed, folder)
            return
        before_write = moment == BEFORE_WRITE
        savers = _faults_before_write() if before_write else _faults_before_digest()
        yield from _while_saving(guard, subject, moment, count, seed, folder, savers=savers)


def drawing(seed: int, *names: str) -> random.Random:
    """The generator of one series of injections; the same for the same seed and names."""
    return random.Random("/".join((str(seed), *names)))  # noqa: S311 - injections are repeatable


def _at_rest(
    guard: Guard, subject: GroupSubject, count: int, seed: int, folder: Path
) -> Iterator[Injection]:
    moment = AT_REST
    store = folder / "store"
    older, newer = fill_store(subject, store, seed, (OLDER, NEWER))
    checkpoint = read_checkpoint(subject, store, older, newer, seed)
    expected = expect(guard, folder, seed)
    faults = {CONTROL: nothing, **faults_at_rest(GROUP_KEPT)}
    for name, fault in faults.items():
        draw = drawing(seed, subject.name, subject.mode, name, moment)
        for _ in range(count):
            change = fault(checkpoint, draw)
            effective = change.is_effective(checkpoint)
            write_files(store / newer, change.files)
            yield judge_group(
                guard, subject, store, newer, expected, (name, moment, effective, change)
            )
            write_files(store / newer, _restored(checkpoint, change.files))


def read_checkpoint(
    subject: GroupSubject, store: Path, older: str, newer: str, seed: int
) -> Checkpoint:
    """The newer group of a store, and the older one, as they lie on the disk."""
    records = {name: (store / newer / name).read_bytes() for name in subject.records}
    older_records = {name: (store / older / name).read_bytes() for name in subject.records}
    return Checkpoint(parts_of(seed, NEWER), records, parts_of(seed, OLDER), older_records)


def write_files(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Set files to these bytes; None removes one."""
    for name, data in files.items():
        if data is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(data)


def _restored(checkpoint: Checkpoint, files: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    before = {**checkpoint.parts, **checkpoint.records}
    return {name: before.get(name) for name in files}


_Saver = Callable[[GroupSubject, Path, int, random.Random], Change]


def _faults_before_write() -> dict[str, _Saver]:
    saving: dict[str, _Saver] = {CONTROL: partial(_save_damaged_write, fault=no_fault)}
    for name, fault in byte_faults(GROUP_KEPT).items():
        saving[name] = partial(_save_damaged_write, fault=fault)
    saving[MANIFEST_FLIP] = partial(_save_damaged_write, fault=flip_bits, of_record=True)
    return saving


def _faults_before_digest() -> dict[str, _Saver]:
    faults = {CONTROL: no_fault, **byte_faults(GROUP_KEPT)}
    return {name: partial(_save_damaged_parts, fault=fault) for name, fault in faults.items()}


def _while_saving(
    guard: Guard,
    subject: GroupSubject,
    moment: str,
    count: int,
    seed: int,
    folder: Path,
    *,
    savers: Mapping[str, _Saver],
) -> Iterator[Injection]:
    expected = expect(guard, folder, seed)
    store = folder / "store"
    for name, save in savers.items():
        draw = drawing(seed, subject.name, subject.mode, name, moment)
        for _ in range(count):
            fill_store(subject, store, seed, (OLDER,))
            change = save(subject, store, seed, draw)
            newer = subject.directory(2, NEWER)
            effective = change.where != ""
            yield judge_group(
                guard, subject, store, newer, expected, (name, moment, effective, change)
            )
            shutil.rmtree(store)


def _save_damaged_parts(
    subject: GroupSubject,
    store: Path,
    seed: int,
    draw: random.Random,
    *,
    fault: Callable[[bytes, random.Random], FaultAction],
) -> Change:
    """Save parts of which one is damaged in memory already."""
    parts = dict(parts_of(seed, NEWER))
    name = draw_file(parts, draw)
    damage = fault(parts[name], draw)
    is_effective = damage.data != parts[name]
    subject.save_parts(store, {**parts, name: damage.data}, NEWER, FaultyDisk(disk_here()))
    return Change({}, f"{name}: {damage.length} bytes at {damage.offset}" * is_effective)


def _save_damaged_write(
    subject: GroupSubject,
    store: Path,
    seed: int,
    draw: random.Random,
    *,
    fault: Callable[[bytes, random.Random], FaultAction],
    of_record: bool = False,
) -> Change:
    """Save intact parts through a disk that damages one file on its way."""
    parts = parts_of(seed, NEWER)
    target = parts[draw_file(parts, draw)]
    turn = draw.randrange(len(subject.records))
    records = 0
    where = ""

    def damage(data: bytes) -> bytes:
        nonlocal records, where
        is_record = data not in parts.values()
        hit = is_record and records == turn if of_record else data == target
        records += is_record
        if not hit:
            return data
        done = fault(data, draw)
        where = f"{done.length} bytes at {done.offset}" * (done.data != data)
        return done.data

    subject.save_parts(store, parts, NEWER, FaultyDisk(disk_here(), damage))
    return Change({}, where)


def judge_group(
    guard: Guard,
    subject: GroupSubject,
    store: Path,
    newer: str,
    expected: Expected,
    what: tuple[str, str, bool, Change],
) -> Injection:
    """Judge a store whose newer group has that name: the fault, its moment, effective, where."""
    name, moment, effective, change = what
    layers = judge_layers(guard, subject, store / newer, expected)
    handed = hand_out(subject, store, expected)
    return Injection(
        subject.name, subject.mode, name, moment, int(effective),
        layers.load, layers.shape, layers.digest, layers.file_hash, layers.manifest, layers.chunk,
        int(handed.outcome in REJECTED), handed.outcome, handed.reason,
        "" if effective or name == CONTROL else change.where or "no byte changed",
    )  # fmt: skip
