"""Every listing near a program's own, of a few names: member is enumeration there."""

from __future__ import annotations

import itertools

import pytest

from powercut.crash.torn_writes import no_cuts
from powercut.filesystem import ops
from powercut.filesystem.inodes import SymlinkInode
from powercut.filesystem.state import State, run_program
from powercut.membership.membership import MembershipChecker
from tests.harness.profiles import PROFILES
from tests.model.membership.near_trees import Paths, agrees, check_witness, trees_of


def settled(*made: ops.Op) -> State:
    state = run_program((f"s{n}", op) for n, op in enumerate(made))
    return State.settled(state.view, state.next_inode)


def ran(state: State, *program: ops.Op) -> State:
    return run_program([(f"p{n}", op) for n, op in enumerate(program)], state)


CREATES = ran(State(), ops.Create("/n"), ops.Create("/a"), ops.Write("/a", 0, b"x"))
PAIR = settled(ops.Create("/a"), ops.Create("/b"), ops.Write("/a", 0, b"x"))
CASES = {
    "a sync that was cut short": CREATES.begin(ops.Fsync("/a"), "last"),
    "a sync of a name that came second": ran(CREATES, ops.Fsync("/a")),
    "a name that is gone for good": ran(PAIR, ops.Unlink("/a"), ops.Fsync("/"), ops.Sync()),
    "an exchange": ran(PAIR, ops.Rename("/a", "/b", ("EXCHANGE",))),
    "a file that is replaced, and its name taken": ran(
        PAIR, ops.Rename("/a", "/b"), ops.Create("/a"), ops.Fsync("/b")
    ),
    "a link, and the first name gone": ran(PAIR, ops.Link("/a", "/n"), ops.Unlink("/a")),
    "a symbolic link": ran(PAIR, ops.Symlink("a", "/n"), ops.Unlink("/b")),
    "a ring of names": ran(
        PAIR, ops.Rename("/a", "/n"), ops.Rename("/b", "/a"), ops.Rename("/n", "/b")
    ),
}
NAMES = ("a", "b", "n")


def listings(state: State) -> list[Paths]:
    """Each name as each inode that there is, or as none."""
    found = []
    numbers = [number for number in {**state.base, **state.view} if number != 1]
    for chosen in itertools.product((None, *numbers), repeat=len(NAMES)):
        inodes = {name: number for name, number in zip(NAMES, chosen, strict=True) if number}
        for data in (b"", b"x"):
            entries: dict[str, bytes | SymlinkInode | None] = {
                name: _held(state, number, data if number == 2 else b"")
                for name, number in inodes.items()
            }
            found.append(Paths(entries, inodes))
            links = [n for n, value in entries.items() if isinstance(value, SymlinkInode)]
            if links:
                other = dict.fromkeys(links, SymlinkInode("b"))
                found.append(Paths({**entries, **other}, inodes))
    return found


def _held(state: State, number: int, data: bytes) -> bytes | SymlinkInode:
    inode = state.view.get(number)
    return inode if isinstance(inode, SymlinkInode) else data


@pytest.mark.parametrize("case", CASES)
def test_member_is_enumeration_for_every_listing_near_a_program(case: str) -> None:
    wrong, given = [], set()
    for name, profile in PROFILES.items():
        trees = trees_of(CASES[case], profile, "power", no_cuts)
        member = MembershipChecker(CASES[case], profile, "power", no_cuts)
        for listing in listings(CASES[case]):
            seen = listing.observed()
            among = any(agrees(tree, seen) for tree in trees)
            answer = member.ask(seen)
            given.add(answer.verdict)
            if answer.verdict != ("yes" if among else "no"):
                wrong.append((name, listing.inodes, answer.verdict))
            elif among:
                check_witness(answer, seen)

    assert wrong == []
    assert given == {"yes", "no"}
