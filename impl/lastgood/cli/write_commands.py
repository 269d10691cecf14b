"""The command line, what may change a store: `prune repair doctor bench`."""

from __future__ import annotations

import functools
import operator
import re
import sys
import warnings
from typing import Final, Literal, cast

import click
from rich.table import Table
from rich.text import Text

from lastgood.backends.detect import disk_here
from lastgood.cli.bench import measure
from lastgood.cli.changes import (
    DRY_RUN,
    finished,
    newly_quarantined,
    opened,
    preview_clearing,
    rejected_for_damage,
    rejections_json,
    require_a_choice,
    say_discarded,
    say_left,
    say_moved,
    say_stuck,
    told,
    unread_of,
)
from lastgood.cli.doctor import diagnose
from lastgood.cli.inspection import known_aside
from lastgood.cli.output import (
    AS_JSON,
    DIRECTORY,
    EXIT_STATUS,
    complain,
    ending_by_signal,
    exits_with_status,
    note_done,
    positive,
    print_json,
    printable,
    say,
    say_strangers,
    say_table,
)
from lastgood.cli.read_commands import cli
from lastgood.cli.statuses import status_after
from lastgood.errors import LastgoodWarning, UsageError
from lastgood.events import Event
from lastgood.protocol.strength import require_store
from lastgood.recovery.clearing import decide_clearing
from lastgood.recovery.listing import list_entries
from lastgood.recovery.newer_format import is_unjudged, require_readable
from lastgood.recovery.recovery import Group, Rejection
from lastgood.retention.manifest_cache import to_candidate
from lastgood.retention.policies import BestN, EveryKSteps, EverySeconds, LatestN, Policy
from lastgood.retention.prune import Pruning, list_leftovers
from lastgood.store import Store

_BEST: Final = re.compile(r"(?P<metric>.+):(?P<mode>min|max):(?P<count>[1-9][0-9]{0,8})", re.DOTALL)


@cli.command(short_help="Delete the groups that no option keeps.", epilog=EXIT_STATUS)
@DIRECTORY
@click.option("--keep-latest", type=click.IntRange(min=1), metavar="N", help="Keep the N newest.")
@click.option(
    "--keep-every",
    type=click.IntRange(min=1),
    metavar="K",
    help="Keep those of every K-th step of training: K, 2K, 3K, …",
)
@click.option(
    "--keep-seconds",
    type=float,
    callback=positive,
    metavar="T",
    help="Keep one at least every T seconds.",
)
@click.option(
    "--keep-best",
    metavar="METRIC:min|max:N",
    help="Keep the N best by a number of the metadata: loss:min:3, accuracy:max:1.",
)
@DRY_RUN
@AS_JSON
@exits_with_status
def prune(
    directory: str,
    keep_latest: int | None,
    keep_every: int | None,
    keep_seconds: float | None,
    keep_best: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete the groups of DIR that no option keeps; what any of several options keeps stays.

    They are renamed first, durably, so that no crash leaves half of one under a group's name. The
    newest valid group always stays. Dead attempts are deleted. What is damaged is not counted: what
    is newer than that group moves to DIR/quarantine, which keeps one group without MANIFEST. What
    cannot be read, and what a newer version has written, is neither counted nor deleted nor moved.
    The status is 1 or 2 where nothing valid is left, and 3 where a newer version has written the
    newest.
    """
    policy = _policy(keep_latest, keep_every, keep_seconds, keep_best)
    heard: list[Event] = []
    with opened(directory, writable=not dry_run, on_event=heard.append) as store:
        disk, path = disk_here(), str(store.path)
        if keep_best is not None:
            _require_metric(store, _best(keep_best))
        if dry_run:
            pruning = store.prune(policy, dry_run=True)
            newest = pruning.kept[0].name.generation if pruning else 0
            clearing = preview_clearing(disk, path, newest)
            moved, discarded, stuck = clearing.moved, clearing.discarded, clearing.stuck
        else:
            before = {entry for entry, _ in known_aside(disk, path)}
            pruning = store.prune(policy)
            moved = tuple(newly_quarantined(disk, path, before))
            discarded = tuple(told(heard, "discarded"))
            stuck = tuple(told(heard, "not_set_aside"))
            note_done("The prune was carried out: `lastgood ls` shows what is left.")
        unread = list(pruning.unreadable) if pruning else unread_of(store.verify())
    stuck = pruning.stuck if pruning else stuck
    status = status_after(pruning is not None, [*moved, *unread], stuck)
    if as_json:
        said = {"store": str(store.path), "dry_run": dry_run, **_pruning_json(pruning)}
        cleared = {"moved": moved, "discarded": discarded, "stuck": stuck, "unreadable": unread}
        print_json({**said, **{key: rejections_json(each) for key, each in cleared.items()}})
        sys.exit(status)
    say_moved(moved, dry_run=dry_run)
    say_discarded(discarded, dry_run=dry_run)
    say_left(unread, " cannot be read")
    if pruning is None:
        say_left(stuck, " cannot be set aside")
        nothing = "nothing was pruned: no group is valid"
        say(nothing if moved or unread or stuck else "nothing to prune: no group")
        sys.exit(status)
    for leftover in pruning.leftovers:
        say(finished(leftover, dry_run=dry_run))
    verb = "would go" if dry_run else "went"
    for group in pruning.given_up:
        say(f"{verb}: {group.name} (step {group.name.step}, {group.size_bytes:,} bytes)")
    say_stuck(pruning.stuck)
    for note in pruning.notes:
        say(f"note: {note}")
    for rejection in pruning.damaged:
        say(f"left: {rejection.name} is damaged ({rejection.reason}); see `lastgood repair`")
    say_left(pruning.unjudged)
    freed = "would be freed" if dry_run else "freed"
    say(
        f"{len(pruning.given_up)} {verb}, {len(pruning.kept)} stay, "
        f"{pruning.freed_bytes:,} bytes {freed}"
    )
    sys.exit(status)


@cli.command(short_help="Set damaged groups aside, and finish deletions.", epilog=EXIT_STATUS)
@DIRECTORY
@DRY_RUN
@AS_JSON
@exits_with_status
def repair(directory: str, dry_run: bool, as_json: bool) -> None:
    """Verify all of DIR, make its newest valid group durable, set damaged ones aside.

    They move to DIR/quarantine, which keeps one group without MANIFEST; older ones are deleted, and
    so are dead attempts. What cannot be read stays, and what a newer version has written. Deletions
    that a prune began are finished. The status is 1 or 2 where
    nothing valid is left, and 3 where a newer version has written the newest.
    """
    with opened(directory, writable=not dry_run) as store:
        if dry_run:
            disk, path = disk_here(), str(store.path)
            answers = store.verify()
            require_readable(disk, path)
            require_a_choice(answers)
            good = next((a.name for a in answers if isinstance(a, Group)), None)
            unread = unread_of(answers)
            unjudged = [a for a in answers if isinstance(a, Rejection) and is_unjudged(a)]
            entries = list_entries(disk, path)
            clearing = decide_clearing(disk, path, entries, rejected_for_damage(answers))
            moved, discarded, stuck = clearing.moved, clearing.discarded, clearing.stuck
            deletions, undeletable = list_leftovers(disk, path, entries)
            stuck = *undeletable, *stuck
        else:
            repaired = store.repair()
            good = repaired.group.name if repaired.group else None
            moved, deletions, stuck = repaired.moved, repaired.finished, repaired.stuck
            discarded = repaired.discarded
            unread, unjudged = list(repaired.unreadable), list(repaired.unjudged)
            note_done("The repair was carried out: `lastgood ls` shows what is left.")
    if as_json:
        print_json(
            {
                "store": str(store.path),
                "dry_run": dry_run,
                "newest": None if good is None else str(good),
                "moved": rejections_json(moved),
                "discarded": rejections_json(discarded),
                "unreadable": rejections_json(unread),
                "finished": [str(name) for name in deletions],
                "stuck": rejections_json(stuck),
                "unjudged": rejections_json(unjudged),
            }
        )
    else:
        say_moved(moved, dry_run=dry_run)
        say_discarded(discarded, dry_run=dry_run)
        for name in deletions:
            say(finished(name, dry_run=dry_run))
        say_stuck(stuck)
        say_left(unread, " cannot be read")
        say_left(unjudged)
        nothing = "no valid group is left" if moved or unread or stuck else "there is no group"
        say(nothing if good is None else f"newest valid group: {good}")
    sys.exit(status_after(good is not None, [*moved, *unread], stuck))


@cli.command(short_help="Say what the file system can promise.", epilog=EXIT_STATUS)
@DIRECTORY
@click.option("--probe", is_flag=True, help="Also try it out, in a folder that is removed.")
@AS_JSON
@exits_with_status
def doctor(directory: str, probe: bool, as_json: bool) -> None:
    """Say what the file system of DIR can promise a store there, which need not exist yet."""
    disk = disk_here()
    with ending_by_signal():
        diagnosis = diagnose(disk, disk.canonical(directory), probe=probe)
    if probe:
        note_done("What was made to try things out was removed, or is named above.")
    said = diagnosis.as_json()
    if as_json:
        print_json(said)
        sys.exit(0 if diagnosis.is_strong else 1)
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key in ("path", "file_system", "mount_point", "mode", "form", "survives"):
        table.add_row(key.replace("_", " "), Text(str(said[key])))
    for crash in ("process", "kernel", "power"):
        table.add_row(f"after a {crash} crash", Text(said[crash]))
    for what, answer in said["probes"].items() if probe else ():
        table.add_row(what, Text(answer, "red" if answer.startswith("refused") else ""))
    if not probe:
        table.add_row("tried out", "nothing: --probe does it")
    for what, count in said["store"].items():
        table.add_row(what.replace("_", " "), str(count))
    say_table(table)
    if said["store"].get("quarantined"):
        say("`lastgood quarantine DIR` says what lies in quarantine, and what to do about it")
    say_strangers(said["store"].get("strangers_bytes", 0))
    for weakness in said["weaknesses"]:
        complain(f"{said['path']}: {weakness}.")
    sys.exit(0 if diagnosis.is_strong else 1)


@cli.command(short_help="Measure saves and loads against plain files.", epilog=EXIT_STATUS)
@DIRECTORY
@click.option(
    "--mib",
    type=click.IntRange(1, 1 << 16),
    default=64,
    show_default=True,
    help="Size of a group, in MiB.",
)
@click.option(
    "--parts",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Files that a group is made of.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Pairs that are measured.",
)
@click.option(
    "--digest",
    type=click.Choice(["sha256", "blake3", "xxh3"]),
    default="sha256",
    show_default=True,
    help="What the parts are digested with.",
)
@AS_JSON
@exits_with_status
def bench(directory: str, mib: int, parts: int, runs: int, digest: str, as_json: bool) -> None:
    """Measure saves and verified loads in DIR against plain files that are written and synced.

    Both take turns in one run; the ratio is the median over pairs. All of it is in a folder of its
    own, which is removed.
    """
    disk = disk_here()
    path = disk.canonical(directory)
    require_store(disk, path)
    free_bytes = disk.free_bytes(path)
    if mib << 20 > free_bytes:
        raise UsageError(
            f"a group of {mib} MiB is asked for, and {path!r} has {free_bytes >> 20} MiB free. "
            "Nothing was changed. Give a smaller --mib."
        )
    with warnings.catch_warnings(), ending_by_signal():
        warnings.simplefilter("ignore", LastgoodWarning)
        algorithm = cast("Literal['sha256', 'blake3', 'xxh3']", digest)
        result = measure(path, mib << 20, parts, runs, algorithm)
    if as_json:
        print_json(result.as_json())
        return
    for line in result.lines():
        say(line)


def _policy(
    latest: int | None, every: int | None, seconds: float | None, best: str | None
) -> Policy:
    policies: list[Policy] = [
        *([] if latest is None else [LatestN(latest)]),
        *([] if every is None else [EveryKSteps(every)]),
        *([] if seconds is None else [EverySeconds(seconds)]),
        *([] if best is None else [_best(best)]),
    ]
    if not policies:
        raise UsageError(
            "nothing says what to keep: give --keep-latest, --keep-every, --keep-seconds or "
            "--keep-best. Nothing was changed."
        )
    return functools.reduce(operator.or_, policies)


def _require_metric(store: Store, best: BestN) -> None:
    """UsageError where no group has the number: a slip of the pen would give up all but one."""
    groups = store.groups()
    if best.notes([to_candidate(group) for group in groups]):
        keys = sorted({key for group in groups for key in group.manifest.metadata})
        known = ", ".join(printable(key) for key in keys[:8])
        raise UsageError(
            f"--keep-best: no group of {str(store.path)!r} has a number {best.metric!r} in its "
            f"metadata, which has: {known or 'nothing'}. Nothing was changed."
        )


def _best(text: str) -> BestN:
    match = _BEST.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--keep-best is {text[:80]!r}, expected METRIC:min:N or METRIC:max:N, such as "
            "loss:min:3. Nothing was changed."
        )
    mode: Literal["min", "max"] = "min" if match["mode"] == "min" else "max"
    return BestN(match["metric"], int(match["count"]), mode=mode)


def _pruning_json(pruning: Pruning | None) -> dict[str, object]:
    pruning = pruning or Pruning((), (), (), ())
    return {
        "kept": [str(group.name) for group in pruning.kept],
        "given_up": [str(group.name) for group in pruning.given_up],
        "damaged": rejections_json(pruning.damaged),
        "leftovers": [str(name) for name in pruning.leftovers],
        "unjudged": rejections_json(pruning.unjudged),
        "notes": list(pruning.notes),
        "freed_bytes": pruning.freed_bytes,
    }
