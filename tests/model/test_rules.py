"""Rules: both forms agree, each has a source that docs explain, each is needed by a litmus test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from powercut.crash.constraints import bind
from powercut.crash.downsets import closures
from powercut.crash.fast_order_rules import Catalog, immediate
from powercut.crash.fast_scope_rules import covered
from powercut.crash.tearing import cut_into_pieces, even_cuts
from powercut.filesystem.events import Piece
from powercut.filesystem.state import State
from powercut.filesystem.syncs import concurrent
from powercut.profile import Claim, Profile, load_profile, profile_names
from powercut.rule import Rule
from powercut.rules import INODE_SYNCS, RULES
from powercut.trace.litmus import Litmus, read_litmus, run_litmus
from tests import ROOT
from tests.harness.programs import states

LITMUS = {path.stem: read_litmus(path) for path in sorted((ROOT / "traces/litmus").glob("*.toml"))}
PAIRED = [rule for rule in RULES.values() if rule.kind in ("order", "atomic")]
SCOPES = [rule for rule in RULES.values() if rule.kind == "scope"]


def cut(state: State, profile: Profile, pieces: int) -> tuple[Piece, ...]:
    """The pieces of a state; for a profile that asks what was sent, with the answer."""
    made = cut_into_pieces(state, profile, even_cuts(profile, pieces))
    return bind(made, state, profile, "power").pieces


@given(state=states(), pieces=st.integers(1, 3), profile=st.sampled_from(["posix-minimal", "xfs"]))
def test_both_forms_of_a_rule_have_one_closure(profile: str, state: State, pieces: int) -> None:
    made = cut(state, load_profile(profile), pieces)
    together = [
        (earlier, later)
        for later, piece in enumerate(made)
        for earlier in range(later)
        if not concurrent(state.lanes, made[earlier].event.op, piece.event.op)
    ]
    for rule in PAIRED:
        by_pairs, by_generator = [0] * len(made), [0] * len(made)
        for earlier, later in together:
            if rule.holds(made[earlier], made[later]):
                by_pairs[later] |= 1 << earlier
                if rule.kind == "atomic":
                    by_pairs[earlier] |= 1 << later
        for earlier, later in immediate(rule, Catalog(made, state.lanes)):
            by_generator[later] |= 1 << earlier

        assert closures(by_generator)[0] == closures(by_pairs)[0], rule.id


@given(state=states(), pieces=st.integers(1, 2), profile=st.sampled_from(["apfs", "xfs"]))
def test_both_forms_of_a_scope_rule_cover_the_same(profile: str, state: State, pieces: int) -> None:
    made = cut(state, load_profile(profile), pieces)
    catalog = Catalog(made, state.lanes)
    for rule in SCOPES:
        for sync in state.syncs:
            expected = 0
            for position, piece in enumerate(made):
                asked = sync.kind in rule.on and piece.index < sync.position
                asked = asked and not concurrent(state.lanes, sync.op, piece.event.op)
                if asked and rule.holds(sync, piece):
                    expected |= 1 << position

            assert covered(rule, sync, catalog) == expected, rule.id


def claims() -> Iterator[tuple[str, str, str]]:
    """Every claim of every profile: the profile, its standing, the rule."""
    for name in profile_names():
        profile = load_profile(name)
        for standing in ("claims", "unknown", "quiet"):
            for claim in getattr(profile, standing):
                yield name, standing, claim.rule.id


def with_and_without(profile: Profile, standing: str, rule_id: str) -> tuple[Profile, Profile]:
    """The profile as its claim is used, and without the claim."""
    if standing == "claims":
        return profile, profile.without(rule_id)
    if standing == "quiet":
        return profile.when_quiet(), profile.when_quiet().without(rule_id)
    (claim,) = (c for c in profile.unknown if c.rule.id == rule_id)
    return evolve(profile, claims=(*profile.claims, claim)), profile


@pytest.mark.parametrize(("name", "standing", "rule_id"), list(claims()), ids=str)
def test_leaving_a_rule_out_changes_a_litmus_test_that_it_names(
    name: str, standing: str, rule_id: str
) -> None:
    full, mutant = with_and_without(load_profile(name), standing, rule_id)

    assert [
        test
        for test in RULES[rule_id].litmus
        if run_litmus(LITMUS[test], full).answer != run_litmus(LITMUS[test], mutant).answer
    ]


CARRIED = [
    (name, claim.rule.id)
    for name in profile_names()
    for claim in load_profile(name).claims
    if (claim.rule.kind, claim.carrier) in (("scope", "log"), ("atomic", "commit"))
]


@pytest.mark.parametrize(("name", "rule_id"), CARRIED, ids=str)
def test_another_carrier_changes_a_litmus_test(name: str, rule_id: str) -> None:
    profile = load_profile(name)

    def swapped(claim: Claim) -> Claim:
        other = {"log": "commit", "commit": "both"}
        return evolve(claim, carrier=other[claim.carrier]) if claim.rule.id == rule_id else claim

    mutant = evolve(profile, claims=tuple(swapped(claim) for claim in profile.claims))

    assert [
        test.name
        for test in LITMUS.values()
        if run_litmus(test, mutant).answer != test.answers[name]
    ]


@pytest.mark.parametrize("name", [n for n in profile_names() if load_profile(n).unknown])
def test_a_rule_in_doubt_says_why_and_what_would_settle_it(name: str) -> None:
    for claim in load_profile(name).unknown:
        assert claim.measure
        assert claim.doubt in ("unknown", "disputed")


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_every_rule_names_sources_that_the_docs_explain(rule: Rule) -> None:
    sources = (ROOT / "docs/sources.md").read_text(encoding="utf-8")

    assert rule.source
    assert rule.litmus
    assert rule.claim.endswith(".")
    for label in rule.source:
        assert f"### {label}\n" in sources


@pytest.mark.parametrize("profile", profile_names())
def test_every_source_of_a_profile_is_explained(profile: str) -> None:
    sources = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
    loaded = load_profile(profile)

    for claim in (*loaded.claims, *loaded.unknown, *loaded.quiet):
        assert f"### {claim.source}\n" in sources


@pytest.mark.parametrize("test", LITMUS.values(), ids=lambda test: test.name)
def test_a_litmus_test_gives_its_answers_and_its_numbers_of_states(test: Litmus) -> None:
    assert set(test.answers) == set(profile_names())
    for name, expected in test.answers.items():
        outcome = run_litmus(test, load_profile(name))

        assert (name, outcome.answer) == (name, expected)
        assert (name, len(outcome.looks)) == (name, test.states[name])
    for name, expected in test.quiet.items():
        assert run_litmus(test, load_profile(name).when_quiet()).answer == expected


def test_every_answer_that_a_litmus_test_can_give_is_given_by_one() -> None:
    given_answers = {answer for test in LITMUS.values() for answer in test.answers.values()}

    assert given_answers == {"never", "sometimes", "always"}


def test_every_sync_that_a_rule_speaks_of_is_one_that_an_op_makes() -> None:
    known = {"return", "sync", *INODE_SYNCS}

    assert {kind for rule in SCOPES for kind in rule.on} == known


def test_every_litmus_test_that_a_rule_names_is_there() -> None:
    assert {test for rule in RULES.values() for test in rule.litmus} <= set(LITMUS)
