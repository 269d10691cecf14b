"""`python -m tests.model.membership`: member against enumeration, on as many programs as asked for.

By hand; the quick lane asks about a fixed few (test_random_questions.py).  Prints what it counted.
Exit status: 0 the two agree everywhere, 1 they differ, and the programs are printed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.model.membership.random_questions import compare


def main() -> int:
    """Compare, count, and print each difference as it is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=6000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first program")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally, disagreements = Counter[str](), 0
    for number in range(options.first, options.first + options.programs):
        try:
            compare(number, options.seed, tally)
        except AssertionError as error:
            disagreements += 1
            print(f"program {number} of seed {options.seed}: {error}", flush=True)
    for what, count in sorted(tally.items()):
        print(f"{count:8} {what}")
    print(f"{disagreements:8} disagreements")
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
