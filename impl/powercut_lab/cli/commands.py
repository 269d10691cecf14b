"""`powercut experiment`: what it is asked, what it says, how it exits.

Nothing heavy is imported here: the command says what is missing before it needs it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

WHAT: Final = ("crash", "corruption", "latency", "observe", "all", "report")
NEEDED: Final = ("numpy", "scipy", "matplotlib")

EXIT_STATUS: Final = """\b
Exit status:
  0    all that can run here is done, and the report is written
  1    a unit failed; the report names it
  2    bad input: nothing was changed
  3    this machine lacks what the command needs, or the report could not be written
  130  Ctrl-C: what was measured is kept, and the same command goes on"""


@click.command(epilog=EXIT_STATUS)
@click.argument("what", metavar="WHAT", type=click.Choice(WHAT))
@click.option("--quick", "size", flag_value="quick", help="Small counts: some minutes.")
@click.option("--full", "size", flag_value="full", help="The paper's counts and more: an hour.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--only", multiple=True, metavar="TEXT", help="Only units whose name contains it; repeatable."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("powercut-experiment"),
    show_default=True,
    help="The folder of the rows and of the report.",
)
@click.option(
    "--beside",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The result.json of another machine, to stand beside these results.",
)
@click.option(
    "--list",
    "only_list",
    is_flag=True,
    help="Say how much is left to do and what is missing; run nothing.",
)
def experiment(
    what: str,
    size: str | None,
    seed: int,
    only: tuple[str, ...],
    out: Path,
    beside: Path | None,
    only_list: bool,
) -> None:
    """Run the experiments on checkpoint protocols, and write a report on them.

    `crash` kills saves and cuts the power; `corruption` damages files; `latency` times saves phase
    by phase; `observe` shows one save layer by layer; `all` runs the four; `report` runs nothing
    and draws the report from the rows that are there.

    Rows are kept as they come: after Ctrl-C the same command goes on where it stopped.  What this
    machine cannot run is left out, and listed before the start and in the report.
    """
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        click.echo(
            f"powercut experiment: {', '.join(lacking)} not installed; nothing was run. Install "
            "them:\n  pip install 'lastgood[lab]'   (in a checkout: pip install '.[lab]')",
            err=True,
        )
        sys.exit(3)
    from powercut_lab.cli.session import ExperimentCall, carry_out

    sys.exit(carry_out(ExperimentCall(what, size or "default", seed, only, out, beside, only_list)))
