"""Both forms of every rule agree: on every trace, on random programs, on those that separate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from powercut.crash.catalog import Catalog
from powercut.crash.constraints import constraints_for
from powercut.crash.downsets import closures
from powercut.crash.fast_order_rules import immediate
from powercut.crash.fast_scope_rules import covered
from powercut.crash.torn_writes import cut_into_pieces, even_cuts
from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.events import Piece
from powercut.filesystem.state import State, run_program
from powercut.filesystem.syncs import concurrent
from powercut.profile import Claim, Profile, load_profile
from powercut.rule import Rule
from powercut.rules import RULES
from powercut.simulation.world import CrashStep
from powercut.trace.litmus import read_litmus
from powercut.trace.replay import world_of
from powercut.trace.trace_file import read_trace
from tests import ROOT
from tests.harness.profiles import PROFILES
from tests.harness.programs import states, units

TRACES = ROOT / "traces"
PAIRED = [rule for rule in RULES.values() if rule.kind in ("order", "atomic")]
SCOPES = [rule for rule in RULES.values() if rule.kind == "scope"]


def cut(state: State, profile: Profile, pieces: int) -> tuple[Piece, ...]:
    """The pieces of a state, with what was sent, which some rules need."""
    needing = tuple(Claim(rule, "assumed", "a test") for rule in RULES.values() if rule.needs_sent)
    made = cut_into_pieces(state, profile, even_cuts(profile, pieces))
    profile = evolve(profile, claims=(*profile.claims, *needing))
    return constraints_for(made, state, profile, "power").pieces


def tied(rule: Rule, state: State, made: tuple[Piece, ...]) -> bool:
    """Both forms of an order or atomic rule have one closure; whether it ties anything."""
    by_pairs, by_generator = [0] * len(made), [0] * len(made)
    for later, piece in enumerate(made):
        for earlier in range(later):
            if concurrent(state.thread_slots, made[earlier].event.op, piece.event.op):
                continue
            if rule.holds(made[earlier], piece):
                by_pairs[later] |= 1 << earlier
                if rule.kind == "atomic":
                    by_pairs[earlier] |= 1 << later
    for earlier, later in immediate(rule, Catalog(made, state.thread_slots)):
        by_generator[later] |= 1 << earlier

    assert closures(by_generator)[0] == closures(by_pairs)[0], rule.id
    return any(by_pairs)


def covers(rule: Rule, state: State, made: tuple[Piece, ...]) -> bool:
    """Both forms of a scope rule cover the same; whether they cover anything."""
    catalog = Catalog(made, state.thread_slots)
    found = 0
    for sync in state.syncs:
        expected = 0
        for position, piece in enumerate(made):
            beside = concurrent(state.thread_slots, sync.op, piece.event.op)
            before = piece.index < sync.position
            asked = before or beside if rule.permits else before and not beside
            if sync.kind in rule.on and asked and rule.holds(sync, piece):
                expected |= 1 << position

        assert covered(rule, sync, catalog) == expected, rule.id
        found |= expected
    return found != 0


@st.composite
def in_small_units(draw: st.DrawFn) -> Profile:
    """Any profile, in units in which small writes meet several blocks, or in its own."""
    block, sector = draw(units)
    profile = draw(st.sampled_from([*PROFILES.values()]))
    return evolve(profile, block_bytes=block, sector_bytes=sector)


programs = st.one_of(states(), states(16))
"""Short ones, whose few ops meet on one file more often, and long ones."""


@given(state=programs, pieces=st.integers(1, 3), profile=in_small_units())
def test_both_forms_of_a_rule_have_one_closure(profile: Profile, state: State, pieces: int) -> None:
    made = cut(state, profile, pieces)
    for rule in PAIRED:
        tied(rule, state, made)


@given(state=programs, pieces=st.integers(1, 2), profile=in_small_units())
def test_both_forms_of_a_scope_rule_cover_the_same(
    profile: Profile, state: State, pieces: int
) -> None:
    made = cut(state, profile, pieces)
    for rule in SCOPES:
        covers(rule, state, made)


def litmus_states() -> Iterator[tuple[State, int]]:
    """The end of every litmus program, and the number of pieces that it asks for."""
    for path in sorted(TRACES.glob("litmus/*.toml")):
        test = read_litmus(path)
        before = run_program((step.id, step.op) for step in test.setup)
        before = State.settled(before.view, before.next_inode)
        yield run_program(((step.id, step.op) for step in test.steps), before), test.pieces


def trace_states() -> Iterator[tuple[State, int]]:
    """Every state of the other traces that a crash meets, and their ends."""
    for path in sorted(TRACES.glob("*/*.toml")):
        if path.parent.name == "litmus":
            continue
        trace = read_trace(path)
        world = world_of(trace)
        for step in trace.steps:
            if isinstance(step, CrashStep):
                yield world.state, 2
            world.apply(step)
        yield world.state, 2


@cache
def recorded_states() -> tuple[tuple[State, int], ...]:
    """All of them, replayed once."""
    return (*litmus_states(), *trace_states())


RULES_OF = {
    name: [claim.rule for claim in (*profile.claims, *profile.unknown, *profile.quiet)]
    for name, profile in PROFILES.items()
}


@pytest.mark.parametrize("name", PROFILES)
def test_both_forms_of_the_rules_of_a_profile_agree_on_every_trace_and_each_speaks_there(
    name: str,
) -> None:
    spoke: set[str] = set()
    forms = {"scope": covers, "order": tied, "atomic": tied}  # of the others there is one form
    rules = [rule for rule in RULES_OF[name] if rule.kind in forms]
    for state, pieces in recorded_states():
        made = cut(state, PROFILES[name], pieces)
        spoke |= {rule.id for rule in rules if forms[rule.kind](rule, state, made)}

    assert spoke == {rule.id for rule in rules}


def test_every_rule_is_of_some_profile() -> None:
    assert {rule.id for held in RULES_OF.values() for rule in held} == set(RULES)


def ran(steps: list[ops.Op | tuple[ops.Op, str]], *, fresh: bool = False) -> State:
    """A program on /a, /b, /d/x and /e/y, or on nothing; an op may name a thread."""
    made: list[ops.Op] = [ops.Create("/a"), ops.Create("/b"), ops.Write("/a", 0, b"old old old")]
    made += [ops.Mkdir("/d"), ops.Mkdir("/e"), ops.Create("/d/x"), ops.Create("/e/y")]
    state = run_program((f"s{n}", op) for n, op in enumerate([] if fresh else made))
    state = State.settled(state.view, state.next_inode)
    for number, step in enumerate(steps):
        op, thread = step if isinstance(step, tuple) else (step, "")
        state = state.perform(op, f"p{number}", thread)
    return state


DIRECT = ("O_DIRECT",)
NAME, SYNC = (ops.Create("/d/n"), "1"), (ops.Fsync("/a"), "2")
EXCHANGE, LATER = ops.Rename("/a", "/b", ("EXCHANGE",)), ops.Fsync("/d/x")
SEPARATING = {
    "two names, then data": ran(
        [ops.Create("/n"), ops.Create("/m"), ops.Write("/n", 0, b"x")], fresh=True
    ),
    "one sync sends two files": ran(
        [ops.Write("/a", 0, b"x"), ops.Write("/b", 0, b"x"), ops.Sync(), ops.Fullsync("/a")]
    ),
    "a cut before a ranged sync": ran(
        [ops.Truncate("/a", 0), ops.Write("/a", 0, b"y", ("O_SYNC",))]
    ),
    "a name that is given twice": ran(
        [ops.Create("/n"), ops.Unlink("/n"), ops.Create("/n"), ops.Fsync("/b")]
    ),
    "a cut, a rename, fdatasync": ran(
        [ops.Truncate("/a", 2), ops.Rename("/a", "/c"), ops.Fdatasync("/c")]
    ),
    "two direct overwrites": ran([ops.Write("/a", 0, Fill(n, 512), DIRECT) for n in (1, 2)]),
    "direct, into a new block": ran([ops.Write("/b", 0, Fill(1, 512), DIRECT)]),
    "a removal below a new directory": ran(
        [ops.Mkdir("/d/n"), ops.Create("/d/n/x"), ops.Unlink("/d/n/x"), ops.Fsync("/d")]
    ),
    "a name beside data": ran([NAME, (ops.Write("/a", 0, b"x"), "2")]),
    "two threads, and what follows": ran([NAME, (ops.Create("/e/m"), "2"), ops.Create("/z")]),
    "a name beside a sync": ran([NAME, SYNC]),
    "a sync beside a name": ran([SYNC, NAME]),
    "a name beside an append and its sync": ran([NAME, (ops.Append("/a", b"x"), "2"), SYNC]),
    "the same, and a later sync": ran([NAME, (ops.Append("/a", b"x"), "2"), ops.Fsync("/a")]),
    "a linked name beside a sync": ran(
        [
            (ops.Tmpfile("/d", "h"), "1"),
            (ops.Link("@h", "/d/t"), "1"),
            (ops.Create("/e/n"), "2"),
            (ops.Fsync("/e/n"), "2"),
        ]
    ),
    "a moved neighbour, data and a sync": ran(
        [ops.Write("/a", 0, b"x"), ops.Rename("/d/x", "/e/x"), ops.Fsync("/e/x")]
    ),
    "moved and synced, then linked": ran(
        [ops.Rename("/d/x", "/e/x"), ops.Sync(), ops.Link("/e/x", "/l"), ops.Fsync("/e/x")]
    ),
    "a name given before, beside a sync": ran([ops.Create("/e/q"), NAME, (ops.Fsync("/b"), "2")]),
    "a rename beside a name, and its sync": ran(
        [NAME, (ops.Rename("/a", "/c"), "2"), (ops.Fsync("/c"), "2")]
    ),
    "a removal beside a name, and a sync": ran(
        [NAME, (ops.Unlink("/e/y"), "2"), (ops.Fsync("/a"), "2")]
    ),
    "a name between two of another thread": ran(
        [NAME, (ops.Create("/e/m"), "2"), (ops.Create("/d/o"), "1"), SYNC]
    ),
    "a removal after the sync": ran([ops.Rename("/a", "/b"), ops.Fsync("/d/x"), ops.Unlink("/b")]),
    "a name taken over, beside a name": ran(
        [ops.Create("/n"), (ops.Rename("/a", "/n"), "1"), (ops.Create("/d/m"), "2"), LATER]
    ),
    "a name taken over at first, and lost": ran(
        [ops.Rename("/a", "/b"), ops.Rename("/b", "/c"), ops.Fsync("/c")]
    ),
    "a name exchanged, then removed": ran(
        [ops.Link("/b", "/l"), EXCHANGE, ops.Unlink("/a"), ops.Fsync("/l")]
    ),
    "the same, and a sync of another file": ran(
        [ops.Link("/b", "/l"), EXCHANGE, ops.Unlink("/a"), LATER]
    ),
}
"""Programs in which a form that forgets one of its conditions differs from the other."""


@pytest.mark.parametrize("state", SEPARATING.values(), ids=SEPARATING)
def test_both_forms_agree_on_programs_that_tell_half_a_rule_from_the_whole(state: State) -> None:
    for name in ("apfs", "xfs", "btrfs"):
        made = cut(state, load_profile(name), 2)
        for rule in PAIRED:
            tied(rule, state, made)
        for rule in SCOPES:
            covers(rule, state, made)
