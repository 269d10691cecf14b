"""How fast the model is, and how its cost grows.

    python benchmarks/model_states.py [--quick]

First, `powercut check` by enumeration: crash states represented and recoveries run in a second,
as the group grows.  Then the constraints of one crash: the rules' fast form against their
readable form, on the same pieces in the same run, as the program grows.  Only ratios travel
between machines.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from powercut.checker.exhaustive import Bound, enumerate_verdicts
from powercut.crash.catalog import Catalog
from powercut.crash.fast_order_rules import immediate
from powercut.crash.torn_writes import cut_into_pieces, no_cuts
from powercut.filesystem import ops
from powercut.filesystem.events import Piece
from powercut.filesystem.state import State
from powercut.profile import Profile, load_profile
from powercut.rule import Rule
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.subject import load_subject


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def check_rates(parts_max: int) -> None:
    """Enumeration of lastgood:atomic_dirsync under posix-minimal."""
    print("parts  represented     run  represented/s   run/s")
    subject, profile = load_subject("lastgood:atomic_dirsync"), load_profile("posix-minimal")
    for parts in range(1, parts_max + 1):
        bound = Bound(saves=2, crashes=2, parts=parts, pieces=2)
        began = time.perf_counter()
        verdict = enumerate_verdicts(subject, profile, "power", OF_CRASHES, bound)["P3"]
        took = time.perf_counter() - began
        print(
            f"{parts:5}  {verdict.represented:11,}  {verdict.run:6,}"
            f"  {verdict.represented / took:13,.0f}  {verdict.run / took:6,.0f}"
        )


def pieces_of(files: int, profile: Profile) -> tuple[Piece, ...]:
    """The pending pieces when that many small files were made, written and renamed."""
    state = State()
    for number in range(files):
        path = f"/f{number}"
        for kind, op in (
            ("c", ops.Create(f"{path}.tmp")),
            ("w", ops.Write(f"{path}.tmp", 0, b"x" * 100)),
            ("r", ops.Rename(f"{path}.tmp", path)),
        ):
            state = state.perform(op, f"{kind}{number}")
    return cut_into_pieces(state, profile, no_cuts)


def by_pairs(rules: tuple[Rule, ...], pieces: tuple[Piece, ...]) -> int:
    """The readable form, on every pair."""
    return sum(
        int(rule.holds(earlier, later))
        for rule in rules
        for position, later in enumerate(pieces)
        for earlier in pieces[:position]
    )


def by_generator(rules: tuple[Rule, ...], pieces: tuple[Piece, ...]) -> int:
    """The immediate constraints."""
    return sum(1 for rule in rules for _ in immediate(rule, Catalog(pieces)))


def rule_forms(sizes: tuple[int, ...]) -> None:
    """The two forms of ext4-ordered's order and atomic rules."""
    profile = load_profile("ext4-ordered")
    rules = profile.rules("order", "power") + profile.rules("atomic", "power")
    print("\npieces  pairs, ms  generator, ms  ratio")
    for files in sizes:
        pieces = pieces_of(files, profile)
        pairs = seconds(lambda p=pieces: by_pairs(rules, p), 3)  # type: ignore[misc]
        fast = seconds(lambda p=pieces: by_generator(rules, p), 3)  # type: ignore[misc]
        print(f"{len(pieces):6}  {pairs * 1e3:9.2f}  {fast * 1e3:13.2f}  {pairs / fast:5.0f}")


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description="Rates and growth of the crash model.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    quick = parser.parse_args().quick
    check_rates(2 if quick else 3)
    rule_forms((4, 8) if quick else (4, 8, 16, 32, 64))


if __name__ == "__main__":
    main()
