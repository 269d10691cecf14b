"""The reports of the command line on a store, as data. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from attrs import asdict, evolve, frozen

from lastgood.backends.interface import DiskReader, join
from lastgood.cli.statuses import DAMAGED, NO_DAMAGE, OK, REFUSED, status_of
from lastgood.damage import Damaged, describe_damage
from lastgood.errors import NewerFormatError, StorageError, UsageError, storage_error
from lastgood.format.features import is_newer_format
from lastgood.format.names import (
    LOCK,
    MANIFEST,
    QUARANTINE,
    GroupName,
    newest_first,
    parse_name,
    pruned_names,
)
from lastgood.parts.thread_pool import ParallelMap
from lastgood.protocol.strength import require_store
from lastgood.recovery.changing_store import newest_valid_now
from lastgood.recovery.listing import list_entries, list_quarantine
from lastgood.recovery.newer_format import is_unjudged
from lastgood.recovery.partial_load import check_entry_kinds
from lastgood.recovery.quarantine import examine_quarantine, has_quarantine, read_report
from lastgood.recovery.quarantine_report import QuarantineReport
from lastgood.recovery.quarantine_usage import measure_quarantine
from lastgood.recovery.recovery import (
    NO_COMMIT,
    Group,
    Rejection,
    as_lease_holder,
    examine,
    read_group,
)
from lastgood.recovery.unread import is_unread_error, not_permitted_error

_LOST: Final = (
    f"{MANIFEST} is missing, and a newer group was committed: a save that ended before its commit, "
    f"or a group that has lost its {MANIFEST}"
)


@frozen
class GroupRow:
    """One group and what was found: "valid", "listed" (not verified), or the rejection's reason.

    `is_damage`: something is wrong that no save that has no MANIFEST yet explains.
    `is_forbidden`: this user may not read it, so nobody knows.
    `damaged` are ranges known to be damaged, all of them after a `verify`; `chunk_bytes` is the
    size of its chunks, None where it has none.
    `report` is that of something in quarantine, or in words why none can be read, and `used_bytes`
    what both take on the disk.
    """

    name: str
    path: str
    generation: int
    step: int
    verdict: str
    detail: str
    size_bytes: int
    parts: int
    is_damage: bool
    is_forbidden: bool = False
    chunk_bytes: int | None = None
    damaged: tuple[Damaged, ...] = ()
    report: QuarantineReport | str | None = None
    used_bytes: int | None = None

    @property
    def is_unjudged(self) -> bool:
        """A newer version has written it, so nobody here knows."""
        return is_newer_format(self.verdict)

    def as_json(self) -> dict[str, Any]:
        """The row as JSON can say it."""
        found = asdict(self, recurse=False)
        found["damage"] = found.pop("is_damage")
        del found["is_forbidden"]
        found["damaged"] = [each.as_json() for each in self.damaged]
        if self.used_bytes is None:
            del found["used_bytes"]
        why = found.pop("report")
        if why is not None:
            found["report"] = {"error": why} if isinstance(why, str) else why.as_json()
        return found


@frozen
class StoreReport:
    """Rows, newest first, and the exit status that they deserve.

    `aside` are the entries of the quarantine, where somebody asked for them, and `aside_bytes` what
    all in there takes on the disk; `aside_error` says why they cannot be listed. `strangers_bytes`
    are of what is no entry.
    """

    store: str
    rows: tuple[GroupRow, ...]
    exit_status: int
    aside: tuple[str, ...] | None = None
    aside_error: str = ""
    aside_bytes: int = 0
    strangers_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The report as JSON can say it."""
        found: dict[str, Any] = {
            "store": self.store,
            "groups": [row.as_json() for row in self.rows],
        }
        if self.strangers_bytes is not None:
            found["strangers_bytes"] = self.strangers_bytes
        if self.aside_error:
            found["quarantine_error"] = self.aside_error
        if self.aside is None:
            return found
        return {
            **found,
            "quarantined": list(self.aside),
            "quarantined_bytes": self.aside_bytes,
        }


def list_groups(reader: DiskReader, store: str) -> StoreReport:
    """Every group by its manifest and the kinds of its entries; no part is read.

    So what a newer version has written sets no status.
    """
    names = _names(reader, store)
    rows = [_row(store, name, _at_a_glance(reader, store, name), "listed") for name in names]
    report = _reported(reader, store, names, rows)
    known = [row for row in report.rows if not row.is_unjudged]
    report = evolve(report, exit_status=_status(known))
    try:
        aside = tuple(entry for entry, _ in list_quarantine(reader, store))
        usage = measure_quarantine(reader, store)
    except (StorageError, UsageError) as error:
        # Nobody needs what lies there to load, nor to see what a load would take.
        return evolve(report, aside_error=str(error))
    return evolve(
        report,
        aside=aside,
        aside_bytes=usage.size_bytes,
        strangers_bytes=usage.strangers_bytes,
    )


def verify_groups(
    reader: DiskReader, store: str, generation: int | None, *, parallel_map: ParallelMap = map
) -> StoreReport:
    """Every group, or those of one generation, verified in full: all that is damaged."""
    names, rows = _names(reader, store), []
    for name in _chosen(store, names, generation):
        row = _row(
            store,
            name,
            examine(reader, store, name, parallel_map=parallel_map, surveys=True),
            "valid",
        )
        if row.damaged:
            row = evolve(row, detail=f"{row.detail}; {describe_damage(row.damaged)}")
        rows.append(row)
    return _reported(reader, store, names, rows)


def find_latest(
    reader: DiskReader, store: str, generation: int | None, *, parallel_map: ParallelMap = map
) -> StoreReport:
    """The newest valid group (or the one asked for) as the last row, rejected ones before it.

    The status is 0 where there is one, whatever was rejected on the way.
    """
    listing = _names(reader, store)
    names = [name for name in _chosen(store, listing, generation) if not name.attempt]
    if generation is None:
        try:
            # Where its writer prunes meanwhile, what it left is listed and looked at again.
            scan = newest_valid_now(reader, store, parallel_map=parallel_map)
            rejected, good = scan.rejected, scan.group
        except NewerFormatError as error:
            # A load refuses there: that group and what is newer is told, and nothing older.
            refused = parse_name(error.group) or names[0]
            names = [name for name in names if name.generation >= refused.generation]
            rejected, good = _examined(reader, store, names, parallel_map)
    else:
        rejected, good = _examined(reader, store, names, parallel_map)
    rows = [
        _row(store, name, answer, "valid")
        for answer in rejected
        if (name := parse_name(answer.name)) is not None and not name.attempt
    ]
    rows = _judged(reader, store, listing, rows)
    if good is not None:
        rows.append(_row(store, good.name, good, "valid"))
        return StoreReport(store, tuple(rows), OK)
    # Where a load refuses to judge, what is damaged besides that does not decide.
    is_refused = any(row.is_unjudged for row in rows)
    return StoreReport(store, tuple(rows), REFUSED if is_refused else _status(rows) or DAMAGED)


def _examined(
    reader: DiskReader, store: str, names: list[GroupName], parallel_map: ParallelMap
) -> tuple[tuple[Rejection, ...], Group | None]:
    """What was rejected of these groups, and the first that is valid."""
    answers = [examine(reader, store, name, parallel_map=parallel_map) for name in names]
    rejected = tuple(answer for answer in answers if isinstance(answer, Rejection))
    return rejected, next((answer for answer in answers if isinstance(answer, Group)), None)


def report_quarantine(
    reader: DiskReader, store: str, *, parallel_map: ParallelMap = map
) -> StoreReport:
    """Everything in quarantine, verified anew, with the report on it. The status is 0.

    What is valid there was put right, was moved by somebody else, or was never acknowledged.
    """
    _names(reader, store)
    require_quarantine(reader, store)
    folder = join(store, QUARANTINE)
    usage = measure_quarantine(reader, store)
    used = {each.entry: each.size_bytes for each in usage.entries}
    rows = []
    for entry, name, answer in examine_quarantine(reader, store, parallel_map=parallel_map):
        # Nobody saves in there.
        found = as_lease_holder(answer) if isinstance(answer, Rejection) else answer
        row = _row(folder, name, found, "valid", entry)
        report = read_report(reader, store, entry)
        rows.append(evolve(row, report=report, used_bytes=used.get(entry, 0)))
    return StoreReport(store, tuple(rows), OK, strangers_bytes=usage.strangers_bytes)


def require_quarantine(reader: DiskReader, store: str) -> None:
    """UsageError where something else has the name of the quarantine; StorageError."""
    try:
        has_quarantine(reader, store)
    except OSError as error:
        raise storage_error(f"looking at {join(store, QUARANTINE)!r}", error) from error


def find_group(reader: DiskReader, store: str, generation: int) -> Group | Rejection:
    """The group of a generation, its manifest read and no part. UsageError where none is there.

    StorageError where this user may not read it.
    """
    names = _names(reader, store)
    groups = [name for name in names if name.generation == generation and not name.attempt]
    if not groups:
        aside = [e for e, name in known_aside(reader, store) if name.generation == generation]
        raise _no_such_group(
            store,
            names,
            generation,
            f" In quarantine there is {', '.join(aside[:8])}: `lastgood quarantine` says why."
            * bool(aside),
        )
    answer = read_group(reader, store, groups[0])
    if isinstance(answer, Rejection) and answer.is_forbidden:
        raise not_permitted_error(answer.name, answer.detail)
    return answer


def known_aside(reader: DiskReader, store: str) -> list[tuple[str, GroupName]]:
    """The entries of the quarantine that have a group's name; none where it cannot be listed."""
    try:
        return list_quarantine(reader, store)
    except StorageError:
        return []


def _at_a_glance(reader: DiskReader, store: str, name: GroupName) -> Group | Rejection:
    if name.attempt:
        return examine(reader, store, name)
    group = read_group(reader, store, name)
    if isinstance(group, Rejection):
        return group
    return check_entry_kinds(reader, group) or group


def _names(reader: DiskReader, store: str) -> list[GroupName]:
    require_store(reader, store)
    entries = list_entries(reader, store)
    names = newest_first(entries)
    if not names and not pruned_names(entries) and not {LOCK, QUARANTINE} & {*entries}:
        looks_like_a_group = MANIFEST in entries
        raise UsageError(
            f"{store!r}: found a directory with neither a group nor {LOCK!r}, expected a store. "
            "Nothing was changed. "
            + (
                "It looks like a group: name the directory that it is in."
                if looks_like_a_group
                else "A store is what a program has opened to save to: is it above or below this?"
            )
        )
    return names


def _chosen(store: str, names: list[GroupName], generation: int | None) -> list[GroupName]:
    if generation is None:
        return names
    chosen = [name for name in names if name.generation == generation]
    if not chosen:
        raise _no_such_group(store, names, generation)
    return chosen


def _no_such_group(
    store: str, names: list[GroupName], generation: int, more: str = ""
) -> UsageError:
    known = ", ".join(str(name.generation) for name in names[:8] if not name.attempt)
    return UsageError(
        f"{store!r} has no group of generation {generation}, it has: {known or 'none'}"
        f"{', …' * (len(names) > 8)}.{more} Nothing was changed. (A generation is the first number "
        "of a group's name; the step of training is the second.)"
    )


def _reported(
    reader: DiskReader, store: str, names: list[GroupName], rows: list[GroupRow]
) -> StoreReport:
    rows = _judged(reader, store, names, rows)
    return StoreReport(store, tuple(rows), _status(rows))


def _status(rows: Iterable[GroupRow]) -> int:
    """As `status_of`; 3 where all the rest is valid, and a group may not be read, or judged."""
    status = status_of(row.verdict for row in rows if row.is_damage)
    is_unknown = any(row.is_forbidden or row.is_unjudged for row in rows)
    return status or (REFUSED if is_unknown else OK)


def _judged(
    reader: DiskReader, store: str, names: list[GroupName], rows: list[GroupRow]
) -> list[GroupRow]:
    """The rows, where a save that may be going on is no damage. StorageError.

    The record form writes under the final name, so the newest directory may be without its
    MANIFEST, for as long as its save takes or since one died: nothing was ever claimed of it.
    One that is older than a committed group is no save that goes on: there is one writer, and its
    generations grow.
    """
    if all(row.verdict != NO_COMMIT for row in rows):
        return rows
    newest = _newest_committed(reader, store, names)
    return [row if row.verdict != NO_COMMIT else _unfinished(row, newest) for row in rows]


def _unfinished(row: GroupRow, newest_committed: int) -> GroupRow:
    if newest_committed > row.generation:
        return evolve(row, detail=_LOST)
    return evolve(row, is_damage=False)


def _newest_committed(reader: DiskReader, store: str, names: list[GroupName]) -> int:
    """The newest generation that has a MANIFEST, whatever is in it; 0 for none. StorageError."""
    for name in names:
        group = join(store, str(name))
        # What only has a group's name may be a symlink that leads out of the store.
        is_dir = not name.attempt and _kind_if_known(reader, group) == "dir"
        if is_dir and _kind_if_known(reader, join(group, MANIFEST)) != "missing":
            return name.generation
    return 0


def _kind_if_known(reader: DiskReader, path: str) -> str:
    """The kind of an entry; "missing" where it cannot be known: it counts for nothing then."""
    try:
        return reader.kind(path)
    except OSError as error:
        if not is_unread_error(error):
            raise storage_error(f"looking at {path!r}", error) from error
        return "missing"


def _row(
    store: str, name: GroupName, answer: Group | Rejection, word: str, entry: str = ""
) -> GroupRow:
    entry = entry or str(name)
    head = entry, join(store, entry), name.generation, name.step
    if isinstance(answer, Rejection):
        reason, damaged = answer.reason, answer.damaged
        is_unknown = answer.is_forbidden or is_unjudged(answer)
        is_damage = reason not in NO_DAMAGE and not is_unknown
        return GroupRow(
            *head, reason, answer.detail, 0, 0, is_damage, answer.is_forbidden, damaged=damaged
        )
    chunking = answer.manifest.chunking
    chunk_bytes = None if chunking is None else chunking.chunk_bytes
    parts = len(answer.manifest.parts)
    is_damage = word not in NO_DAMAGE
    return GroupRow(*head, word, "", answer.size_bytes, parts, is_damage, chunk_bytes=chunk_bytes)
