"""Random programs and random questions: member against enumeration, by the number.

A number and a seed are one program, under one profile, in one choice of units.  Its crash states
are listed by brute force; member is asked about them, and about trees that are none, or nearly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

from attrs import evolve, frozen

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts, no_cuts
from powercut.errors import TreeError
from powercut.filesystem import ops
from powercut.filesystem.content import PAGE_BYTES
from powercut.filesystem.events import Entry, Size
from powercut.filesystem.inodes import File, Tree, walk
from powercut.filesystem.state import State, run_program
from powercut.membership.membership import MembershipChecker
from powercut.membership.observed_tree import Observed
from powercut.profile import Claim, Profile
from powercut.rules import RANGED_SYNCS, RULES
from tests.harness.profiles import PROFILES
from tests.harness.programs import CARRIERS
from tests.model.membership.near_trees import (
    PIECES_MAX,
    Paths,
    TooMany,
    agrees,
    check_witness,
    every_cut,
    trees_of,
)

PATHS: Final = ("/a", "/b", "/d", "/d/a", "/d/e")
CONTENTS: Final = (b"x", b"yz", b"\0\0", b"abcd", b"0123456789")
UNITS: Final = ((4, 2), (4, 4), (2, 2), (2, 1), (1, 1), (4096, 512))
EVENTS_MAX: Final = 8
TREES_ASKED: Final = 24
CUT_PLACES_MAX: Final = 4
# Of a size that lands in steps one keeps the last, and the other lets no earlier one land: together
# they contradict each other, and no profile has both.
_KEEPS_LAST_STEP: Final = "sync-keeps-logged"
_FORBIDS_STEPS: Final = "data-wait-for-fsync"


@frozen
class Scenario:
    """One program, and the question that is asked at its end."""

    program: tuple[ops.Op, ...]
    state: State
    profile: Profile
    crash_class: str
    pieces: int

    @property
    def features(self) -> Iterator[str]:
        """What of it is worth a count."""
        issued = self.state.issued
        if any(isinstance(event, Size) and event.truncates for event in issued):
            yield "truncations"
        if any(sync.kind in RANGED_SYNCS for sync in self.state.syncs):
            yield "ranged syncs"
        if any(isinstance(event, Entry) and event.target and event.replaced for event in issued):
            yield "replacements"
        if any(sync.kind == "failed" for sync in self.state.syncs):
            yield "failed syncs"
        if self.profile.name == "trial":
            yield "rules of no profile"


def _data(pick: Random, path: str, base: int) -> list[ops.Op]:
    flags = pick.choice(((), (), ("O_SYNC",), ("O_DSYNC",)))
    return [ops.Write(path, base + pick.randrange(7), pick.choice(CONTENTS), flags)]


def _cut(pick: Random, path: str, base: int) -> list[ops.Op]:
    near = [base + n for n in range(9)]
    return [ops.Truncate(path, pick.choice((0, *near, *([PAGE_BYTES] * 3 if base else ()))))]


def _append(pick: Random, path: str, base: int) -> list[ops.Op]:
    return [ops.Append(path, pick.choice(CONTENTS))]


def _mapped(pick: Random, path: str, base: int) -> list[ops.Op]:
    at = base + pick.randrange(5)
    return [
        ops.Mapwrite(path, at, pick.choice((b"m", b"mnop"))),
        ops.Msync(path, base + pick.randrange(7), pick.randint(1, 4)),
    ]


def _replaced(pick: Random, path: str, base: int) -> list[ops.Op]:
    """A new file takes a name, as programs replace one: each step but the last may be left out."""
    steps: list[ops.Op] = [ops.Create("/t"), ops.Write("/t", base, pick.choice(CONTENTS))]
    steps += [ops.Fsync("/t")] * pick.randrange(2)
    return [*steps, ops.Rename("/t", path), *[ops.Fsync("/")] * pick.randrange(2)]


def _tmpfile(pick: Random, path: str, base: int) -> list[ops.Op]:
    handle = f"h{pick.randrange(1000)}"
    made: list[ops.Op] = [ops.Tmpfile("/", handle), ops.Write(f"@{handle}", base, b"tmp")]
    return [*made, ops.Link(f"@{handle}", pick.choice((path, "/b", "/d/e")))]


def _synced(pick: Random, path: str, base: int) -> list[ops.Op]:
    place = pick.choice((path, path, "/", "/d"))
    whole = (ops.Fsync, ops.Fsync, ops.Fdatasync, ops.Barrier, ops.Fullsync)
    return [pick.choice((*(kind(place) for kind in whole), ops.Fsync(path, True), ops.Sync()))]


def _named(pick: Random, path: str, base: int) -> list[ops.Op]:
    other = pick.choice(PATHS)
    return [
        pick.choice(
            (
                ops.Create(other),
                ops.Mkdir(other),
                ops.Symlink(pick.choice(("a", "/d")), other),
                ops.Rename(path, other),
                ops.Rename(path, other),
                ops.Rename(path, other, ("EXCHANGE",)),
                ops.Link(path, other),
                ops.Unlink(path),
                ops.Rmdir(path),
            )
        )
    ]


Steps = Callable[[Random, str, int], list[ops.Op]]
KINDS: Final[Sequence[Steps]] = (
    _data,
    _data,
    _cut,
    _cut,
    _append,
    _mapped,
    _replaced,
    _tmpfile,
    _synced,
    _synced,
    _named,
    _named,
)


def _before(pick: Random, base: int) -> State:
    """Nothing, or a few files that are durable."""
    made: list[ops.Op] = [ops.Mkdir("/d"), ops.Create("/a"), ops.Write("/a", base, b"old")]
    made += [ops.Append("/a", b"older")] if pick.random() < 0.5 else []
    made += [ops.Create("/b")] if pick.random() < 0.5 else []
    made += [ops.Truncate("/a", base + 2)] if pick.random() < 0.3 else []
    kept = pick.choice((made, made, made[:2], []))
    state = run_program((f"s{n}", op) for n, op in enumerate(kept))
    return State.settled(state.view, state.next_inode)


def _crashed(pick: Random, state: State) -> State:
    """What one crash leaves of a state, where little is promised: holes may read as stale bytes."""
    weakest = PROFILES["posix-minimal"]
    space = CrashSpace.of(state, weakest, "power", no_cuts)
    landed = space.draw(lambda name: pick.random() < 0.3)
    return space.materialise(landed, space.exposed(landed))


def _profile(pick: Random) -> Profile:
    """A profile that there is, or any few rules together, with any carriers."""
    block, sector = pick.choice(UNITS)
    if pick.random() < 0.7:
        known = PROFILES[pick.choice(sorted(PROFILES))]
        return evolve(known, block_bytes=block, sector_bytes=sector)
    drawn = sorted(pick.sample(sorted(RULES), pick.randint(1, 6)))
    claims = tuple(
        Claim(
            RULES[name],
            "assumed",
            "trial",
            carrier=pick.choice(CARRIERS.get(RULES[name].kind, ("",))),
        )
        for name in drawn
        if not (name == _FORBIDS_STEPS and _KEEPS_LAST_STEP in drawn)
    )
    return Profile("trial", "a trial", block, claims, sector_bytes=sector)


def scenario(number: int, seed: int) -> Scenario:
    """The program of that number."""
    pick = Random(f"{seed}-{number}")  # noqa: S311
    base = pick.choice((0, 0, PAGE_BYTES - 4))
    state = _before(pick, base)
    if pick.random() < 0.2:
        state, _ = _continued(pick, state, base, [])
        state = _crashed(pick, state)
    state, program = _continued(pick, state, base, [])
    if pick.random() < 0.25:
        held = (path for path, number in walk(state.view) if isinstance(state.view[number], File))
        last = pick.choice((ops.Fsync(pick.choice([*held, "/"])), ops.Sync()))
        state, program = state.perform(last, "last"), [*program, last]
    crash_class = pick.choice(("power", "power", "kernel"))
    return Scenario(tuple(program), state, _profile(pick), crash_class, pick.randint(1, 3))


def _continued(
    pick: Random, state: State, base: int, program: list[ops.Op]
) -> tuple[State, list[ops.Op]]:
    """A few steps more, as long as brute force can follow; and the ops that they took."""
    for _ in range(pick.randint(2, 7)):
        files = [path for path, inode in walk(state.view) if isinstance(state.view[inode], File)]
        path = pick.choice(files or PATHS) if pick.random() < 0.8 else pick.choice(PATHS)
        for op in pick.choice(KINDS)(pick, path, base):
            try:
                after = state.perform(op, f"{len(program)}-{ops.op_name(op)}")
            except OSError:
                continue
            if len(after.issued) > EVENTS_MAX:
                break
            program.append(op)
            state = after
    return state, program


def near(trees: Sequence[Tree], pick: Random) -> Iterator[Observed]:
    """Trees near these, crash states or not."""
    for _ in range(3):
        one, other = (Paths.of(pick.choice(trees)) for _ in range(2))
        for changed in (*one.mutants(pick), *one.crossed(other, pick)):
            try:
                yield changed.observed()
            except TreeError:
                continue  # a name that one directory has under one of its names only


def compare(number: int, seed: int, tally: Counter[str]) -> None:
    """Ask about one program, and count. AssertionError, with the program, where the two differ."""
    asked = scenario(number, seed)
    cuts = even_cuts(asked.profile, asked.pieces)
    question = asked.state, asked.profile, asked.crash_class
    try:
        trees = trees_of(*question, cuts)
    except TooMany:
        tally["programs left out: too many pieces or states"] += 1
        return
    tally["programs"] += 1
    tally.update(asked.features)
    pick = Random(f"{seed}-{number}-near")  # noqa: S311
    exact, free = MembershipChecker(*question, cuts), MembershipChecker(*question)
    shown = pick.sample(trees, min(TREES_ASKED, len(trees)))
    seen = [*map(Observed.of_tree, shown), *near(trees, pick)]
    for tree in seen:
        among = any(agrees(each, tree) for each in trees)
        _expect(asked, exact, tree, among, tally)
        if among:
            _expect(asked, free, tree, among, tally)
    try:
        choices = every_cut(asked.state, asked.profile, CUT_PLACES_MAX)
        torn = [tree for each in choices for tree in trees_of(*question, each)]
    except TooMany:
        return
    tally["programs with every choice of cuts"] += 1
    for tree in seen:
        _expect(asked, free, tree, any(agrees(each, tree) for each in torn), tally)


def _expect(
    asked: Scenario, member: MembershipChecker, tree: Observed, among: bool, tally: Counter[str]
) -> None:
    answer = member.ask(tree)
    expected = "yes" if among else "no"
    tally[f"answers {answer.verdict}"] += 1
    assert answer.verdict == expected, (
        f"found {answer.verdict}, expected {expected} under {asked.profile.name}, "
        f"{asked.crash_class}, blocks of {asked.profile.block_bytes} and sectors of "
        f"{asked.profile.sector_bytes}, cuts {'given' if member.cuts else 'free'}, "
        f"pieces {asked.pieces}: {asked.program}: {tree}: {answer.because}"
    )
    if among:
        check_witness(answer, tree)
    else:
        assert answer.because


assert PIECES_MAX > EVENTS_MAX
