"""A store that another user reads: what may not be read is named with its owner, and skipped."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import Event, LatestN, StorageError
from tests.impl.cli.commands import run
from tests.impl.disks import PARTS, WatchedDisk, failing, fill, open_store, tree
from tests.impl.forks import Child, become_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to be another user")


def group(number: int) -> str:
    return f"gen-{number:08d}-step-{number:08d}"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may look into: pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="lastgood-shared-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(look: Callable[[], Any]) -> Any:
    """What the call gives to another user, in a child of ours; it must be plain JSON."""

    def found() -> Any:
        become_nobody()
        return look()

    return Child(found).answer()


def looks(store: Path) -> dict[str, Any]:
    """What a reader sees by every call that only looks."""
    reader = lastgood.open_read_only(store)
    loaded = reader.load_latest()
    opened = reader.open_group()
    listed = run("ls", str(store))
    verified = run("verify", str(store))
    return {
        "loaded": loaded and loaded.step,
        "rejected": [each.reason for each in loaded.rejected] if loaded else None,
        "opened": opened and opened.step,
        "latest_step": reader.latest_step(),
        "all_steps": reader.all_steps(),
        "groups": [each.name.step for each in reader.groups()],
        "verified": [getattr(each, "reason", "") for each in reader.verify()],
        "ls": (listed.exit_code, listed.stdout, listed.stderr),
        "verify": (verified.exit_code, verified.stderr),
        "why": run("why", str(store)).exit_code,
        "show": run("show", str(store), "3").exit_code,
        "no such": run("show", str(store), "9").exit_code,
        "doctor": run("doctor", str(store)).exit_code,
    }


@pytest.mark.parametrize("mode", [0o700, 0o000])
def test_a_closed_quarantine_stands_in_no_readers_way(shared: Path, mode: int) -> None:
    store = fill(shared, (1, 2, 3))
    (store / "quarantine").mkdir()
    (store / "quarantine").chmod(mode)
    seen = as_nobody(lambda: looks(store))
    assert (seen["loaded"], seen["opened"], seen["latest_step"]) == (3, 3, 3)
    assert seen["all_steps"] == [1, 2, 3]
    assert seen["verified"] == ["", "", ""]
    assert seen["ls"][0] == seen["verify"][0] == seen["why"] == seen["show"] == 0
    assert "quarantine cannot be listed" in seen["ls"][1]
    assert (seen["no such"], seen["doctor"]) == (2, 1)


@pytest.mark.parametrize("closed", ["", "MANIFEST"])
def test_an_old_group_of_another_user_is_listed_and_stops_no_look(
    shared: Path, closed: str
) -> None:
    store = fill(shared, (1, 2, 3))
    (store / group(1) / closed).chmod(0o700 if not closed else 0o600)
    seen = as_nobody(lambda: looks(store))
    assert (seen["loaded"], seen["rejected"], seen["opened"]) == (3, [], 3)
    assert seen["latest_step"] == 3
    assert seen["all_steps"] == [2, 3]
    assert seen["groups"] == [3, 2]
    assert seen["verified"] == ["", "", "not_permitted:MANIFEST"]
    assert seen["ls"][0] == seen["verify"][0] == 3
    for stderr in (seen["ls"][2], seen["verify"][1]):
        assert stderr.count("\n") == 1
        assert "(not_permitted:MANIFEST)" in stderr
        assert f"{store}/{group(1)}" in stderr
        assert "belongs to root (uid 0)" in stderr
    assert seen["why"] == 0


@pytest.mark.parametrize("closed", ["", "MANIFEST", "model", "optim"])
def test_a_newest_group_of_another_user_ends_the_load_and_names_path_and_owner(
    shared: Path, closed: str
) -> None:
    """Falling back would take an older state for a permission that somebody can give."""
    store = fill(shared, (1, 2, 3))
    (store / group(3) / closed).chmod(0o600 if closed in ("MANIFEST", "model") else 0o700)

    def refused() -> list[str]:
        reader = lastgood.open_read_only(store)
        loads: list[Callable[[], Any]] = [
            reader.load_latest,
            reader.restore,
            lambda: reader.load(3),
        ]
        if closed != "model":
            loads.append(reader.open_group)
        if closed in ("", "MANIFEST"):
            loads.append(reader.latest_step)
        messages = []
        for load in loads:
            with pytest.raises(StorageError) as caught:
                load()
            messages.append(str(caught.value))
        assert reader.load(2).step == 2
        assert reader.all_steps() == ([1, 2] if closed in ("", "MANIFEST") else [1, 2, 3])
        assert run("latest", str(store)).exit_code == run("why", str(store)).exit_code == 3
        return messages

    for message in as_nobody(refused):
        assert f"{store}/{group(3)}" in message
        assert "belongs to root (uid 0)" in message
        assert "EACCES" in message


@pytest.mark.parametrize(("call", "ending"), [("read", "MANIFEST"), ("digest", "model")])
def test_a_writer_that_may_not_read_an_old_group_moves_and_prunes_the_rest(
    tmp_path: Path, call: str, ending: str
) -> None:
    fill(tmp_path, (1, 2, 3, 4))
    (tmp_path / "store" / group(1) / "model").write_bytes(b"WEIGHTS")
    disk, events = WatchedDisk(tmp_path), list[Event]()
    with open_store(tmp_path, disk=disk, on_event=events.append) as store:
        disk.fault = failing(call, f"{group(3)}/{ending}", 1)
        pruning = store.prune(LatestN(2))
        assert pruning is not None
        assert [each.name.step for each in pruning.kept] == [4, 2]
        assert [each.reason for each in pruning.unreadable] == [f"not_permitted:{ending}"]
        store.save(5, PARTS)
        repaired = store.repair()
        assert [each.reason for each in repaired.unreadable] == [f"not_permitted:{ending}"]
        assert (store.path / group(3)).is_dir()
        before = tree(tmp_path)
        disk.fault = failing(call, f"{group(5)}/{ending}", 1)
        for attempted in (store.load_latest, store.repair, lambda: store.prune(LatestN(1))):
            with pytest.raises(StorageError, match=r"EPERM.*belongs to"):
                attempted()
        assert tree(tmp_path) == before


def test_a_quarantine_that_the_writer_cannot_list_ends_no_load_that_moves_nothing(
    tmp_path: Path,
) -> None:
    """But no generation is given while nobody knows which are taken there."""
    fill(tmp_path, (1, 2))
    (tmp_path / "store" / "quarantine").mkdir()
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        disk.fault = failing("names", "quarantine", 5)
        assert store.load().step == 2
        assert store.repair().moved == ()
        with pytest.raises(StorageError, match=r"quarantine.*EIO"):
            store.save(3, PARTS)
        disk.fault = lambda _call, _path: None
        (store.path / "quarantine" / group(7)).mkdir()
        assert store.save(3, PARTS).generation == 8
