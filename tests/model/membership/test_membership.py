"""Member: every enumerated tree is a yes, every other one a no, whatever the cuts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from attrs import evolve, frozen
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from powercut.crash.downsets import subsets
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import Cuts, even_cuts, no_cuts
from powercut.errors import TreeError
from powercut.filesystem import ops
from powercut.filesystem.content import STALE, Content
from powercut.filesystem.events import Entry, Event
from powercut.filesystem.inodes import File, SymlinkInode, Tree, visible_tree, walk
from powercut.filesystem.state import State, run_program
from powercut.membership.crash_points import ANYWHERE, membership_query
from powercut.membership.membership import MembershipAnswer, MembershipChecker
from powercut.membership.observed_tree import Observed
from powercut.profile import Profile
from powercut.simulation.world import Perform
from tests.harness.profiles import PROFILES

Held = TypeVar("Held")
PIECES_MAX = 11  # brute force tries 2**n sets
STATES_MAX = 3000
EXAMPLES = max(300, settings().max_examples)

# --- small programs ---------------------------------------------------------------------------

PATHS = ("/a", "/b", "/d", "/d/a", "/d/e", "/d/e/a")
paths = st.sampled_from(PATHS)
places = st.sampled_from(("/", *PATHS))
contents = st.sampled_from((b"x", b"yz", b"\0\0", b"abcd", b"0123456789"))
waits = st.sampled_from(((), (), (), ("O_SYNC",), ("O_DSYNC",)))


def any_op() -> st.SearchStrategy[ops.Op]:
    """One op on few paths; writes and renames more often than others."""
    writes = st.builds(ops.Write, paths, st.integers(0, 6), contents, waits)
    changes: list[st.SearchStrategy[ops.Op]] = [
        st.builds(ops.Create, paths),
        st.builds(ops.Mkdir, paths),
        writes,
        writes,
        st.builds(ops.Append, paths, contents, waits),
        st.builds(ops.Truncate, paths, st.integers(0, 12)),
        st.builds(ops.Rename, paths, paths),
        st.builds(ops.Rename, paths, paths),
        st.builds(ops.Rename, paths, paths, st.just(("EXCHANGE",))),
        st.builds(ops.Link, paths, paths),
        st.builds(ops.Symlink, st.sampled_from(("a", "/d")), paths),
        st.builds(ops.Unlink, paths),
        st.builds(ops.Rmdir, paths),
        st.builds(ops.Fsync, places),
        st.builds(ops.Fsync, places, st.booleans()),
        st.builds(ops.Fdatasync, paths),
        st.builds(ops.Barrier, paths),
        st.builds(ops.Fullsync, paths),
        st.builds(ops.Sync),
    ]
    return st.one_of(changes)


@st.composite
def moments(draw: st.DrawFn, max_ops: int = 9) -> State:
    """A state that a short program leaves; the last op may not have returned."""
    state = State()
    if draw(st.booleans()):
        setup: list[tuple[str, ops.Op]] = [
            ("s0", ops.Mkdir("/d")),
            ("s1", ops.Create("/a")),
            ("s2", ops.Write("/a", 0, b"old")),
        ]
        settled = run_program(setup)
        state = State.settled(settled.view, settled.next_inode)
    program = draw(st.lists(any_op(), min_size=2, max_size=max_ops))
    for number, op in enumerate(program):
        last = number == len(program) - 1
        perform = state.begin if last and draw(st.booleans()) else state.perform
        try:
            state = perform(op, f"{number}-{ops.op_name(op)}")
        except OSError:
            continue
    return state


@st.composite
def small_units(draw: st.DrawFn) -> Profile:
    """A profile, its units so small that small writes are torn."""
    profile = draw(st.sampled_from([*PROFILES.values()]))
    block, sector = draw(st.sampled_from(((4, 2), (4, 4), (2, 2), (2, 1), (1, 1))))
    return evolve(profile, block_bytes=block, sector_bytes=sector)


# --- what is observed -------------------------------------------------------------------------


@frozen
class Paths:
    """A tree by its paths: what stands there, and which of them are one inode."""

    entries: dict[str, bytes | SymlinkInode | None]
    inodes: dict[str, int]

    @classmethod
    def of(cls, tree: Tree) -> Paths:
        entries: dict[str, bytes | SymlinkInode | None] = {}
        inodes = {}
        for path, number in walk(tree):
            inode = tree[number]
            inodes[path[1:]] = number
            entries[path[1:]] = None
            if isinstance(inode, File):
                entries[path[1:]] = inode.content.read()
            elif isinstance(inode, SymlinkInode):
                entries[path[1:]] = inode
        return cls(entries, inodes)

    def observed(self) -> Observed:
        groups: dict[int, list[str]] = {}
        for path, number in self.inodes.items():
            groups.setdefault(number, []).append(path)
        return Observed.of(self.entries, [g for g in groups.values() if len(g) > 1])

    def mutants(self, draw: Callable[..., Any]) -> Iterator[Paths]:
        """The tree with one thing changed, in each of several ways."""
        fresh = 1 + max(self.inodes.values(), default=1)
        files = sorted(p for p, value in self.entries.items() if isinstance(value, bytes))
        names = {"a", "b", "z", "d", "d/a", "d/z"} - set(self.entries)
        free = sorted(n for n in names if "/" not in n or self.entries.get("d", b"") is None)
        leaves = sorted(
            p for p in self.entries if not any(q.startswith(p + "/") for q in self.entries)
        )
        if leaves:
            gone = draw(st.sampled_from(leaves))
            yield Paths(_without(self.entries, gone), _without(self.inodes, gone))
        if free:
            new = draw(st.sampled_from(free))
            value = draw(st.sampled_from((None, b"", b"x", SymlinkInode("a"))))
            yield Paths({**self.entries, new: value}, {**self.inodes, new: fresh})
        if len(leaves) > 1:
            one, other = draw(
                st.lists(st.sampled_from(leaves), min_size=2, max_size=2, unique=True)
            )
            yield Paths(_swapped(self.entries, one, other), _swapped(self.inodes, one, other))
        if not files:
            return
        path = draw(st.sampled_from(files))
        value = self.entries[path]
        assert isinstance(value, bytes)
        yield self._with(path, value[: draw(st.integers(0, len(value)))])
        yield self._with(path, value + draw(st.sampled_from((b"\0", b"x", b"\0\0\0\0"))))
        if value:
            at = draw(st.integers(0, len(value) - 1))
            byte = draw(st.sampled_from((b"\0", b"x", b"a", b"?")))
            yield self._with(path, value[:at] + byte + value[at + 1 :])
        yield Paths(self.entries, {**self.inodes, path: fresh})
        like = [p for p in files if self.entries[p] == value]
        yield Paths(self.entries, {**self.inodes, **dict.fromkeys(like, fresh)})

    def _with(self, path: str, content: bytes) -> Paths:
        same = [p for p, number in self.inodes.items() if number == self.inodes[path]]
        return Paths({**self.entries, **dict.fromkeys(same, content)}, self.inodes)


def _without(table: dict[str, Held], key: str) -> dict[str, Held]:
    return {k: v for k, v in table.items() if k != key}


def _swapped(table: dict[str, Held], one: str, other: str) -> dict[str, Held]:
    return {**table, one: table[other], other: table[one]}


def agrees(tree: Tree, seen: Observed) -> bool:
    """The tree looks as observed; where it is stale, any bytes will do."""
    left = Observed.of_tree(tree)
    if len(left.nodes) != len(seen.nodes):
        return False
    numbers = {path[1:]: number for path, number in walk(tree)}
    for one, other in zip(left.nodes, seen.nodes, strict=True):
        if (one.path, one.target, one.entries) != (other.path, other.target, other.entries):
            return False
        if one.content is None or other.content is None:
            if one.content is not other.content:
                return False
            continue
        inode = tree[numbers[one.path]]
        assert isinstance(inode, File)
        if not same_bytes(inode.content, other.content):
            return False
    return True


def same_bytes(left: Content, seen: Content) -> bool:
    if left.size != seen.size:
        return False
    found, wanted = bytearray(left.read()), seen.read()
    for run in left.runs:
        if run.payload is STALE:
            found[run.start : run.stop] = wanted[run.start : run.stop]
    return bytes(found) == wanted


def trees_of(state: State, profile: Profile, crash_class: str, cuts: Cuts) -> list[Tree]:
    """Every crash state, each look once."""
    space = CrashSpace.of(state, profile, crash_class, cuts)
    assume(len(space.pieces) <= PIECES_MAX)
    found: dict[object, Tree] = {}
    for _, _, after in itertools.islice(space.states(), STATES_MAX):
        found.setdefault(visible_tree(after.base), after.base)
    assume(len(found) < STATES_MAX)
    return list(found.values())


def check_witness(answer: MembershipAnswer, seen: Observed) -> None:
    """A yes comes with a legal crash that leaves this tree."""
    space, landed = answer.space, answer.landed
    assert space is not None
    assert space.why_illegal(landed) is None
    assert agrees(space.materialise(landed, space.exposed(landed)).base, seen) or any(
        agrees(space.materialise(landed, stale).base, seen)
        for stale in subsets(space.exposed(landed))
    )


# --- member is enumeration --------------------------------------------------------------------


@given(
    state=moments(),
    profile=small_units(),
    crash_class=st.sampled_from(("power", "power", "kernel")),
    pieces=st.integers(1, 3),
    data=st.data(),
)
@settings(max_examples=EXAMPLES)
def test_member_is_enumeration(
    state: State, profile: Profile, crash_class: str, pieces: int, data: st.DataObject
) -> None:
    cuts = even_cuts(profile, pieces)
    trees = trees_of(state, profile, crash_class, cuts)
    exact = MembershipChecker(state, profile, crash_class, cuts)
    free = MembershipChecker(state, profile, crash_class)

    for tree in trees:
        seen = Observed.of_tree(tree)
        for member in (exact, free):
            answer = member.ask(seen)
            assert answer.verdict == "yes", answer.because
            check_witness(answer, seen)
    chosen = data.draw(st.sampled_from(trees))
    for mutant in Paths.of(chosen).mutants(data.draw):
        try:
            seen = mutant.observed()
        except TreeError:
            continue  # a name that one directory has under one of its names only
        among = any(agrees(tree, seen) for tree in trees)
        answer = exact.ask(seen)
        assert answer.verdict == ("yes" if among else "no"), answer.because
        if among:
            check_witness(answer, seen)
        else:
            assert answer.because


def every_cut(state: State, profile: Profile) -> list[Cuts]:
    """Every choice of cuts at the profile's units: each subset of the places."""
    places: list[tuple[str, int]] = []
    for event in state.issued:
        if isinstance(event, Entry):
            continue
        unit = profile.sector_bytes if event.name.endswith(".data") else profile.block_bytes
        start, stop = event.span
        places += [(event.name, p) for p in range(start // unit * unit + unit, stop, unit)]
    assume(len(places) <= 6)

    def chosen(these: tuple[tuple[str, int], ...]) -> Cuts:
        def cuts(event: Event) -> list[int]:
            return sorted(place for name, place in these if name == event.name)

        return cuts

    return [
        chosen(these)
        for count in range(len(places) + 1)
        for these in itertools.combinations(places, count)
    ]


@st.composite
def torn_moments(draw: st.DrawFn) -> State:
    """A state in which one or two files were written, over and over."""
    state = State()
    program: list[ops.Op] = [ops.Create("/a")]
    size = st.integers(1, 5)
    data = st.sampled_from((b"ABCDE", b"vwxyz", b"\0\0\0\0\0", b"Av\0\0E"))
    write = st.builds(
        lambda o, d, n, w: ops.Write("/a", o, d[:n], w), st.integers(0, 4), data, size, waits
    )
    more = [st.builds(ops.Truncate, st.just("/a"), st.integers(0, 6)), st.just(ops.Fsync("/a"))]
    more += [
        st.just(ops.Fsync("/a", fails=True)),
        st.just(ops.Fsync("/")),
        st.just(ops.Barrier("/a")),
    ]
    program += draw(st.lists(st.one_of(write, write, write, *more), min_size=1, max_size=4))
    for number, op in enumerate(program):
        state = state.perform(op, f"{number}-{ops.op_name(op)}")
    return state


@given(
    state=torn_moments(),
    profile=small_units(),
    crash_class=st.sampled_from(("power", "kernel")),
    data=st.data(),
)
def test_without_cuts_a_tree_is_a_member_where_some_choice_of_cuts_gives_it(
    state: State, profile: Profile, crash_class: str, data: st.DataObject
) -> None:
    trees = {
        visible_tree(tree): tree
        for cuts in every_cut(state, profile)
        for tree in trees_of(state, profile, crash_class, cuts)
    }
    member = MembershipChecker(state, profile, crash_class)

    for tree in trees.values():
        answer = member.ask(Observed.of_tree(tree))
        assert answer.verdict == "yes", answer.because
        check_witness(answer, Observed.of_tree(tree))
    alphabet = b"ABCDEvwxyz\0"
    for _ in range(8):
        content = bytes(data.draw(st.lists(st.sampled_from(alphabet), max_size=9)))
        mutant = Paths({"a": content}, {"a": 2}).observed()
        among = any(agrees(tree, mutant) for tree in trees.values())
        answer = member.ask(mutant)
        assert answer.verdict == ("yes" if among else "no"), answer.because
    for changed in Paths.of(data.draw(st.sampled_from(list(trees.values())))).mutants(data.draw):
        seen = changed.observed()
        among = any(agrees(tree, seen) for tree in trees.values())
        answer = member.ask(seen)
        assert answer.verdict == ("yes" if among else "no"), answer.because


@given(
    program=st.lists(any_op(), min_size=1, max_size=6),
    profile=st.sampled_from([*PROFILES.values()]),
    crash_class=st.sampled_from(("power", "kernel", "process")),
    data=st.data(),
)
def test_at_an_unknown_moment_every_moment_counts(
    program: list[ops.Op], profile: Profile, crash_class: str, data: st.DataObject
) -> None:
    steps, states = [], [State()]
    for number, op in enumerate(program):
        op_id = f"{number}-{ops.op_name(op)}"
        try:
            begun = states[-1].begin(op, op_id)
            states += [begun, states[-1].perform(op, op_id)]
            steps.append(Perform(op_id, op))
        except OSError:
            continue
    trees = {
        visible_tree(tree): tree
        for state in states
        for tree in (
            [state.view]
            if crash_class == "process"
            else trees_of(state, profile, crash_class, no_cuts)
        )
    }
    question = membership_query(steps, profile, crash_class, ANYWHERE)

    for tree in trees.values():
        found = question.ask(Observed.of_tree(tree))
        assert found.answer.verdict == "yes", found.answer.because
    for mutant in Paths.of(data.draw(st.sampled_from(list(trees.values())))).mutants(data.draw):
        if any(value for value in mutant.entries.values() if isinstance(value, bytes)):
            continue  # a write can be torn, and these trees are those of whole ones
        try:
            seen = mutant.observed()
        except TreeError:
            continue
        among = any(agrees(tree, seen) for tree in trees.values())
        answer = question.ask(seen).answer
        assert answer.verdict == ("yes" if among else "no"), answer.because
