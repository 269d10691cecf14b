"""Every content near a program's own, of a file of few stretches: member is enumeration there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
from attrs import evolve

from powercut.crash.torn_writes import no_cuts
from powercut.filesystem import ops
from powercut.filesystem.content import ByteRun, Content
from powercut.filesystem.events import Entry, Extent
from powercut.filesystem.inodes import File
from powercut.filesystem.state import State, run_program
from powercut.membership.membership import MembershipChecker
from powercut.profile import Claim, Profile
from powercut.rules import RULES
from tests.harness.profiles import PROFILES
from tests.model.membership.near_trees import Paths, check_witness, every_cut, same_bytes, trees_of

FILE = 2
"""The number of the first inode that a program makes."""


def of_rules(*names: str) -> Profile:
    """A profile of these rules and no others."""
    claims = tuple(Claim(RULES[name], "assumed", "a test") for name in names)
    return Profile(f"only {', '.join(names) or 'nothing'}", "a test", 4096, claims)


def program(before: Sequence[ops.Op], *after: ops.Op) -> State:
    """A file /a that is durable with all that `before` makes of it, and what comes after."""
    settled = run_program((f"s{n}", op) for n, op in enumerate([ops.Create("/a"), *before]))
    state = State.settled(settled.view, settled.next_inode)
    return run_program(((f"p{n}", op) for n, op in enumerate(after)), state)


def stale(state: State, run: ByteRun) -> State:
    """The same, where an earlier crash has left the file longer, with bytes that nobody wrote."""
    content = Content(run.stop, (*state.base[FILE].content.runs, run))  # type: ignore[union-attr]
    return State.settled({**state.base, FILE: File(content)}, state.next_inode)


OLD: list[ops.Op] = [ops.Write("/a", 0, b"oo"), ops.Truncate("/a", 4)]
ACROSS = [ops.Write("/a", 4094, b"oldold")]
CASES = {
    "a cut, and bytes behind a gap": run_program(
        [
            ("c", ops.Create("/a")),
            ("w", ops.Write("/a", 0, b"aaaa")),
            ("t", ops.Truncate("/a", 2)),
            ("v", ops.Write("/a", 6, b"bb")),
        ]
    ),
    "two writes over bytes and a hole": program(
        OLD, ops.Write("/a", 0, b"bbbb"), ops.Write("/a", 0, b"cccc")
    ),
    "a write of the bytes that are there, and into a hole": program(
        [ops.Write("/a", 0, b"bb"), ops.Truncate("/a", 4)],
        ops.Write("/a", 0, b"bbbb"),
        ops.Write("/a", 0, b"cccc"),
    ),
    "two writes over bytes and a hole, the first one synced": program(
        OLD,
        ops.Write("/a", 0, b"bbbb"),
        ops.Fsync("/a"),
        ops.Write("/a", 0, b"cccc"),
        ops.Write("/a", 2, b"dd"),
    ),
    "a write into a hole": program([ops.Truncate("/a", 6)], ops.Write("/a", 2, b"bb")),
    "a cut inside a page, and growth": program(
        ACROSS, ops.Truncate("/a", 4095), ops.Write("/a", 4098, b"nn")
    ),
    "a cut at a page's end, and growth": program(
        ACROSS, ops.Truncate("/a", 4096), ops.Write("/a", 4098, b"nn")
    ),
    "a write, a cut below it, and growth": program(
        [], ops.Write("/a", 4094, b"newnew"), ops.Truncate("/a", 4095), ops.Write("/a", 4098, b"bb")
    ),
    "a cut that is durable": program(
        ACROSS,
        ops.Write("/a", 4097, b"mm"),
        ops.Truncate("/a", 4095),
        ops.Fsync("/a"),
        ops.Truncate("/a", 4100),
    ),
    "bytes that nobody wrote": run_program(
        [("w", ops.Write("/a", 1, b"bb"))],
        stale(program([ops.Write("/a", 0, b"oo")]), ByteRun(2, 4, None)),
    ),
}
SOME = [
    of_rules(),
    of_rules("truncation-in-order"),
    of_rules("truncation-in-order", "fsync-data"),
    of_rules("truncation-in-order", "unwritten-reads-zeros"),
    of_rules("fsync-data"),
    of_rules("memory-only"),
    of_rules("data-wait-for-fsync", "fsync-data"),
    of_rules("all-in-order"),
]


def stretches(state: State, size: int) -> list[tuple[int, int]]:
    """[0, size) where something begins or ends; what is far below everything is one."""
    marks = {0, size, 4096}
    for event in state.issued:
        marks.update(() if isinstance(event, Entry) else event.span)
    held = state.base.get(FILE)
    for run in held.content.runs if isinstance(held, File) else ():
        marks.update((run.start, run.stop))
    return list(itertools.pairwise(sorted(mark for mark in marks if mark <= size)))


def contents(state: State) -> Iterator[bytes]:
    """Each stretch with what any event has there, with zeros, or with what nobody wrote."""
    held = state.base.get(FILE)
    old = held.content.read() if isinstance(held, File) else b""
    written = [event.run for event in state.issued if isinstance(event, Extent)]
    sizes = {len(old), 0, *(e.span[1] for e in state.issued if not isinstance(e, Entry))}
    for size in sorted({*sizes, *(n - 1 for n in sizes if n)}):
        choices = []
        for start, stop in stretches(state, size):
            found = {b"\0" * (stop - start), old[start:stop].ljust(stop - start, b"\0")}
            found |= {r.cut(start, stop).read() for r in written if r.start <= start < r.stop}
            found |= {b"Z" * (stop - start)} if stop - start < 100 else set()
            choices.append(sorted(found))
        yield from map(b"".join, itertools.product(*choices))


def disagreements(state: State, profile: Profile, crash_class: str) -> Iterator[tuple[bytes, str]]:
    """The contents of /a of which member says something else than enumeration, and what."""
    trees = trees_of(state, profile, crash_class, no_cuts)
    files = [tree[FILE].content for tree in trees if FILE in tree]  # type: ignore[union-attr]
    member = MembershipChecker(state, profile, crash_class, no_cuts)
    for data in contents(state):
        seen = Paths({"a": data}, {"a": FILE}).observed()
        content = seen.nodes[1].content
        assert content is not None
        among = any(same_bytes(file, content) for file in files)
        answer = member.ask(seen)
        if answer.verdict != ("yes" if among else "no"):
            yield data, answer.verdict
        elif among:
            check_witness(answer, seen)


@pytest.mark.parametrize("case", CASES)
def test_member_is_enumeration_for_every_content_near_a_program(case: str) -> None:
    profiles = [*SOME, *(PROFILES.values() if case == "a cut, and bytes behind a gap" else ())]

    assert [
        (profile.name, found)
        for profile in profiles
        for found in disagreements(CASES[case], profile, "power")
    ] == []


FOUR = [ops.Write("/a", 0, b"oooo")]
TORN = {
    "a map of which some bytes are synced": program(
        FOUR, ops.Mapwrite("/a", 0, b"mnop"), ops.Msync("/a", 0, 1)
    ),
    "a synced write over the end of another": program(
        [ops.Write("/a", 0, b"oo")],
        ops.Write("/a", 1, b"abc"),
        ops.Write("/a", 3, b"z", ("O_DSYNC",)),
    ),
    "a write half behind a cut, of which the other half is synced": program(
        FOUR, ops.Write("/a", 1, b"yz"), ops.Msync("/a", 2, 1), ops.Truncate("/a", 2)
    ),
    "an append over a hole": program([ops.Truncate("/a", 2)], ops.Write("/a", 1, b"abc")),
    "an overwrite before an append": program(
        [ops.Write("/a", 0, b"oo")], ops.Write("/a", 0, b"m"), ops.Write("/a", 1, b"abc")
    ),
    "a write over the end of the file": program(
        [ops.Write("/a", 0, b"oo")], ops.Write("/a", 0, b"abc")
    ),
    "the same, and a sync of everything": program(
        [ops.Write("/a", 0, b"oo")], ops.Write("/a", 0, b"abc"), ops.Sync()
    ),
    "a write that a sync covers in part, and a cut within it": program(
        [ops.Write("/a", 0, b"oooo")],
        ops.Mapwrite("/a", 1, b"yz"),
        ops.Msync("/a", 2, 1),
        ops.Truncate("/a", 2),
    ),
    "two synced appends": program(
        [], ops.Write("/a", 0, b"ab"), ops.Write("/a", 2, b"cd", ("O_SYNC",))
    ),
}
TEARING = [
    of_rules("ranged-sync-data", "same-sector-in-order"),
    of_rules("ranged-sync-size", "ranged-sync-data", "new-blocks-before-size"),
    of_rules("data-before-its-size", "truncation-in-order", "unwritten-reads-zeros"),
    of_rules("write-before-allocation", "unwritten-reads-zeros"),
    of_rules("all-in-order", "ranged-sync-data"),
    of_rules("op-atomic", "ranged-sync-data"),
    of_rules("sync-keeps-logged"),
]


def bytewise(state: State) -> Iterator[bytes]:
    """Each byte as any event has it, as it was, zero, or as nobody wrote it."""
    held = state.base[FILE]
    assert isinstance(held, File)
    written = [event.run for event in state.issued if isinstance(event, Extent)]
    for size in range(5):
        choices = []
        for at in range(size):
            found = {held.content.read()[at : at + 1] or b"\0", b"\0"}
            found |= {r.cut(at, at + 1).read() for r in written if r.start <= at < r.stop}
            choices.append(sorted(found | ({b"Z"} if at == 1 else set())))
        yield from map(b"".join, itertools.product(*choices))


@pytest.mark.parametrize("units", [(2, 1), (1, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("case", TORN)
def test_without_cuts_every_content_near_a_program_is_a_member_where_some_cuts_leave_it(
    case: str, units: tuple[int, int]
) -> None:
    wrong = []
    for rules in TEARING:
        profile = evolve(rules, block_bytes=units[0], sector_bytes=units[1])
        choices = every_cut(TORN[case], profile, 8)
        files = {
            tree[FILE].content.look(): tree[FILE].content  # type: ignore[union-attr]
            for cuts in choices
            for tree in trees_of(TORN[case], profile, "power", cuts)
        }
        member = MembershipChecker(TORN[case], profile, "power")
        for data in bytewise(TORN[case]):
            seen = Paths({"a": data}, {"a": FILE}).observed()
            content = seen.nodes[1].content
            assert content is not None
            among = any(same_bytes(file, content) for file in files.values())
            answer = member.ask(seen)
            if answer.verdict != ("yes" if among else "no"):
                wrong.append((profile.name, data, answer.verdict))
            elif among:
                check_witness(answer, seen)

    assert wrong == []
