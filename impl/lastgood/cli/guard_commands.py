"""The command line, the guard of single files: `guard write|check|scan`."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import click

from lastgood.cli.output import (
    AS_JSON,
    DIRECTORY,
    EXIT_STATUS,
    complain,
    exits_with_status,
    note_done,
    print_json,
    printable,
    say,
    say_columns,
)
from lastgood.cli.read_commands import cli
from lastgood.cli.statuses import DAMAGED, MALFORMED, OK, REFUSED
from lastgood.errors import LastgoodError

if TYPE_CHECKING:
    from lastgood.guard import FileReport
    from lastgood.guard.sidecar import FormatName

_FILES: Final = click.argument("files", nargs=-1, required=True, metavar="FILE…")
_REJECT: Final = click.option(
    "--reject-nonfinite", is_flag=True, help="NaN or infinity rejects a file; else it warns."
)
_MALFORMED: Final = ("meta_error:", "not_regular:", "missing:", "too_large:")


class _LoaderNeededError(LastgoodError):
    """A library that loads the format is not installed."""


@cli.group(short_help="Guard single files by a sidecar: write, check, scan.", epilog=EXIT_STATUS)
def guard() -> None:
    """Guard single checkpoint files, whoever writes them.

    A sidecar FILE.guard.json keeps the SHA-256 of a file and, of .npz, .safetensors, .pt and .pth,
    the digest, shape and dtype of each tensor. A file of PyTorch is loaded by a child process with
    limits, with weights_only=True; no pickle is loaded in this one. Each command takes --json.
    """


@guard.command(short_help="Write the sidecars of files.", epilog=EXIT_STATUS)
@_FILES
@click.option(
    "--format",
    "form",
    type=click.Choice(("npz", "safetensors", "torch", "opaque")),
    help="The format of the files; by the endings of their names if not given.",
)
@AS_JSON
@exits_with_status
def write(files: tuple[str, ...], form: FormatName | None, as_json: bool) -> None:
    """Write a sidecar beside each FILE, as it is now; the file has to load."""
    from lastgood.guard import Guard, LoaderMissingError

    paths: list[str] = []
    with Guard() as judge:
        for number, file in enumerate(files, 1):
            try:
                paths.append(str(judge.write_sidecar(file, form)))
            except LoaderMissingError as error:
                raise _LoaderNeededError(
                    f"{file!r} got no sidecar: {error}, or pass --format opaque to keep the "
                    "SHA-256 of the file alone."
                ) from error
            note_done(f"The sidecars of the first {number} files were written.")
            if not as_json:
                say(printable(paths[-1]))
    if as_json:
        print_json({"written": paths})


@guard.command(short_help="Compare files with their sidecars.", epilog=EXIT_STATUS)
@_FILES
@_REJECT
@AS_JSON
@exits_with_status
def check(files: tuple[str, ...], reject_nonfinite: bool, as_json: bool) -> None:
    """Compare each FILE with its sidecar, and load it, where its format is known."""
    from lastgood.guard import Guard

    with Guard(reject_nonfinite=reject_nonfinite) as judge:
        reports = [judge.check(file) for file in files]
    if as_json:
        print_json({"files": [each.as_json() for each in reports]})
    else:
        for each in reports:
            verdict = ";".join(each.reasons) or ("ok" if each.is_judged else "not judged")
            say(f"{printable(each.path)}: {printable(verdict)}")
            for name in each.damaged:
                say(f"  damaged tensor: {printable(name)}")
    _warn(reports)
    sys.exit(_status(reports))


@guard.command(short_help="Check all files and groups of a directory.", epilog=EXIT_STATUS)
@DIRECTORY
@_REJECT
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, not a table.")
@click.option("--groups", is_flag=True, help="Scan the groups in DIR, not its files.")
@AS_JSON
@exits_with_status
def scan(
    directory: str, reject_nonfinite: bool, as_csv: bool, groups: bool, as_json: bool
) -> None:  # fmt: skip
    """Check each file in DIR that has a sidecar or a known format; --groups: each group in DIR.

    Groups are lastgood's, and epoch_NNNN directories with MANIFEST.json and COMMIT.json.
    """
    from lastgood.guard import FILE_COLUMNS, GROUP_COLUMNS, Guard, scan_groups

    if groups:
        found = scan_groups(directory)
        _print(GROUP_COLUMNS, [each.row() for each in found], as_csv, as_json)
        sys.exit(OK if all(each.group_ok for each in found) else DAMAGED)
    with Guard(reject_nonfinite=reject_nonfinite) as judge:
        reports = list(judge.scan(directory))
    _print(FILE_COLUMNS, [each.row() for each in reports], as_csv, as_json)
    _warn(reports)
    sys.exit(_status(reports))


def _print(
    columns: Sequence[str], rows: Sequence[Sequence[str | int]], as_csv: bool, as_json: bool
) -> None:  # fmt: skip
    if as_json:
        print_json({"rows": [dict(zip(columns, row, strict=True)) for row in rows]})
    elif as_csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        say(text.getvalue().rstrip("\n"))
    else:
        say_columns(columns, [[str(cell) for cell in row] for row in rows])


def _warn(reports: Iterable[FileReport]) -> None:
    for each in reports:
        if each.warnings:
            complain(f"{each.path!r}: {', '.join(each.warnings)}")


def _status(reports: Sequence[FileReport]) -> int:
    """2 for a malformed or missing file or sidecar, 1 for damage, 3 where nothing could judge."""
    reasons = [reason for each in reports for reason in each.reasons]
    if any(reason.startswith(_MALFORMED) for reason in reasons):
        return MALFORMED
    if reasons:
        return DAMAGED
    return OK if all(each.is_judged for each in reports) else REFUSED
