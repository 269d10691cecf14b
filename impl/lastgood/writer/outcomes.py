"""What a writer has done, told: the receipt of a save, and the events of a store."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from lastgood.errors import UsageError
from lastgood.events import Announcer
from lastgood.format.names import QUARANTINE
from lastgood.protocol.receipt import Receipt, guarantee, notes_on_drive
from lastgood.protocol.strength import Strength
from lastgood.recovery.clearing import Clearing
from lastgood.recovery.quarantine_usage import Purge
from lastgood.recovery.recovery import Rejection
from lastgood.retention.prune import Pruning
from lastgood.writer.saver import SavedGroup


def new_receipt(
    saved: SavedGroup,
    strength: Strength,
    notes: Iterable[str],
    stuck: Iterable[Rejection],
    pruning: Pruning | None,
    failure: str | None,
    wall_s: float,
    phases: Mapping[str, float],
) -> Receipt:
    """The receipt of a save: after it its retention has ended so, or with that failure.

    `stuck` is what could be neither moved nor deleted on the way.
    """
    words = [*notes_on_drive(strength.mode, strength.file_system), *notes]
    if failure is not None:
        words.append(f"not pruned: {failure}")
    words += [f"not deleted: {each.name}: {each.detail}" for each in stuck]
    if pruning is not None:
        words += [f"not counted: {each.name}: {each.detail}" for each in pruning.unreadable]
        words += pruning.notes
    return Receipt(
        generation=saved.name.generation,
        step=saved.name.step,
        path=saved.path,
        size_bytes=sum(part.size_bytes for part in saved.manifest.parts),
        mode=strength.mode,
        form=strength.form,
        file_system=strength.file_system.name,
        guarantee=guarantee(strength.mode, strength.file_system),
        phases=phases,
        notes=tuple(words),
        pruned=() if pruning is None else tuple(str(g.name) for g in pruning.given_up),
        retention_error=failure,
        wall_s=wall_s,
    )


def tell_saved(events: Announcer, saved: SavedGroup, receipt: Receipt) -> None:
    """Tell of a save."""
    events.tell(
        "saved",
        f"{saved.name} was saved, {receipt.size_bytes} bytes",
        name=str(saved.name),
        size_bytes=receipt.size_bytes,
        survives=receipt.guarantee.survives,
        wall_s=receipt.wall_s,
        **receipt.phases,
    )


def tell_pruned(events: Announcer, pruning: Pruning) -> None:
    """Tell of the groups that a prune has given up, where it has, or has finished a deletion."""
    if pruning.given_up or pruning.leftovers:
        names = [str(group.name) for group in pruning.given_up]
        message = f"{len(names)} groups were given up: {', '.join(names)}"
        events.tell("pruned", message, names=names, freed_bytes=pruning.freed_bytes)


def tell_undeletable(events: Announcer, stuck: Iterable[Rejection]) -> None:
    """Tell of what a prune could not delete."""
    for each in stuck:
        message = f"{each.name} was not deleted ({each.reason}): {each.detail}"
        events.tell("prune_failed", message, name=each.name, reason=each.reason)


def check_purge(
    entries: Collection[str] | Literal["all"] | None, older_than_s: float | None
) -> tuple[Collection[str] | None, float | None]:
    """The entries to purge, or None for all, and their least age, or None. UsageError."""
    if (entries is None) == (older_than_s is None):
        raise UsageError(
            'purge() takes either entries, such as "all" or names of quarantine_usage(), or '
            "older_than_s. Nothing was changed."
        )
    if older_than_s is not None:
        if not isinstance(older_than_s, int | float) or not 0 <= older_than_s < math.inf:
            raise UsageError(
                f"older_than_s is {older_than_s!r}, expected seconds from 0. Nothing was changed."
            )
        return None, older_than_s
    if entries == "all":
        return None, None
    if isinstance(entries, str) or not isinstance(entries, Collection):
        raise UsageError(
            f'entries is {entries!r}, expected "all" or a list of names. Nothing was changed.'
        )
    return entries, None


def tell_purged(events: Announcer, purge: Purge) -> None:
    """Tell of what a purge has deleted, and of what it could not."""
    names = [each.entry for each in purge.deleted]
    if names:
        message = f"{len(names)} purged from {QUARANTINE}: {', '.join(names)}"
        events.tell("purged", message, names=names, freed_bytes=purge.freed_bytes)
    for each in purge.stuck:
        message = f"{each.name} was not deleted ({each.reason}): {each.detail}"
        events.tell("purge_failed", message, **_said(each))


def tell_cleared(events: Announcer, cleared: Clearing) -> None:
    """Tell of all that was moved to quarantine or deleted, and of what could be neither."""
    moved = [each.name for each in cleared.moved]
    if moved:
        message = f"{len(moved)} moved to {QUARANTINE}: {', '.join(moved)}"
        events.tell("quarantined", message, names=moved)
    for each in cleared.discarded:
        message = f"{each.name} was deleted ({each.reason}): {each.detail}"
        events.tell("discarded", message, **_said(each))
    for each in cleared.stuck:
        message = f"{each.name} was neither moved nor deleted ({each.reason}): {each.detail}"
        events.tell("not_set_aside", message, **_said(each))


def _said(rejection: Rejection) -> dict[str, str]:
    return {"name": rejection.name, "reason": rejection.reason, "detail": rejection.detail}
