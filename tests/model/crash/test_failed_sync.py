"""A failed fsync gives its file's dirty data up: no later sync saves them, and nothing waits."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.filesystem import ops
from powercut.filesystem.events import Extent
from powercut.filesystem.inodes import File, resolve
from powercut.filesystem.state import State, run_program
from powercut.profile import Claim, Profile
from powercut.rules import RULES
from tests.harness.profiles import PROFILES
from tests.harness.programs import profiles, states

Program = list[tuple[str, ops.Op]]

NOT_KEEPING = ("ferrite-advfs",)
KEEPING = [n for n, p in PROFILES.items() if p.has("fsync-data") and n not in NOT_KEEPING]
"""The profiles in which an fsync that succeeds keeps the data of its file.

The published model of AdvFS is not asked: it writes nothing of its own accord, and no fsync fails.
"""

HALF_DONE: Program = [("w", ops.Write("/a", 0, b"new")), ("f", ops.Fsync("/a", fails=True))]


def settled(*names: str) -> State:
    """Files that hold "old", durable."""
    program: Program = [(f"c{name}", ops.Create(name)) for name in names]
    program += [(f"w{name}", ops.Append(name, b"old")) for name in names]
    state = run_program(program)
    return State.settled(state.view, state.next_inode)


def left(state: State, profile: Profile | str, crash_class: str = "kernel") -> set[bytes]:
    """What /a may hold after a crash."""
    held = PROFILES[profile] if isinstance(profile, str) else profile
    space = CrashSpace.of(state, held, crash_class, no_cuts)
    found = set()
    for _, _, after in space.states():
        inode = after.base[resolve(after.base, "/a")]
        assert isinstance(inode, File)
        found.add(inode.content.read())
    return found


def trial(*rules: str, carrier: str = "commit") -> Profile:
    claims = [
        Claim(RULES[r], "assumed", "trial", carrier=carrier if RULES[r].kind == "scope" else "")
        for r in rules
    ]
    return Profile("trial", "a trial", 4, tuple(claims), sector_bytes=4)


@pytest.mark.parametrize("profile", KEEPING)
@pytest.mark.parametrize(
    "sync", [ops.Fsync("/a"), ops.Fdatasync("/a"), ops.Sync()], ids=ops.op_name
)
def test_a_later_sync_does_not_save_what_a_failed_one_gave_up(profile: str, sync: ops.Op) -> None:
    abandoned = run_program([*HALF_DONE, ("s", sync)], settled("/a"))
    kept = run_program([HALF_DONE[0], ("s", ops.Fsync("/a"))], settled("/a"))

    assert left(abandoned, profile) == {b"old", b"new"}
    assert left(kept, profile) == {b"new"}


@pytest.mark.parametrize("profile", KEEPING)
def test_what_was_durable_before_the_failure_stays_durable(profile: str) -> None:
    program: Program = [
        ("w", ops.Write("/a", 0, b"new")),
        ("s", ops.Fsync("/a")),
        ("f", ops.Fsync("/a", fails=True)),
    ]

    assert left(run_program(program, settled("/a")), profile) == {b"new"}


@pytest.mark.parametrize("profile", KEEPING)
def test_a_block_that_is_written_again_is_saved_by_the_next_fsync(profile: str) -> None:
    again: Program = [*HALF_DONE, ("v", ops.Write("/a", 0, b"NEW")), ("s", ops.Fsync("/a"))]

    assert left(run_program(again, settled("/a")), profile) == {b"NEW"}


def test_only_the_block_that_was_written_again_is_saved() -> None:
    program: Program = [
        ("w", ops.Write("/a", 0, b"new!")),
        ("x", ops.Write("/a", 4, b"tail")),
        ("f", ops.Fsync("/a", fails=True)),
        ("v", ops.Write("/a", 0, b"NEW!")),
        ("s", ops.Fsync("/a")),
    ]
    profile = trial("fsync-data", "unwritten-reads-zeros")

    assert left(run_program(program, settled("/a")), profile) == {b"NEW!tail", b"NEW!\0\0\0\0"}


@pytest.mark.parametrize("failing", [ops.Fsync("/a", True), ops.Fdatasync("/a", True)])
def test_the_size_is_saved_although_the_data_was_given_up(failing: ops.Op) -> None:
    program: Program = [("w", ops.Write("/a", 3, b"+")), ("f", failing), ("s", ops.Fsync("/a"))]
    profile = trial("fsync-data", "unwritten-reads-zeros")

    assert left(run_program(program, settled("/a")), profile) == {b"old+", b"old\0"}


def test_what_a_failed_sync_gave_up_of_one_file_is_nothing_to_another() -> None:
    program: Program = [("w", ops.Write("/a", 0, b"new")), ("f", ops.Fsync("/b", fails=True))]
    program.append(("s", ops.Fsync("/a")))

    assert left(run_program(program, settled("/a", "/b")), "posix-minimal") == {b"new"}


@pytest.mark.parametrize("carrier", ["commit", "log"])
def test_neither_carrier_brings_back_what_was_given_up(carrier: str) -> None:
    state = run_program([*HALF_DONE, ("s", ops.Fsync("/a"))], settled("/a"))

    assert left(state, trial("fsync-data", carrier=carrier)) == {b"old", b"new"}


def test_no_barrier_waits_for_what_was_abandoned() -> None:
    program: Program = [*HALF_DONE, ("b", ops.Barrier("/a")), ("v", ops.Write("/b", 0, b"later"))]
    space = CrashSpace.of(
        run_program(program, settled("/a", "/b")), PROFILES["apfs"], "power", no_cuts
    )
    lost = {p.name: 1 << n for n, p in enumerate(space.pieces)}["w.data"]

    assert any(landed == space.everything & ~lost for landed in space.landed_sets())


@pytest.mark.parametrize(
    ("rule", "later"),
    [
        ("same-sector-in-order", ops.Write("/a", 1, b"x")),
        ("all-in-order", ops.Create("/b")),
        ("data-before-its-size", None),
        ("new-blocks-before-size", None),
    ],
)
def test_no_order_binds_what_was_given_up(rule: str, later: ops.Op | None) -> None:
    """Without the failure, the later event vouches for the data; after it, for nothing."""
    start = settled("/a") if later else run_program([("c", ops.Create("/a"))])
    base = State.settled(start.view, start.next_inode)
    write = ops.Write("/a", 0, b"new!")
    profile = trial(rule)

    def without_data(program: Program) -> bool:
        """Some state lacks the data of w and has all that was issued after them."""
        space = CrashSpace.of(run_program(program, base), profile, "power", no_cuts)
        assert space.pieces[0].name == "w.data"
        return any(landed == space.everything & ~1 for landed in space.landed_sets())

    program: Program = [("w", write), ("f", ops.Fsync("/a", fails=True))]
    behind: Program = [("l", later)] if later else []
    assert not without_data([program[0], *behind])
    assert without_data([*program, *behind])


@given(state=states(), profile=profiles(), name=st.sampled_from(("/a", "/d/a", "/d/e/a")))
def test_a_failure_only_ever_adds_states(state: State, profile: Profile, name: str) -> None:
    """A sync that fails keeps no more than no sync at all, whatever follows."""
    profile = evolve(profile, claims=tuple(c for c in profile.claims if c.carrier != "log"))
    followed: list[ops.Op] = [ops.Fsync(name), ops.Fsync("/d"), ops.Sync()]
    failing: list[ops.Op] = [ops.Fsync(name, fails=True)]

    def landed_sets(program: list[ops.Op]) -> set[int] | None:
        after = state
        try:
            for number, op in enumerate(program):
                after = after.perform(op, f"then-{number}")
        except OSError:
            return None
        space = CrashSpace.of(after, profile, "power", no_cuts)
        return set(space.landed_sets()) if len(space.pieces) <= 10 else None

    for count in range(len(followed) + 1):
        untouched = landed_sets(followed[:count])
        failed = landed_sets(failing + followed[:count])
        if untouched is None or failed is None:
            continue
        assert untouched <= failed


def test_only_data_is_given_up() -> None:
    program: Program = [
        ("c", ops.Create("/b")),
        ("w", ops.Write("/b", 0, b"new")),
        ("f", ops.Fsync("/b", fails=True)),
    ]
    space = CrashSpace.of(run_program(program), trial("fsync-data"), "power", no_cuts)

    abandoned = [p.event for p in space.pieces if space.bound.abandoned >> p.index & 1]
    assert [type(event) for event in abandoned] == [Extent]
