"""The room that quarantine takes, and what a purge of it would delete. Reading only.

Whatever lies there is taken for a stranger's: no link is followed, and a walk is bounded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from typing import Any, Final

from attrs import asdict, frozen

from lastgood.backends.capabilities import system_info
from lastgood.backends.interface import DiskReader, join
from lastgood.errors import UsageError, storage_error
from lastgood.format.names import QUARANTINE, GroupName, parse_name
from lastgood.recovery.clearing import BESIDE_ITS_GROUP, in_quarantine, not_deleted
from lastgood.recovery.listing import list_entries
from lastgood.recovery.quarantine import has_quarantine, read_report
from lastgood.recovery.quarantine_report import REPORT_SUFFIX, QuarantineReport, report_name
from lastgood.recovery.recovery import Rejection, new_rejection

MAX_LOOKS: Final = 100_000
"""Entries that a walk through a quarantine looks at; what is beyond them is not counted."""


@frozen
class QuarantineEntry:
    """An entry of the quarantine: what it and its report take on the disk, in bytes, since when.

    `when_s` (Unix time) and `reason` are its report's, None where none can be read. `is_there`: the
    entry itself is there, not only a report on it. `is_counted`: all of it could be counted.
    """

    entry: str
    size_bytes: int
    when_s: int | None
    reason: str | None
    is_there: bool = True
    is_counted: bool = True

    @property
    def name(self) -> GroupName:
        """The group's name that it was given."""
        name = parse_name(self.entry, in_quarantine=True)
        if name is None:  # nothing else is made an entry of
            raise ValueError(self.entry)
        return name

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON can say it."""
        return asdict(self)


@frozen
class QuarantineUsage:
    """The entries of a quarantine, the oldest generation first, and the bytes of all in there.

    What a stranger has put there is counted in `size_bytes` and is no entry. `is_counted`: all of
    it could be looked at.
    """

    entries: tuple[QuarantineEntry, ...] = ()
    size_bytes: int = 0
    is_counted: bool = True

    @property
    def strangers_bytes(self) -> int:
        """The bytes of what is no entry of lastgood's, which never deletes it."""
        return self.size_bytes - sum(each.size_bytes for each in self.entries)


@frozen
class Purge:
    """The entries that a purge deletes, and those that stay; each is in one of the four.

    `kept` were not asked for. `of_unknown_age` stay because no report says since when they are
    there, `stuck` because they cannot be deleted whole, and why. `strangers_bytes` lie there too.
    """

    deleted: tuple[QuarantineEntry, ...] = ()
    kept: tuple[QuarantineEntry, ...] = ()
    of_unknown_age: tuple[QuarantineEntry, ...] = ()
    stuck: tuple[Rejection, ...] = ()
    strangers_bytes: int = 0

    @property
    def freed_bytes(self) -> int:
        """The bytes that what is deleted takes, or took, on the disk."""
        return sum(each.size_bytes for each in self.deleted)


def measure_quarantine(reader: DiskReader, store: str) -> QuarantineUsage:
    """The room that a store's quarantine takes. Nothing is changed.

    UsageError where what has its name is none; StorageError where it cannot be listed.
    """
    folder = join(store, QUARANTINE)
    try:
        if not has_quarantine(reader, store):
            return QuarantineUsage()
        names = reader.names(folder)
    except OSError as error:
        raise storage_error(f"listing {folder!r}", error) from error
    walk, entries = _Walk(reader), []
    for entry in _entries_of(names):
        before_bytes, walk.is_counted = walk.size_bytes, True
        is_there, its_report = entry in names, report_name(entry)
        for name in (entry, its_report):
            if name in names:
                walk.add(join(folder, name))
        report = read_report(reader, store, entry) if its_report in names else ""
        known = report if isinstance(report, QuarantineReport) else None
        entries.append(
            QuarantineEntry(
                entry,
                walk.size_bytes - before_bytes,
                None if known is None else known.when_s,
                None if known is None else known.reason,
                is_there,
                walk.is_counted,
            )
        )
    walk.is_counted = True
    ours = {name for each in entries for name in (each.entry, report_name(each.entry))}
    for name in names:
        if name not in ours:
            walk.add(join(folder, name))
    is_counted = walk.is_counted and all(each.is_counted for each in entries)
    return QuarantineUsage(tuple(entries), walk.size_bytes, is_counted)


def decide_purge(
    reader: DiskReader,
    store: str,
    entries: Collection[str] | None,
    older_than_s: float | None,
    now_s: float | None,
    in_store: Collection[str] | None = None,
) -> Purge:
    """The purge of the entries named, of those that old, or (both None) of all. Nothing is changed.

    An entry whose group is in the store too stays: where a rename is not atomic, a crash may have
    left one directory under both names. So does one with a directory in the place of its report.
    `in_store` are the entries of the store, where it was
    listed just now. UsageError where an entry is not there, and errors as
    `measure_quarantine`.
    """
    usage = measure_quarantine(reader, store)
    if in_store is None:
        in_store = list_entries(reader, store) if usage.entries else ()
    beside, folder = frozenset(in_store), join(store, QUARANTINE)
    there = [each.entry for each in usage.entries]
    unknown = [] if entries is None else [name for name in entries if name not in there]
    if unknown:
        known = ", ".join(there[:8]) or "nothing"
        raise UsageError(
            f"quarantine of {store!r} has no entry {unknown[0]!r}, it has: {known}"
            f"{', …' * (len(there) > 8)}. Nothing was changed."
        )
    deleted, kept, ageless, stuck = [], [], [], []
    for each in usage.entries:
        if older_than_s is not None and each.when_s is None:
            ageless.append(each)
        elif not _is_asked(each, entries, older_than_s, now_s):
            kept.append(each)
        elif each.is_there and str(each.name) in beside:
            stuck.append(_beside(each))
        elif _is_dir(reader, report := join(folder, report_name(each.entry))):
            stuck.append(_obstructed(each, report))
        else:
            deleted.append(each)
    return Purge(tuple(deleted), tuple(kept), tuple(ageless), tuple(stuck), usage.strangers_bytes)


def as_rejection(entry: QuarantineEntry) -> Rejection:
    """An entry that is to be deleted, by its path in the store."""
    name = entry.name
    found = new_rejection(name, entry.reason or "unknown", "it was given up")
    return Rejection(in_quarantine(entry.entry), name.generation, found.reason, found.detail)


def _is_asked(
    entry: QuarantineEntry,
    entries: Collection[str] | None,
    older_than_s: float | None,
    now_s: float | None,
) -> bool:
    if entries is not None:
        return entry.entry in entries
    if older_than_s is None:
        return True
    return entry.when_s is not None and now_s is not None and now_s - entry.when_s >= older_than_s


def _beside(entry: QuarantineEntry) -> Rejection:
    why = (
        f"{entry.name} is in the store too, and both may be names of one directory. Nothing of it "
        "was deleted; purge it when that group has gone"
    )
    return Rejection(in_quarantine(entry.entry), entry.name.generation, BESIDE_ITS_GROUP, why)


def _is_dir(reader: DiskReader, path: str) -> bool:
    try:
        return reader.kind(path) == "dir"
    except OSError:
        return False  # the deletion will be told why


def _obstructed(entry: QuarantineEntry, report: str) -> Rejection:
    error = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), report)
    return not_deleted(as_rejection(entry), error, "")


def _entries_of(names: list[str]) -> list[str]:
    """The entries that have a group's name, and those that only a report is left of."""
    found = {name: parse_name(name, in_quarantine=True) for name in names}
    for name in names:
        if name.endswith(REPORT_SUFFIX):
            entry = name.removesuffix(REPORT_SUFFIX)
            found[entry] = parse_name(entry, in_quarantine=True)
    named = [(name.generation, entry) for entry, name in found.items() if name is not None]
    return [entry for _, entry in sorted(named)]


class _Walk:
    """Adds up what entries take on the disk, as far as it can be known."""

    def __init__(self, reader: DiskReader) -> None:
        self.size_bytes, self.is_counted = 0, True
        self._reader, self._info = reader, system_info(reader)
        self._left = MAX_LOOKS

    def add(self, top: str) -> None:
        """Add an entry and all below it. Nothing is raised."""
        todo = [top]
        while todo and self._left > 0:
            path = todo.pop()
            self._left -= 1
            try:
                used_bytes = self._info.used_bytes(path)
                self.size_bytes += used_bytes or 0
                self.is_counted &= used_bytes is not None
                if self._reader.kind(path) == "dir":
                    todo += [join(path, name) for name in self._reader.names(path)]
            except OSError:
                self.is_counted = False
        self.is_counted &= not todo
