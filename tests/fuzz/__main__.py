"""`python -m tests.fuzz TARGET…`: run a target under Atheris (libFuzzer) for some time.

Needs the dependency group `fuzz`: `make fuzz` has it. The corpus grows in build/fuzz/TARGET;
an input that breaks a promise is written beside it, and ends the run with status 77.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
MEMORY_MIB: Final = 1024
"""Whoever takes more, in all of a run, has broken a promise."""
MEMORY: Final = "/dev/shm"  # noqa: S108 - mkdtemp makes folders of its own in it
"""Linux's folder in memory: each input makes and removes a tree, which a disk would write."""
LIMIT_S: Final = 60
"""So has an input that takes longer (libFuzzer's own clock: no test has one)."""


def main() -> None:
    """Fuzz one target; Atheris ends the process."""
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit("fuzz: Atheris is not installed: run `make fuzz`, or pip install --group fuzz")
    with atheris.instrument_imports(include=["lastgood"]):
        import lastgood.cli.main  # instrumented before anything else imports it
        from tests.fuzz.seeds import seeds
        from tests.fuzz.targets import TARGETS
    del lastgood
    logging.getLogger("lastgood").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="0: until it is interrupted")
    parser.add_argument("--runs", type=int, default=-1, help="executions; -1: no limit")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    asked = parser.parse_args()
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK | os.X_OK):
        tempfile.tempdir = MEMORY
    home = ROOT / "build" / "fuzz" / asked.target
    corpus = home / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds(asked.target):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-artifact_prefix={home}/",
            f"-max_total_time={asked.seconds}",
            f"-runs={asked.runs}",
            f"-seed={asked.seed}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-timeout={LIMIT_S}",
            "-max_len=4096",
            "-print_final_stats=1",
        ],
        TARGETS[asked.target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
