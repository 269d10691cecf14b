"""Sets of profiles: who is in, who is left out and why, and the one answer of `powercut check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner, Result

from powercut.checker.verdict import CheckReport, SetReport, Verdict, VerdictWord
from powercut.cli import commands
from powercut.cli.commands import powercut
from powercut.errors import ProfileError
from powercut.profile import ProfileSet, load_profile, load_set, profile_names, set_names
from tests import ROOT

SMALL = ["--saves", "1", "--parts", "1", "--pieces", "1", "--no-deep", "--method", "enumerated"]
TRACE = ROOT / "traces/regressions/lastgood-atomic-dirsync-two-saves.toml"
HELD = Verdict("holds", "enumerated", True, {"saves": 1}, 9, 9)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str | Path) -> Result:
    env = {"COLUMNS": "120"}
    return CliRunner().invoke(
        powercut, [str(a) for a in arguments], env=env, catch_exceptions=False
    )


def member(profile: str, **words: VerdictWord) -> CheckReport:
    verdicts = {name: evolve(HELD, verdict=word) for name, word in words.items()}
    return CheckReport("toy:good", profile, "power", verdicts)


@pytest.mark.parametrize("name", set_names())
def test_each_built_in_profile_is_a_member_or_is_left_out_with_a_reason(name: str) -> None:
    group = load_set(name)

    assert group.name == name
    assert sorted([*group.disks, *group.left_out]) == profile_names()
    assert all(group.left_out.values())
    assert [profile.name for profile in group.members] == list(group.disks)


def test_the_measured_ones_are_ext4_in_its_mount_options_xfs_and_btrfs() -> None:
    group = load_set("linux-measured")

    assert {name.split("-")[0] for name in group.disks} == {"ext4", "xfs", "btrfs"}
    assert {"f2fs-posix", "nilfs2", "tmpfs", "apfs-linux"} <= group.left_out.keys()


def test_the_protocol_of_the_readme_holds_under_the_set_with_a_row_for_each_member() -> None:
    done = run("check", "lastgood:atomic_dirsync", "-p", "linux-measured", *SMALL)
    group = load_set("linux-measured")
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]

    assert done.exit_code == 0
    assert [row[1].strip() for row in rows] == [*group.disks, "linux-measured"]
    assert all(cell.strip() == "holds" for row in rows for cell in row[2:-1])
    for name, reason in group.left_out.items():
        assert f"not in linux-measured: {name}: {reason}.\n" in done.stdout
    assert "every history within 1 saves, 1 crashes" in done.stdout


def test_what_one_member_does_not_show_the_set_does_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = ProfileSet("linux-measured", "two", {"xfs": "xfs", "btrfs": "btrfs"}, {})
    monkeypatch.setattr(commands, "load_set", {"linux-measured": two}.__getitem__)
    asked = ["check", "paper:atomic_nodirsync", "-p", "linux-measured", "--property", "P1"]
    done = run(*asked, *SMALL, "--json")
    said = json.loads(done.stdout)

    assert done.exit_code == 5
    assert said["properties"] == {"P1": {"verdict": "not refuted", "profiles": ["btrfs"]}}
    words = {each["profile"]: each["properties"]["P1"]["verdict"] for each in said["members"]}
    assert words == {"xfs": "holds", "btrfs": "not refuted"}


def test_each_member_that_fails_has_a_trace_of_its_own_that_replays() -> None:
    done = run(
        "check", "lastgood:unsafe", "-p", "linux-measured", "--property", "P3", *SMALL, "--json"
    )
    said = json.loads(done.stdout)
    traces = [each["properties"]["P3"]["trace"] for each in said["members"]]

    assert done.exit_code == 1
    assert said["properties"]["P3"]["profiles"] == list(load_set("linux-measured").disks)
    assert len(set(traces)) == len(said["members"])
    assert run("replay", *traces).exit_code == 0


@pytest.mark.parametrize(
    ("words", "weakest", "status"),
    [
        (("holds", "holds"), "holds", 0),
        (("holds", "not refuted"), "not refuted", 5),
        (("not refuted", "unknown"), "unknown", 4),
        (("unknown", "fails"), "fails", 1),
        (("fails", "holds"), "fails", 1),
    ],
)
def test_the_answer_of_a_set_is_the_weakest_of_its_members(
    words: tuple[VerdictWord, VerdictWord], weakest: VerdictWord, status: int
) -> None:
    one, other = words
    report = SetReport(
        "both", (member("a", P1=one, P3="holds"), member("b", P1=other, P3="holds")), {}
    )

    assert report.weakest == {"P1": weakest, "P3": "holds"}
    assert report.exit_code == status
    assert report.to_json()["properties"]["P1"]["profiles"] == [
        name for name, word in zip("ab", words, strict=True) if word == weakest
    ]


def test_the_json_of_a_set_has_the_keys_of_the_contract_and_no_other() -> None:
    said = SetReport("both", (member("a", P1="holds"),), {"c": "for a reason"}).to_json()

    assert list(said) == ["subject", "profile", "crash_class", "properties", "members", "left_out"]
    assert (said["profile"], said["left_out"]) == ("both", {"c": "for a reason"})


def test_profiles_lists_the_sets_and_shows_one() -> None:
    group = load_set("linux-measured")
    listed, shown = run("profiles"), run("profiles", "linux-measured")
    every = json.loads(run("profiles", "--json").stdout)
    one = json.loads(run("profiles", "linux-measured", "--json").stdout)

    assert "linux-measured" in listed.stdout
    assert all(name in shown.stdout for name in (*group.disks, *group.left_out))
    assert one["sets"] == every["sets"]
    assert [each["name"] for each in one["profiles"]] == list(group.disks)
    assert {each["profile"]: each["disk"] for each in one["sets"][0]["members"]} == group.disks
    left_out = {each["profile"]: each["reason"] for each in one["sets"][0]["left_out"]}
    assert left_out == group.left_out
    assert json.loads(run("profiles", "xfs", "--json").stdout)["sets"] == []


def test_what_no_verdict_speaks_of_is_said_beside_the_verdict() -> None:
    limits = load_profile("ext4-fast-commit").limits
    asked = ["--property", "P1", *SMALL]
    fast = run("check", "lastgood:atomic_dirsync", "-p", "ext4-fast-commit", *asked)
    plain = run("check", "lastgood:atomic_dirsync", "-p", "nilfs2", *asked)
    said = json.loads(run("check", "lastgood:atomic_dirsync", "-p", "xfs", *asked, "--json").stdout)
    shown = json.loads(run("profiles", "ext4-fast-commit", "--json").stdout)["profiles"][0]

    assert (fast.exit_code, plain.exit_code) == (0, 0)
    lines = [line for line in fast.stdout.splitlines() if line.startswith("outside of this")]
    assert lines == [f"outside of this verdict: {limit.what}" for limit in limits]
    assert "outside of this verdict" not in plain.stdout
    assert said["limits"] == [limit.to_json() for limit in load_profile("xfs").limits]
    assert shown["limits"] == [limit.to_json() for limit in limits]
    told = run("profiles", "ext4-fast-commit").stdout
    for limit in limits:
        whole = f"Outside of the model: {limit.what} ({limit.evidence}: {limit.source})\n"
        assert whole in told


def test_a_set_says_the_limits_of_each_member_below_its_name() -> None:
    asked = ("lastgood:atomic_dirsync", "-p", "linux-measured", "--property", "P1")
    below = run("check", *asked, *SMALL).stdout.partition("\next4-ordered:\n")[2]
    its_own = below.partition("\next4-ordered-nodelalloc:")[0]

    for limit in load_profile("ext4-ordered").limits:
        assert f"  outside of this verdict: {limit.what}" in its_own


def test_no_member_of_a_set_is_refuted_and_each_that_is_has_the_word_in_its_reason() -> None:
    group = load_set("linux-measured")
    refuted = {name for name in profile_names() if load_profile(name).is_refuted}

    assert refuted == {"ext4-fast-commit", "ext4-writeback"}
    assert refuted.isdisjoint(group.disks)
    assert {n for n, why in group.left_out.items() if why.startswith("refuted: ")} == refuted


def test_a_set_stands_for_no_single_profile() -> None:
    with pytest.raises(ProfileError, match="a set of profiles, and one profile is expected"):
        load_profile("linux-measured")
    done = run("replay", TRACE, "-p", "linux-measured")
    assert done.exit_code == 2
    assert "`powercut check` and `powercut profiles` take a set" in done.stderr
    with pytest.raises(ProfileError, match="Known: linux-measured"):
        load_set("linux-measurd")


def test_a_slip_of_the_pen_in_the_name_of_a_set_is_told() -> None:
    with pytest.raises(ProfileError, match=r"did you mean 'linux-measured'\?"):
        load_profile("linux-measurd")
