"""The command line, its readers: `ls show verify latest why quarantine diff` change nothing."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import click
from attrs import asdict
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from lastgood.backends.detect import disk_here
from lastgood.backends.interface import DiskReader
from lastgood.backends.posix import PosixDisk
from lastgood.cli.inspection import (
    StoreReport,
    find_group,
    find_latest,
    list_groups,
    report_quarantine,
    verify_groups,
)
from lastgood.cli.manifest_diff import compare
from lastgood.cli.output import (
    AS_JSON,
    DIRECTORY,
    EXIT_STATUS,
    GENERATION,
    complain,
    exits_with_status,
    format_time,
    print_json,
    printable,
    say,
    say_columns,
    say_path,
    say_strangers,
)
from lastgood.cli.statuses import OK
from lastgood.format.features import require_judged
from lastgood.format.manifest import Manifest
from lastgood.format.names import QUARANTINE
from lastgood.parts.thread_pool import ParallelMap, default_workers, new_parallel_map
from lastgood.parts.verify import RejectedError, Unit
from lastgood.recovery.quarantine_report import REPORT_SUFFIX, QuarantineReport
from lastgood.recovery.recovery import Group, Rejection, integrity_error


@click.group(
    epilog=EXIT_STATUS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="lastgood")
def cli() -> None:
    """Look at a store of checkpoints, and look after it.

    DIR is a store: a directory of groups, each of which is one checkpoint. The name of a group
    has its generation, which counts saves, and its step of training: gen-00000003-step-00000030.

    `prune`, `repair` and `purge` change one, as the holder of its lease, and say beforehand with
    --dry-run what they would do; `doctor --probe` and `bench` make a folder of their own in it, and
    remove it. Nothing else changes anything.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_GENERATION: Final = click.option(
    "--generation", type=GENERATION, metavar="N", help="Only the group of generation N."
)


@cli.command("ls", short_help="List the groups and their sizes; quick.", epilog=EXIT_STATUS)
@DIRECTORY
@AS_JSON
@exits_with_status
def ls(directory: str, as_json: bool) -> None:
    """List the groups of the store DIR by their manifests, without reading their parts."""
    disk = disk_here()
    _tell(list_groups(disk, disk.canonical(directory)), as_json)


@cli.command(short_help="Read every byte, and say which groups are intact.", epilog=EXIT_STATUS)
@DIRECTORY
@_GENERATION
@AS_JSON
@exits_with_status
def verify(directory: str, generation: int | None, as_json: bool) -> None:
    """Read every byte of every group of the store DIR, and say which are intact.

    Of a damaged group every damaged range is named: chunks, where it was saved with them, or else
    whole parts. With --json they are under "damaged".
    """
    report = _verifying(verify_groups, directory, generation)
    _tell(report, as_json)


@cli.command("latest", short_help="Print the path of the newest intact group.", epilog=EXIT_STATUS)
@DIRECTORY
@_GENERATION
@AS_JSON
@exits_with_status
def latest_command(directory: str, generation: int | None, as_json: bool) -> None:
    """Print the path of the newest group of DIR that is intact, verified in full now."""
    report = _verifying(find_latest, directory, generation)
    good = [row for row in report.rows if row.verdict == "valid"]
    bad = [row for row in report.rows if row.verdict != "valid"]
    if as_json:
        print_json(
            {
                "store": report.store,
                "latest": good[0].as_json() if good else None,
                "rejected": [row.as_json() for row in bad],
            }
        )
    elif good:
        say_path(good[0].path)
    elif not bad:
        complain(f"{report.store!r} holds no group. Nothing was changed.")
    _complain(report)
    sys.exit(report.exit_status)


@cli.command(short_help="Show parts, digests and metadata of a group.", epilog=EXIT_STATUS)
@DIRECTORY
@click.argument("generation", type=GENERATION, metavar="N")
@AS_JSON
@exits_with_status
def show(directory: str, generation: int, as_json: bool) -> None:
    """Show the manifest of generation N of the store DIR: parts, digests and metadata."""
    disk = disk_here()
    group = _group(disk, directory, generation)
    manifest = group.manifest
    if as_json:
        print_json({"path": group.path, **manifest_json(manifest)})
        return
    caption = f"digests are {manifest.algorithm}, of {printable(manifest.attempt)}"
    numbers = ["bytes"]
    if (chunking := manifest.chunking) is not None:
        caption += f"; chunks of {chunking.chunk_bytes:,} bytes have {chunking.algorithm}"
        numbers.append("chunks")
    rows = []
    for part in manifest.parts:
        chunks = () if chunking is None else (f"{len(part.chunks) // chunking.digits:,}",)
        rows.append((f"{part.size_bytes:,}", *chunks, part.path, part.digest, part.digest_from))
    say_columns((*numbers, "part", "digest", "taken from"), rows, numbers=len(numbers))
    say(caption)
    say(json.dumps(dict(manifest.metadata), indent=2, sort_keys=True))


@cli.command(short_help="Say which group a load takes, and why no newer one.", epilog=EXIT_STATUS)
@DIRECTORY
@AS_JSON
@exits_with_status
def why(directory: str, as_json: bool) -> None:
    """Say which group of DIR a load would take, and why not each newer one. Verifies in full."""
    report = _verifying(find_latest, directory, None)
    good = next((row for row in report.rows if row.verdict == "valid"), None)
    if as_json:
        taken = good.as_json() if good else None
        passed = [row.as_json() for row in report.rows if row is not good]
        print_json({"store": report.store, "taken": taken, "passed_over": passed})
        sys.exit(report.exit_status)
    for row in report.rows:
        if row is not good:
            say(f"not {row.name}: {row.detail} ({row.verdict})")
    if good is None and any(row.is_unjudged for row in report.rows):
        say("nothing: a load refuses, as that may be the newest group that was acknowledged")
    elif good is None:
        say("nothing: no group is valid" if report.rows else "nothing: there is no group")
    else:
        step = f"step {good.step}, {good.parts} parts, {good.size_bytes:,} bytes"
        # Where a part has chunks, those were verified, and its own digest was not.
        digests = (
            "the digest" if good.chunk_bytes is None else "the digest, or those of its chunks,"
        )
        say(f"{good.name}: every part has the size and {digests} of its MANIFEST ({step})")
    sys.exit(report.exit_status)


@cli.command(short_help="List what was set aside, and why.", epilog=EXIT_STATUS)
@DIRECTORY
@AS_JSON
@exits_with_status
def quarantine(directory: str, as_json: bool) -> None:
    """List what was set aside in DIR, why, what is wrong with it now, and the bytes that it takes.

    Beside each entry its report says what was found, of which part, and what to do: how to take the
    entry back as well. `lastgood purge` deletes entries.
    """
    report = _verifying(report_quarantine, directory)
    if as_json:
        print_json(report.as_json())
        return
    if not report.rows:
        say(f"nothing in quarantine in {printable(report.store)}")
        say_strangers(report.strangers_bytes)
        return
    rows = []
    for row in report.rows:
        why = row.report
        when, reason = "", str(why)
        if isinstance(why, QuarantineReport):
            when, reason = format_time(why.when_s), why.reason
        used = f"{row.used_bytes:,}"
        rows.append((row.name, when, reason, row.verdict, used))
    colours = ["green" if row.verdict == "valid" else None for row in report.rows]
    say_columns(("entry", "set aside", "for", "now", "bytes"), rows, colours=colours)
    say(f"{len(rows)} in {printable(report.store)}/{QUARANTINE}")
    say_strangers(report.strangers_bytes)
    if any(isinstance(row.report, QuarantineReport) for row in report.rows):
        say(f"ENTRY{REPORT_SUFFIX} beside each says what was found, of which part, and what to do")


@cli.command(short_help="Compare two groups by their manifests.", epilog=EXIT_STATUS)
@DIRECTORY
@click.argument("first", type=GENERATION, metavar="N")
@click.argument("second", type=GENERATION, metavar="M")
@AS_JSON
@exits_with_status
def diff(directory: str, first: int, second: int, as_json: bool) -> None:
    """Compare the manifests of generations N and M of DIR. The status is 1 where they differ."""
    disk = disk_here()
    one, other = (_group(disk, directory, number) for number in (first, second))
    difference = compare(one.manifest, other.manifest)
    if as_json:
        print_json(difference.as_json())
        sys.exit(0 if difference.is_empty else 1)
    for mark, paths in (
        ("-", difference.only_first),
        ("+", difference.only_second),
        ("~", difference.changed),
        ("?", difference.unsure),
    ):
        for path in paths:
            say(f"{mark} {path}")
    for key, change in difference.metadata.items():
        before, after = (json.dumps(each[0]) if each else "nothing" for each in change)
        say(f"metadata {printable(key)}: {before} -> {after}")
    sys.exit(0 if difference.is_empty else 1)


@contextlib.contextmanager
def progress(disk: DiskReader, path: str) -> Iterator[ParallelMap]:
    """Threads for a verification, and on a terminal how far it is, by bytes."""
    parallel_map = new_parallel_map(default_workers())
    if sys.stderr is None or not sys.stderr.isatty():
        yield parallel_map
        return
    rows = list_groups(disk, path).rows
    columns = TextColumn("verifying"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=sum(row.size_bytes for row in rows))

        def telling(
            check: Callable[[Unit], RejectedError | None], units: Iterable[Unit]
        ) -> Iterable[RejectedError | None]:
            def checked(unit: Unit) -> RejectedError | None:
                answer = check(unit)
                bar.advance(task, unit.size_bytes)
                return answer

            return parallel_map(checked, units)

        yield telling


def _verifying(report: Callable[..., StoreReport], directory: str, *asked: Any) -> StoreReport:
    """The report of a store that is verified by several threads."""
    disk = disk_here()
    path = disk.canonical(directory)
    with progress(disk, path) as parallel_map:
        return report(disk, path, *asked, parallel_map=parallel_map)


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """A manifest as JSON can say it."""
    chunking = manifest.chunking
    return {
        "generation": manifest.generation,
        "step": manifest.step,
        "attempt": manifest.attempt,
        "world_size": manifest.world_size,
        "digest": manifest.algorithm,
        "chunk_bytes": None if chunking is None else chunking.chunk_bytes,
        "chunk_digest": None if chunking is None else chunking.algorithm,
        "saved_at_s": manifest.saved_at_s,
        "metadata": dict(manifest.metadata),
        "parts": [
            {
                **asdict(part),
                "chunks": [] if chunking is None else chunking.digests(part.chunks),
            }
            for part in manifest.parts
        ],
    }


def _group(disk: PosixDisk, directory: str, generation: int) -> Group:
    answer = find_group(disk, disk.canonical(directory), generation)
    if isinstance(answer, Rejection):
        require_judged(answer.name, answer.reason)
        raise integrity_error(answer)
    return answer


def _tell(report: StoreReport, as_json: bool) -> None:
    """Print a report, one line on stderr for each bad group, and exit with its status."""
    _show(report, as_json)
    _complain(report)
    sys.exit(report.exit_status)


def _complain(report: StoreReport) -> None:
    """One line for each group that is damaged, may not be read, or is a newer version's.

    And for everything that is no group, where nothing else is.
    """
    found = any(row.verdict in ("valid", "listed") for row in report.rows)
    for row in report.rows:
        is_told = row.is_damage or row.is_forbidden or row.is_unjudged
        if is_told or (report.exit_status != OK and not found):
            complain(f"{row.path}: {row.detail} ({row.verdict}). Nothing was changed.")


def _show(report: StoreReport, as_json: bool) -> None:
    if as_json:
        print_json(report.as_json())
        return
    aside = ""
    if report.aside:
        aside = f"\n{len(report.aside)} in quarantine, {report.aside_bytes:,} bytes"
    if report.aside_error:
        aside = f"\nthe quarantine cannot be listed: {report.aside_error}"
    if not report.rows:
        say(f"no group in {printable(report.store)}{aside}")
        say_strangers(report.strangers_bytes)
        return
    rows, colours = [], []
    for row in report.rows:
        numbers = str(row.generation), str(row.step), f"{row.size_bytes:,}", str(row.parts)
        rows.append((*numbers, row.verdict, row.name))
        known = {"valid": "green", "listed": None}
        colours.append(known.get(row.verdict, "red" if row.is_damage else "yellow"))
    headings = "generation", "step", "bytes", "parts", "verdict", "group"
    say_columns(headings, rows, numbers=4, colours=colours)
    say(f"{len(rows)} in {printable(report.store)}{aside}")
    say_strangers(report.strangers_bytes)
