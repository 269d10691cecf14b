"""The command line, what may change a store: `prune repair doctor bench`."""

from __future__ import annotations

import sys
import warnings
from typing import Literal, cast

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lastgood.backends.here import disk_here
from lastgood.benching import measure
from lastgood.cli_reading import AS_JSON, DIRECTORY, EXIT_STATUS, cli, honest, print_json
from lastgood.disk import join
from lastgood.doctor import diagnose
from lastgood.errors import LastgoodWarning, UsageError
from lastgood.layout import LOCK
from lastgood.opening import require_store
from lastgood.pruning import Pruning
from lastgood.recovery import Group, Rejection
from lastgood.retention import BestN, EveryKSteps, EverySeconds, LatestN, Policy
from lastgood.store import Store, open_read_only

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")


@cli.command(epilog=EXIT_STATUS)
@DIRECTORY
@click.option("--keep-latest", type=click.IntRange(min=1), metavar="N", help="The N newest.")
@click.option("--keep-every", type=click.IntRange(min=1), metavar="K", help="Steps K divides.")
@click.option(
    "--keep-seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="T",
    help="One at least every T seconds.",
)
@click.option(
    "--keep-best",
    metavar="METRIC:min|max:N",
    help="The N best by a number of the metadata, such as loss:min:3.",
)
@_DRY_RUN
@AS_JSON
@honest
def prune(
    directory: str,
    keep_latest: int | None,
    keep_every: int | None,
    keep_seconds: float | None,
    keep_best: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give up the groups of DIR that no option keeps, un-committed durably and then deleted.

    The newest valid group always stays. What is damaged is neither counted nor deleted.
    """
    policy = _policy(keep_latest, keep_every, keep_seconds, keep_best)
    store = _opened(directory, writable=not dry_run)
    with store:
        pruning = store.prune(policy, dry_run=dry_run)
    if as_json:
        print_json({"store": str(store.path), "dry_run": dry_run, **_pruning_json(pruning)})
        return
    if pruning is None:
        click.echo("nothing to prune: there is no valid group")
        return
    verb = "would go" if dry_run else "went"
    for group in pruning.given_up:
        click.echo(f"{verb}: {group.name} (step {group.name.step}, {group.size_bytes:,} bytes)")
    for rejection in pruning.damaged:
        click.echo(f"left: {rejection.name} is damaged ({rejection.reason}); see `lastgood repair`")
    click.echo(
        f"{len(pruning.given_up)} {verb}, {len(pruning.kept)} stay, "
        f"{pruning.freed_bytes:,} bytes freed"
    )


@cli.command(epilog=EXIT_STATUS)
@DIRECTORY
@_DRY_RUN
@AS_JSON
@honest
def repair(directory: str, dry_run: bool, as_json: bool) -> None:
    """Verify all of DIR, make its newest valid group durable, set damaged ones aside.

    They move to DIR/quarantine; none is deleted. Deletions that a prune began are finished. The
    status is 1 where nothing valid is left.
    """
    with _opened(directory, writable=not dry_run) as store:
        if dry_run:
            answers = store.verify()
            good = next((a.name for a in answers if isinstance(a, Group)), None)
            moved = [answer for answer in answers if isinstance(answer, Rejection)]
        else:
            repaired = store.repair()
            good = repaired.group.name if repaired.group else None
            moved = list(repaired.moved)
    report = [{"name": each.name, "reason": each.reason, "detail": each.detail} for each in moved]
    if as_json:
        newest = None if good is None else str(good)
        print_json(
            {"store": str(store.path), "dry_run": dry_run, "newest": newest, "moved": report}
        )
    else:
        verb = "would move" if dry_run else "moved"
        for each in moved:
            click.echo(f"{verb} to quarantine: {each.name}: {each.detail} ({each.reason})")
        click.echo("no valid group is left" if good is None else f"newest valid group: {good}")
    sys.exit(1 if good is None and moved else 0)


@cli.command(epilog=EXIT_STATUS)
@DIRECTORY
@click.option("--probe", is_flag=True, help="Also try it out, in a folder that is removed.")
@AS_JSON
@honest
def doctor(directory: str, probe: bool, as_json: bool) -> None:
    """Say what the file system of DIR can promise a store there, which need not exist yet."""
    disk = disk_here()
    diagnosis = diagnose(disk, disk.canonical(directory), probe=probe)
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
    for what, answer in said["probes"].items():
        table.add_row(what, Text(answer, "red" if answer.startswith("refused") else ""))
    for what, count in said["store"].items():
        table.add_row(what.replace("_", " "), str(count))
    Console().print(table)
    for weakness in said["weaknesses"]:
        click.echo(f"lastgood: {said['path']}: {weakness}", err=True)
    sys.exit(0 if diagnosis.is_strong else 1)


@cli.command(epilog=EXIT_STATUS)
@DIRECTORY
@click.option(
    "--mib",
    type=click.IntRange(1, 1 << 16),
    default=64,
    show_default=True,
    help="Size of a group, in MiB.",
)
@click.option("--parts", type=click.IntRange(1, 256), default=4, show_default=True)
@click.option("--runs", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option(
    "--digest", type=click.Choice(["sha256", "blake3", "xxh3"]), default="sha256", show_default=True
)
@AS_JSON
@honest
def bench(directory: str, mib: int, parts: int, runs: int, digest: str, as_json: bool) -> None:
    """Measure saves and verified loads in DIR against plain files that are written and synced.

    Both take turns in one run; the ratio is the median over pairs. All of it is in a folder of its
    own, which is removed.
    """
    disk = disk_here()
    path = disk.canonical(directory)
    require_store(disk, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LastgoodWarning)
        algorithm = cast("Literal['sha256', 'blake3', 'xxh3']", digest)
        result = measure(path, mib << 20, parts, runs, algorithm)
    if as_json:
        print_json(result.as_json())
        return
    for line in result.lines():
        click.echo(line)


def _policy(
    latest: int | None, every: int | None, seconds: float | None, best: str | None
) -> Policy:
    policies: list[Policy] = []
    if latest is not None:
        policies.append(LatestN(latest))
    if every is not None:
        policies.append(EveryKSteps(every))
    if seconds is not None:
        policies.append(EverySeconds(seconds))
    if best is not None:
        policies.append(_best(best))
    if not policies:
        raise UsageError(
            "nothing says what to keep: give --keep-latest, --keep-every, --keep-seconds or "
            "--keep-best. Nothing was changed."
        )
    policy = policies[0]
    for each in policies[1:]:
        policy = policy | each
    return policy


def _best(text: str) -> BestN:
    metric, mode, count = (*text.rsplit(":", 2), "", "")[:3]
    if not metric or mode not in ("min", "max") or not count.isdecimal() or int(count) < 1:
        raise UsageError(
            f"--keep-best is {text!r}, expected METRIC:min:N or METRIC:max:N, such as loss:min:3. "
            "Nothing was changed."
        )
    return BestN(metric, int(count), "min" if mode == "min" else "max")


def _opened(directory: str, *, writable: bool) -> Store:
    """A store that is there already: a command never makes one."""
    disk = disk_here()
    path = disk.canonical(directory)
    require_store(disk, path)
    if not writable:
        return open_read_only(path)
    if disk.kind(join(path, LOCK)) != "file":
        raise UsageError(
            f"{path!r} has no {LOCK!r}: found a directory that no writer has opened, expected a "
            "store. Nothing was changed."
        )
    return Store(path)


def _pruning_json(pruning: Pruning | None) -> dict[str, object]:
    if pruning is None:
        return {"kept": [], "given_up": [], "damaged": [], "freed_bytes": 0}
    return {
        "kept": [str(group.name) for group in pruning.kept],
        "given_up": [str(group.name) for group in pruning.given_up],
        "damaged": [{"name": r.name, "reason": r.reason} for r in pruning.damaged],
        "freed_bytes": pruning.freed_bytes,
    }
