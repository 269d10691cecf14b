"""Retention after a save: what it need not read (again), and that it decides as if it had."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from attrs import evolve

from lastgood import (
    BestN,
    Candidate,
    EveryKSteps,
    EverySeconds,
    IntegrityError,
    KeepAll,
    LatestN,
    Policy,
    Pruning,
)
from lastgood.crashtest.subjects import AUTO, LastgoodSession
from lastgood.format.manifest import decode, encode
from lastgood.format.names import GroupName
from lastgood.retention.manifest_cache import ManifestCache
from lastgood.retention.policies import needs_manifests
from lastgood.retention.prune import PruneRequest
from lastgood.retention.verified_cache import VerifiedCache
from powercut.checker.exhaustive import Bound
from powercut.filesystem.state import State
from powercut.simulation.model_disk import ModelDisk
from tests.harness.verdicts import broken_by
from tests.impl.disks import PARTS, Unsynced, failing, open_store
from tests.impl.format.newer_manifests import group_path, make_newer


def rot(home: Path) -> None:
    (home / "model").write_bytes(b"WEIGHTS")


def lose_manifest(home: Path) -> None:
    (home / "MANIFEST").unlink()


def tear_manifest(home: Path) -> None:
    (home / "MANIFEST").write_bytes((home / "MANIFEST").read_bytes()[:-1])


def replace_by_file(home: Path) -> None:
    home.rename(home.parent.parent / home.name)
    home.write_bytes(b"mine")


def leave(_home: Path) -> None:
    pass


def take_new_name(home: Path) -> None:
    (home.parent / f"pruned-{home.name}").write_bytes(b"mine")


HARMS: list[Callable[[Path], None]] = [
    leave,
    leave,
    rot,
    lose_manifest,
    tear_manifest,
    replace_by_file,
    make_newer,
    take_new_name,
]
POLICIES: list[Policy] = [
    LatestN(1),
    LatestN(3),
    EveryKSteps(3),
    LatestN(2) | EveryKSteps(2),
    BestN("loss", 2, mode="min"),
    LatestN(1) | EverySeconds(20),
]


def told(pruning: Pruning) -> list[object]:
    """All that a prune says but for what it keeps."""
    return [
        [str(group.name) for group in pruning.given_up],
        sorted((each.name, each.reason) for each in pruning.damaged),
        sorted((each.name, each.reason) for each in pruning.unreadable),
        [each.name for each in pruning.unjudged],
        [(each.name, each.reason) for each in pruning.stuck],
        pruning.notes,
    ]


@pytest.mark.parametrize("seed", range(48))
def test_retention_after_a_save_gives_up_what_a_prune_by_hand_would(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - stores, not secrets
    policy, disk = POLICIES[seed % len(POLICIES)], Unsynced(tmp_path)
    times = iter(range(10**6, 10**7, 10))
    with open_store(tmp_path, disk=disk, now=lambda: next(times)) as store:
        # Steps go back now and then, so that several groups are of one step.
        steps = [dice.choice([number, number, number - 1]) for number in range(1, 10)]
        for step in steps:
            store.save(step, PARTS, {"loss": dice.random()})
        writer = store._require_writer()
        if dice.random() < 0.5:  # they were verified earlier
            assert writer.prune(PruneRequest(LatestN(8), 0.0), remembers=True)
        homes = sorted(each for each in store.path.iterdir() if each.name.startswith("gen-"))
        for home in homes[:-1]:
            dice.choice(HARMS)(home)
        if dice.random() < 0.5:
            disk.fault = failing(dice.choice(["read", "digest"]), f"{homes[3].name}/MANIFEST", 5)
        would = store.prune(policy, dry_run=True)
        did = writer.prune(PruneRequest(policy, 10**7), remembers=True)

    assert would is not None
    assert did is not None
    if would.given_up:
        assert told(did) == told(would)
    else:  # Where nothing goes nothing need be looked at, and nothing is told of it.
        assert did.given_up == ()


class Derived(LatestN):
    """It may look at anything."""


class Other(KeepAll):
    """So may this."""


@pytest.mark.parametrize(
    ("policy", "needs"),
    [
        (KeepAll(), False),
        (LatestN(2), False),
        (EveryKSteps(2), False),
        (LatestN(1) | (EveryKSteps(2) | KeepAll()), False),
        (EverySeconds(2), True),
        (BestN("loss", mode="min"), True),
        (LatestN(1) | (EveryKSteps(2) | BestN("loss", mode="min")), True),
        (Derived(1), True),
        (LatestN(1) | Other(), True),
    ],
)
def test_a_policy_needs_no_manifest_if_it_is_known_to_look_at_names_alone(
    policy: Policy, needs: bool
) -> None:
    assert needs_manifests(policy) is needs


@pytest.mark.parametrize("policy", [LatestN(2), EveryKSteps(2), LatestN(1) | EveryKSteps(3)])
def test_of_fewer_groups_a_policy_that_needs_no_manifest_keeps_at_least_what_it_kept_of_more(
    policy: Policy,
) -> None:
    dice = random.Random(7)  # noqa: S311 - stores, not secrets
    for _ in range(300):
        candidates = [Candidate(number, dice.randrange(8)) for number in range(8, 0, -1)]
        fewer = [each for each in candidates if dice.random() < 0.6]
        kept = policy.keeps(candidates, 0.0)
        assert kept & {each.generation for each in fewer} <= policy.keeps(fewer, 0.0)


class ByLoss(Policy):
    """Those with a loss below 1; what it was asked about is noted."""

    def __init__(self) -> None:
        self.seen: list[dict[int, float]] = []

    def keeps(self, candidates: Sequence[Candidate], now_s: float) -> set[int]:
        self.seen.append({each.generation: each.metadata["loss"] for each in candidates})
        return {each.generation for each in candidates if each.metadata["loss"] < 1}


def with_loss(manifest: Path, loss: float) -> bytes:
    return encode(evolve(decode(manifest.read_bytes()), metadata={"loss": loss}))


@pytest.mark.parametrize("in_place", [True, False])
def test_a_manifest_that_was_touched_or_replaced_is_read_again(
    tmp_path: Path, in_place: bool
) -> None:
    policy = ByLoss()
    with open_store(tmp_path, keep=policy) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS, {"loss": 0.5})
        manifest = group_path(store.path, 2) / "MANIFEST"
        data = with_loss(manifest, 0.25)
        if in_place:
            manifest.write_bytes(data)
        else:
            other = tmp_path / "other"
            other.write_bytes(data)
            other.rename(manifest)
        store.save(4, PARTS, {"loss": 0.5})

    assert policy.seen[-1] == {1: 0.5, 2: 0.25, 3: 0.5, 4: 0.5}


def test_where_a_manifest_that_was_remembered_is_torn_its_group_does_not_count(
    tmp_path: Path,
) -> None:
    policy = ByLoss()
    with open_store(tmp_path, keep=policy) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS, {"loss": 0.5})
        tear_manifest(group_path(store.path, 2))
        receipt = store.save(4, PARTS, {"loss": 2.0})
        assert receipt.pruned == ()
        assert set(policy.seen[-1]) == {1, 3, 4}
        receipt = store.save(5, PARTS, {"loss": 0.5})

        assert receipt.pruned == (f"{group_path(store.path, 4).name}",)
        assert group_path(store.path, 2).is_dir()


@pytest.mark.parametrize("entry", ["model", "MANIFEST"])
def test_a_group_that_could_not_be_read_once_is_verified_again_though_it_was_before(
    tmp_path: Path, entry: str
) -> None:
    disk = Unsynced(tmp_path)
    with open_store(tmp_path, disk=disk, keep=LatestN(3)) as store:
        for step in range(1, 6):
            store.save(step, PARTS)
        assert store.all_steps() == [3, 4, 5]
        call = "read" if entry == "MANIFEST" else "digest"
        disk.fault = failing(call, f"{group_path(store.path, 4).name}/{entry}")
        with pytest.raises(IntegrityError):
            store.load(4)
        receipt = store.save(6, PARTS)

        # It does not count, so that another one stays for it.
        assert receipt.pruned == ()
        assert [note.partition(":")[0] for note in receipt.notes] == ["not counted"]
        disk.fault = lambda _call, _path: None
        assert store.save(7, PARTS).pruned == (group_path(store.path, 3).name,)
        assert store.all_steps() == [4, 5, 6, 7]
        assert store.save(8, PARTS).pruned == tuple(
            group_path(store.path, number).name for number in (5, 4)
        )


def test_metadata_that_is_long_is_not_remembered(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS, {"text": "x" * 5000})
        store.save(2, PARTS, {"text": "x" * 500})
        disk = Unsynced(tmp_path)
        cache = ManifestCache(disk, str(store.path))
        names = [group.name for group in store.groups()]
        for _ in range(3):
            assert all(isinstance(cache.look(name), Candidate) for name in names)

    read = [call for call in disk.calls if call.startswith("read ")]
    assert sorted(read.count(call) for call in set(read)) == [1, 3]


def test_a_disk_without_stamps_has_every_manifest_read_and_every_group_verified_each_time() -> None:
    disk = ModelDisk(State())
    session = AUTO.open(disk, "/run", "atomic_dirsync", rename_is_atomic=True)
    session.save(1, {"part": b"one"})
    session.close()
    name = GroupName(1, 1)
    manifests, verified = ManifestCache(disk, "/run"), VerifiedCache(disk, "/run")
    assert manifests.look(name) == manifests.look(name) == Candidate(1, 1)
    verified.examine(name)
    assert not verified.vouches_for(name)


def test_groups_of_one_shape_share_the_paths_that_are_remembered(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS)
        cache = VerifiedCache(Unsynced(tmp_path), str(store.path))
        for group in store.groups():
            cache.examine(group.name)
            assert cache.vouches_for(group.name)

    assert len({id(paths) for _, paths in cache._known.values()}) == 1


@pytest.mark.parametrize("policy", [LatestN(1), BestN("loss", mode="min") | LatestN(1)])
@pytest.mark.parametrize("profile", ["posix-minimal", "ext4-ordered"])
def test_a_store_whose_retention_reads_little_keeps_every_promise(
    monkeypatch: pytest.MonkeyPatch, profile: str, policy: Policy
) -> None:
    def prune(session: LastgoodSession, _keep: int) -> None:
        session._writer.prune(PruneRequest(policy, 0.0), remembers=True)

    monkeypatch.setattr(LastgoodSession, "prune", prune)
    small = Bound(saves=1, crashes=1, parts=1, pieces=1)
    begun = Bound(saves=1, crashes=2, parts=1, pieces=1, runs=60)

    assert broken_by("lastgood+keep1:atomic_dirsync", profile, "power", small, begun) == {}
