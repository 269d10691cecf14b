"""Stores of every format so far, as the code of their time made them, in the code of today."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lastgood import Group, Rejection, open_read_only
from lastgood.format.manifest import decode, encode
from tests.impl.cli.commands import run
from tests.impl.disks import open_store, tree

GOLDEN = Path(__file__).parent / "golden"
STORES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
STEPS = {
    "attempt": [5],
    "chunked": [1, 2],
    "digests": [1, 2, 3],
    "first": [10, 20],
    "quarantine": [1],
    "record": [10, 20],
    "rename": [10, 20],
}


def copied(name: str, home: Path) -> Path:
    shutil.copytree(GOLDEN / name, home / "store")
    return home / "store"


def test_each_golden_store_is_known_and_its_making_is_told() -> None:
    told = (GOLDEN / "README.md").read_text(encoding="utf-8")

    assert sorted(STEPS) == STORES
    for name in STORES:
        assert f"`{name}/`" in told


@pytest.mark.parametrize("name", STORES)
def test_a_reader_finds_every_group_intact(name: str) -> None:
    before = tree(GOLDEN / name)
    store = open_read_only(GOLDEN / name)
    found = store.verify()
    newest = store.load_latest()

    assert all(isinstance(each, Group) for each in found)
    assert store.all_steps() == STEPS[name]
    assert newest is not None
    assert (newest.step, newest.rejected) == (STEPS[name][-1], ())
    for step in STEPS[name]:
        loaded = store.load(step)
        assert {part: bytes(loaded[part]) for part in loaded} == {
            part: (GOLDEN / name / str(loaded.group.name) / part).read_bytes() for part in loaded
        }
        opened = store.open_group(step)
        assert opened is not None
        for part in opened:
            assert bytes(opened.read_range(part)) == loaded.read(part)
    for command in ("ls", "verify", "why", "latest", "quarantine"):
        assert run(command, str(GOLDEN / name)).exit_code == 0
    assert tree(GOLDEN / name) == before


@pytest.mark.parametrize("name", STORES)
def test_a_writer_finds_every_group_intact_and_moves_none(name: str, tmp_path: Path) -> None:
    root = copied(name, tmp_path)
    before = tree(root)
    with open_store(tmp_path) as store:
        loaded = store.load_latest()
        repaired = store.repair()

        assert loaded is not None
        assert (loaded.step, repaired.moved) == (STEPS[name][-1], ())
        # The holder of the lease notes there who it is, for as long as it has it.
        assert tree(root) | {"lock": before["lock"]} == before
        store.save(1000, {"model.bin": b"new"})
        assert store.load().step == 1000
        assert store.all_steps() == [*STEPS[name], 1000]
    assert tree(root).items() >= before.items()


@pytest.mark.parametrize("name", STORES)
def test_every_manifest_is_in_the_spelling_of_today(name: str) -> None:
    """So a manifest of old is what a save of today writes of the same content, byte for byte."""
    for path in (GOLDEN / name).rglob("MANIFEST"):
        data = path.read_bytes()
        assert encode(decode(data)) == data


def test_the_damage_that_was_set_aside_is_told_as_it_was_then() -> None:
    store = open_read_only(GOLDEN / "quarantine")
    (entry,) = store.quarantined()
    found = store.quarantined()[entry]

    assert isinstance(found, Rejection)
    assert found.reason == store.reports()[entry].reason == "sha_mismatch:model.bin"
