"""The texts that are kept word for word, and how each is made.

`python -m tests.snapshots` writes them anew; `git diff` then shows what a reader would see change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from powercut.cli.commands import powercut

FOLDER: Final = Path(__file__).resolve().parent


def said(*arguments: str) -> str:
    """What a command says in this folder, on a terminal of 80 columns, and its exit status."""
    with contextlib.chdir(FOLDER):
        done = CliRunner().invoke(
            powercut, list(arguments), prog_name="powercut", env={"COLUMNS": "80"}
        )
    command = " ".join(["powercut", *arguments])
    return f"$ {command}\n{done.output}(exit status {done.exit_code})\n"


TEXTS: Final[dict[str, Callable[[], str]]] = {
    "help.txt": lambda: said("--help"),
    "check-help.txt": lambda: said("check", "--help"),
    "explain.txt": lambda: said("explain", "explained.toml"),
    "replay.json.txt": lambda: said("replay", "--json", "explained.toml"),
    "trace-error.txt": lambda: said("replay", "unknown-op.toml"),
    "profile-error.txt": lambda: said("check", "lastgood:unsafe", "-p", "misspelt-rule.toml"),
}
"""Each file of this folder that is kept, and what makes it. Inputs are the `.toml` files here."""
