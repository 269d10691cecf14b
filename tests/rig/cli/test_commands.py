"""`powercut compare` and `powercut doctor`: what they print, write, and how they exit."""

from __future__ import annotations

import json
import os
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve
from click.testing import CliRunner

from powercut.profile import limits_in_words, load_profile, load_set
from powercut.report.timeline import Timeline
from powercut_rig import BlockLog, Flush, Mark, Recipe, Write
from powercut_rig.blocks.timeline import timeline_of
from powercut_rig.campaigns.soak import SoakResult, SoakWorkload
from powercut_rig.cli.commands import compare, doctor, soak_command
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.result import OUTSIDE, REFUSED, Comparison, Finding
from powercut_rig.reports import html
from powercut_rig.reports.text import junit, remarks, show_comparisons
from powercut_rig.system.linux_syscalls import lines_about
from tests import ROOT

TRACES = ROOT / "traces"
HOLDING = str(TRACES / "regressions/lastgood-atomic-dirsync-two-saves.toml")
FAILING = str(TRACES / "counterexamples/lastgood-unsafe-ext4-ordered-power-P3.toml")


def a_timeline() -> Timeline:
    records = (
        Mark("write", 0, "begin"),
        Write(0, b"x" * 512),
        Write(4096, b"y" * 8192),
        Mark("write", 0, "end"),
        Flush(),
    )
    return timeline_of(BlockLog(1 << 20, {}, records), "<a> & b")


def a_comparison() -> Comparison:
    result = Comparison("t<1>.toml", "xfs", "sequential", None, "P1", "holds")
    result.images, result.outside, result.tried = 3, 1, Counter({"prefix": 3})
    result.timeline = a_timeline()
    recipe = Recipe(3, dropped=(1,))
    result.keep(Finding(OUTSIDE, 2, 1, recipe, "0/1 (power)", "a: b'\x00'", a_timeline()))
    return result


class Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.classes: Counter[str] = Counter()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.classes[given.get("class") or ""] += 1
        self.links += [value for key in ("src", "href") if (value := given.get(key))]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_html_report_shows_ops_writes_flushes_the_cut_and_what_was_lost() -> None:
    parsed = Parsed(html.page([a_comparison()]))

    assert parsed.links == []  # it needs nothing from elsewhere
    assert parsed.classes["picture"] == 2
    assert parsed.classes["cut"] == parsed.classes["lost"] == 1
    assert parsed.classes["call"] == parsed.classes["flush"] == 2
    assert parsed.classes["write"] == 3
    assert "t<1>.toml" in parsed.text
    assert "<a> & b" in parsed.text
    assert '"W1","writes and flushes","lost","write",1,1,512,0,""' in parsed.text


def test_junit_has_a_suite_for_each_disk_and_says_what_failed() -> None:
    good = Comparison("t2.toml", "ext4", "ext4-ordered", None, "P1", "holds")
    suites = ET.fromstring(junit([a_comparison(), good]))  # noqa: S314 - our own bytes

    assert [(s.get("name"), s.get("failures")) for s in suites] == [
        ("powercut compare xfs", "1"),
        ("powercut compare ext4", "0"),
    ]
    failure = suites.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "1 of 3 images outside the model"


def unmountable(fs: str) -> Comparison:
    result = Comparison("t.toml", fs, fs, None, "P1", "holds", load_profile(fs).limits)
    result.images, result.refused = 9, 2
    refusal = "[Errno 117] mount: Structure needs cleaning"
    result.keep(Finding(REFUSED, 2, 1, Recipe(3), "0/1 (power)", refusal, a_timeline()))
    return result


def test_a_disk_that_does_not_mount_is_reported_as_that_everywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    found = unmountable("ext4-fast-commit")
    show_comparisons([found])
    lines = capsys.readouterr().out
    failure = ET.fromstring(junit([found])).find(".//failure")  # noqa: S314 - our own bytes
    soaked = SoakResult()
    soaked.take(SoakWorkload(1, "ext4-fast-commit"), found)

    assert not found.agrees
    assert "│ 0 + 2 " in lines
    said = "0 of 9 images outside the model, 2 that do not mount"
    declared = limits_in_words(load_profile("ext4-fast-commit").limits)
    assert f"t.toml on ext4-fast-commit: {said}; {declared}\n" in lines
    assert "does not mount, plan 2" in lines
    assert failure is not None
    assert failure.get("message") == said
    assert "do not mount" in Parsed(html.page([found])).text
    assert "0 images outside the model, 2 that do not mount, 1 workloads wrong" in soaked.in_words


def test_where_a_profile_declares_no_limit_nothing_is_made_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_comparisons([unmountable("nilfs2"), unmountable("apfs")])

    assert "declares limits" not in capsys.readouterr().out


def test_a_tree_outside_of_the_model_is_told_with_the_limits_of_the_profile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits = load_profile("xfs").limits
    clean = Comparison("t.toml", "xfs", "xfs", None, "P1", "holds", limits)
    found, sums = evolve(clean, outside=2, images=9), Comparison("s", "xfs", "xfs", None, "P1", "")
    sums.add(found)
    show_comparisons([clean, found])

    told = f"2 of 9 images outside the model; {limits_in_words(limits)}"
    assert capsys.readouterr().out.count("declares limits") == 1
    assert remarks(found) == [f"t.toml on xfs: {told}"]
    assert sums.to_json()["limits"] == [limit.to_json() for limit in limits]


def test_the_doctor_names_the_disks_whose_profile_is_refuted() -> None:
    told = CliRunner().invoke(doctor, [], env={"COLUMNS": "120"})
    said = json.loads(CliRunner().invoke(doctor, ["--json"]).output)["can_run"]
    lines = [line for line in told.output.splitlines() if " is refuted: " in line]

    assert {each["name"]: each["limits"] for each in said if each["name"] in FILE_SYSTEMS} == {
        name: [limit.to_json() for limit in load_profile(fs.profile).limits]
        for name, fs in FILE_SYSTEMS.items()
    }
    assert [line.partition(" ")[0] for line in lines] == ["ext4-writeback", "ext4-fast-commit"]
    assert "EUCLEAN" in lines[1]


def test_examples_are_kept_for_each_kind_of_finding() -> None:
    result = a_comparison()
    for number in range(10):
        for kind in ("one", "other"):
            result.keep(Finding(kind, number, 1, Recipe(0), "", ""))

    assert Counter(each.kind for each in result.findings) == {OUTSIDE: 1, "one": 5, "other": 5}


@pytest.mark.rig
def test_compare_runs_on_several_disks_and_writes_every_report(tmp_path: Path) -> None:
    junit_path, html_path = tmp_path / "j.xml", tmp_path / "r.html"
    done = CliRunner().invoke(
        compare,
        [
            HOLDING, "--fs", "ext4,xfs,btrfs", "--recordings", "1", "--limit", "12", "--again", "1",
            "--json", "--junit", str(junit_path), "--html", str(html_path),
        ],
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert [each["fs"] for each in said["comparisons"]] == ["ext4", "xfs", "btrfs"]
    assert said["agrees"]
    assert said["outside_model"] == 0
    assert all(each["images"]["mounted"] == 12 for each in said["comparisons"])
    assert len(ET.fromstring(junit_path.read_bytes())) == 3  # noqa: S314 - our own bytes
    assert Parsed(html_path.read_text()).classes["picture"] == 3


@pytest.mark.rig
def test_an_image_outside_the_model_makes_compare_fail_and_is_shown() -> None:
    arguments = [FAILING, "--profile", "sequential", "--recordings", "1", "--limit", "30"]
    done = CliRunner().invoke(compare, arguments)

    assert done.exit_code == 1, done.output
    assert "outside the model, plan 0, crash 1" in done.output


def test_compare_refuses_a_power_cut_after_a_crash_of_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "mixed.toml"
    text = Path(HOLDING).read_text(encoding="utf-8")
    mixed = '{ crash = "kernel" },\n  { crash = "power" }'
    path.write_text(text.replace('{ crash = "power" }', mixed, 1), encoding="utf-8")

    done = CliRunner().invoke(compare, [str(path)])

    assert done.exit_code == 2
    assert "a power cut after a crash of the kernel is outside of the model" in done.output


def test_a_file_system_that_is_not_known_is_bad_input_and_named_with_the_known_ones() -> None:
    done = CliRunner().invoke(compare, [HOLDING, "--fs", "ext4,fat"])

    assert done.exit_code == 2
    assert "'fat' is no file system of the rig" in done.output
    assert "btrfs" in done.output


def test_where_the_rig_cannot_run_compare_says_why_and_exits_with_3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(compare, [HOLDING])

    assert done.exit_code == 3
    assert "user id 1000" in done.output


@pytest.mark.rig
@pytest.mark.guest
def test_the_doctor_finds_this_machine_fit() -> None:
    done = CliRunner().invoke(doctor, ["--json"])

    assert done.exit_code == 0
    said = {each["name"]: each for each in json.loads(done.output)["can_run"]}
    assert {name for name, each in said.items() if not each["ready"]} == {"apfs"}
    assert "F_BARRIERFSYNC and F_FULLFSYNC" in said["apfs"]["missing"][0]


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("powercut_rig.macos.requirements.is_installed", lambda name: False)
    done = CliRunner().invoke(doctor, ["--json"])

    assert done.exit_code == 3
    missing = {each["name"]: each["missing"] for each in json.loads(done.output)["can_run"]}
    assert missing["ext4"] == ["The block recorder needs Linux and this is darwin."]
    (guest,) = missing["guest"]
    assert guest.startswith("The guest needs Linux on x86_64 and this is darwin")
    for name, fs in FILE_SYSTEMS.items():
        assert missing[name] == missing["guest" if fs.in_guest else "ext4"]
    assert missing["apfs"][0] == (
        "The program hdiutil of macOS was not found; it belongs to the system."
    )


def test_apfs_is_not_run_on_linux_and_says_what_a_mac_would_add(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for arguments in (["--fs", "apfs"], [HOLDING, "--fs", "apfs", "--experiments"]):
        done = CliRunner().invoke(compare, arguments)

        assert done.exit_code == 3
        assert "this is linux, not macOS" in done.output
        assert "On a Mac, without root" in done.output


def test_apfs_is_asked_for_alone_and_the_others_need_a_trace() -> None:
    together = CliRunner().invoke(compare, [HOLDING, "--fs", "ext4,apfs"])
    without = CliRunner().invoke(compare, ["--fs", "ext4"])

    assert (together.exit_code, without.exit_code) == (2, 2)
    assert "ask for apfs alone" in together.output
    assert "Missing argument 'TRACES...'" in without.output


def test_a_soak_does_not_take_apfs() -> None:
    done = CliRunner().invoke(soak_command, ["--fs", "apfs"])

    assert done.exit_code == 2
    assert "'apfs' is no file system of the rig" in done.output


def test_the_table_has_a_number_for_each_trace_and_the_path_in_one_piece_above(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "traces/" + "a-name-that-is-longer-than-a-terminal-is-wide" * 2 + ".toml"
    show_comparisons(
        [
            Comparison(trace, fs, "sequential", None, "P1", "holds")
            for trace in (HOLDING, long)
            for fs in ("ext4", "xfs")
        ]
    )
    lines = capsys.readouterr().out.splitlines()

    assert lines[:2] == [f"1  {HOLDING}", f"2  {long}"]
    rows = [line.replace("│", " ").split()[:2] for line in lines if "xfs" in line or "ext4" in line]
    assert rows == [["1", "ext4"], ["1", "xfs"], ["2", "ext4"], ["2", "xfs"]]


LOG = """\
[10.1] loop7: detected capacity change from 0 to 65536
[10.2] EXT4-fs (loop70): error: another disk
[10.3] EXT4-fs (loop7): bad geometry
[10.4] usb 1-1: new device
[10.5] BTRFS error (device loop7 state E): open_ctree failed
[10.6] I/O error, dev loop71, sector 8
[10.7] XFS (dm-loop7): not ours either
"""


def test_the_kernels_words_are_those_about_the_disk_and_no_other() -> None:
    assert lines_about("/of/a/rig/loop7", LOG, 8).split("\n") == [
        line for line in LOG.splitlines() if line[1:5] in ("10.1", "10.3", "10.5")
    ]
    assert "open_ctree" in lines_about("/of/a/rig/loop7", LOG, 1)
    assert lines_about("/dev/loop9", LOG, 8) == ""


def test_each_measured_profile_is_what_a_disk_of_this_kernel_is_held_against() -> None:
    for profile, disk in load_set("linux-measured").disks.items():
        assert (FILE_SYSTEMS[disk].profile, FILE_SYSTEMS[disk].in_guest) == (profile, False)
