"""The published cases as a gate: nothing that is gated disagrees, and the counts are the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner

from powercut.cli.commands import powercut
from powercut.errors import CaseError, ProfileError
from powercut.profile import load_profile
from powercut.published.cases import read_cases
from powercut.published.conformance import ConformanceRow, compare_case, published_names
from powercut.published.disputes import disputed_points
from tests.harness.profiles import MODELS, PROFILES

CASES = Path(__file__).parent / "published.json"
NAMES = published_names(MODELS.values())


@pytest.fixture(scope="module")
def rows() -> Sequence[ConformanceRow]:
    return [row for case in read_cases(CASES) for row in compare_case(case, NAMES)]


def test_no_gated_row_disagrees(rows: Sequence[ConformanceRow]) -> None:
    assert [
        (row.case.id, row.profile, row.ours, row.published.result)
        for row in rows
        if row.gated and row.agrees is False
    ] == []


def test_only_what_hangs_on_a_rule_in_doubt_is_left_open(rows: Sequence[ConformanceRow]) -> None:
    # Whether every fsync of f2fs flushes, and waits for what it wrote last: f2fs.missing-flush and
    # f2fs.strict. What fsync on macOS leaves after a crash of the system: apfs.fsync.
    left_open = [row for row in rows if row.gated and row.agrees is None]

    assert Counter(row.profile for row in left_open) == {
        "apfs": 1,
        "f2fs-posix": 11,
        "f2fs-strict": 2,
    }
    doubted = {"fsync-data", "ranged-sync-data", "fsync-logs-names"}
    assert all(row.in_doubt and doubted >= set(row.in_doubt) for row in left_open)


def test_the_gate_is_wide(rows: Sequence[ConformanceRow]) -> None:
    gated = Counter(row.case.family for row in rows if row.gated)

    assert gated == {
        "alice-app": 21,
        "apfs": 14,
        "bob": 31,
        "ckpt-group": 6,
        "crashmonkey-known": 20,
        "crashmonkey-new": 24,
        "ferrite": 39,
        "folklore": 8,
        "lkml-2026": 2,
        "xfstests": 219,
    }


def test_a_row_is_kept_out_of_the_gate_by_a_stated_reason_alone(
    rows: Sequence[ConformanceRow],
) -> None:
    strong = ("model", "doc", "regression-test", "computed")
    for row in rows:
        seen = row.published.result in ("reachable", "violated")
        measured = row.published.evidence == "measured" and seen
        says = row.published.result != "unknown"
        due = says and (row.published.evidence in strong or measured)
        assert row.gated == (due and not row.not_run and not row.disputed)


def test_every_family_is_run(rows: Sequence[ConformanceRow]) -> None:
    run = {row.case.family for row in rows if not row.not_run}

    assert run == {row.case.family for row in rows}


def test_state_counts_of_published_models_are_ours(rows: Sequence[ConformanceRow]) -> None:
    counted = [
        (row.case.id, row.published.name, row.states, row.published.states)
        for row in rows
        if row.published.states is not None and not row.not_run
    ]
    by_name = Counter(name for _, name, _, _ in counted)

    assert [entry for entry in counted if entry[2] != entry[3]] == []
    assert by_name == {
        "_sequential": 48,
        "seqfs": 5,
        "advfs": 4,
        "ext4-model": 1,
        "ext4-model-nodelalloc": 1,
    }


def test_every_name_stands_for_one_profile() -> None:
    assert len(NAMES) == sum(len(profile.published) for profile in PROFILES.values())
    assert NAMES["ext4"].name == "ext4-ordered"
    assert NAMES["_sequential"].name == "sequential"


def test_two_profiles_that_stand_for_one_name_are_refused() -> None:
    twice = evolve(MODELS["ferrite-advfs"], published=("ext4",))

    with pytest.raises(ProfileError, match="'ext4' is a published name of ext4-ordered already"):
        published_names([twice])


def test_every_disputed_point_covers_a_case_and_gives_its_reason() -> None:
    cases = read_cases(CASES)
    for point in disputed_points():
        assert point.reason.endswith(".")
        if point.point == "names of one directory on btrfs":
            continue  # the case that it speaks of is not among those collected here
        assert [c for c in cases for p in PROFILES if point.covers(c, p)], point.point


@pytest.mark.parametrize(
    ("profile", "rule", "case"),
    [
        ("ext4-ordered", "directory-in-order", "ferrite-007"),
        ("ext4-ordered", "fsync-commits-journal", "crashmonkey-known-007"),
        ("ext4-ordered", "directory-sync-commits", "xfstests-008"),
        ("xfs", "fsync-commits-journal", "crashmonkey-new-005"),
        ("btrfs", "fsync-logs-names", "crashmonkey-new-007"),
        ("apfs", "barrier-orders", "apfs-006"),
        ("apfs", "fullsync-drains-drive", "apfs-008"),
    ],
)
def test_a_profile_with_a_rule_too_few_disagrees_and_the_rule_is_blamed(
    profile: str, rule: str, case: str
) -> None:
    (chosen,) = (c for c in read_cases(CASES) if c.id == case)
    mutant = evolve(load_profile(profile).without(rule), quiet=(), unknown=())

    found = [row for row in compare_case(chosen, NAMES, mutant) if row.gated]

    assert [row.agrees for row in found] == [False]
    assert f"with {rule}" in found[0].blame


def small_case(**changes: Any) -> dict[str, Any]:
    case = {
        "id": "x-1",
        "family": "x",
        "setup": [],
        "ops": [{"op": "creat", "path": "a"}, {"op": "fsync", "path": "a"}],
        "question": {"crash": "end", "kind": "must", "predicate": ["exists", "a"]},
        "outcome": {"ext4": {"result": "violated", "evidence": "doc"}},
        "crash_class": "power",
    }
    return {**case, **changes}


def run(tmp_path: Path, cases: Any, *options: str) -> Any:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"schema": 1, "tests": cases}))
    return CliRunner().invoke(powercut, ["litmus", str(path), *options])


def test_a_gated_disagreement_is_exit_status_1_and_names_the_rule(tmp_path: Path) -> None:
    result = run(tmp_path, [small_case()], "--json")
    (row,) = json.loads(result.output)["cases"]

    assert result.exit_code == 1
    assert (row["ours"], row["published"], row["agrees"]) == ("holds", "violated", False)
    assert row["blame"] == ["without fsync-commits-journal"]


def test_the_json_has_the_keys_of_its_contract(tmp_path: Path) -> None:
    result = run(tmp_path, [small_case(outcome={})], "--json")

    assert result.exit_code == 0
    assert set(json.loads(result.output)) == {"cases", "summary"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ops": [{"op": "falloc", "path": "a"}]}, "fallocate is not modelled"),
        (
            {"ops": [{"op": "mmap_write", "path": "a", "off": 0, "len": 1, "fill": "x"}]},
            "a mapped write of /a without an msync is not modelled",
        ),
        (
            {"question": {"crash": "end", "kind": "must", "predicate": ["xattr", "a", "n", None]}},
            "it asks about an extended attribute",
        ),
        ({"outcome": {"zfs": {"result": "holds", "evidence": "doc"}}}, "no profile stands for"),
        ({"ops": [{"op": "unlink", "path": "a"}]}, "the kernel refuses an op of it"),
        ({"ops": [{"op": "explode"}]}, "the model has no op 'explode'"),
        ({"ops": [{"op": "creat", "path": "a", "mode": 7}]}, "no 'mode' of the op 'creat'"),
        (
            {"question": {"crash": "end", "kind": "must", "predicate": ["shiny", "a"]}},
            "the model has no predicate 'shiny'",
        ),
    ],
)
def test_what_is_not_modelled_is_not_run_and_says_so(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    result = run(tmp_path, [small_case(**changes)], "--json")
    (row,) = json.loads(result.output)["cases"]

    assert result.exit_code == 0
    assert reason in row["not_run"]
    assert row["gated"] is False
    assert row["ours"] is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ops": [{"op": "creat", "path": 7}]}, "path is 7, expected str"),
        ({"ops": [{"op": "write", "path": "a", "off": -1, "data": "x"}]}, "off is -1"),
        ({"question": {"crash": "end", "kind": "must", "predicate": ["exists"]}}, "takes 1"),
        ({"crash_class": "lunch"}, "crash_class is 'lunch'"),
        ({"outcome": {"ext4": {"result": 3, "evidence": "doc"}}}, "result is 3"),
    ],
)
def test_a_malformed_case_is_named_and_nothing_is_run(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    result = run(tmp_path, [small_case(**changes)])

    assert result.exit_code == 2
    assert "x-1" in result.output
    assert complaint in result.output
    assert "Nothing was run" in result.output


def test_what_is_no_file_of_cases_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    for text in ("[", "[]", '{"schema": 2, "tests": []}', '{"schema": 1, "tests": [3]}'):
        path.write_text(text)
        with pytest.raises(CaseError, match=r"cases\.json.*Nothing was run"):
            read_cases(path)
