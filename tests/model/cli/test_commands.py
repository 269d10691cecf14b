"""The command line: what it prints, how it exits, and that bad input leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from powercut.checker.verdict import CheckReport, Verdict, VerdictWord
from powercut.cli.commands import how_far, powercut
from powercut.profile import load_profile, profile_names
from powercut.rules import RULES
from powercut.simulation.subject import subject_names
from tests import ROOT

LIMIT_S = 60
COUNTEREXAMPLE = ROOT / "traces/counterexamples/lastgood-unsafe-ext4-ordered-power-P3.toml"
REGRESSION = ROOT / "traces/regressions/lastgood-atomic-dirsync-two-saves.toml"
PUBLISHED = ROOT / "tests/litmus/published.json"
QUICK = ["--saves", "1", "--crashes", "1", "--parts", "1", "--pieces", "1", "--no-deep"]
BOUND_KEYS = ["saves", "crashes", "parts", "pieces", "states", "runs"]
DAMAGED_KEYS = [f"damaged_{key}" for key in (*BOUND_KEYS, "damages")]
ENUMERATED = [*QUICK, "--method", "enumerated"]
HOLDS = ["check", "lastgood:atomic_dirsync", "-p", "ext4-ordered", *ENUMERATED]
FAILS = ["check", "lastgood:unsafe", "-p", "ext4-ordered", *ENUMERATED]
DOUBT = """
[[unknown]]
id = "return-is-durable"
source = "ideal.sequential"
evidence = "assumed"
doubt = "unknown"
measure = "cut the power when a call has returned"
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs in an empty folder, so that what it leaves there is seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def run(*arguments: str | Path, columns: int = 100) -> Result:
    env = {"COLUMNS": str(columns)}
    return CliRunner().invoke(
        powercut, [str(a) for a in arguments], env=env, catch_exceptions=False
    )


def left() -> list[str]:
    return sorted(path.as_posix() for path in Path().rglob("*"))


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A profile that lets `unsafe` fail without a rule in doubt, and hold with it."""
    floor = ROOT / "model/powercut/profiles/posix-minimal.toml"
    path = tmp_path / "doubtful.toml"
    path.write_text(floor.read_text(encoding="utf-8") + DOUBT, encoding="utf-8")
    return path


def test_a_protocol_that_holds_exits_with_0_and_writes_nothing() -> None:
    done = run(*HOLDS)

    assert (done.exit_code, done.stderr, left()) == (0, "", [])
    assert done.stdout.count("holds") == 6
    assert "every history within" in done.stdout


def test_a_protocol_that_fails_exits_with_1_and_writes_a_trace_that_replays() -> None:
    done = run(*FAILS, "--property", "P3")
    (folder, trace) = left()

    assert (done.exit_code, folder) == (1, "powercut-traces")
    assert f"powercut replay {trace}\n" in done.stdout
    assert run("replay", trace).exit_code == 0
    assert "P3 fails under ext4-ordered" in run("explain", trace).stdout


def test_the_same_question_gives_the_same_bytes() -> None:
    first = run(*FAILS, "--json")
    written = {path: Path(path).read_bytes() for path in left()[1:]}
    second = run(*FAILS, "--json")

    assert written
    assert first.stdout_bytes == second.stdout_bytes
    assert {path: Path(path).read_bytes() for path in left()[1:]} == written


def test_traces_go_where_they_are_sent(tmp_path: Path) -> None:
    done = run(*FAILS, "--property", "P3", "--traces", tmp_path / "elsewhere", "--json")

    trace = Path(json.loads(done.stdout)["properties"]["P3"]["trace"])
    assert (trace.parent, trace.is_file(), left()) == (tmp_path / "elsewhere", True, [])


def test_the_json_of_a_check_has_the_keys_of_the_contract_and_no_other() -> None:
    done = run(*FAILS, "--json")
    report = json.loads(done.stdout)

    assert list(report) == ["subject", "profile", "crash_class", "properties", "doubts", "limits"]
    assert {k: report[k] for k in ("subject", "profile", "crash_class")} == {
        "subject": "lastgood:unsafe",
        "profile": "ext4-ordered",
        "crash_class": "power",
    }
    assert list(report["properties"]) == ["P1", "P2", "P3", "P4", "P5", "P7"]
    wanted = ["verdict", "method", "exhaustive", "bound", "states"]
    wanted += ["unknown_rules", "needs", "trace", "missed"]
    for name, answer in report["properties"].items():
        assert list(answer) == wanted
        assert list(answer["states"]) == ["represented", "run"]
        assert list(answer["bound"]) == BOUND_KEYS * (name != "P7") + DAMAGED_KEYS
        assert answer["states"]["represented"] >= answer["states"]["run"] > 0
        assert answer["method"] == "enumerated"


def test_damage_is_explained_as_no_loss_of_a_crash() -> None:
    trace = ROOT / "traces/counterexamples/paper-atomic-dirsync-posix-minimal-process-P7.toml"
    done, data = run("explain", trace), json.loads(run("explain", trace, "--json").stdout)

    assert done.exit_code == 0
    assert "/ckpt/run/epoch_0002  went bad at rest: unreadable" in done.stdout
    assert "no rule and no sync forbids it" in done.stdout
    assert data["damages"] == [{"path": "/ckpt/run/epoch_0002", "how": "unreadable"}]


def test_a_property_that_fails_is_not_exhaustive_and_one_that_holds_has_no_trace() -> None:
    answers = json.loads(run(*FAILS, "--json").stdout)["properties"]

    assert (answers["P1"]["verdict"], answers["P1"]["trace"]) == ("holds", None)
    assert answers["P1"]["exhaustive"] is True
    assert (answers["P3"]["verdict"], answers["P3"]["exhaustive"]) == ("fails", False)
    assert Path(answers["P3"]["trace"]).is_file()


def test_an_answer_that_hangs_on_a_rule_in_doubt_exits_with_4_and_names_the_rule(
    doubtful: Path,
) -> None:
    check = ["check", "lastgood:unsafe", "-p", str(doubtful), *ENUMERATED, "--property", "P3"]
    done = run(*check, "--json")
    answer = json.loads(done.stdout)["properties"]["P3"]

    assert done.exit_code == 4
    assert (answer["verdict"], answer["unknown_rules"]) == ("unknown", ["return-is-durable"])
    told = run(*check).stdout
    assert "P3 hangs on what is in doubt: return-is-durable." in told
    assert "return-is-durable is unknown: cut the power when a call has returned" in told


def test_a_trace_that_was_found_under_a_profile_of_the_users_own_replays(doubtful: Path) -> None:
    text = doubtful.read_text(encoding="utf-8").replace('"posix-minimal"', '"doubtful"', 1)
    doubtful.write_text(text, encoding="utf-8")
    run("check", "lastgood:unsafe", "-p", doubtful, *ENUMERATED, "--property", "P3")
    (_, trace) = left()

    assert run("replay", trace).exit_code == 0


def test_without_the_rule_in_doubt_the_same_question_fails() -> None:
    done = run("check", "lastgood:unsafe", "-p", "posix-minimal", *ENUMERATED, "--property", "P3")

    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        (["holds", "holds"], 0),
        (["holds", "fails"], 1),
        (["unknown", "holds"], 4),
        (["unknown", "not refuted"], 4),
        (["holds", "not refuted"], 5),
        (["fails", "not refuted"], 1),
        (["unknown", "fails"], 1),
        (["fails", "unknown"], 1),
    ],
)
def test_one_failure_outweighs_what_is_unknown(answers: list[VerdictWord], status: int) -> None:
    verdicts = {f"P{i}": Verdict(a, "enumerated", False, {}, 1, 1) for i, a in enumerate(answers)}

    assert CheckReport("toy:good", "sequential", "power", verdicts).exit_code == status


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_what_was_sampled_is_not_refuted_and_has_a_status_of_its_own(form: list[str]) -> None:
    sampled = ["--method", "sampled", "--examples", "5", "--property", "P1"]
    asked = ["check", "lastgood:atomic_dirsync", "-p", "ext4-ordered", *sampled, *form]
    done = run(*asked)

    assert done.exit_code == 5
    assert run(*asked, "--accept", "not-refuted").exit_code == 0
    assert "holds" not in done.stdout
    assert "not refuted" in done.stdout
    assert "every history" not in done.stdout
    if form:
        answer = json.loads(done.stdout)["properties"]["P1"]
        assert (answer["method"], answer["exhaustive"]) == ("sampled", False)
    else:
        assert "no proof" in " ".join(done.stdout.split())
        assert "sampled" in done.stdout


def test_a_search_that_was_cut_off_never_speaks_for_every_history() -> None:
    verdict = Verdict("not refuted", "enumerated", False, {"saves": 9}, 20_000, 9)

    assert how_far(verdict) == "nothing found; cut off at 9 saves"


MISUSE: dict[str, list[str]] = {
    "no command": ["frobnicate"],
    "no profile": ["check", "lastgood:unsafe"],
    "unknown profile": ["check", "lastgood:unsafe", "-p", "ext5"],
    "missing profile file": ["check", "lastgood:unsafe", "-p", "mine.toml"],
    "unknown subject": ["check", "lastgod:unsafe", "-p", "ext4-ordered"],
    "unknown mode": ["check", "lastgood:safe", "-p", "ext4-ordered"],
    "no mode": ["check", "lastgood", "-p", "ext4-ordered"],
    "unknown class": ["check", "lastgood:unsafe", "-p", "ext4-ordered", "-c", "flood"],
    "unknown property": ["check", "lastgood:unsafe", "-p", "ext4-ordered", "--property", "P9"],
    "bound too large": ["check", "lastgood:unsafe", "-p", "ext4-ordered", "--saves", "99"],
    "no trace": ["replay"],
    "missing trace": ["replay", "missing.toml"],
    "missing trace, json": ["replay", "--json", "missing.toml"],
    "explain missing": ["explain", "missing.toml"],
    "explain folder": ["explain", "."],
    "unknown profile to replay": ["replay", "-p", "ext5", str(COUNTEREXAMPLE)],
    "unknown profile to show": ["profiles", "ext5"],
    "empty profile to show": ["profiles", ""],
    "empty profile to replay": ["replay", "-p", "", str(COUNTEREXAMPLE)],
    "empty profile to explain": ["explain", "-p", "", str(COUNTEREXAMPLE)],
    "empty profile to litmus": ["litmus", "-p", "", str(PUBLISHED)],
    "empty profile to member": ["member", "-p", "", str(COUNTEREXAMPLE), "--tree", "t.json"],
    "empty trace": ["replay", ""],
    "empty trace to explain": ["explain", ""],
    "empty cases": ["litmus", ""],
    "empty tree": ["member", str(COUNTEREXAMPLE), "--tree", ""],
    "empty folder": ["check", "lastgood:unsafe", "-p", "xfs", "--traces", ""],
}


@pytest.mark.parametrize("arguments", MISUSE.values(), ids=MISUSE)
def test_bad_input_exits_with_2_says_so_on_stderr_and_leaves_nothing(arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.exit_code, done.stdout, left()) == (2, "", [])
    assert len(done.stderr.strip()) > 20
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [name for name in MISUSE if name.startswith("empty")])
def test_an_empty_argument_is_named_for_what_it_is(name: str) -> None:
    told = run(*MISUSE[name]).stderr

    assert "unknown profile ''" in told or "the path is empty" in told


def test_a_malformed_trace_stops_those_before_it_too(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    text = COUNTEREXAMPLE.read_text(encoding="utf-8").replace('op = "create"', 'op = "mmap"', 1)
    path.write_text(text, encoding="utf-8")

    done = run("replay", COUNTEREXAMPLE, path)

    assert (done.exit_code, done.stdout, left()) == (2, "", [])
    assert done.stderr.startswith(f"powercut: {path}: step ")
    assert "op is 'mmap': a mapping is not an op of the model" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["replay", "explain", "member", "litmus"])
def test_a_power_cut_after_a_kernel_crash_is_bad_input(tmp_path: Path, command: str) -> None:
    path, tree = tmp_path / "mixed.toml", tmp_path / "tree.json"
    steps = '{ id = "c", op = "create", path = "/a" }, { crash = "kernel" }, { crash = "power" }'
    head = 'schema = 1\nkind = "pinned"\nprofile = "xfs"\nproperty = "P1"\nverdict = "holds"\n'
    path.write_text(f"{head}steps = [ {steps} ]\n", encoding="utf-8")
    tree.write_text("{}", encoding="utf-8")

    seen: list[str | Path] = ["--tree", tree] if command == "member" else []
    done = run(command, path, *seen)

    assert (done.exit_code, done.stdout, left()) == (2, "", [])
    if command != "litmus":  # a trace is no litmus test, whatever its crashes are
        assert "step 3: crash is 'power' and that of step 2 'kernel'" in done.stderr
        assert "expected machine crashes of one class" in done.stderr


def test_a_malformed_profile_of_the_users_own_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'schema = 1\nname = "x"\ntitle = "x"\n[units]\nblock_bytes = 0\nsector_bytes = 1\n'
    )

    done = run("check", "lastgood:unsafe", "-p", path)

    assert (done.exit_code, done.stdout, left()) == (2, "", [])
    assert (
        done.stderr
        == f"powercut: {path}: [units]: block_bytes is 0, expected 1 or more. Nothing was run.\n"
    )


def test_a_trace_that_cannot_be_written_takes_nothing_from_the_verdict() -> None:
    Path("file").write_text("")

    done = run(*FAILS, "--property", "P3", "--traces", "file/traces")

    assert (done.exit_code, left()) == (1, ["file"])
    assert "the verdict stands, its trace is not written" in done.stderr
    assert "fails" in done.stdout


def test_a_trace_with_another_verdict_than_it_records_exits_with_1(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    text = COUNTEREXAMPLE.read_text(encoding="utf-8")
    path.write_text(text.replace('verdict = "fails"', 'verdict = "holds"'), encoding="utf-8")

    done = run("replay", "--json", COUNTEREXAMPLE, path)

    assert done.exit_code == 1
    assert [r["agrees"] for r in json.loads(done.stdout)["traces"]] == [True, False]
    assert run("replay", path).exit_code == 1


def test_a_replayed_trace_is_one_line_whose_path_is_in_one_piece(tmp_path: Path) -> None:
    wrong = tmp_path / ("a-name-that-is-longer-than-a-terminal-is-wide" * 2 + ".toml")
    text = COUNTEREXAMPLE.read_text(encoding="utf-8")
    wrong.write_text(text.replace('verdict = "fails"', 'verdict = "holds"'), encoding="utf-8")

    done = run("replay", COUNTEREXAMPLE, wrong, columns=80)
    lines = done.stdout.splitlines()

    assert [line.split("  ")[-1] for line in lines] == [str(COUNTEREXAMPLE), str(wrong)]
    assert lines[0].startswith("fails, as recorded     P")
    assert lines[1].startswith("fails, recorded holds  P")
    assert " under " in lines[0]


def test_a_trace_can_be_asked_under_another_profile() -> None:
    done = run("replay", "--json", "-p", "posix-minimal", REGRESSION)
    (result,) = json.loads(done.stdout)["traces"]

    assert (done.exit_code, result["profile"], result["verdict"]) == (0, "posix-minimal", "holds")


def test_a_crash_that_another_profile_forbids_is_bad_input_there() -> None:
    done = run("replay", "-p", "sequential", COUNTEREXAMPLE)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "sequential forbids this crash: " in done.stderr


def test_explain_says_what_was_lost_and_what_would_forbid_it() -> None:
    text = run("explain", COUNTEREXAMPLE)
    data = json.loads(run("explain", "--json", COUNTEREXAMPLE).stdout)

    assert text.exit_code == 0
    for heading in ("  Let\n", "  Then\n", "  Why the model allows it\n", "  Replay\n"):
        assert heading in text.stdout
    lost = [event["name"] for event in data["events"] if event["fate"] == "lost"]
    assert lost
    assert all(name in text.stdout for name in lost)
    assert data["because"] in text.stdout
    assert left() == []


def test_explain_of_a_trace_that_holds_says_that_it_holds() -> None:
    done = run("explain", REGRESSION)

    assert done.exit_code == 0
    assert done.stdout.startswith("P3 holds on this trace under ext4-ordered")


def test_profiles_are_listed_and_one_is_shown_with_its_sources() -> None:
    listed = run("profiles")
    shown = run("profiles", "ext4-ordered")
    data = json.loads(run("profiles", "ext4-ordered", "--json").stdout)["profiles"][0]
    profile = load_profile("ext4-ordered")

    assert (listed.exit_code, shown.exit_code) == (0, 0)
    assert all(name in listed.stdout for name in profile_names())
    assert "documented" in shown.stdout
    assert "in doubt" in shown.stdout
    assert [r["id"] for r in data["rules"]] == [c.rule.id for c in profile.claims]
    assert [r["id"] for r in data["unknown"]] == [c.rule.id for c in profile.unknown]
    for rule in data["rules"]:
        assert rule["claim"] == RULES[rule["id"]].claim
        assert rule["source"]
        assert rule["litmus"]


def test_subjects_are_listed() -> None:
    done = run("subjects")
    data: dict[str, Any] = json.loads(run("subjects", "--json").stdout)

    assert done.stdout.split() == data["subjects"] == subject_names()
    assert "lastgood:atomic_dirsync" in data["subjects"]


def test_the_module_is_the_command_and_without_click_it_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('gone', name='click')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "powercut", "subjects"]

    there, gone = (
        subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=env
        )
        for env in (dict(os.environ), environment)
    )

    assert (there.returncode, there.stdout.split()) == (0, subject_names())
    assert (gone.returncode, gone.stdout) == (3, "")
    assert "needs click" in gone.stderr
    assert "lastgood[check]" in gone.stderr


LITMUS_TEST = str(ROOT / "traces/litmus/truncate-then-write.toml")


def test_a_litmus_test_is_asked_of_every_profile_and_names_the_rules_it_hangs_on() -> None:
    done = run("litmus", LITMUS_TEST, "--json")
    found = json.loads(done.stdout)

    assert done.exit_code == 0
    assert {each["profile"] for each in found["answers"]} == set(profile_names())
    assert all(each["agrees"] for each in found["answers"])
    (xfs, btrfs) = (
        next(each for each in found["answers"] if each["profile"] == name)
        for name in ("xfs", "btrfs")
    )
    assert (btrfs["answer"], btrfs["hangs_on"]) == ("never", ["truncation-in-order"])
    assert (xfs["answer"], xfs["hangs_on"]) == ("never", ["truncation-in-order"])


def test_a_litmus_test_is_asked_of_one_profile_and_of_one_that_it_does_not_know() -> None:
    one = run("litmus", LITMUS_TEST, "--profile", "btrfs")
    other = run(
        "litmus", LITMUS_TEST, "-p", str(ROOT / "tests/litmus/profiles/ferrite-ext4.toml"), "--json"
    )

    assert one.exit_code == 0
    assert "1 test, 1 answers: 1 as recorded, 0 differ, 0 not recorded" in one.stdout
    (answer,) = json.loads(other.stdout)["answers"]
    assert (answer["profile"], answer["recorded"], answer["agrees"]) == ("ferrite-ext4", None, None)


def test_an_answer_that_is_not_the_recorded_one_is_shown_and_ends_with_status_1(
    tmp_path: Path,
) -> None:
    text = Path(LITMUS_TEST).read_text(encoding="utf-8")
    # Another answer for each profile: the heads of both lists change.
    assert (text.count("\nnever = ["), text.count("\nsometimes = [")) == (1, 1)
    head, answers = text.split("\nnever = [")
    never, sometimes = answers.split("\nsometimes = [")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f"{head}\nalways = [{never}\nnever = [{sometimes}", encoding="utf-8")

    done = run("litmus", str(wrong), LITMUS_TEST)

    assert done.exit_code == 1
    assert "wrong: A file is cut to nothing" in done.stdout
    assert "truncate-then-write: " not in done.stdout
    count = len(profile_names())
    assert f"{2 * count} answers: {count} as recorded, {count} differ, 0 not" in done.stdout


def test_litmus_tests_and_published_cases_are_not_asked_together() -> None:
    done = run("litmus", LITMUS_TEST, str(PUBLISHED))

    assert done.exit_code == 2
    assert "expected one file of published cases, or litmus tests (.toml) only" in done.stderr
    assert done.stdout == ""


def test_a_profile_beside_published_cases_may_not_take_the_name_of_a_built_in_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "profiles").mkdir()
    text = (ROOT / "tests/litmus/profiles/ferrite-ext4.toml").read_text(encoding="utf-8")
    (tmp_path / "profiles/mine.toml").write_text(text.replace('"ferrite-ext4"', '"xfs"', 1))
    (tmp_path / "cases.json").write_text(PUBLISHED.read_text(encoding="utf-8"))

    done = run("litmus", str(tmp_path / "cases.json"))

    assert done.exit_code == 2
    assert "another profile has the name 'xfs' already" in done.stderr


def test_explain_names_a_rule_that_the_profile_has_for_another_crash_class_only(
    tmp_path: Path,
) -> None:
    on_apfs = ROOT / "traces/counterexamples/lastgood-atomic-dirsync-apfs-power-P3.toml"
    trace = tmp_path / "on-a-lying-drive.toml"
    text = on_apfs.read_text(encoding="utf-8")
    trace.write_text(text.replace('profile = "apfs"', 'profile = "lying-drive"'), encoding="utf-8")

    found = run("explain", str(trace), "--json")
    told = run("explain", str(trace))

    assert "fsync-data" in json.loads(found.stdout)["forbidden_by_rules"]
    assert "fsync-data (not for this crash class there)" in told.stdout


def litmus_test(folder: Path, name: str, old: str, new: str) -> Path:
    """A copy of the test above in a folder of its own, with one change."""
    text = Path(LITMUS_TEST).read_text(encoding="utf-8")
    assert old in text
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_a_step_that_the_kernel_refuses_is_bad_input(tmp_path: Path) -> None:
    for place in ("setup", "steps"):
        refused = f'{place} = [\n  {{ id = "z", op = "fsync", path = "/nosuch" }},'
        done = run("litmus", str(litmus_test(tmp_path, place, f"{place} = [", refused)))

        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
        assert f"{place}: " in done.stderr
        assert "the kernel refuses it" in done.stderr


def test_tests_of_one_name_are_told_apart_and_one_that_is_named_twice_is_asked_once(
    tmp_path: Path,
) -> None:
    wrong = litmus_test(tmp_path / "wrong", "same", "never = [", "always = [")
    good = litmus_test(tmp_path / "good", "same", "never = [", "never = [")

    done = run("litmus", str(wrong), str(good), str(good))

    assert done.exit_code == 1
    assert done.stdout.count("same: A file is cut") == 1
    assert "2 tests, " in done.stdout


def test_a_profile_may_not_be_called_what_no_file_is_and_no_two_have_one_name(
    tmp_path: Path,
) -> None:
    text = (ROOT / "tests/litmus/profiles/ferrite-ext4.toml").read_text(encoding="utf-8")
    (tmp_path / "cases.json").write_text(PUBLISHED.read_text(encoding="utf-8"))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/a.toml").write_text(text)
    (tmp_path / "profiles/._a.toml").write_bytes(b"\0")
    for name, said in (("[/red]", "expected one without '/'"), ("ferrite-ext4", "the name")):
        (tmp_path / "profiles/b.toml").write_text(text.replace("ferrite-ext4", name, 1))
        done = run("litmus", str(tmp_path / "cases.json"))

        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
        assert said in done.stderr
