"""The command line, what gives up what was set aside: `purge`."""

from __future__ import annotations

import sys
from typing import Final

import click

from lastgood.cli.changes import DRY_RUN, opened, rejections_json, say_left
from lastgood.cli.output import (
    AS_JSON,
    DIRECTORY,
    EXIT_STATUS,
    exits_with_status,
    note_done,
    print_json,
    printable,
    say,
    say_strangers,
)
from lastgood.cli.read_commands import cli
from lastgood.cli.statuses import status_after
from lastgood.errors import UsageError

_DAY_S: Final = 86_400


@cli.command(short_help="Delete what was set aside.", epilog=EXIT_STATUS)
@DIRECTORY
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Delete what was set aside so many days ago or more, by its report.",
)
@click.option(
    "--entry", "entries", multiple=True, metavar="NAME", help="Delete this entry; may be repeated."
)
@click.option("--all", "everything", is_flag=True, help="Delete every entry.")
@DRY_RUN
@AS_JSON
@exits_with_status
def purge(
    directory: str,
    older_than: float | None,
    entries: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete what lies in quarantine in DIR, with the reports on it; groups are not touched.

    `lastgood quarantine DIR` lists the entries, why each is there, and its size. An entry without a
    report has no known age: --older-than leaves it. What a stranger has put there stays.
    """
    if (older_than is not None) + bool(entries) + everything != 1:
        raise UsageError(
            "one of --older-than, --entry and --all says what to delete. Nothing was changed."
        )
    with opened(directory, writable=not dry_run) as store:
        if older_than is not None:
            done = store.purge(older_than_s=older_than * _DAY_S, dry_run=dry_run)
        else:
            done = store.purge("all" if everything else list(entries), dry_run=dry_run)
        note_done("The purge was carried out: `lastgood quarantine` shows what is left.")
    status = status_after(True, (), done.stuck)
    if as_json:
        said = {"store": str(store.path), "dry_run": dry_run, "freed_bytes": done.freed_bytes}
        said["strangers_bytes"] = done.strangers_bytes
        lists = {
            "deleted": done.deleted,
            "kept": done.kept,
            "of_unknown_age": done.of_unknown_age,
        }
        rows = {key: [each.as_json() for each in found] for key, found in lists.items()}
        print_json({**said, **rows, "stuck": rejections_json(done.stuck)})
        sys.exit(status)
    verb = "would go" if dry_run else "went"
    for each in done.deleted:
        say(f"{verb}: {printable(each.entry)} ({each.size_bytes:,} bytes)")
    for each in done.of_unknown_age:
        say(f"left: {printable(each.entry)}: no report says since when it is there (--entry)")
    say_left(done.stuck, " cannot be deleted")
    freed = "would be freed" if dry_run else "freed"
    stay = len(done.kept) + len(done.of_unknown_age) + len(done.stuck)
    say(f"{len(done.deleted)} {verb}, {stay} stay, {done.freed_bytes:,} bytes {freed}")
    say_strangers(done.strangers_bytes)
    sys.exit(status)
