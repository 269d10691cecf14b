"""Counterexamples that need a permission: they name it, and where it allows too much, no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import evolve, field, frozen
from click.testing import CliRunner

from powercut.checker.check import CheckEffort, CheckQuestion, check, trace_of
from powercut.checker.exhaustive import Bound, enumerate_verdicts
from powercut.checker.verdict import CheckReport, Verdict
from powercut.cli.commands import powercut
from powercut.crash.fast_scope_rules import _COVERS
from powercut.errors import TraceError
from powercut.profile import Claim, Profile, load_profile
from powercut.rule import Rule
from powercut.rules import RULES
from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.permissions import needed_permissions
from powercut.simulation.subject import Subject, load_subject
from powercut.trace.explain import explain, render
from powercut.trace.replay import Replayed, replay
from powercut.trace.trace_file import parse_trace, read_trace, render_trace
from tests import ROOT

BTRFS = load_profile("btrfs")
SMALL = CheckEffort("enumerated", (Bound(saves=1, crashes=1, parts=1, pieces=1),))


@frozen
class Found:
    generation: int
    parts: Mapping[str, bytes]
    passed_over: Mapping[str, str] = field(factory=dict)


class NameSession:
    """A save is a folder whose name is its content; `done` says that it is there.

    It trusts that no name lands before an older one.  A log of btrfs that has held `new` may bring
    its later name `done` by itself.  In the mode `hasty` it says `half` and then `whole` as well,
    and takes a half for what it is not: a plain power cut leaves that.
    """

    def __init__(self, disk: SubjectDisk, store: str, mode: str) -> None:
        self.disk, self.store, self.mode = disk, store, mode
        for path in ("/ckpt", store):
            if disk.kind(path) == "missing":
                disk.mkdir(path)
                disk.fsync_dir(path.rpartition("/")[0] or "/")

    def _make(self, name: str) -> None:
        path = f"{self.store}/{name}"
        self.disk.create(path)
        self.disk.fsync(path)
        self.disk.close(path)

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        number = 1 + sum(name.startswith("done") for name in self.disk.names(self.store))
        self._make(f"new{number}")
        self.disk.mkdir(f"{self.store}/{number}-{parts['part1'].hex()}")
        self.disk.rename(f"{self.store}/new{number}", f"{self.store}/done{number}")
        self._make(f"other{number}")
        if self.mode == "hasty":
            self.disk.mkdir(f"{self.store}/half{number}")
            self.disk.mkdir(f"{self.store}/whole{number}")
        return number

    def recover(self) -> Found | None:
        names = self.disk.names(self.store) if self.disk.kind(self.store) == "dir" else []
        number = max((int(name[4:]) for name in names if name.startswith("done")), default=0)
        if not number:
            return None
        content = next((n.partition("-")[2] for n in names if n.startswith(f"{number}-")), "")
        if f"half{number}" in names and f"whole{number}" not in names:
            content = ""
        return Found(number, {"part1": bytes.fromhex(content)})

    def close(self) -> None:
        """Nothing is held."""


@frozen
class NamePlan:
    modes: tuple[str, ...] = ("trusting", "hasty")

    def open(self, disk: SubjectDisk, store: str, mode: str, rename_is_atomic: bool) -> NameSession:
        return NameSession(disk, store, mode)

    def read(self, disk: SubjectDisk, store: str) -> Found | None:
        reader = NameSession.__new__(NameSession)
        reader.disk, reader.store, reader.mode = disk, store, "reader"
        return reader.recover()

    def real_disk(self) -> SubjectDisk:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces find the subject by its name."""
    monkeypatch.setattr("powercut.trace.replay.load_subject", subject_of)


def subject_of(label: str) -> Subject:
    name, _, mode = label.partition(":")
    return Subject(name, mode, NamePlan())


def ask(mode: str, profile: Profile) -> tuple[CheckQuestion, CheckReport]:
    question = CheckQuestion(subject_of(f"names:{mode}"), profile, "power", ("P1",))
    return question, check(question, SMALL)


def first_of(mode: str) -> tuple[CheckQuestion, Verdict]:
    question, report = ask(mode, BTRFS)
    return question, report.properties["P1"]


def needs(question: CheckQuestion, verdict: Verdict) -> tuple[str, ...]:
    assert verdict.counterexample is not None
    steps = verdict.counterexample.steps
    found = needed_permissions(steps, question.profile, question.subject)
    return tuple(rule.id for rule in found)


def replayed(question: CheckQuestion, verdict: Verdict) -> Replayed:
    return replay(trace_of(question, verdict), "here")


def with_rule(profile: Profile, rule: Rule, *, doubted: str = "") -> Profile:
    """The profile with one rule of the same id replaced, and perhaps another one in doubt."""
    claims = tuple(evolve(c, rule=rule) if c.rule.id == rule.id else c for c in profile.claims)
    claim = Claim(RULES[doubted or rule.id], "assumed", "a trial", measure="ask", doubt="unknown")
    return evolve(profile, claims=claims, unknown=(claim,) if doubted else ())


def test_where_every_counterexample_needs_what_allows_too_much_the_answer_is_unknown() -> None:
    question, report = ask("trusting", BTRFS)
    verdict = report.properties["P1"]
    said = report.to_json()

    assert (verdict.verdict, report.exit_code) == ("unknown", 4)
    assert verdict.unknown_rules == needs(question, verdict) == ("log-may-bring",)
    assert said["properties"]["P1"]["needs"] == ["log-may-bring"]
    assert said["doubts"] == {
        "log-may-bring": f"a permission that allows too much: {RULES['log-may-bring'].measure}"
    }
    assert ask("trusting", load_profile("xfs"))[1].exit_code == 0


def test_a_smallest_counterexample_that_needs_it_gives_way_to_one_that_does_not() -> None:
    question, report = ask("hasty", BTRFS)
    first = enumerate_verdicts(question.subject, BTRFS, "power", ("P1",), *SMALL.bounds)["P1"]
    verdict = report.properties["P1"]

    assert needs(question, first) == ("log-may-bring",)
    assert (verdict.verdict, report.exit_code) == ("fails", 1)
    assert needs(question, verdict) == ()
    assert (verdict.unknown_rules, report.doubts) == ((), {})
    assert replayed(question, verdict).agrees


def test_a_permission_that_allows_no_more_than_the_disk_is_named_and_refutes() -> None:
    exact = evolve(RULES["log-may-bring"], measure="")
    report = ask("trusting", with_rule(BTRFS, exact))[1]
    verdict = report.properties["P1"]

    assert (verdict.verdict, report.exit_code) == ("fails", 1)
    assert verdict.counterexample is not None
    assert verdict.counterexample.needs == ("log-may-bring",)
    assert report.doubts == {}


def test_where_either_of_two_permissions_would_do_both_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = evolve(RULES["log-may-bring"], id="twin")
    monkeypatch.setitem(_COVERS, "twin", _COVERS["log-may-bring"])
    either = evolve(BTRFS, claims=(*BTRFS.claims, Claim(twin, "assumed", "a trial")))
    question, report = ask("trusting", either)
    verdict = report.properties["P1"]

    assert verdict.verdict == "unknown"
    assert needs(question, verdict) == ()
    assert {"log-may-bring", "twin"} <= set(verdict.unknown_rules)


def test_a_doubt_is_named_only_where_the_answer_hangs_on_it() -> None:
    """One rule in doubt forbids the crash, the other one has nothing to do with it."""
    rule = RULES["log-may-bring"]
    helps = ask("trusting", with_rule(BTRFS, rule, doubted="return-is-durable"))[1]
    idle = ask("trusting", with_rule(BTRFS, rule, doubted="direct-write-reaches-drive"))[1]

    assert helps.properties["P1"].unknown_rules == ("return-is-durable",)
    assert helps.doubts == {"return-is-durable": "unknown: ask"}
    assert idle.properties["P1"].unknown_rules == ("log-may-bring",)
    assert idle.exit_code == helps.exit_code == 4


def test_the_trace_names_the_permission_and_explain_says_what_would_settle_it() -> None:
    question, report = ask("trusting", BTRFS)
    trace = trace_of(question, report.properties["P1"])
    text = render_trace(trace)
    told = explain(trace, "here")

    assert 'needs = ["log-may-bring"]\n' in text
    assert parse_trace(text, "here") == trace
    assert told.to_json()["needs"] == [
        {"permission": "log-may-bring", "measure": RULES["log-may-bring"].measure}
    ]
    shown = render(told, "powercut replay here")
    assert f"its permission log-may-bring allows it: {RULES['log-may-bring'].claim}\n" in shown
    assert f"what would settle it: {RULES['log-may-bring'].measure}\n" in shown
    plain = explain(trace_of(*first_of("hasty")), "here")
    assert plain.needs == ()
    assert "permission" not in render(plain, "powercut replay here")


def test_a_trace_may_not_need_what_is_no_permission() -> None:
    text = render_trace(trace_of(*first_of("trusting")))
    for wrong in ("fsync-data", "log-may-brign"):
        with pytest.raises(TraceError, match=f"needs names '{wrong}', expected permissions: log-"):
            parse_trace(text.replace('"log-may-bring"', f'"{wrong}"'), "here")


def test_check_prints_the_permission_and_the_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    bound = ["--saves", "1", "--parts", "1", "--pieces", "1", "--no-deep"]
    asked = ["check", "names:trusting", "-p", "btrfs", "--property", "P1", *bound]
    monkeypatch.setattr("powercut.cli.commands.load_subject", subject_of)
    done = CliRunner().invoke(powercut, [*asked, "--method", "enumerated"])

    assert done.exit_code == 4
    assert "P1: its crash needs the permission log-may-bring.\n" in done.stdout
    assert "P1 hangs on what is in doubt: log-may-bring.\n" in done.stdout
    measure = RULES["log-may-bring"].measure
    assert f"log-may-bring is a permission that allows too much: {measure}\n" in done.stdout


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.permits or rule.measure])
def test_a_permission_that_allows_too_much_says_what_would_settle_it(rule: Rule) -> None:
    assert rule.permits
    assert rule.errs.startswith("allows too much") == rule.permits_too_much
    assert "Measure" not in rule.errs


HISTORIES = [*(ROOT / "traces").glob("counterexamples/*.toml")]


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_kept_counterexample_names_the_permissions_that_it_needs(path: Path) -> None:
    trace = read_trace(path)
    subject = load_subject(trace.subject) if trace.subject else None
    found = needed_permissions(trace.steps, load_profile(trace.profile), subject)

    assert trace.needs == tuple(rule.id for rule in found)
