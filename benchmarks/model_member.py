"""How fast `powercut member` answers, and how that grows.

    python benchmarks/model_member.py [--quick] [--profile NAME]

First, programs of tokened ops, as a checkpoint writer makes them: each write carries bytes of its
own.  Printed is the processor time to run the ops, to prepare the question, and to answer it, the
first time that a tree is seen and again: for trees with nothing torn, for one with a torn write,
and for one with bytes that no crash leaves.  Then the peer: the same question answered by
enumerating the crash states of a small program and looking for the tree among them, paired and
interleaved with the answer by deduction.  Only ratios travel between machines.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import cut_into_pieces, even_cuts, no_cuts
from powercut.filesystem import ops
from powercut.filesystem.content import ByteRun
from powercut.filesystem.inodes import File, Tree, resolve, visible_tree
from powercut.filesystem.state import State
from powercut.membership.membership import MembershipChecker
from powercut.membership.observed_tree import Observed
from powercut.profile import Profile, load_profile

PROFILES = ("ext4-ordered", "xfs", "btrfs", "f2fs-posix", "apfs", "posix-minimal")
SIZES = (125, 250, 500, 1000, 2000)
TREES = 12
TOKEN_BYTES = 24
PART_BYTES = 12_288


def saves() -> Iterator[ops.Op]:
    """Saves of three parts, one after another: written, synced, renamed, and noted in a log."""
    yield ops.Create("/log")
    save = 0
    while True:
        attempt, token = f"/attempt-{save}", f"<{save:08}>".encode()
        yield ops.Mkdir(attempt)
        for part in range(3):
            path = f"{attempt}/part{part}"
            body = (token + str(part).encode()).ljust(TOKEN_BYTES, b".")
            yield ops.Create(f"{path}.tmp")
            yield ops.Write(f"{path}.tmp", 0, body * (PART_BYTES // TOKEN_BYTES))
            yield ops.Append(f"{path}.tmp", body[::-1])
            yield ops.Fsync(f"{path}.tmp")
            yield ops.Rename(f"{path}.tmp", path)
        yield ops.Fsync(attempt)
        yield ops.Append("/log", token)
        yield ops.Rename(attempt, f"/save-{save}")
        if save % 3 == 0:
            yield ops.Fsync("/")
        save += 1


def state_after(count: int) -> State:
    """The state after so many ops."""
    state = State()
    last: list[ops.Op] = [ops.Create("/tail"), ops.Write("/tail", 0, b"tail" * (PART_BYTES // 4))]
    program: list[ops.Op] = [*itertools.islice(saves(), count - len(last)), *last]
    for number, op in enumerate(program):
        state = state.perform(op, f"{number}-{ops.op_name(op)}")
    return state


def plain_trees(space: CrashSpace, dice: random.Random) -> list[Tree]:
    """Trees that crashes leave, from nothing lost to nearly all."""
    chances = [step / (TREES - 1) for step in range(TREES)]
    return [
        space.materialise(space.draw(lambda _, chance=chance: dice.random() < chance**3)).base  # type: ignore[misc]
        for chance in chances
    ]


def torn(state: State, byte: int) -> Observed:
    """What a running program would read, but of the last file 4096 bytes are `byte`."""
    tree = dict(state.view)
    number = resolve(tree, "/tail")
    file = tree[number]
    assert isinstance(file, File)  # noqa: S101
    tree[number] = File(file.content.overlay(ByteRun(4096, 8192, bytes((byte,)) * 4096)))
    return Observed.of_tree(tree)


def milliseconds(work: Callable[[], object]) -> float:
    """The processor time of some work."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def growth(profile: Profile, sizes: tuple[int, ...]) -> None:
    """Preparation and answers, as the program grows."""
    print(
        f"\n{profile.name}: milliseconds, first / again; of {TREES} trees the median and the worst"
    )
    print(
        f"{'ops':>5} {'events':>6} {'run':>7} {'prepare':>8} {'growth':>7}"
        f" {'whole: median':>16} {'whole: worst':>16} {'torn':>20} {'wrong':>20}"
    )
    before = 0.0
    for size in sizes:
        began = time.process_time()
        state = state_after(size)
        ran = (time.process_time() - began) * 1e3
        made: list[MembershipChecker] = []
        prepared = milliseconds(
            lambda s=state, m=made: m.append(  # type: ignore[misc]
                MembershipChecker(s, profile, "power")
            )
        )
        member = made[0]
        space = CrashSpace.of(state, profile, "power", no_cuts)
        dice = random.Random(size)
        trees = [Observed.of_tree(t) for t in plain_trees(space, dice)]
        first, again = ([answer(member, tree) for tree in trees] for _ in range(2))
        if {verdict for _, verdict in first} != {"yes"}:
            raise SystemExit("a tree of the model was not answered with yes")
        columns = [
            f"{pick([t for t, _ in first]):7.2f} /{pick([t for t, _ in again]):7.2f}"
            for pick in (statistics.median, max)
        ]
        for byte in (0, ord("?")):
            tree = torn(state, byte)
            (once, verdict), (twice, _) = answer(member, tree), answer(member, tree)
            columns.append(f"{verdict:>4} {once:6.2f} /{twice:6.2f}")
        grown = f"x{prepared / before:.1f}" if before else ""
        print(
            f"{size:5} {len(state.issued):6} {ran:7.1f} {prepared:8.1f} {grown:>7}"
            f" {columns[0]:>16} {columns[1]:>16} {columns[2]:>20} {columns[3]:>20}",
            flush=True,
        )
        before = prepared


def answer(member: MembershipChecker, tree: Observed) -> tuple[float, str]:
    """How long an answer takes, and what it is."""
    found: list[str] = []
    took = milliseconds(lambda: found.append(member.ask(tree).verdict))
    return took, found[0]


def by_enumeration(state: State, profile: Profile, tree: Tree) -> bool:
    """The peer: list the crash states until the tree is found."""
    wanted = visible_tree(tree)
    space = CrashSpace.of(state, profile, "power", even_cuts(profile, 1))
    return any(visible_tree(after.base) == wanted for _, _, after in space.states())


def against_enumeration(profile: Profile, sizes: tuple[int, ...], rounds: int) -> None:
    """Deduction, its preparation included, against enumeration: ratios of paired runs."""
    print(f"\n{profile.name}: enumeration / member, prepared anew each time; median and quartiles")
    for size in sizes:
        state = state_after(size)
        ratios = [paired(state, profile, number) for number in range(rounds)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        pieces = len(cut_into_pieces(state, profile, no_cuts))
        print(f"{size:5} ops, {pieces:3} events: {middle:10.1f}  [{low:.1f}, {high:.1f}]")


def paired(state: State, profile: Profile, number: int) -> float:
    """One tree that a crash leaves, found in both ways: how many times longer the list takes."""
    dice = random.Random(number)
    space = CrashSpace.of(state, profile, "power", no_cuts)
    tree = space.materialise(space.draw(lambda _: dice.random() < 0.5)).base
    seen = Observed.of_tree(tree)
    listed = milliseconds(lambda: by_enumeration(state, profile, tree))
    return listed / milliseconds(lambda: MembershipChecker(state, profile, "power").ask(seen))


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description="Speed and growth of powercut member.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller programs")
    parser.add_argument("--profile", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    names = options.profile or (PROFILES[:2] if options.quick else PROFILES)
    for name in names:
        growth(load_profile(name), SIZES[:3] if options.quick else SIZES)
    small, rounds = ((4, 7), 5) if options.quick else ((4, 7, 10, 12), 15)
    against_enumeration(load_profile("posix-minimal"), small, rounds)


if __name__ == "__main__":
    main()
