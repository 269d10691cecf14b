"""The experiments: each can strike its rule, each rule in doubt has one, and they answer as due."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from attrs import evolve

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.content import Fill
from powercut.filesystem.ops import Barrier, Fsync, Fullsync, Op, Write
from powercut.profile import load_profile
from powercut_rig.judge.membership import ProgramMembership, snapshot_of
from powercut_rig.macos import APFS
from powercut_rig.macos.experiments.catalog import EXPERIMENTS, NOT_BY_AN_IMAGE, Experiment, Trial
from powercut_rig.macos.experiments.verdicts import (
    OUTCOMES,
    ExperimentVerdict,
    programs,
    run_experiment,
    run_experiment_or_explain,
    with_and_without,
)
from powercut_rig.macos.rig import SIZE_BYTES, MacRig
from tests.rig.macos.fake_mac import FakeMac, Tree

PROFILE = load_profile(APFS)
BY_RULE = {each.rule: each for each in EXPERIMENTS}
STATES = 300
TRIALS = [(each, trial) for each in EXPERIMENTS for trial in each.trials]


def test_every_rule_in_doubt_has_exactly_one_experiment_or_a_reason_why_none_can_be() -> None:
    in_doubt = {claim.rule.id for claim in PROFILE.unknown}
    named = [each.rule for each in EXPERIMENTS if each.rule in in_doubt]

    assert sorted([*named, *NOT_BY_AN_IMAGE]) == sorted(in_doubt)


def test_every_rule_that_is_relied_on_has_exactly_one_too_and_no_other_rule_is_named() -> None:
    every = [claim.rule.id for claim in (*PROFILE.claims, *PROFILE.unknown)]

    assert sorted(each.rule for each in EXPERIMENTS) == sorted(set(every) - set(NOT_BY_AN_IMAGE))
    assert {rule for each in EXPERIMENTS for rule in each.also} <= set(every)


def test_every_experiment_says_what_an_image_leaves_open() -> None:
    for each in EXPERIMENTS:
        assert "power" in each.leaves_open or "drive" in each.leaves_open


def test_each_sync_of_macos_is_exercised() -> None:
    trials = [trial for each in EXPERIMENTS for trial in each.trials]
    kinds = {type(op) for trial in trials for op in (*trial.setup, *trial.ops)}

    assert {Fsync, Barrier, Fullsync} <= kinds


@pytest.mark.parametrize(
    ("experiment", "trial"), TRIALS, ids=[f"{e.rule}: {t.name}" for e, t in TRIALS]
)
def test_every_trial_has_a_crash_state_that_only_its_rule_forbids(
    experiment: Experiment, trial: Trial
) -> None:
    weak, strong = with_and_without(experiment, PROFILE)
    without, with_rule = programs(trial, trial.ops, weak, strong)
    membership = ProgramMembership(with_rule)
    struck = 0
    for done in {min(len(trial.ops), 3), min(len(trial.ops), 4)}:
        (state,) = without.states(done, done)
        space = CrashSpace.of(state, weak, "kernel", even_cuts(weak, 2))
        for _, _, after in itertools.islice(space.states(), STATES):
            struck += membership.ask(snapshot_of(after.base), done, done, "kernel") is False

    assert struck


def small(rule: str, repeats: int = 1) -> Experiment:
    """The experiment with fewer repeats, and with kibibytes where it has mebibytes."""
    experiment = BY_RULE[rule]
    return evolve(
        experiment,
        repeats=repeats,
        trials=tuple(
            evolve(trial, ops=tuple(_shrunk(op) for op in trial.ops)) if trial.fill else trial
            for trial in experiment.trials
        ),
    )


def _shrunk(op: Op) -> Op:
    assert isinstance(op, Write)
    assert isinstance(op.data, Fill)
    return Write(op.path, op.offset // 1024, Fill(op.data.byte, len(op.data) // 1024))


def outcome(rule: str, rig: MacRig, repeats: int = 1) -> ExperimentVerdict:
    return run_experiment(small(rule, repeats), rig, PROFILE)


SYNC_RULES = ("fsync-directory", "fsync-logs-names", "fsync-data", "fullsync-drains-drive")


@pytest.mark.parametrize("rule", SYNC_RULES)
def test_a_sync_that_keeps_everything_bears_its_rule_out(rule: str, rig: MacRig) -> None:
    found = outcome(rule, rig)

    assert found.outcome == ("confirm" if PROFILE.has(rule) else "add"), found.because
    assert rule in found.in_profile
    assert found.clones
    assert "power" in found.leaves_open or "drive" in found.leaves_open


@pytest.mark.parametrize("rule", ["fsync-directory", "fsync-logs-names", "fsync-data"])
def test_a_sync_that_keeps_nothing_strikes_its_rule(rule: str, mac: FakeMac, rig: MacRig) -> None:
    mac.keeps = lambda before, now, path: before

    found = outcome(rule, rig)

    assert found.outcome == "strike"
    assert f"strike {rule}" in found.in_profile
    assert "after" in found.because


def test_a_sync_that_brings_data_and_no_names_strikes_the_rules_about_names_alone(
    mac: FakeMac, rig: MacRig
) -> None:
    def data_only(before: Tree, now: Tree, path: str) -> Tree:
        return {path: now.get(path, content) for path, content in before.items()}

    mac.keeps = data_only

    assert outcome("fsync-logs-names", rig).outcome == "strike"
    assert outcome("fsync-data", rig).outcome == "add"


def test_a_sync_that_keeps_bytes_and_no_new_size_strikes_the_rule_about_data(
    mac: FakeMac, rig: MacRig
) -> None:
    def old_size(before: Tree, now: Tree, path: str) -> Tree:
        """All is kept, but of a file that was there no more bytes than it had."""
        had = {p: len(content) for p, content in before.items() if content}
        return {p: c[: had[p]] if c and p in had else c for p, c in now.items()}

    mac.keeps = old_size
    found = outcome("fsync-data", rig)

    assert found.outcome == "strike"
    assert "new blocks" in found.because


def test_where_nothing_is_ever_lost_the_clones_could_not_have_told(
    mac: FakeMac, rig: MacRig
) -> None:
    mac.at_once = True

    found = outcome("fsync-directory", rig)

    assert found.outcome == "open"
    assert "could not have told" in found.because


def test_names_that_come_back_in_another_order_strike_the_order(mac: FakeMac, rig: MacRig) -> None:
    def newest_only(tree: Tree) -> Tree:
        names = sorted(path for path in tree if "name" in path)
        return {path: c for path, c in tree.items() if path not in names[:-1]}

    mac.at_once = True
    mac.shows = newest_only

    found = outcome("namespace-in-order", rig)

    assert found.outcome == "strike", found.because


def test_names_in_order_are_only_borne_out_where_a_program_was_seen_half_done(
    mac: FakeMac, rig: MacRig
) -> None:
    mac.at_once = True
    assert outcome("namespace-in-order", rig).outcome == "open"

    late = {f"root/{'de'[n % 2]}/name{n:03}" for n in range(12, 24)}
    mac.shows = lambda tree: {p: c for p, c in tree.items() if p not in late}
    assert outcome("namespace-in-order", rig).outcome == "add"


@pytest.mark.parametrize(
    ("kept", "expected"),
    [((), "strike"), (("root/d/name0", "root/e/name1"), "strike"), (("root/e/name1",), "confirm")],
)
def test_a_rename_that_is_seen_half_done_strikes_its_atomicity(
    mac: FakeMac, rig: MacRig, kept: tuple[str, ...], expected: str
) -> None:
    def shown(tree: Tree) -> Tree:
        files = {path for path, content in tree.items() if content is not None and "name" in path}
        if "root/d/name2" not in files:
            return tree
        return {path: c for path, c in tree.items() if path not in files} | dict.fromkeys(kept, b"")

    mac.at_once = True
    mac.shows = shown
    mac.one_file = kept

    assert outcome("rename-atomic", rig).outcome == expected


def test_a_barrier_is_only_borne_out_where_a_later_write_can_overtake(
    mac: FakeMac, rig: MacRig
) -> None:
    assert outcome("barrier-orders", rig).outcome == "open"  # the whole volume lands at each sync

    mac.keeps = lambda before, now, path: before | {path: now[path]}
    assert outcome("barrier-orders", rig).outcome == "confirm"


def test_a_barrier_that_does_nothing_is_struck(mac: FakeMac, rig: MacRig) -> None:
    def only_b(before: Tree, now: Tree, path: str) -> Tree:
        return before | {path: now[path]} if path == "root/b" else before

    mac.keeps = only_b

    assert outcome("barrier-orders", rig).outcome == "strike"


(OVER,) = BY_RULE["unwritten-reads-zeros"].trials


def appended_but_half_landed(old: bytes) -> Callable[[Tree], Tree]:
    """A drive that has the size of what was appended, and `old` instead of the second half."""

    def show(tree: Tree) -> Tree:
        content = tree.get("root/a") or b""
        landed = len(content) // 2
        return tree | {"root/a": content[:landed] + (old * len(content))[: len(content) - landed]}

    return show


@pytest.fixture
def filled(mac: FakeMac, rig: MacRig) -> MacRig:
    """A rig of small images; their blocks keep what was freed, as a drive does that is not told."""
    mac.at_once = True
    mac.freed = OVER.fill * 64
    return evolve(rig, size_bytes=64 * len(OVER.fill))


def test_old_bytes_where_new_ones_did_not_land_strike_the_zeros(
    mac: FakeMac, filled: MacRig
) -> None:
    mac.shows = appended_but_half_landed(b"<old pattern>")
    assert outcome("unwritten-reads-zeros", filled).outcome == "strike"


def test_zeros_are_borne_out_where_blocks_of_the_old_file_were_surely_used_again(
    mac: FakeMac, filled: MacRig
) -> None:
    mac.shows = appended_but_half_landed(b"\0")
    assert outcome("unwritten-reads-zeros", filled).outcome == "add"


@pytest.mark.parametrize("freed", [bytes(1 << 18), OVER.fill * 64 + bytes(1 << 16)])
def test_zeros_are_not_borne_out_where_the_old_bytes_are_gone_or_there_was_other_room(
    mac: FakeMac, filled: MacRig, freed: bytes
) -> None:
    mac.shows = appended_but_half_landed(b"\0")
    mac.freed = freed
    found = outcome("unwritten-reads-zeros", filled)

    assert found.outcome == "open"
    assert "surely used again" in found.because


def test_more_is_appended_than_an_image_can_have_beside_what_was_filled() -> None:
    appended = sum(len(op.data) for op in OVER.ops if isinstance(op, Write))

    assert SIZE_BYTES // 2 <= appended < SIZE_BYTES * 3 // 4


def test_nothing_is_struck_where_a_plain_write_does_not_reach_the_image(
    mac: FakeMac, rig: MacRig
) -> None:
    mac.keeps = lambda before, now, path: before

    def answer(lands: bool) -> ExperimentVerdict:
        return run_experiment(BY_RULE["fsync-data"], rig, PROFILE, plain_writes_land=lands)

    assert answer(True).outcome == "strike"
    found = answer(False)
    assert found.outcome == "open"
    assert "proves nothing" in found.because


def test_an_experiment_that_cannot_be_run_is_open_and_says_why(mac: FakeMac, rig: MacRig) -> None:
    def full(words: tuple[str, ...]) -> None:
        if words[:2] == ("hdiutil", "create"):
            raise OSError(28, "No space left on device")

    mac.on_command = full
    found = run_experiment_or_explain(
        BY_RULE["fsync-data"], rig, PROFILE, lambda _: None, plain_writes_land=True
    )

    assert (found.outcome, found.clones) == ("open", 0)
    assert "No space left" in found.because


def test_a_tree_that_no_rule_explains_is_outside(mac: FakeMac, rig: MacRig) -> None:
    mac.at_once = True
    mac.shows = lambda tree: tree | {"root/d/never-made": b"?"}

    found = outcome("fsync-directory", rig)

    assert found.outcome == "outside"
    assert "never-made" in found.because


def test_every_outcome_has_words_for_the_profile() -> None:
    for name in OUTCOMES:
        assert ExperimentVerdict("fsync-data", "?", name, "", 0, 0, "").in_profile
