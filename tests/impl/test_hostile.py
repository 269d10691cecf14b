"""A store that somebody has prepared: nothing outside it is read or changed, and nothing hangs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lastgood
from lastgood import EverySeconds, LatestN, Rejection, UsageError
from lastgood.format.features import UnknownFeatureError
from lastgood.format.manifest import (
    FOLDERS_LIMIT_BYTES,
    SIZE_LIMIT_BYTES,
    Manifest,
    ManifestError,
    Part,
    decode,
    encode,
)
from lastgood.format.names import GroupName
from lastgood.parts.holding_reader import Hold
from lastgood.recovery.recovery import examine
from tests.impl.disks import PARTS, Unsynced, WatchedDisk, bury, fill, names_in, open_store, tree

HOLDS: tuple[Hold, ...] = ("nothing", "memory", "map")
OLD, NEW = "gen-00000001-step-00000001", "gen-00000002-step-00000002"
SHA = hashlib.sha256(b"secret").hexdigest()


def forged(head: dict[str, Any], lines: list[str]) -> bytes:
    """A manifest that binds itself, whatever it says."""
    text = json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    body = "".join(f"{x}\n" for x in ["# lastgood manifest 1", f"# {text}", *lines]).encode()
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def head(path: str, size_bytes: int = 6, **more: Any) -> dict[str, Any]:
    part = {"digest_from": "memory", "path": path, "size_bytes": size_bytes}
    base = {"attempt": "x", "generation": 2, "metadata": {}, "parts": [part], "step": 2}
    return {**base, "world_size": 1, **more}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    return fill(tmp_path, (1, 2), disk=Unsynced(tmp_path))


ESCAPES = [
    "../../secret",
    "/etc/passwd",
    "a/../../../secret",
    "./model",
    "a//b",
    "",
    ".",
    "..",
    "a\0b",
    "a\nb",
    "model\\..\\x",
    "MANIFEST",
    "manifest/x",
    "-",
    "\ud800",
    "x" * 256,
    "d/" * 600 + "x",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out_of_its_group(store: Path, path: str) -> None:
    (store / NEW / "MANIFEST").write_bytes(
        forged(head(path), [f"{SHA}  {path.encode('utf-8', 'replace').decode()}"])
    )
    disk = WatchedDisk(store)
    loaded = lastgood.open_read_only(store, disk=disk).load_latest()

    assert loaded is not None
    assert loaded.step == 1
    assert loaded.rejected[0].reason.startswith(("unsafe_path", "manifest_error"))
    assert not [call for call in disk.calls if "secret" in call or "passwd" in call]


@pytest.mark.parametrize(
    "more",
    [
        {"generation": 2.0},
        {"generation": True},
        {"generation": "2"},
        {"generation": None},
        {"step": -1},
        {"world_size": 2**63},
        {"saved_at_s": None},
        {"saved_at_s": -1},
        {"saved_at_s": 1e300},
        {"digest": "sha256"},
        {"digest": ["xxh3"]},
        {"metadata": []},
        {"parts": {}},
        {"parts": []},
        {"parts": [1]},
        {"attempt": 7},
    ],
)
def test_a_value_of_the_wrong_kind_is_a_malformed_manifest(store: Path, more: Any) -> None:
    (store / NEW / "MANIFEST").write_bytes(forged(head("model", **more), [f"{SHA}  model"]))
    answer = examine(WatchedDisk(store), str(store), GroupName(2, 2))

    assert isinstance(answer, Rejection)
    assert answer.reason.startswith("manifest_error")


def test_a_huge_size_costs_nothing(store: Path) -> None:
    (store / NEW / "MANIFEST").write_bytes(forged(head("model", 2**62), [f"{SHA}  model"]))
    for hold in HOLDS:
        loaded = lastgood.open_read_only(store).load_latest(hold=hold)
        assert loaded is not None
        assert [r.reason for r in loaded.rejected] == ["size_mismatch:model"]


def test_a_huge_manifest_is_not_read(store: Path) -> None:
    os.truncate(store / NEW / "MANIFEST", SIZE_LIMIT_BYTES + 1)
    loaded = lastgood.open_read_only(store).load_latest()

    assert loaded is not None
    assert [r.reason for r in loaded.rejected] == ["manifest_error:too_large"]


@pytest.mark.parametrize(("parts", "reason"), [(129, "manifest_error:parts"), (128, "missing:0")])
def test_directories_that_would_fill_the_memory_are_refused_by_readers_and_by_saves(
    store: Path, parts: int, reason: str
) -> None:
    """A manifest of 16 MiB could name four million of them, whose paths have 2 GiB."""
    paths = [f"{n}/" + "d/" * (510 - len(str(n)) // 2) + "x" for n in range(parts)]
    each = [{"digest_from": "memory", "path": path, "size_bytes": 6} for path in paths]
    lines = [f"{SHA}  {path}" for path in paths]
    (store / NEW / "MANIFEST").write_bytes(forged(head("", parts=each), lines))
    answer = examine(WatchedDisk(store), str(store), GroupName(2, 2))

    assert isinstance(answer, Rejection)
    assert answer.reason == reason
    if reason != "missing:0":
        assert f"expected {FOLDERS_LIMIT_BYTES} bytes at most" in answer.detail
        with (
            open_store(store.parent, disk=Unsynced(store.parent)) as opened,
            pytest.raises(UsageError, match="too many directories inside each other"),
        ):
            opened.save(3, dict.fromkeys(paths, b""))


def test_duplicate_keys_are_another_spelling(store: Path) -> None:
    text = (store / NEW / "MANIFEST").read_bytes().rpartition(b"# sha256 ")[0]
    twice = text.replace(b'"generation":2', b'"generation":1,"generation":2', 1)
    assert twice != text
    (store / NEW / "MANIFEST").write_bytes(
        twice + f"# sha256 {hashlib.sha256(twice).hexdigest()}\n".encode()
    )
    loaded = lastgood.open_read_only(store).load_latest()

    assert loaded is not None
    assert [r.reason for r in loaded.rejected] == ["manifest_error:form"]


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_out(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[2] / "secret")


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [fifo, link_out, device, folder])
@pytest.mark.parametrize("entry", ["model", "optim/adam", "MANIFEST"])
def test_an_entry_that_is_no_file_neither_hangs_nor_leads_out(
    store: Path, entry: str, harm: Any
) -> None:
    harm(store / NEW / entry)
    for hold in HOLDS:
        loaded = lastgood.open_read_only(store).load_latest(hold=hold)
        assert loaded is not None
        assert loaded.rejected[0].reason == f"not_regular:{entry}"


def test_a_hard_link_out_is_no_more_than_its_bytes(store: Path) -> None:
    """It is read, as any file is; what it says has to match the digest, and it is never written."""
    path = store / NEW / "model"
    path.unlink()
    os.link(store.parent / "secret", path)
    with open_store(store.parent, disk=Unsynced(store.parent)) as opened:
        assert opened.load().step == 1
        opened.save(3, PARTS)
        opened.prune(LatestN(1))

    assert (store.parent / "secret").read_bytes() == b"secret"


def test_a_group_in_place_of_a_symlink_is_not_followed(store: Path) -> None:
    (store / "gen-00000003-step-00000003").symlink_to(store / NEW)
    loaded = lastgood.open_read_only(store).load_latest()

    assert loaded is not None
    assert (loaded.generation, loaded.rejected[0].reason) == (
        2,
        "not_regular:gen-00000003-step-00000003",
    )


def test_time_stamps_from_the_future_neither_choose_nor_delete(tmp_path: Path) -> None:
    disk = Unsynced(tmp_path)
    stamps = {1: 9 * 10**17, 2: 100, 3: 160, 4: 170}
    for number, at_s in stamps.items():
        with open_store(tmp_path, disk=disk, now=lambda at_s=at_s: float(at_s)) as store:
            store.save(number, PARTS)
    with open_store(tmp_path, disk=disk, now=lambda: 1000.0) as store:
        pruning = store.prune(EverySeconds(60))
        loaded = store.load()

    assert pruning is not None
    assert [g.name.step for g in pruning.given_up] == []
    assert loaded.step == 4


def test_thousands_of_groups_are_no_trouble(tmp_path: Path) -> None:
    disk = Unsynced(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        store.save(1, {"model": b"w"})
    root, first = tmp_path / "store", tmp_path / "store" / "gen-00000001-step-00000001"
    manifest = decode((first / "MANIFEST").read_bytes())
    for number in range(2, 801):
        group = root / str(GroupName(number, number))
        group.mkdir()
        (group / "model").write_bytes(b"w")
        twin = Manifest(number, number, manifest.attempt, manifest.parts)
        (group / "MANIFEST").write_bytes(encode(twin))
    for number in range(801, 1001):
        (root / str(GroupName(number, number))).mkdir()
    with open_store(tmp_path, disk=disk) as store:
        loaded = store.load()
        assert (loaded.step, len(loaded.rejected)) == (800, 200)
        pruning = store.prune(LatestN(3))
        assert pruning is not None
        assert len(pruning.given_up) == 797
        assert store.all_steps() == [798, 799, 800]


def test_a_tree_that_no_path_can_name_is_left_and_holds_nothing_up(store: Path) -> None:
    """A long name in each of many levels: together more than the operating system takes."""
    bury(store / OLD, 20)
    with open_store(store.parent, disk=Unsynced(store.parent)) as opened:
        pruning = opened.prune(LatestN(1))
        opened.save(3, PARTS)
        again = opened.prune(LatestN(1))

    assert pruning is not None
    assert again is not None
    assert [each.reason for each in (*pruning.stuck, *again.stuck)] == ["too_deep", "too_deep"]
    assert "by hand" in again.stuck[0].detail
    assert [g.name.step for g in (*pruning.given_up, *again.given_up)] == [1, 2]
    assert names_in(store) == ["gen-00000003-step-00000003", "lock", f"pruned-{OLD}"]


MANIFESTS = st.builds(
    Manifest,
    st.just(2),
    st.just(2),
    st.text(max_size=9).filter(lambda t: t.isprintable()),
    st.just((Part("model", 7, SHA), Part("optim/adam", 7, SHA))),
    st.integers(0, 4),
    st.dictionaries(st.text(max_size=4), st.none() | st.integers(-9, 9) | st.text(max_size=4)),
)


@given(data=st.binary(max_size=400))
def test_no_bytes_make_a_reader_fail(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode(data)


@given(manifest=MANIFESTS, draw=st.data())
def test_no_edit_of_a_manifest_is_accepted_as_another(manifest: Manifest, draw: Any) -> None:
    """Bytes are put in, taken out or changed, and the seal is made to fit again."""
    try:
        good = encode(manifest)
    except ValueError:
        return
    body = bytearray(good.rpartition(b"# sha256 ")[0])
    start = draw.draw(st.integers(0, len(body)))
    end = draw.draw(st.integers(start, min(len(body), start + 6)))
    body[start:end] = draw.draw(st.binary(max_size=6))
    data = bytes(body) + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()
    try:
        found = decode(data)
    except (ManifestError, UnknownFeatureError):
        return
    # Whatever is accepted is in its only spelling, and is safe.
    assert encode(found) == data
    assert all(".." not in part.path.split("/") for part in found.parts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blob=st.binary(min_size=1, max_size=64), place=st.integers(0, 10**6))
def test_no_bytes_in_a_manifest_make_a_load_fail(store: Path, blob: bytes, place: int) -> None:
    path = store / NEW / "MANIFEST"
    kept = path.read_bytes()
    data = bytearray(kept)
    start = place % len(data)
    data[start : start + len(blob)] = blob
    path.write_bytes(data)
    try:
        before = tree(store)
        loaded = lastgood.open_read_only(store).load_latest()
        assert tree(store) == before
    finally:
        path.write_bytes(kept)

    assert loaded is not None
    assert loaded.step == (2 if data == kept else 1)
