"""The model's own properties: sampling stays inside enumeration, rules only remove states."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from powercut import ops
from powercut.content import Fill
from powercut.crash import Crash, CrashSpace, even_cuts, no_cuts
from powercut.errors import IllegalCrashError
from powercut.order import bits, is_downset
from powercut.profile import Claim, Profile, load_profile, profile_names
from powercut.rules import RULES
from powercut.state import State, run_program
from powercut.tree import Look, look, plain
from powercut.world import after_crash
from tests.harness.programs import states

PROFILES = [load_profile(name) for name in profile_names()]
PIECES_MAX = 16  # brute force tries 2**n sets


def looks(state: State, profile: Profile, crash_class: str = "power", pieces: int = 2) -> set[Look]:
    space = CrashSpace.of(state, profile, crash_class, even_cuts(profile, pieces))
    assume(len(space.pieces) <= PIECES_MAX)
    return {look(after.base) for _, _, after in space.states()}


@given(state=states(), profile=st.sampled_from(PROFILES), data=st.data(), pieces=st.integers(1, 2))
def test_every_state_that_sampling_draws_is_enumerated(
    state: State, profile: Profile, data: st.DataObject, pieces: int
) -> None:
    space = CrashSpace.of(state, profile, "power", even_cuts(profile, pieces))
    assume(len(space.pieces) <= PIECES_MAX)

    landed = space.draw(lambda name: data.draw(st.booleans(), label=f"lose {name}"))

    assert space.why_illegal(landed) is None
    assert landed in set(space.landed_sets())


@given(state=states(), profile=st.sampled_from(PROFILES))
def test_enumeration_finds_exactly_the_legal_sets(state: State, profile: Profile) -> None:
    space = CrashSpace.of(state, profile, "power", no_cuts)
    assume(len(space.pieces) <= 10)

    legal = {s for s in range(1 << len(space.pieces)) if space.why_illegal(s) is None}

    assert set(space.landed_sets()) == legal
    assert space.count() == (len(legal), True)


@given(state=states(), profile=st.sampled_from(PROFILES))
def test_legal_means_downset_with_all_that_was_synced(state: State, profile: Profile) -> None:
    space = CrashSpace.of(state, profile, "power", no_cuts)
    assume(len(space.pieces) <= 10)

    for landed in range(1 << len(space.pieces)):
        by_definition = (
            is_downset(landed, space.requires)
            and landed & space.durable == space.durable
            and not landed & space.never
        )
        assert (space.why_illegal(landed) is None) == by_definition


@given(
    state=states(),
    profile=st.sampled_from(PROFILES),
    rule=st.sampled_from(sorted(RULES)),
)
def test_one_more_rule_never_adds_a_state(state: State, profile: Profile, rule: str) -> None:
    stronger = evolve(profile, claims=(*profile.claims, Claim(RULES[rule], "assumed", "trial")))

    assert looks(state, stronger) <= looks(state, profile)


WEAKER = [(p.name, other) for p in PROFILES for other in p.weaker_than]


@pytest.mark.parametrize(("weaker", "stronger"), WEAKER, ids=str)
@given(state=states())
def test_the_order_of_profiles_is_the_order_of_their_states(
    weaker: str, stronger: str, state: State
) -> None:
    # Cut alike: the profiles' own units differ, and finer pieces only add states.
    cuts = even_cuts(load_profile("posix-minimal"), 2)
    spaces = [
        CrashSpace.of(state, evolve(load_profile(name), block_bytes=1), "power", cuts)
        for name in (weaker, stronger)
    ]
    assume(len(spaces[0].pieces) <= PIECES_MAX)
    allowed, claimed = ({look(a.base) for _, _, a in space.states()} for space in spaces)

    assert claimed <= allowed


@given(state=states(), profile=st.sampled_from(PROFILES))
def test_losing_nothing_leaves_the_volatile_view(state: State, profile: Profile) -> None:
    space = CrashSpace.of(state, profile, "power", no_cuts)
    assume(not space.never)

    assert look(space.materialise(space.everything).base) == look(state.view)


@given(state=states())
def test_memory_keeps_nothing_and_a_kill_keeps_everything(state: State) -> None:
    assume(not look(state.base))

    assert looks(state, load_profile("tmpfs")) == {()}
    assert look(after_crash(state, load_profile("tmpfs"), Crash("process")).view) == look(
        state.view
    )


@given(state=states(max_ops=4), profile=st.sampled_from(PROFILES))
def test_a_crash_by_names_is_the_crash_by_sets(state: State, profile: Profile) -> None:
    space = CrashSpace.of(state, profile, "power", even_cuts(profile, 2))
    assume(len(space.pieces) <= 10)

    for landed, stale, after in itertools.islice(space.states(), 50):
        assert look(after_crash(state, profile, space.crash(landed, stale)).base) == look(
            after.base
        )


def test_a_crash_does_lose_something_somewhere() -> None:
    state = run_program([("c", ops.Create("/a"))])
    space = CrashSpace.of(state, load_profile("ext4-ordered"), "power", no_cuts)

    assert len({look(after.base) for _, _, after in space.states()}) == 2


def test_a_loss_that_a_sync_forbids_is_refused_with_the_reason() -> None:
    program: list[tuple[str, ops.Op]] = [("c", ops.Create("/a")), ("s", ops.Fsync("/"))]
    state = run_program(program)

    with pytest.raises(IllegalCrashError, match=r"c\.entry is durable: a sync of it had returned"):
        after_crash(state, load_profile("posix-minimal"), Crash("power", ("c.entry",)))


def test_a_loss_that_an_order_forbids_names_both_events() -> None:
    state = run_program([("a", ops.Create("/a")), ("b", ops.Create("/b"))])

    with pytest.raises(IllegalCrashError, match=r"b\.entry has landed and a\.entry.*has not"):
        after_crash(state, load_profile("ext4-ordered"), Crash("power", ("a.entry",)))


def test_a_size_that_no_op_wrote_can_be_what_a_crash_leaves() -> None:
    program: list[tuple[str, ops.Op]] = [
        ("c", ops.Create("/a")),
        ("v", ops.Write("/a", 0, b"a" * 2500)),
        ("s", ops.Fsync("/a")),
        ("w", ops.Write("/a", 2500, b"b" * 2500)),
    ]
    profile = load_profile("ext4-ordered")
    space = CrashSpace.of(run_program(program), profile, "power", even_cuts(profile, 2))
    found = {plain(after.base)["a"] for _, _, after in space.states()}

    assert b"a" * 2500 + b"\0" * 1596 in found
    assert space.names(space.everything)[-2:] == ("w.size[2500:4096]", "w.size[4096:5000]")


def test_a_gibibyte_costs_what_a_byte_does() -> None:
    program: list[tuple[str, ops.Op]] = [
        ("c", ops.Create("/a")),
        ("w", ops.Write("/a", 0, Fill(7, 1 << 30))),
    ]
    profile = load_profile("posix-minimal")
    space = CrashSpace.of(run_program(program), profile, "power", even_cuts(profile, 2))

    assert len(space.pieces) == 5
    assert len({look(after.base) for _, _, after in space.states()}) == 14


def test_a_process_kill_then_a_power_cut_can_take_what_the_kill_left() -> None:
    profile = load_profile("posix-minimal")
    killed = after_crash(run_program([("c", ops.Create("/a"))]), profile, Crash("process"))

    assert look(killed.view) == (("/a", "file", (0,)),)
    assert look(after_crash(killed, profile, Crash("power", ("c.entry",))).base) == ()


@given(state=states())
def test_the_empty_loss_is_drawn_by_saying_no(state: State) -> None:
    space = CrashSpace.of(state, load_profile("posix-minimal"), "power", no_cuts)

    assert list(bits(space.draw(lambda _: False))) == list(bits(space.everything))


def test_a_log_brings_an_event_ahead_of_its_order_and_keeps_a_rename_whole() -> None:
    logged = Claim(evolve(RULES["fsync-directory"], carrier="log"), "assumed", "trial")
    ordered = Claim(RULES["namespace-in-order"], "assumed", "trial")
    whole = Claim(RULES["rename-atomic"], "assumed", "trial")
    profile = Profile("logging", "a trial", 4096, (logged, ordered, whole))
    setup = run_program([("d", ops.Mkdir("/d")), ("a", ops.Create("/d/a"))])
    state = State.settled(setup.view, setup.next_inode)
    state = state.perform(ops.Create("/x"), "x")
    state = state.perform(ops.Rename("/d/a", "/d/b"), "r")
    unfinished = state.begin(ops.Fsync("/d"), "s")
    finished = state.perform(ops.Fsync("/d"), "s")

    def left(when: State) -> set[tuple[str, ...]]:
        space = CrashSpace.of(when, profile, "power", no_cuts)
        found = {space.names(landed) for landed in space.landed_sets()}
        legal = (s for s in range(1 << len(space.pieces)) if space.why_illegal(s) is None)
        assert found == {space.names(landed) for landed in legal}
        return found

    rename, everything = ("r.add", "r.remove"), ("x.entry", "r.add", "r.remove")
    assert left(state) == {(), ("x.entry",), everything}
    assert left(unfinished) == {(), ("x.entry",), rename, everything}
    assert left(finished) == {rename, everything}
