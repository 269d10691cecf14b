"""`python -m tests.faults`: the lane of real faults, within the bounds that are asked for.

Prints a Markdown table, and every finding after it. Exit status: 0 no finding, 1 a finding, 3 this
machine cannot run it. Needs root, loop devices and /dev/fuse.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

from powercut_rig import RigError, RigUnavailable
from powercut_rig.system.worker import run_in_worker_within
from tests.faults.calls import run_calls
from tests.faults.flips import run_flips
from tests.faults.steps import run_between, run_full, run_read_only
from tests.faults.tally import Tally

LIMIT_S = 24 * 3600.0
"""Of a part as a whole; each case in it has a deadline of its own."""


def main() -> int:
    """Run the parts that are asked for, and say what they found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--flips", type=int, default=1000, help="of btrfs; half as many of others")
    parser.add_argument("--steps", type=float, default=1.0, help="the share of all steps; 0: none")
    parser.add_argument("--calls", type=int, default=20_000, help="faults of calls; -1: every one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="for programs, instead of the table")
    asked = parser.parse_args()
    calls = None if asked.calls < 0 else asked.calls
    parts: dict[str, Callable[[], Tally]] = {}
    if asked.flips:
        parts["flips"] = partial(run_flips, asked.flips, asked.seed)
    if asked.steps:
        parts["full disks"] = partial(run_full, asked.steps, asked.seed)
        parts["disks that become read-only or go"] = partial(run_read_only, asked.steps, asked.seed)
        parts["remounts"] = run_between
    if calls != 0:
        parts["calls"] = partial(run_calls, calls, asked.seed)
    whole = Tally()
    for name, run in parts.items():
        begun_s = time.monotonic()
        try:
            tally = run_in_worker_within(LIMIT_S, run)
        except RigUnavailable as error:
            print(f"faults: cannot run here: {error}", file=sys.stderr)
            return 3
        except RigError as error:
            tally = Tally()
            tally.find(name, "the whole part", [str(error)])
        whole.add(tally)
        cases, took_s = sum(tally.cases.values()), time.monotonic() - begun_s
        said = f"{cases} cases, {len(tally.findings)} findings, {took_s:.0f} s"
        print(f"faults: {name}: {said}", file=sys.stderr, flush=True)
    print(whole.as_json() if asked.json else whole.markdown())
    for found in whole.findings if not asked.json else ():
        print(f"FOUND in {found.part}, {found.case}: {found.what}")
    return 1 if whole.findings else 0


if __name__ == "__main__":
    sys.exit(main())
