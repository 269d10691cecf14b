"""The command line: pure readers of a store."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, Final, ParamSpec

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lastgood.backends.here import disk_here
from lastgood.errors import LastgoodError
from lastgood.inspection import NO_DAMAGE, Report, latest, listed, verified

_EXIT: Final = """
\b
Exit status:
  0  as expected (`latest`: a good group was found; what it fell back from is on stderr)
  1  damage was found, or nothing is loadable: content that does not match its manifest,
     a part or a manifest that is missing
  2  bad input: DIR is no store; or a group is malformed (a truncated or foreign manifest, a
     path that leaves the group, a symlink): any group for `ls` and `verify`, and for `latest`
     one of those that it rejected where nothing is loadable
  3  this machine cannot do it: an I/O error, a permission, a missing library
"""

P = ParamSpec("P")


def _honest(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what lastgood raises into one line and its exit status."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except LastgoodError as error:
            click.echo(f"lastgood: {error}", err=True)
            sys.exit(error.exit_status)
        except OSError as error:
            click.echo(f"lastgood: {error}. Nothing was changed.", err=True)
            sys.exit(3)

    return run


@click.group(
    epilog=_EXIT, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="lastgood")
def cli() -> None:
    """Look at a store of checkpoints. Nothing here ever changes one."""


_DIR: Final = click.argument("directory", metavar="DIR")
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
_GENERATION: Final = click.option(
    "--generation", type=click.IntRange(min=0), metavar="N", help="Only the group of generation N."
)


@cli.command("ls", epilog=_EXIT)
@_DIR
@_JSON
@_honest
def ls(directory: str, as_json: bool) -> None:
    """List the groups of the store DIR by their manifests, without reading their parts."""
    disk = disk_here()
    _tell(listed(disk, disk.canonical(directory)), as_json)


@cli.command(epilog=_EXIT)
@_DIR
@_GENERATION
@_JSON
@_honest
def verify(directory: str, generation: int | None, as_json: bool) -> None:
    """Read every byte of every group of the store DIR, and say which are intact."""
    disk = disk_here()
    _tell(verified(disk, disk.canonical(directory), generation), as_json)


@cli.command("latest", epilog=_EXIT)
@_DIR
@_GENERATION
@_JSON
@_honest
def latest_command(directory: str, generation: int | None, as_json: bool) -> None:
    """Print the path of the newest group of DIR that is intact, verified in full now."""
    disk = disk_here()
    report = latest(disk, disk.canonical(directory), generation)
    good = [row for row in report.rows if row.verdict == "valid"]
    bad = [row for row in report.rows if row.verdict != "valid"]
    if as_json:
        _print_json(
            {
                "store": report.store,
                "latest": good[0].as_json() if good else None,
                "rejected": [row.as_json() for row in bad],
            }
        )
    elif good:
        click.echo(good[0].path)
    elif not bad:
        click.echo(f"lastgood: {report.store!r} holds no group.", err=True)
    _complain(report)
    sys.exit(report.exit_status)


def _tell(report: Report, as_json: bool) -> None:
    """Print a report, one line on stderr for each bad group, and exit with its status."""
    _show(report, as_json)
    _complain(report)
    sys.exit(report.exit_status)


def _complain(report: Report) -> None:
    for row in report.rows:
        if row.verdict not in NO_DAMAGE:
            line = f"lastgood: {row.path}: {row.detail} ({row.verdict}). Nothing was changed."
            click.echo(line, err=True)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        _print_json(report.as_json())
        return
    table = Table(caption=Text(f"{len(report.rows)} in {report.store}"))
    for heading in ("generation", "step", "bytes", "parts"):
        table.add_column(heading, justify="right")
    table.add_column("verdict", overflow="fold")
    table.add_column("group", overflow="fold")
    for row in report.rows:
        style = {"valid": "green", "listed": ""}.get(row.verdict, "red")
        table.add_row(
            str(row.generation),
            str(row.step),
            f"{row.size_bytes:,}",
            str(row.parts),
            # Text, not markup: a verdict may quote a path that a stranger has chosen.
            Text(row.verdict, style),
            Text(row.name),
        )
    Console().print(table)


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True))
