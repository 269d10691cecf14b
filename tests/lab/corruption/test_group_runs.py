"""Injections into groups: what is noticed, and that a seed repeats them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.backends.detect import disk_here
from lastgood.crashtest.subjects import PAPER_MODES
from lastgood.guard import Guard
from lastgood.protocol.plan import MODES
from powercut_lab.corruption.changes import CONTROL, MANIFEST_FLIP
from powercut_lab.corruption.file_runs import inject_into_file
from powercut_lab.corruption.group_layers import expect, judge_layers
from powercut_lab.corruption.group_runs import (
    AT_REST,
    BEFORE_DIGEST,
    BEFORE_WRITE,
    MOMENTS,
    inject,
)
from powercut_lab.corruption.groups import (
    MODEL,
    NEWER,
    OLDER,
    FaultyDisk,
    GroupSubject,
    all_subjects,
    fill_store,
    parts_of,
)
from powercut_lab.corruption.raw import INJECTIONS, Injection, counted
from powercut_lab.result_folder import check_row

SUBJECTS = {(each.name, each.mode): each for each in all_subjects()}
OURS = SUBJECTS["lastgood+record", "atomic_dirsync"]
PAPERS = SUBJECTS["paper", "atomic_dirsync"]


def test_every_mode_of_both_protocols_is_there() -> None:
    names = {name for name, _ in SUBJECTS}

    assert names == {"lastgood+record", "lastgood+rename", "paper"}
    assert {mode for name, mode in SUBJECTS if name != "paper"} == set(MODES)
    assert {mode for name, mode in SUBJECTS if name == "paper"} == set(PAPER_MODES)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("subject", [OURS, PAPERS, SUBJECTS["lastgood+rename", "atomic_fullsync"]])
def test_controls_are_intact_and_same_seed_gives_equal_rows(
    subject: GroupSubject, moment: str, tmp_path: Path
) -> None:
    rows = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows.append(list(inject(subject, moment, 2, 9, folder)))
    controls = [each for each in rows[0] if each.fault == CONTROL]

    assert rows[0] == rows[1]
    assert len(controls) == 2
    assert all(each.outcome == "newest" and each.found == 0 for each in controls)
    assert not any(
        1 in (each.load, each.shape, each.digest, each.file_hash, each.manifest, each.chunk)
        for each in controls
    )


def test_another_seed_gives_other_injections(tmp_path: Path) -> None:
    rows = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows.append(counted(inject(PAPERS, BEFORE_DIGEST, 6, seed, folder)))

    assert rows[0] != rows[1]


@pytest.mark.parametrize("subject", [OURS, PAPERS])
@pytest.mark.parametrize("moment", [AT_REST, BEFORE_WRITE])
def test_damage_behind_the_digest_is_never_handed_out(
    subject: GroupSubject, moment: str, tmp_path: Path
) -> None:
    found = [each for each in inject(subject, moment, 6, 3, tmp_path) if each.effective]

    assert len(found) > 20
    assert {each.outcome for each in found} <= {"older", "newest"}
    # Only a record of the paper's can change without any part being affected.
    assert {each.fault for each in found if not each.found} <= {MANIFEST_FLIP}
    assert all(each.found for each in found if not subject.is_papers)
    stale = [each for each in found if each.fault == "stale manifest"]
    # The files are as they were before the next injection: nothing of the others is noticed here.
    assert {(each.load, each.digest, each.file_hash) for each in stale} <= {(0, 0, 1)}
    assert {each.manifest for each in stale} <= {0 if subject.is_papers else 1}
    of_parts = [each for each in found if each.fault not in (MANIFEST_FLIP, "stale manifest")]
    assert all(each.file_hash == 1 and each.manifest == 0 for each in of_parts)
    assert all(each.chunk == (-1 if subject.is_papers else 1) for each in of_parts)


@pytest.mark.parametrize("subject", [OURS, PAPERS])
def test_damage_before_the_digest_is_vouched_for(subject: GroupSubject, tmp_path: Path) -> None:
    found = [each for each in inject(subject, BEFORE_DIGEST, 4, 3, tmp_path) if each.effective]

    assert {each.outcome for each in found} == {"damaged bytes"}
    assert all(each.file_hash == each.manifest == 0 for each in found)
    assert any(each.load or each.digest for each in found)


def test_a_layer_notices_what_it_is_for_and_nothing_else(tmp_path: Path) -> None:
    store = tmp_path / "store"
    _, newer = fill_store(OURS, store, 1, (OLDER, NEWER))
    other = parts_of(2, NEWER)[MODEL]  # loads, has the right shapes, and other numbers
    (store / newer / MODEL).write_bytes(other)
    with Guard() as guard:
        found = judge_layers(guard, OURS, store / newer, expect(guard, tmp_path, 1))

    assert (found.load, found.shape, found.digest) == (0, 0, 1)
    assert (found.file_hash, found.manifest, found.chunk) == (1, 0, 1)


def test_a_faulty_disk_writes_what_its_damage_gives(tmp_path: Path) -> None:
    disk = FaultyDisk(disk_here(), lambda data: data[::-1])
    path = str(tmp_path / "file")
    disk.create(path)
    disk.write(path, b"ab")
    disk.write(path, b"c")
    disk.close(path)

    assert (tmp_path / "file").read_bytes() == b"cba"


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_every_effective_injection_into_a_single_file_is_rejected(
    ending: str, tmp_path: Path
) -> None:
    found = list(inject_into_file(ending, 8, 5, tmp_path))
    real = [each for each in found if each.effective]

    assert len(real) == 8 * 8
    assert all(each.outcome == "rejected" for each in real)
    assert all(each.outcome == "accepted" for each in found if each.fault == CONTROL)
    flips = [each for each in real if each.fault == MANIFEST_FLIP]
    assert all(each.manifest == 1 and each.file_hash == 0 for each in flips)


def test_a_no_op_is_kept_with_its_place_and_noticed_by_nobody(tmp_path: Path) -> None:
    injection = Injection(
        "paper", "unsafe", "zero range", AT_REST, 0, 0, 0, 0, 0, 0, -1, 0, "newest", "", "x: 3 at 9"
    )

    (row,) = counted([injection, injection])

    check_row(INJECTIONS, row)
    assert row[-2:] == ("x: 3 at 9", 2)
