"""The objects that a crash model drives: production code, with nothing left to chance."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

import pytest

from lastgood import open_read_only
from lastgood.backends.capabilities import SystemInfo, system_info
from lastgood.backends.interface import Disk
from lastgood.crashtest import subjects
from lastgood.crashtest.stamped_disk import with_stamps
from lastgood.crashtest.subjects import (
    APART,
    ATTEMPT,
    AUTO,
    CHUNKED,
    KEEP_ONE,
    PAPER,
    RECORD,
    REMEMBERS,
    RENAME,
    REPAIRED,
    REPORTED,
    LastgoodSubject,
    PaperSubject,
)
from lastgood.format.chunks import Chunking
from lastgood.recovery.quarantine_report import report_name
from tests.impl.disks import WatchedDisk, names_in, tree

Subject = LastgoodSubject | PaperSubject
PARTS = {"a": b"1", "b": b"2"}
SUBJECTS = [
    AUTO,
    RECORD,
    RENAME,
    ATTEMPT,
    CHUNKED,
    APART,
    KEEP_ONE,
    REMEMBERS,
    REPAIRED,
    REPORTED,
    PAPER,
]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("mode", ["unsafe", "atomic_nodirsync", "atomic_dirsync"])
def test_every_subject_saves_recovers_and_reads(
    tmp_path: Path, subject: Subject, mode: str
) -> None:
    disk, store = WatchedDisk(tmp_path), f"{tmp_path.resolve()}/ckpt/run"
    assert subject.read(disk, store) is None
    session = subject.open(disk, store, mode, rename_is_atomic=True)
    assert session.recover() is None
    assert session.save(1, PARTS) == 1
    assert session.save(2, {"a": b"3", "b": b"4"}) == 2
    found = session.recover()
    session.close()
    before = tree(tmp_path)
    read = subject.read(disk, store)

    assert found is not None
    assert (found.generation, found.step, dict(found.parts)) == (2, 2, {"a": b"3", "b": b"4"})
    assert read == found
    assert tree(tmp_path) == before


@pytest.mark.parametrize("subject", SUBJECTS)
def test_two_runs_are_the_same_call_for_call_and_byte_for_byte(
    tmp_path: Path, subject: Subject
) -> None:
    runs = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        disk = WatchedDisk(root)
        session = subject.open(disk, f"{root.resolve()}/run", "atomic_nodirsync", True)
        session.save(1, PARTS)
        session.recover()
        session.close()
        runs.append((disk.calls, tree(root)))

    assert runs[0] == runs[1]


@pytest.mark.parametrize(("atomic", "renames"), [(True, True), (False, False)])
def test_auto_renames_only_where_rename_is_atomic(
    tmp_path: Path, atomic: bool, renames: bool
) -> None:
    disk = WatchedDisk(tmp_path)
    session = AUTO.open(disk, f"{tmp_path.resolve()}/run", "atomic_dirsync", atomic)
    session.save(1, PARTS)
    session.close()

    assert any(call.startswith("rename") for call in disk.calls) is renames


def test_the_entry_points_name_these_objects() -> None:
    found = {point.name: point.load() for point in entry_points(group="powercut.subjects")}

    assert found["lastgood"] is subjects.AUTO
    assert found["lastgood+record"] is subjects.RECORD
    assert found["lastgood+rename"] is subjects.RENAME
    assert found["lastgood+attempt"] is subjects.ATTEMPT
    assert found["lastgood+chunked"] is subjects.CHUNKED
    assert found["lastgood+keep1"] is subjects.KEEP_ONE
    assert found["lastgood+remembers"] is subjects.REMEMBERS
    assert found["lastgood+repair"] is subjects.REPAIRED
    assert found["lastgood+report"] is subjects.REPORTED
    assert found["lastgood+purge"] is subjects.PURGED
    assert found["paper"] is subjects.PAPER


def test_a_session_that_keeps_one_group_prunes_after_saves_and_recoveries(tmp_path: Path) -> None:
    disk, store = WatchedDisk(tmp_path), f"{tmp_path.resolve()}/run"
    plain = RENAME.open(disk, store, "atomic_dirsync", rename_is_atomic=True)
    for step in (1, 2):
        plain.save(step, PARTS)
    plain.close()
    session = KEEP_ONE.open(disk, store, "atomic_dirsync", rename_is_atomic=True)
    session.recover()
    assert names_in(tmp_path / "run") == ["gen-00000002-step-00000002", "lock"]
    session.save(3, PARTS)
    session.close()

    assert names_in(tmp_path / "run") == ["gen-00000003-step-00000003", "lock"]


def test_the_parts_of_a_chunked_save_have_chunks(tmp_path: Path) -> None:
    disk, store = WatchedDisk(tmp_path), f"{tmp_path.resolve()}/run"
    session = CHUNKED.open(disk, store, "atomic_dirsync", rename_is_atomic=True)
    session.save(1, {"long": b"save1-part1", "short": b"s"})
    session.close()
    (group,) = open_read_only(store).groups()

    assert group.manifest.chunking == Chunking(4, "sha256")
    assert [len(part.chunks) for part in group.manifest.parts] == [3 * 64, 0]


def test_only_a_session_that_reports_writes_reports(tmp_path: Path) -> None:
    for subject, names in (
        (RECORD, []),
        (REPORTED, [report_name("gen-00000009-step-00000001")]),
    ):
        home = tmp_path / str(len(names))
        (home / "run" / "gen-00000009-step-00000001").mkdir(parents=True)
        session = subject.open(WatchedDisk(home), f"{home.resolve()}/run", "unsafe", True)
        session.recover()
        session.close()
        assert names_in(home / "run" / "quarantine")[1:] == names


@pytest.mark.parametrize(
    ("subject", "order"),
    [
        (AUTO, ["create/a", "create/b", "write/a", "write/b", "fsync/a", "fsync/b"]),
        (APART, ["create/a", "write/a", "fsync/a", "close/a", "create/b", "write/b"]),
    ],
)
def test_small_parts_are_written_together_and_otherwise_one_after_the_other(
    tmp_path: Path, subject: LastgoodSubject, order: list[str]
) -> None:
    disk = WatchedDisk(tmp_path)
    session = subject.open(disk, f"{tmp_path.resolve()}/run", "atomic_dirsync", True)
    session.save(1, PARTS)
    session.close()
    calls = [c.split()[0] + c[-2:] for c in disk.calls if c.endswith(("/a", "/b"))]

    assert calls[:6] == order


def test_a_disk_that_has_stamps_alone_is_taken_for_one_that_knows_its_system() -> None:
    class Bare:
        def stamp(self, path: str) -> tuple[int, ...]:
            return (len(path),)

    disk = with_stamps(cast("Disk", Bare()))

    assert isinstance(disk, SystemInfo)
    assert system_info(disk).stamp("/a") == (2,)
