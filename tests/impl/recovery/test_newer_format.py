"""Groups that a newer version has written: nothing is moved, deleted or passed over for one."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood import (
    DigestUnavailableError,
    Group,
    IntegrityError,
    LatestN,
    NewerFormatError,
    Rejection,
    StorageError,
    Store,
    open_read_only,
)
from lastgood.backends.interface import DiskReader
from lastgood.backends.posix import PosixDisk
from lastgood.format.names import newest_first
from lastgood.recovery.changing_store import newest_valid_now
from lastgood.recovery.listing import list_entries
from lastgood.recovery.newer_format import list_unjudged, require_readable
from tests.impl.disks import EXT4, PARTS, WatchedDisk, failing, fill, open_store, tree
from tests.impl.format.newer_manifests import NEWER, group_path, make_newer


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three groups, of which a newer version has written the newest."""
    path = fill(tmp_path, (1, 2, 3))
    make_newer(group_path(path, 3))
    return path


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Five groups, of which a newer version has written the third."""
    path = fill(tmp_path, (1, 2, 3, 4, 5))
    make_newer(group_path(path, 3))
    return path


LOADS: dict[str, Callable[[Store], object]] = {
    "load_latest": lambda store: store.load_latest(),
    "load_latest, held": lambda store: store.load_latest(hold="memory"),
    "load": lambda store: store.load(),
    "restore": lambda store: store.restore(),
    "open_group": lambda store: store.open_group(),
    "latest_step": lambda store: store.latest_step(),
    "a dry run": lambda store: store.prune(LatestN(1), dry_run=True),
    "its step": lambda store: store.load(3),
    "its generation": lambda store: store.load(generation=3),
    "its step, restored": lambda store: store.restore(3),
    "its step, opened": lambda store: store.open_group(3),
}


@pytest.mark.parametrize("call", LOADS)
def test_a_reader_refuses_and_takes_no_older_group(store: Path, call: str) -> None:
    before = tree(store)

    with pytest.raises(NewerFormatError) as caught:
        LOADS[call](open_read_only(store))

    assert (caught.value.group, caught.value.needs) == (group_path(store, 3).name, "format 2")
    assert tree(store) == before


@pytest.mark.parametrize("needs", NEWER)
def test_whatever_is_unknown_is_named(tmp_path: Path, needs: str) -> None:
    store = fill(tmp_path, (1, 2))
    make_newer(group_path(store, 2), needs)

    with pytest.raises(NewerFormatError, match=f"needs {needs}"):
        open_read_only(store).load_latest()
    with pytest.raises(NewerFormatError, match=f"needs {needs}"):
        open_store(tmp_path)


def test_older_groups_are_loaded_where_they_are_asked_for(store: Path) -> None:
    reader = open_read_only(store)
    opened = reader.open_group(older_than=3)

    assert reader.load(2).step == reader.restore(2).step == 2
    assert reader.load(generation=1)["model"] == PARTS["model"]
    assert opened is not None
    assert opened.step == 2
    assert reader.all_steps() == [1, 2]
    assert [group.name.step for group in reader.groups()] == [2, 1]


def test_a_verification_lists_it_and_reads_the_others(store: Path) -> None:
    newest, *others = open_read_only(store).verify()

    assert isinstance(newest, Rejection)
    assert (newest.reason, newest.damaged) == ("newer_format:format 2", ())
    assert "newer version" in newest.detail
    assert all(isinstance(each, Group) for each in others)


def test_no_writer_opens_and_the_lease_is_given_back(store: Path) -> None:
    before = tree(store)
    for _ in range(2):
        with pytest.raises(NewerFormatError):
            open_store(store.parent)

    assert tree(store) == before
    shutil.rmtree(group_path(store, 3))
    with open_store(store.parent) as opened:
        assert opened.load().step == 2


@pytest.mark.parametrize("between", ["", "no manifest", "no group", "damage", "an attempt"])
def test_opening_looks_past_what_is_newer_and_no_group(store: Path, between: str) -> None:
    newer = group_path(store, 4)
    if between == "damage":
        shutil.copytree(group_path(store, 1), newer)
    elif between == "no manifest":
        newer.mkdir()
    elif between == "no group":
        newer.symlink_to("nowhere")
    elif between == "an attempt":
        newer.with_name(f"attempt-{newer.name}").mkdir()
    before = tree(store)

    with pytest.raises(NewerFormatError):
        open_store(store.parent)

    assert tree(store) == before


def writer_of(store: Path) -> Store:
    """A writer that was open before a newer version has written the group."""
    manifest = group_path(store, 3) / "MANIFEST"
    newer = manifest.read_bytes()
    aside = manifest.with_name("aside")
    manifest.rename(aside)
    opened = open_store(store.parent)
    aside.rename(manifest)
    assert manifest.read_bytes() == newer
    return opened


@pytest.mark.parametrize(
    "work",
    [
        lambda store: store.load_latest(),
        lambda store: store.restore(),
        lambda store: store.repair(),
        lambda store: store.prune(LatestN(1)),
        lambda store: store.prune(LatestN(1), dry_run=True),
    ],
)
@pytest.mark.parametrize("is_damage_there", [False, True])
def test_a_writer_that_is_open_already_refuses_and_moves_nothing(
    store: Path, work: Callable[[Store], object], is_damage_there: bool
) -> None:
    if is_damage_there:
        shutil.copytree(group_path(store, 1), group_path(store, 4))
        (store / "attempt-gen-00000005-step-00000005").mkdir()
        (group_path(store, 1) / "model").write_bytes(b"weight?")
    with writer_of(store) as opened:
        before = tree(store)
        with pytest.raises(NewerFormatError):
            work(opened)

        assert tree(store) == before


def test_a_writer_that_is_open_already_loads_older_groups_and_saves_newer_ones(store: Path) -> None:
    left = tree(group_path(store, 3))
    with writer_of(store) as opened:
        assert opened.load(2).step == 2
        opened.save(4, PARTS)
        assert opened.load().step == 4

    assert tree(group_path(store, 3)) == left


def test_a_group_that_is_damaged_lets_nobody_fall_back_past_it(older: Path) -> None:
    for number in (4, 5):
        (group_path(older, number) / "model").write_bytes(b"weight?")
    before = tree(older)

    with open_store(older.parent) as store, pytest.raises(NewerFormatError):
        store.load_latest()

    assert tree(older) == before


def test_an_older_one_stops_nothing_and_stays(older: Path) -> None:
    left = group_path(older, 3)
    before = tree(left)
    with open_store(older.parent, keep=LatestN(2)) as store:
        assert store.load().step == store.latest_step() == 5
        repaired = store.repair()
        receipt = store.save(6, PARTS)

        assert (repaired.moved, repaired.finished) == ((), ())
        assert [each.name for each in repaired.unjudged] == [left.name]
        assert receipt.retention_error is None
        # The group that was loaded stays as well.
        assert receipt.pruned == tuple(group_path(older, n).name for n in (4, 2, 1))
        pruning = store.prune(LatestN(1))

    assert pruning is not None
    assert [each.name for each in pruning.unjudged] == [left.name]
    assert pruning.damaged == ()
    assert tree(left) == before


def test_it_counts_for_no_policy_and_justifies_no_prune(older: Path) -> None:
    reader = open_read_only(older)
    for keep in range(1, 5):
        pruning = reader.prune(LatestN(keep), dry_run=True)
        assert pruning is not None
        assert [group.name.step for group in pruning.kept] == [5, 4, 2, 1][:keep]
        assert [group.name.step for group in pruning.given_up] == [5, 4, 2, 1][keep:]


def test_damage_is_set_aside_beside_it(older: Path) -> None:
    (group_path(older, 1) / "model").write_bytes(b"weight?")
    left = tree(group_path(older, 3))
    with open_store(older.parent) as store:
        repaired = store.repair()

    assert [each.name for each in repaired.moved] == [group_path(older, 1).name]
    assert tree(group_path(older, 3)) == left


def test_damage_with_a_broken_seal_is_passed_over_whatever_its_number_says(store: Path) -> None:
    manifest = group_path(store, 3) / "MANIFEST"
    manifest.write_bytes(manifest.read_bytes().replace(b'"step":3', b'"step":4'))
    with open_store(store.parent) as opened:
        loaded = opened.load()

    assert loaded.step == 2
    assert [each.reason for each in loaded.rejected] == ["commit_manifest_mismatch"]
    assert not group_path(store, 3).exists()


def test_of_one_step_no_older_group_stands_for_it(tmp_path: Path) -> None:
    store = fill(tmp_path, (7, 7))
    make_newer(store / "gen-00000002-step-00000007")
    reader = open_read_only(store)

    with pytest.raises(NewerFormatError):
        reader.load(7)
    assert reader.load(generation=1).step == 7


def test_what_the_disk_refuses_hinders_no_opening(tmp_path: Path) -> None:
    """Whatever moves a group looks again, and is told."""
    store = fill(tmp_path, (1, 2))
    for fault in (failing("read", "MANIFEST"), failing("names", "store", errno.EACCES)):
        disk = WatchedDisk(tmp_path, fault)
        with open_store(tmp_path, disk=disk) as opened, pytest.raises(StorageError):
            opened.load_latest()
    disk = WatchedDisk(tmp_path, failing("read", "step-00000002/MANIFEST"))

    assert list_unjudged(disk, str(store)) == ()
    make_newer(group_path(store, 1))
    assert [each.name for each in list_unjudged(disk, str(store))] == [group_path(store, 1).name]
    with pytest.raises(NewerFormatError):
        require_readable(disk, str(store))


def test_opening_reads_no_manifest_below_the_first_that_is_intact(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 9))
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk):
        reads = [call for call in disk.calls if call.startswith("read ")]

    assert reads == ["read store/gen-00000008-step-00000008/MANIFEST"]


def test_a_known_digest_without_its_package_is_no_newer_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path, (1,), digest="blake3")
    monkeypatch.setitem(sys.modules, "blake3", None)
    with open_store(tmp_path) as opened, pytest.raises(DigestUnavailableError, match="blake3"):
        opened.load_latest()

    assert group_path(store, 1).is_dir()
    assert open_read_only(store).latest_step() == 1


class Overtaken(PosixDisk):
    """A writer saves a group, and gives an older one up, while a reader looks."""

    def __init__(self, store: Path, given_up: Path, saved: Path) -> None:
        super().__init__(EXT4)
        self._manifest, self._given_up, self._saved = given_up / "MANIFEST", given_up, saved
        self._aside = store.parent / "aside"
        saved.rename(self._aside)

    def read(self, path: str, limit_bytes: int) -> bytes:
        if path == str(self._manifest) and self._aside.exists():
            self._aside.rename(self._saved)
            shutil.rmtree(self._given_up)
        return super().read(path, limit_bytes)


def test_a_reader_that_was_overtaken_lists_again_before_it_refuses(tmp_path: Path) -> None:
    store = fill(tmp_path, (1, 2, 3, 4))
    make_newer(group_path(store, 2))
    disk: DiskReader = Overtaken(store, group_path(store, 3), group_path(store, 4))

    found = newest_valid_now(disk, str(store)).group

    assert found is not None
    assert found.name.step == 4
    assert [n.step for n in newest_first(list_entries(disk, str(store)))] == [4, 2, 1]


def test_it_is_no_integrity_error() -> None:
    assert not issubclass(NewerFormatError, IntegrityError | StorageError)
