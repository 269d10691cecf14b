"""The plan: things that are measured here and things that are not, before anything is."""

from __future__ import annotations

import pytest

from powercut_lab.latency import disks, experiment, protocols, tables
from powercut_lab.latency.experiment import EXPERIMENT
from powercut_lab.runner import check_keys
from powercut_lab.study import Size, StudyPlan

COUNTS = {
    "full": {"paper": 1000, "1 MiB": 1000, "16 MiB": 200, "256 MiB": 30},
    "default": {"paper": 334, "1 MiB": 334, "16 MiB": 67, "256 MiB": 10},
    "quick": {"paper": 40, "1 MiB": 40},
}


def plan_here(
    monkeypatch: pytest.MonkeyPatch, size: Size, lacks: list[str], room: int = 1 << 40
) -> StudyPlan:
    usage = type("Usage", (), {"free": room})
    monkeypatch.setattr(experiment, "missing_everywhere", lambda: lacks)
    monkeypatch.setattr(disks, "missing_for", lambda fs: [])
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    return EXPERIMENT.plan(size, 7)


def rounds_of(plan: StudyPlan, disk: str) -> dict[str, int]:
    found: dict[str, list[int]] = {}
    for unit in plan.units:
        where, _, rest = unit.key.partition("/")
        if where == disk and "rounds" in rest:
            first, last = rest.rpartition(" ")[2].split("-")
            found.setdefault(rest.partition("/")[0], []).extend(range(int(first), int(last) + 1))
    assert all(numbers == list(range(len(numbers))) for numbers in found.values())
    return {size: len(numbers) for size, numbers in found.items()}


@pytest.mark.parametrize("size", ["quick", "default", "full"])
def test_a_run_has_as_many_samples_as_it_says(monkeypatch: pytest.MonkeyPatch, size: Size) -> None:
    plan = plan_here(monkeypatch, size, [])
    for disk in disks.DISKS:
        if disk.kind != "delayed":
            assert rounds_of(plan, disk.name) == COUNTS[size]
    check_keys([plan.units])


def test_no_unit_of_a_full_run_holds_more_than_a_fifth_of_its_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for group in tables.SIZES:
        blocks = tables.blocks(group.samples, group.rounds)
        assert max(map(len, blocks)) * 5 <= group.samples


def test_without_root_the_own_disk_is_left_and_the_rest_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_here(monkeypatch, "quick", ["Mounting needs root."])
    assert {unit.key.partition("/")[0] for unit in plan.units} == {disks.HERE.name}
    named = {each.part: each for each in plan.missing}
    for disk in disks.DISKS[1:]:
        (part,) = [part for part in named if repr(disk.name) in part]
        assert named[part].reason == "Mounting needs root."
        assert "root" in named[part].remedy


def test_a_disk_without_its_program_is_named_with_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan_here(monkeypatch, "quick", [])
    monkeypatch.setattr(
        disks, "missing_for", lambda fs: ["No mkfs.xfs."] if fs.name == "xfs" else []
    )
    plan = EXPERIMENT.plan("quick", 0)
    (missing,) = [each for each in plan.missing if "xfs" in each.part]
    assert missing.reason == "No mkfs.xfs."
    assert "xfsprogs" in missing.remedy
    assert not [unit for unit in plan.units if unit.key.startswith("xfs")]


def test_where_there_is_little_room_small_groups_are_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_here(monkeypatch, "full", [], room=1100 << 20)
    assert set(rounds_of(plan, "ext4")) == {"paper", "1 MiB", "16 MiB"}
    assert [each for each in plan.missing if "262144 KiB" in each.part and "'ext4'" in each.part]


def test_a_package_that_is_not_installed_is_named_with_what_it_would_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocols, "package_is_missing", lambda name: name == "torch")
    plan = plan_here(monkeypatch, "quick", [])
    (missing,) = [each for each in plan.missing if "torch" in each.reason]
    assert "PyTorch DCP" in missing.part
    assert "torch.save + fsync" in missing.part
    assert not [unit for unit in plan.units if unit.key.startswith(experiment.TORCH_PREFIX)]


def test_an_environment_with_torch_adds_units_to_those_of_one_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {}
    for lacks in (True, False):
        monkeypatch.setattr(protocols, "package_is_missing", lambda name, lacks=lacks: lacks)
        keys[lacks] = [unit.key for unit in plan_here(monkeypatch, "full", []).units]
    added = set(keys[False]) - set(keys[True])
    assert set(keys[True]) < set(keys[False])
    assert all(key.startswith(experiment.TORCH_PREFIX) for key in added)
    assert {key.removeprefix(experiment.TORCH_PREFIX) for key in added} == {
        key for key in keys[True] if "rounds" in key
    }


def test_the_ways_of_torch_take_turns_with_ours_and_share_no_round_with_the_others() -> None:
    names = {way.name for way in protocols.ways_for(1 << 20, "torch")}
    assert {"torch.save", "torch.save + fsync", "PyTorch DCP"} | protocols.COMPANIONS == names
    assert not {way.needs for way in protocols.ways_for(1 << 30, "plain")} & {"torch"}
    assert max(group.samples for group in tables.SIZES) <= experiment.TORCH_ROUNDS
