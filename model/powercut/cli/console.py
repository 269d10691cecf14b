"""What every command of `powercut` shares: how it fails, how it prints JSON, how it exits."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from powercut.errors import PowercutError

EXIT_STATUS = """\b
Exit status:
  0  as expected: every property asked holds; every trace gave its recorded verdict
  1  a property fails; a trace gave another verdict than it records; a gated case disagrees
  2  bad input: nothing was changed
  3  this machine cannot run it, or the output could not be written
  4  unknown: the answer hangs on a rule in doubt, or a permission that allows too much
  5  not refuted: `check` found nothing, by sampling or by a search that was cut off"""


class FilePath(click.Path):
    """The path of a file; an empty one, which would mean the current folder, is refused."""

    def __init__(self, *, file_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As of click. BadParameter."""
        if value == "":
            self.fail("the path is empty; expected the name of a file or folder", param, ctx)
        return super().convert(value, param, ctx)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn an error of ours into one line and exit status 2."""
    try:
        yield
    except PowercutError as error:
        click.echo(f"powercut: {error}", err=True)
        sys.exit(2)


def emit(data: Any) -> None:
    """Print JSON: keys in the order of the contract, the same bytes for the same data."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def table_of(*headings: str, title: str | None = None) -> Table:
    """An empty table that folds long cells."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
