"""Rules: both forms agree, each has a source that docs explain, each is needed by a litmus test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powercut.crash import cut_into_pieces, even_cuts
from powercut.litmus import Litmus, read_litmus, run_litmus
from powercut.order import closures
from powercut.profile import load_profile, profile_names
from powercut.rules import RULES, Rule
from powercut.state import State
from tests.harness.programs import states

ROOT = Path(__file__).parents[2]
LITMUS = {path.stem: read_litmus(path) for path in sorted((ROOT / "traces/litmus").glob("*.toml"))}
CONSTRAINTS = [rule for rule in RULES.values() if rule.kind in ("order", "atomic")]
CLAIMS = [(name, claim.rule.id) for name in profile_names() for claim in load_profile(name).claims]


@pytest.mark.parametrize("rule", CONSTRAINTS, ids=lambda rule: rule.id)
@given(state=states(), pieces=st.integers(1, 3))
def test_both_forms_of_a_rule_have_one_closure(rule: Rule, state: State, pieces: int) -> None:
    profile = load_profile("posix-minimal")
    cut = cut_into_pieces(state, profile, even_cuts(profile, pieces))
    by_pairs, by_generator = [0] * len(cut), [0] * len(cut)
    for later, piece in enumerate(cut):
        for earlier in range(later):
            if rule.holds(cut[earlier], piece):
                by_pairs[later] |= 1 << earlier
                if rule.kind == "atomic":
                    by_pairs[earlier] |= 1 << later
    for earlier, later in rule.immediate(cut):
        by_generator[later] |= 1 << earlier

    assert closures(by_generator)[0] == closures(by_pairs)[0]


@pytest.mark.parametrize(("profile", "rule"), CLAIMS, ids=str)
def test_leaving_a_rule_out_of_a_profile_changes_a_litmus_test_that_the_rule_names(
    profile: str, rule: str
) -> None:
    mutant = load_profile(profile).without(rule)
    named = [LITMUS[name] for name in RULES[rule].litmus]

    changed = [
        test.name
        for test in named
        if profile in test.answers and run_litmus(test, mutant).answer != test.answers[profile]
    ]

    assert changed


@pytest.mark.parametrize("profile", [n for n in profile_names() if load_profile(n).unknown])
def test_a_rule_in_doubt_changes_a_litmus_test_and_names_a_measurement(profile: str) -> None:
    for claim in load_profile(profile).unknown:
        tests = [LITMUS[name] for name in claim.rule.litmus]
        hopeful = load_profile(profile).with_unknown()

        assert claim.measure
        assert any(
            run_litmus(test, hopeful).answer != test.answers[profile]
            for test in tests
            if profile in test.answers
        )


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

    for claim in (*loaded.claims, *loaded.unknown):
        assert f"### {claim.source}\n" in sources


@pytest.mark.parametrize(
    ("test", "profile"),
    [(test, profile) for test in LITMUS.values() for profile in test.answers],
    ids=lambda value: value.name if isinstance(value, Litmus) else value,
)
def test_a_litmus_test_gives_its_answer_and_its_number_of_states(
    test: Litmus, profile: str
) -> None:
    outcome = run_litmus(test, load_profile(profile))

    assert outcome.answer == test.answers[profile]
    assert len(outcome.looks) == test.states[profile]


def test_every_answer_that_a_litmus_test_can_give_is_given_by_one() -> None:
    given_answers = {answer for test in LITMUS.values() for answer in test.answers.values()}

    assert given_answers == {"never", "sometimes", "always"}
