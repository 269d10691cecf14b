"""Rules: each has a source that docs explain, and each is needed by a litmus test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from powercut import rules
from powercut.crash.constraints import constraints_for
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import cut_into_pieces, even_cuts, no_cuts
from powercut.errors import UndeclaredNeedError
from powercut.filesystem import ops
from powercut.filesystem.inodes import visible_tree
from powercut.filesystem.state import State, run_program
from powercut.profile import Claim, Profile, load_profile
from powercut.rule import Rule
from powercut.rules import INODE_SYNCS, RULES
from powercut.trace.litmus import Litmus, read_litmus, run_litmus
from tests import ROOT
from tests.harness.profiles import PROFILES, model_answers

LITMUS = {path.stem: read_litmus(path) for path in sorted((ROOT / "traces/litmus").glob("*.toml"))}
ANSWERS = {n: {**t.answers, **model_answers("answers")[n]} for n, t in LITMUS.items()}
STATES = {
    name: {**test.states, **{m: int(n) for m, n in model_answers("states")[name].items()}}
    for name, test in LITMUS.items()
}
SCOPES = [rule for rule in RULES.values() if rule.kind == "scope"]


def reads_what_was_sent(rule: Rule, state: State) -> bool:
    """The rule reads `piece.sent` for some pair or piece of a state for which nobody asked."""
    profile = load_profile("posix-minimal")
    pieces = cut_into_pieces(state, profile, even_cuts(profile, 1))
    asked: list[tuple[Any, ...]] = [(piece,) for piece in pieces]
    if rule.kind in ("order", "atomic"):
        asked = [(one, other) for one in pieces for other in pieces]
    elif rule.kind == "scope":
        asked = [(sync, piece) for sync in state.syncs for piece in pieces]
    try:
        for arguments in asked:
            rule.holds(*arguments)
    except UndeclaredNeedError:
        return True
    return False


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_declares_what_it_reads_and_reads_what_it_declares(rule: Rule) -> None:
    state = run_program(
        [
            ("1", ops.Create("/a")),
            ("2", ops.Write("/a", 0, b"bytes")),
            ("3", ops.Fsync("/a")),
            ("4", ops.Write("/a", 0, b"other")),
            ("5", ops.Barrier("/a")),
            ("6", ops.Fullsync("/a")),
        ]
    )

    assert reads_what_was_sent(rule, state) == rule.needs_sent


@pytest.mark.parametrize("rule", [r for r in RULES.values() if r.needs_sent], ids=lambda r: r.id)
def test_a_rule_that_declares_too_little_fails_in_both_forms(rule: Rule) -> None:
    undeclared = evolve(rule, needs_sent=False)
    profile = load_profile("posix-minimal")
    profile = evolve(profile, claims=(*profile.claims, Claim(undeclared, "assumed", "a test")))
    state = run_program([("1", ops.Create("/a")), ("2", ops.Write("/a", 0, b"x"))])
    state = run_program([("3", ops.Barrier("/a")), ("4", ops.Fullsync("/a"))], state)
    pieces = cut_into_pieces(state, profile, even_cuts(profile, 1))

    with pytest.raises(UndeclaredNeedError, match="needs_sent=True"):
        constraints_for(pieces, state, profile, "power")


def test_the_example_of_the_model_has_the_numbers_that_its_page_gives() -> None:
    before = run_program([("a", ops.Create("/ckpt")), ("b", ops.Write("/ckpt", 0, b"old"))])
    program = (
        ops.Create("/new"),
        ops.Write("/new", 0, b"new"),
        ops.Fsync("/new"),
        ops.Rename("/new", "/ckpt"),
    )
    settled = State.settled(before.view, before.next_inode)
    renamed = run_program(zip("cwfr", program, strict=True), settled)
    synced = renamed.perform(ops.Fsync("/"), "d")

    def trees(state: State, *ids: str) -> int:
        claims = tuple(Claim(RULES[rule_id], "assumed", "an example") for rule_id in ids)
        profile = evolve(load_profile("posix-minimal"), claims=claims)
        space = CrashSpace.of(state, profile, "power", no_cuts)
        return len({visible_tree(after.base) for _, _, after in space.states()})

    rename = ("fsync-data", "rename-atomic")
    assert [
        trees(renamed),
        trees(renamed, "fsync-data"),
        trees(renamed, *rename),
        trees(synced, *rename),
        trees(synced, *rename, "fsync-directory"),
    ] == [13, 4, 3, 3, 1]
    page = " ".join((rules.__doc__ or "").split())
    for said in (
        "no rule: 13.",
        "landed: 4 are left",
        "both names: 3 are left",
        "landed: 1 is left",
    ):
        assert said in page


def claims() -> Iterator[tuple[str, str, str]]:
    """Every claim of every profile: the profile, its standing, the rule."""
    for name, profile in PROFILES.items():
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
    full, mutant = with_and_without(PROFILES[name], standing, rule_id)
    claim = next(each for each in full.claims if each.rule.id == rule_id)
    asked = {test: LITMUS[test].crash_class for test in claim.rule.litmus}

    assert [
        test
        for test in asked
        if run_litmus(LITMUS[test], full).answer != run_litmus(LITMUS[test], mutant).answer
    ], f"{name} has {rule_id} for {sorted(claim.classes)}; no test notices that it is gone: {asked}"


CARRIED = [
    (name, claim.rule.id)
    for name, profile in PROFILES.items()
    for claim in profile.claims
    if (claim.rule.kind, claim.carrier) in (("scope", "log"), ("atomic", "commit"))
]


@pytest.mark.parametrize(("name", "rule_id"), CARRIED, ids=str)
def test_another_carrier_changes_a_litmus_test(name: str, rule_id: str) -> None:
    profile = PROFILES[name]

    def swapped(claim: Claim) -> Claim:
        other = {"log": "commit", "commit": "both"}
        return evolve(claim, carrier=other[claim.carrier]) if claim.rule.id == rule_id else claim

    mutant = evolve(profile, claims=tuple(swapped(claim) for claim in profile.claims))

    assert [
        test.name
        for test in LITMUS.values()
        if run_litmus(test, mutant).answer != ANSWERS[test.name][name]
    ]


@pytest.mark.parametrize("name", [n for n, p in PROFILES.items() if p.unknown])
def test_a_rule_in_doubt_says_why_and_what_would_settle_it(name: str) -> None:
    for claim in PROFILES[name].unknown:
        assert claim.measure
        assert claim.doubt in ("unknown", "disputed")


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_every_rule_names_sources_that_the_docs_explain(rule: Rule) -> None:
    sources = (ROOT / "docs/sources.md").read_text(encoding="utf-8")

    assert rule.source
    assert rule.litmus
    assert rule.claim.endswith(".")
    assert ". " not in rule.claim
    for label in rule.source:
        assert f"### {label}\n" in sources


def test_the_claim_of_a_rule_is_the_first_paragraph_of_its_docstring() -> None:
    said = {name: RULES[name].claim for name in ("fsync-data", "ranged-sync-data", "all-in-order")}

    assert said == {
        "fsync-data": "Fsync of a file makes its data and its size durable.",
        "ranged-sync-data": "A write with O_SYNC or O_DSYNC, or an msync, makes the blocks that it "
        "names durable.",
        "all-in-order": "Data, sizes and names reach the medium in one program order: all of them "
        "are journalled.",
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_every_source_of_a_profile_is_explained(profile: str) -> None:
    sources = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
    loaded = PROFILES[profile]

    for claim in (*loaded.claims, *loaded.unknown, *loaded.quiet):
        assert f"### {claim.source}\n" in sources


@pytest.mark.parametrize("test", LITMUS.values(), ids=lambda test: test.name)
def test_a_litmus_test_gives_its_answers_and_its_numbers_of_states(test: Litmus) -> None:
    assert set(ANSWERS[test.name]) == set(STATES[test.name]) == set(PROFILES)
    for name, expected in ANSWERS[test.name].items():
        outcome = run_litmus(test, PROFILES[name])

        assert (name, outcome.answer) == (name, expected)
        assert (name, len(outcome.looks)) == (name, STATES[test.name][name])
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
