"""What `prune`, `repair` and `purge` share: their store, and the words of what they did."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import click

from lastgood.backends.detect import disk_here
from lastgood.backends.interface import DiskReader, describe_kind, join, kind_at
from lastgood.cli.inspection import known_aside
from lastgood.cli.output import complain, note_done, say
from lastgood.errors import LastgoodWarning, UsageError
from lastgood.events import Event, Hook
from lastgood.format.features import require_judged
from lastgood.format.names import LOCK, QUARANTINE, GroupName, newest_first
from lastgood.protocol.strength import require_store
from lastgood.recovery.clearing import NOT_SET_ASIDE, Clearing, decide_clearing
from lastgood.recovery.listing import list_entries
from lastgood.recovery.quarantine import stays
from lastgood.recovery.recovery import GONE, Group, Rejection, as_lease_holder, examine
from lastgood.recovery.unread import not_permitted_error
from lastgood.store import Store

DRY_RUN: Final = click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be done, by a look: it tries nothing, so the disk may refuse some of it.",
)


def opened(directory: str, *, writable: bool, on_event: Hook | None = None) -> Store:
    """A store that is there already: a command never makes one."""
    disk = disk_here()
    path = disk.canonical(directory)
    require_store(disk, path)
    if not writable:
        return Store(path, writable=False, on_event=on_event)
    kind = kind_at(disk, join(path, LOCK))
    if kind != "file":
        found = (
            "a directory that no writer has opened" if kind == "missing" else describe_kind(kind)
        )
        raise UsageError(
            f"{path!r} has no {LOCK!r} file: found {found}, expected a store. Nothing was changed."
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LastgoodWarning)
        store = Store(path, on_event=on_event)
    for warning in caught:
        complain(str(warning.message))
    note_done("What had been done by then stands: `lastgood ls` shows it.")
    return store


def newly_quarantined(reader: DiskReader, store: str, before: Collection[str]) -> list[Rejection]:
    """The entries that came to the quarantine since it had those `before`, and why."""
    folder, moved = join(store, QUARANTINE), []
    # A move lists it first: where that cannot be done, nothing came.
    for entry, name in known_aside(reader, store):
        if entry not in before:
            answer = examine(reader, folder, name, entry=entry)
            if isinstance(answer, Group):
                answer = Rejection(entry, name.generation, "valid", "it is intact now")
            moved.append(as_lease_holder(answer))
    return sorted(moved, key=lambda each: -each.generation)


def preview_clearing(reader: DiskReader, store: str, newest: int) -> Clearing:
    """What a prune would clear away where `newest` is the newest valid generation."""
    entries = list_entries(reader, store)
    names = [n for n in newest_first(entries) if n.attempt or n.generation > newest]
    bad = rejected_for_damage(examine(reader, store, name) for name in names)
    return decide_clearing(reader, store, entries, bad)


def rejected_for_damage(answers: Iterable[Group | Rejection]) -> list[Rejection]:
    """What the holder of the lease would clear away of what was looked at, in its words."""
    rejected = [as_lease_holder(answer) for answer in answers if isinstance(answer, Rejection)]
    return [one for one in rejected if one.reason != GONE and not stays(one)]


def told(heard: Iterable[Event], kind: str) -> list[Rejection]:
    """What events of that kind have named, and why."""
    fields = [event.fields for event in heard if event.kind == kind]
    return [Rejection(each["name"], 0, each["reason"], each["detail"]) for each in fields]


def require_a_choice(answers: Iterable[Group | Rejection]) -> None:
    """The refusal of a recovery that finds these groups, newest first: see `newest_valid`."""
    for answer in answers:
        if isinstance(answer, Group):
            return
        if answer.is_forbidden:
            raise not_permitted_error(answer.name, answer.detail)
        require_judged(answer.name, answer.reason)


def rejections_json(rejected: Sequence[Rejection]) -> list[dict[str, str]]:
    """What was rejected, as JSON can say it."""
    return [{"name": each.name, "reason": each.reason, "detail": each.detail} for each in rejected]


def say_moved(moved: Sequence[Rejection], *, dry_run: bool) -> None:
    """Print what goes to quarantine."""
    verb = "would move" if dry_run else "moved"
    for each in moved:
        say(f"{verb} to quarantine: {each.name}: {each.detail} ({each.reason})")


def say_discarded(discarded: Sequence[Rejection], *, dry_run: bool) -> None:
    """Print what is deleted and was never acknowledged, or counts as if it were not."""
    verb = "would be deleted" if dry_run else "deleted"
    for each in discarded:
        say(f"{verb}: {each.name}: {each.detail} ({each.reason})")


def say_left(left: Sequence[Rejection], what: str = "") -> None:
    """Print what stays where it is."""
    for each in left:
        say(f"left: {each.name}{what}: {each.detail} ({each.reason})")


def say_stuck(stuck: Sequence[Rejection]) -> None:
    """Print what can be neither deleted nor moved."""
    aside = [each for each in stuck if each.reason == NOT_SET_ASIDE]
    say_left([each for each in stuck if each not in aside], " cannot be deleted")
    say_left(aside, " cannot be set aside")


def unread_of(answers: Sequence[Group | Rejection]) -> list[Rejection]:
    """What cannot, or may not, be read."""
    return [each for each in answers if isinstance(each, Rejection) and each.is_unread]


def finished(name: GroupName, *, dry_run: bool) -> str:
    """The words for a deletion that a prune began."""
    verb = "would be finished" if dry_run else "finished"
    return f"{verb}: the deletion of {name}, which an earlier prune began"
