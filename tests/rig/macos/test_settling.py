"""The experiments: each can strike its rule, each rule in doubt has one, and they answer as due."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from attrs import evolve

from powercut.crash import CrashSpace
from powercut.ops import Barrier, Fsync, Fullsync
from powercut.pieces import even_cuts
from powercut.profile import load_profile
from powercut_rig.macos import APFS
from powercut_rig.macos.experiments import EXPERIMENTS, NOT_BY_AN_IMAGE, Experiment, Trial
from powercut_rig.macos.rig import MacRig
from powercut_rig.macos.settling import (
    OUTCOMES,
    Settled,
    ops_of,
    programs,
    settle,
    with_and_without,
)
from powercut_rig.membership import Member, sight_of
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
    kinds = {type(op) for each in EXPERIMENTS for op in ops_of(each)}

    assert {Fsync, Barrier, Fullsync} <= kinds


@pytest.mark.parametrize(
    ("experiment", "trial"), TRIALS, ids=[f"{e.rule}: {t.name}" for e, t in TRIALS]
)
def test_every_trial_has_a_crash_state_that_only_its_rule_forbids(
    experiment: Experiment, trial: Trial
) -> None:
    weak, strong = with_and_without(experiment, PROFILE)
    without, with_rule = programs(trial, trial.ops, weak, strong)
    member = Member(with_rule)
    struck = 0
    for done in {min(len(trial.ops), 3), min(len(trial.ops), 4)}:
        state = without.state(done, done)
        space = CrashSpace.of(state, weak, "kernel", even_cuts(weak, 2))
        for _, _, after in itertools.islice(space.states(), STATES):
            struck += member.ask(sight_of(after.base), done, done, "kernel") is False

    assert struck


def small(rule: str, repeats: int = 1) -> Experiment:
    """The experiment with fewer repeats, and without the fill of megabytes."""
    experiment = BY_RULE[rule]
    trials = tuple(
        evolve(trial, setup=trial.setup[4:]) if _fills(trial) else trial
        for trial in experiment.trials
    )
    return evolve(experiment, repeats=repeats, trials=trials)


def _fills(trial: Trial) -> bool:
    return any(getattr(op, "path", "") == "/fill" for op in trial.setup)


def outcome(rule: str, rig: MacRig, repeats: int = 1) -> Settled:
    return settle(small(rule, repeats), rig, PROFILE)


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
    assert outcome("fsync-data", rig).outcome == "confirm"


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


def test_old_bytes_where_new_ones_did_not_land_strike_the_zeros(mac: FakeMac, rig: MacRig) -> None:
    def shown(old: bytes) -> Callable[[Tree], Tree]:
        def show(tree: Tree) -> Tree:
            content = tree.get("root/a")
            return tree | {"root/a": (old * len(content))[: len(content)]} if content else tree

        return show

    mac.at_once = True
    mac.shows = shown(b"\0")
    assert outcome("unwritten-reads-zeros", rig).outcome == "add"
    mac.shows = shown(b"<old pattern>")
    assert outcome("unwritten-reads-zeros", rig).outcome == "strike"


def test_a_tree_that_no_rule_explains_is_outside(mac: FakeMac, rig: MacRig) -> None:
    mac.at_once = True
    mac.shows = lambda tree: tree | {"root/d/never-made": b"?"}

    found = outcome("fsync-directory", rig)

    assert found.outcome == "outside"
    assert "never-made" in found.because


def test_every_outcome_has_words_for_the_profile() -> None:
    for name in OUTCOMES:
        assert Settled("fsync-data", "?", name, "", 0, 0, "").in_profile
