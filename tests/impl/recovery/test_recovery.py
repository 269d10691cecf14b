"""Damage at rest: each kind is told by its reason, and the load falls back in the same call."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import lastgood
from lastgood.format.manifest import decode, encode
from tests.impl.disks import PARTS, fill, names_aside, names_in, open_store, tree

OLD, NEW = "gen-00000001-step-00000001", "gen-00000002-step-00000002"
Harm = Callable[[Path], object]


def zero_a_range(group: Path) -> None:
    (group / "model").write_bytes(b"wei\0\0\0s")


def swap_parts(group: Path) -> None:
    (group / "model").rename(group / "spare")
    (group / "optim" / "adam").rename(group / "model")
    (group / "spare").rename(group / "optim" / "adam")


def flip_in_manifest(group: Path) -> None:
    data = bytearray((group / "MANIFEST").read_bytes())
    data[60] ^= 1
    (group / "MANIFEST").write_bytes(data)


def link_subdir(group: Path) -> None:
    (group / "optim").rename(group.parent.parent / "elsewhere")
    (group / "optim").symlink_to("../../elsewhere")


def link_part(group: Path) -> None:
    (group / "model").unlink()
    (group / "model").symlink_to(f"../{OLD}/model")


def link_group(group: Path) -> None:
    group.rename(group.parent.parent / "elsewhere")
    group.symlink_to("../elsewhere")


def link_manifest(group: Path) -> None:
    (group / "MANIFEST").rename(group / "real")
    (group / "MANIFEST").symlink_to("real")


def fifo_part(group: Path) -> None:
    (group / "model").unlink()
    os.mkfifo(group / "model")


def hostile_path(group: Path) -> None:
    data = (group / "MANIFEST").read_bytes()
    manifest = decode(data)
    (first, *rest) = manifest.parts
    outside = type(first)("../../secret", first.size_bytes, first.digest)
    forged = type(manifest)(
        manifest.generation, manifest.step, manifest.attempt, (outside, *rest), 1, {}
    )
    (group / "MANIFEST").write_bytes(encode(forged))


def huge_manifest(group: Path) -> None:
    with (group / "MANIFEST").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: reading it whole would end the test, and us


DAMAGE: list[tuple[Harm, str]] = [
    (lambda group: (group / "MANIFEST").unlink(), "no_commit"),
    (lambda group: (group / "MANIFEST").write_bytes(b""), "manifest_error:not_a_manifest"),
    (
        lambda group: os.truncate(group / "MANIFEST", (group / "MANIFEST").stat().st_size - 1),
        "manifest_error:truncated",
    ),
    (huge_manifest, "manifest_error:too_large"),
    (flip_in_manifest, "commit_manifest_mismatch"),
    (lambda group: (group / "model").unlink(), "missing:model"),
    (lambda group: (group / "model").write_bytes(b"weight"), "size_mismatch:model"),
    (lambda group: (group / "model").write_bytes(b"weights!"), "size_mismatch:model"),
    (lambda group: (group / "model").write_bytes(b"weighTs"), "sha_mismatch:model"),
    (zero_a_range, "sha_mismatch:model"),
    (swap_parts, "sha_mismatch:model"),
    (link_part, "not_regular:model"),
    (fifo_part, "not_regular:model"),
    (link_manifest, "not_regular:MANIFEST"),
    (link_subdir, "not_regular:optim"),
    (link_group, f"not_regular:{NEW}"),
    (hostile_path, "unsafe_path:'../../secret'"),
]
IDS = [reason.partition(":")[0] + f"-{n}" for n, (_, reason) in enumerate(DAMAGE)]


@pytest.fixture
def two_groups(tmp_path: Path) -> Path:
    return fill(tmp_path, (1, 2), form="record").parent


@pytest.mark.parametrize(("harm", "reason"), DAMAGE, ids=IDS)
def test_a_reader_falls_back_says_why_and_changes_nothing(
    two_groups: Path, harm: Harm, reason: str
) -> None:
    harm(two_groups / "store" / NEW)
    before = tree(two_groups)
    with lastgood.open_read_only(two_groups / "store") as store:
        loaded = store.load_latest()

    assert loaded is not None
    assert loaded.generation == 1
    assert [(each.name, each.reason) for each in loaded.rejected] == [(NEW, reason)]
    assert tree(two_groups) == before


@pytest.mark.parametrize(("harm", "reason"), DAMAGE, ids=IDS)
def test_the_writer_sets_it_aside_and_goes_on(two_groups: Path, harm: Harm, reason: str) -> None:
    harm(two_groups / "store" / NEW)
    with open_store(two_groups, form="record") as store:
        loaded = store.load_latest()
        assert loaded is not None
        assert loaded.generation == 1
        assert [each.reason for each in loaded.rejected] == [reason]
        assert os.path.lexists(store.path / "quarantine" / NEW)
        assert not os.path.lexists(store.path / NEW)
        assert store.save(3, PARTS).generation == 3
        again = store.load_latest()

    assert again is not None
    assert (again.generation, again.rejected) == (3, ())


def test_a_group_under_another_groups_name_is_rejected(two_groups: Path) -> None:
    (two_groups / "store" / NEW).rename(two_groups / "store" / "gen-00000009-step-00000002")

    loaded = lastgood.open_read_only(two_groups / "store").load_latest()

    assert loaded is not None
    assert loaded.generation == 1
    assert [each.reason for each in loaded.rejected] == ["name_mismatch"]


def test_dead_attempts_are_deleted_whatever_their_age(two_groups: Path) -> None:
    store_path = two_groups / "store"
    for generation in (0, 7):
        (store_path / f"attempt-gen-0000000{generation}-step-00000001").mkdir()
    with open_store(two_groups) as store:
        loaded = store.load_latest()
        assert store.save(5, PARTS).generation == 8

    assert loaded is not None
    assert loaded.generation == 2
    assert names_in(store_path) == [OLD, NEW, "gen-00000008-step-00000005", "lock"]


def test_quarantine_never_replaces_what_it_holds(two_groups: Path) -> None:
    store_path = two_groups / "store"
    for n in range(3):
        (store_path / NEW / "MANIFEST").write_bytes(b"bad %d" % n)
        with open_store(two_groups) as store:
            store.load_latest()
        if n < 2:
            (store_path / NEW).mkdir()

    held = store_path / "quarantine"
    assert names_aside(store_path) == [NEW, f"{NEW}.1", f"{NEW}.2"]
    assert [(held / name / "MANIFEST").read_bytes() for name in names_aside(store_path)] == [
        b"bad 0",
        b"bad 1",
        b"bad 2",
    ]


def test_an_older_damaged_group_is_left_alone(two_groups: Path) -> None:
    (two_groups / "store" / OLD / "model").write_bytes(b"")
    with open_store(two_groups) as store:
        loaded = store.load_latest()

    assert loaded is not None
    assert loaded.generation == 2
    assert (two_groups / "store" / OLD).is_dir()


def test_where_nothing_is_left_the_answer_is_none_and_nothing_is_deleted(
    two_groups: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (OLD, NEW):
        (two_groups / "store" / name / "model").write_bytes(b"bad")
    with caplog.at_level(logging.WARNING, "lastgood"), open_store(two_groups) as store:
        assert store.load_latest() is None

    assert [OLD in record.getMessage() for record in caplog.records] == [False, True]
    held = tree(two_groups / "store" / "quarantine")
    assert {f"{OLD}/model", f"{NEW}/model", f"{OLD}/optim/adam"} <= set(held)


def test_foreign_entries_are_neither_read_nor_moved(two_groups: Path) -> None:
    store_path = two_groups / "store"
    (store_path / "notes.txt").write_text("mine")
    (store_path / "gen-3").mkdir()
    with open_store(two_groups) as store:
        assert store.load_latest() is not None

    assert (store_path / "notes.txt").read_text() == "mine"
    assert (store_path / "gen-3").is_dir()


def test_a_quarantine_that_leads_elsewhere_is_not_followed_and_ends_no_load(
    two_groups: Path,
) -> None:
    (two_groups / "elsewhere").mkdir()
    (two_groups / "store" / "quarantine").symlink_to("../elsewhere")
    (two_groups / "store" / NEW / "model").unlink()
    before = tree(two_groups)
    with open_store(two_groups) as store:
        loaded = store.load_latest()
        assert tree(two_groups) == {**before, "store/lock": tree(two_groups)["store/lock"]}

    assert loaded is not None
    assert loaded.generation == 1


def test_a_generation_that_nothing_can_follow_is_reported(two_groups: Path) -> None:
    (two_groups / "store" / ("gen-" + "9" * 15 + "-step-00000001")).mkdir()
    before = tree(two_groups)
    with (
        open_store(two_groups) as store,
        pytest.raises(lastgood.UsageError, match="the last one"),
    ):
        store.save(1, PARTS)

    assert tree(two_groups) == before
