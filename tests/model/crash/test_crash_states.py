"""The model's own properties: sampling stays inside enumeration, rules only remove states."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from powercut.crash.constraints import upset_of
from powercut.crash.downsets import bits, is_downset, subsets
from powercut.crash.space import Crash, CrashSpace
from powercut.crash.torn_writes import even_cuts, no_cuts
from powercut.errors import IllegalCrashError
from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.inodes import EMPTY_TREE, VisibleTree, plain, visible_tree
from powercut.filesystem.state import State, run_program
from powercut.profile import Claim, Profile, load_profile
from powercut.rules import RULES
from powercut.simulation.world import after_crash
from powercut.trace.litmus import read_litmus, run_litmus
from tests import ROOT
from tests.harness.profiles import PROFILES
from tests.harness.programs import CARRIERS, profiles, states, units

WEAKER = [(name, other) for name, held in PROFILES.items() for other in held.weaker_than]
CLAIMS = [
    Claim(rule, "assumed", "trial", carrier=carrier)
    for rule in RULES.values()
    for carrier in CARRIERS.get(rule.kind, ("",))
]
PIECES_MAX = 10  # brute force tries 2**n sets

built_in = st.sampled_from(list(PROFILES.values()))
crash_classes = st.sampled_from(("power", "kernel"))
any_state = states(unfinished=True)


def small_space(state: State, profile: Profile, crash_class: str, pieces: int = 1) -> CrashSpace:
    """The space of a state, its events cut in at most so many pieces; not tried where it is big."""
    space = CrashSpace.of(state, profile, crash_class, even_cuts(profile, pieces))
    assume(len(space.pieces) <= PIECES_MAX)
    return space


def looks(space: CrashSpace) -> set[VisibleTree]:
    return {visible_tree(after.base) for _, _, after in space.states()}


def new_looks(stronger: CrashSpace, weaker: CrashSpace) -> set[VisibleTree]:
    """What the one leaves and the other does not. Both are of one state.

    Where they are cut alike, what has landed and reads as it does in a state of the other looks
    like it, and only the rest is tried.
    """
    if [p.name for p in stronger.pieces] != [p.name for p in weaker.pieces]:
        return looks(stronger) - looks(weaker)
    allowed = set(weaker.landed_sets())
    more_stale = stronger.bound.stale_allowed & ~weaker.bound.stale_allowed
    tried = {
        visible_tree(stronger.materialise(landed, stale).base)
        for landed in stronger.landed_sets()
        if landed not in allowed or (more_stale and stronger.exposed(landed) & more_stale)
        for stale in subsets(stronger.exposed(landed))
    }
    return tried - looks(weaker) if tried else set()


def test_posix_minimal_is_not_weaker_than_btrfs() -> None:
    """A name that is taken from a file can be nobody's there."""
    test = read_litmus(ROOT / "traces/litmus/logged-loss-of-a-name.toml")
    posix, btrfs = (
        run_litmus(test, PROFILES[profile]).looks for profile in ("posix-minimal", "btrfs")
    )

    assert btrfs - posix
    assert "btrfs" not in PROFILES["posix-minimal"].weaker_than


@given(state=any_state, profile=built_in, crash_class=crash_classes, data=st.data())
def test_every_state_that_sampling_draws_is_enumerated(
    state: State, profile: Profile, crash_class: str, data: st.DataObject
) -> None:
    space = small_space(state, profile, crash_class, data.draw(st.integers(1, 2)))

    landed = space.draw(lambda name: data.draw(st.booleans(), label=f"lose {name}"))

    assert space.why_illegal(landed) is None
    assert landed in set(space.landed_sets())


@given(state=any_state, profile=st.one_of(built_in, profiles()), crash_class=crash_classes)
def test_enumeration_finds_exactly_the_legal_sets(
    state: State, profile: Profile, crash_class: str
) -> None:
    space = small_space(state, profile, crash_class)

    found = list(space.landed_sets())
    legal = {s for s in range(1 << len(space.pieces)) if space.why_illegal(s) is None}

    assert set(found) == legal
    count, exact = space.count()
    assert count == len(legal) or not exact


@given(state=any_state, profile=st.one_of(built_in, profiles()), crash_class=crash_classes)
def test_legal_means_a_downset_of_the_commit_and_whole_logs(
    state: State, profile: Profile, crash_class: str
) -> None:
    space = small_space(state, profile, crash_class)
    bound, everything = space.bound, range(1 << len(space.pieces))
    commits = [
        s
        for s in everything
        if is_downset(s, bound.requires) and not bound.durable & ~s and not s & bound.never
    ]
    with_log = {commit | bound.logged for commit in commits}
    by_definition = {landed for landed in with_log if is_downset(landed, bound.together)}

    assert {s for s in everything if space.why_illegal(s) is None} == by_definition


@given(state=any_state, profile=profiles(), crash_class=crash_classes, pieces=st.integers(1, 2))
def test_one_more_rule_never_adds_a_state(
    state: State, profile: Profile, crash_class: str, pieces: int
) -> None:
    weaker = small_space(state, profile, crash_class, pieces)
    for claim in CLAIMS:
        if not profile.has(claim.rule.id) and is_a_constraint(claim, weaker):
            extended = evolve(profile, claims=(*profile.claims, claim))
            stronger = small_space(state, extended, crash_class, pieces)
            new = new_looks(stronger, without_what_never_lands(weaker, stronger))
            assert (claim.rule.id, claim.carrier, new) == (claim.rule.id, claim.carrier, set())


def without_what_never_lands(weaker: CrashSpace, stronger: CrashSpace) -> CrashSpace:
    """The weaker space, which promises nothing that cannot land under the stronger one's rules.

    A ceiling and a sync may contradict each other, over an event or over what a rule ties to it.
    The ceiling wins, so that one more rule can take a promise back: those events alone, no others.
    """
    never = upset_of(stronger.bound.never, stronger.bound.requires)
    bound = weaker.bound
    return evolve(
        weaker,
        bound=evolve(
            bound,
            durable=bound.durable & ~never,
            logged=bound.logged & ~never,
        ),
    )


def is_a_constraint(claim: Claim, space: CrashSpace) -> bool:
    """The claim can only take states away: it is no permission.  Two say of a *log* what it holds.

    A log lets an event land ahead of what the commit puts before it, so that a claim to one adds
    states where there is such an order; and an atomic rule that binds the logs as well makes them
    longer.  An atomic rule that binds the commit alone says that a log may bring half of a name.
    And where data land by the first sync that hands them over, one more that does lets them land.
    """
    if claim.rule.permits or (claim.carrier == "commit" and claim.rule.kind == "atomic"):
        return False
    bound = space.bound
    if claim.rule.kind == "scope" and space.profile.has("data-wait-for-fsync"):
        return False
    if claim.carrier == "log":
        return not any(bound.requires)
    return claim.carrier != "both" or not (bound.logged and any(bound.requires))


@given(state=any_state, profile=profiles(), crash_class=crash_classes, pieces=st.integers(1, 2))
def test_what_is_committed_is_never_worse_off_than_what_is_logged(
    state: State, profile: Profile, crash_class: str, pieces: int
) -> None:
    for rule in RULES.values():
        if rule.kind == "scope" and not profile.has(rule.id):
            committed, logged = (
                small_space(
                    state,
                    evolve(profile, claims=(*profile.claims, Claim(rule, "", "", carrier=carrier))),
                    crash_class,
                    pieces,
                )
                for carrier in ("commit", "log")
            )
            assert (rule.id, new_looks(committed, logged)) == (rule.id, set())


@given(state=any_state, unit=units, crash_class=crash_classes, pieces=st.integers(1, 2))
def test_the_order_of_profiles_is_the_order_of_their_states(
    state: State, unit: tuple[int, int], crash_class: str, pieces: int
) -> None:
    # Cut alike: the profiles' own units differ, and finer pieces only add states.
    spaces = {
        name: small_space(
            state, evolve(held, block_bytes=unit[0], sector_bytes=unit[1]), crash_class, pieces
        )
        for name, held in PROFILES.items()
    }
    for weaker, stronger in WEAKER:
        new = new_looks(spaces[stronger], spaces[weaker])
        assert (weaker, stronger, new) == (weaker, stronger, set())


@given(state=any_state, profile=built_in, crash_class=crash_classes)
def test_losing_nothing_leaves_the_volatile_view(
    state: State, profile: Profile, crash_class: str
) -> None:
    space = CrashSpace.of(state, profile, crash_class, no_cuts)
    assume(not space.bound.never)

    assert visible_tree(space.materialise(space.everything).base) == visible_tree(state.view)


@given(state=any_state, crash_class=crash_classes)
def test_memory_keeps_nothing_and_a_kill_keeps_everything(state: State, crash_class: str) -> None:
    tmpfs = load_profile("tmpfs")
    unsettled = evolve(state, base=EMPTY_TREE)  # a memory has nothing from before

    assert looks(small_space(unsettled, tmpfs, crash_class)) == {()}
    assert visible_tree(after_crash(state, tmpfs, Crash("process")).view) == visible_tree(
        state.view
    )


@given(state=any_state, profile=built_in, crash_class=crash_classes)
def test_a_crash_by_names_is_the_crash_by_sets(
    state: State, profile: Profile, crash_class: str
) -> None:
    space = small_space(state, profile, crash_class, 2)

    for landed, stale, after in itertools.islice(space.states(), 20):
        again = after_crash(state, profile, space.crash(landed, stale))
        assert visible_tree(again.base) == visible_tree(after.base)


def test_a_crash_does_lose_something_somewhere() -> None:
    state = run_program([("c", ops.Create("/a"))])
    space = CrashSpace.of(state, load_profile("ext4-ordered"), "power", no_cuts)

    assert len({visible_tree(after.base) for _, _, after in space.states()}) == 2


def test_a_loss_that_a_sync_forbids_is_refused_with_the_reason() -> None:
    program: list[tuple[str, ops.Op]] = [("c", ops.Create("/a")), ("s", ops.Fsync("/"))]
    state = run_program(program)

    with pytest.raises(IllegalCrashError, match=r"c\.entry is durable: a sync of it had returned"):
        after_crash(state, load_profile("posix-minimal"), Crash("power", ("c.entry",)))


def test_a_loss_that_an_order_forbids_names_both_events() -> None:
    state = run_program([("a", ops.Create("/a")), ("b", ops.Create("/b"))])

    with pytest.raises(IllegalCrashError, match=r"b\.entry has landed and a\.entry.*has not"):
        after_crash(state, load_profile("ext4-ordered"), Crash("power", ("a.entry",)))


def test_a_name_that_goes_to_another_file_is_lost_by_halves_where_a_log_may_tear_it() -> None:
    state = run_program([("c", ops.Create("/b")), ("l", ops.Link("/b", "/k"))])
    state = State.settled(state.view, state.next_inode)
    state = state.perform(ops.Create("/e"), "e").perform(ops.Rename("/e", "/b"), "r")
    synced = state.perform(ops.Fsync("/k"), "s")
    halves = ("r.add[taken]", "r.add[given]")
    spaces = [CrashSpace.of(state, PROFILES[name], "power", no_cuts) for name in ("btrfs", "xfs")]

    assert [space.names(space.everything)[1:] for space in spaces] == [
        (*halves, "r.remove"),
        ("r.add", "r.remove"),
    ]
    lost = Crash("power", ("e.entry", "r.add[given]", "r.remove"))
    assert set(plain(after_crash(synced, PROFILES["btrfs"], lost).base)) == {"k"}
    old = evolve(lost, lost=("e.entry", *halves, "r.remove"))
    assert set(plain(after_crash(synced, PROFILES["btrfs"], old).base)) == {"b", "k"}


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
    assert len({visible_tree(after.base) for _, _, after in space.states()}) == 14


def test_a_process_kill_then_a_power_cut_can_take_what_the_kill_left() -> None:
    profile = load_profile("posix-minimal")
    killed = after_crash(run_program([("c", ops.Create("/a"))]), profile, Crash("process"))

    assert visible_tree(killed.view) == (("/a", "file", (0,), False),)
    assert visible_tree(after_crash(killed, profile, Crash("power", ("c.entry",))).base) == ()


@given(state=states())
def test_the_empty_loss_is_drawn_by_saying_no(state: State) -> None:
    space = CrashSpace.of(state, load_profile("posix-minimal"), "power", no_cuts)

    assert list(bits(space.draw(lambda _: False))) == list(bits(space.everything))


def test_a_log_brings_an_event_ahead_of_its_order_and_keeps_a_rename_whole() -> None:
    logged = Claim(RULES["fsync-directory"], "assumed", "trial", carrier="log")
    ordered = Claim(RULES["namespace-in-order"], "assumed", "trial")
    whole = Claim(RULES["rename-atomic"], "assumed", "trial", carrier="both")
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
    assert left(state) == left(unfinished) == {(), ("x.entry",), everything}
    assert left(finished) == {rename, everything}
