"""Out of sight: what must not be found under a group's name moves to quarantine.

First all that has to move is moved, and only then is a report written beside each of it. Recovery
is done by then: a report that cannot be written, or that a crash cuts off, hinders nothing.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from lastgood.backends.interface import Disk, DiskReader, describe_kind, join
from lastgood.errors import LastgoodError, UsageError, describe_error, storage_error
from lastgood.format.names import MANIFEST, QUARANTINE, GroupName, free_name, parse_name
from lastgood.parts.thread_pool import ParallelMap
from lastgood.parts.verify import MISSING_ERRNOS, NOT_REGULAR_ERRNOS
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import plan_set_aside
from lastgood.recovery.listing import list_quarantine, list_store
from lastgood.recovery.newer_format import is_unjudged
from lastgood.recovery.quarantine_report import (
    REPORT_SUFFIX,
    SIZE_LIMIT_BYTES,
    SYNC_FAILED,
    PartReport,
    QuarantineReport,
    ReportError,
    advice,
    decode_report,
    encode_report,
    part_reports,
    report_name,
)
from lastgood.recovery.recovery import (
    Group,
    Rejection,
    as_lease_holder,
    examine,
    new_rejection,
    read_group,
)
from lastgood.recovery.unread import is_unread_error


def stays(rejection: Rejection) -> bool:
    """Say whether nothing moves it: it cannot be read, or a newer version has written it.

    Nobody here knows whether it is intact.
    """
    return rejection.is_unread or is_unjudged(rejection)


def has_quarantine(reader: DiskReader, store: str) -> bool:
    """Say whether there is one. UsageError where something else has its name; OSError."""
    folder = join(store, QUARANTINE)
    kind = reader.kind(folder)
    if kind not in ("dir", "missing"):
        raise UsageError(
            f"{folder!r}: found {describe_kind(kind)}, expected a directory. Nothing was moved. "
            "Move that entry away."
        )
    return kind == "dir"


def examine_quarantine(
    reader: DiskReader, store: str, *, parallel_map: ParallelMap = map
) -> Iterator[tuple[str, GroupName, Group | Rejection]]:
    """Every entry of the quarantine that has a group's name, verified in full. StorageError."""
    folder = join(store, QUARANTINE)
    for entry, name in list_quarantine(reader, store):
        yield entry, name, examine(reader, folder, name, parallel_map=parallel_map, entry=entry)


def quarantine(
    disk: Disk,
    store: str,
    rejected: Iterable[Rejection],
    taken: Iterable[str],
    when_s: float | None = None,
    *,
    reports: bool = True,
) -> list[tuple[Rejection, OSError]]:
    """Move what was rejected to quarantine, under names that are free, and write their reports.

    `taken` are the names in quarantine, `when_s` the Unix time for the reports. What could not be
    moved, and why: it stays where it is and holds nothing else up. UsageError and OSError where
    that which has the quarantine's name is none: nothing was moved. That a report cannot be written
    is no failure.
    """
    folder, moves = join(store, QUARANTINE), list(rejected)
    if not moves:
        return []
    # The report on something that somebody has taken back may be there still.
    used = {name.removesuffix(REPORT_SUFFIX) for name in taken}
    to_make = None if has_quarantine(disk, store) else folder
    moved: list[tuple[str, Rejection]] = []
    left: list[tuple[Rejection, OSError]] = []
    try:
        for each in moves:
            free = free_name(each.name, used)
            try:
                for step in plan_set_aside(join(store, each.name), join(folder, free), to_make):
                    StepExecutor(disk).execute(step)
                    to_make = None
            except OSError as error:
                left.append((each, error))
                continue
            used.add(free)
            moved.append((free, each))
    finally:
        for entry, each in moved if reports else ():
            _write_report(disk, folder, entry, each, when_s)
    return left


def quarantine_failed_save(
    disk: Disk,
    store: str,
    name: GroupName,
    why: str,
    when_s: float | None = None,
    *,
    reports: bool = True,
) -> bool:
    """Take an unacknowledged group out of every reader's sight; False if it is still there.

    It moves to quarantine. Where that fails its MANIFEST is removed, which needs no space and no
    other directory: without it there is no group. Nothing is raised: the caller has an error.
    """
    group = join(store, str(name))
    with contextlib.suppress(OSError):
        if disk.kind(group) == "missing":
            return True
    rejection = new_rejection(name, SYNC_FAILED, why)
    with contextlib.suppress(OSError, LastgoodError):
        taken = list_store(disk, store).in_quarantine
        if not quarantine(disk, store, [rejection], taken, when_s, reports=reports):
            return True
    try:
        disk.unlink(join(group, MANIFEST))
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return True


def read_report(reader: DiskReader, store: str, entry: str) -> QuarantineReport | str:
    """The report on an entry of the quarantine, or in words why there is none that can be read.

    Whatever is there is taken for a stranger's. StorageError.
    """
    path = join(store, QUARANTINE, report_name(entry))
    try:
        kind = reader.kind(path)
        if kind != "file":
            found = "there is none" if kind == "missing" else f"found {describe_kind(kind)}"
            return f"{found}, expected a report"
        return decode_report(reader.read(path, SIZE_LIMIT_BYTES), entry)
    except ReportError as error:
        return f"the report cannot be read: {error}"
    except OSError as error:
        if is_unread_error(error):
            return f"the report cannot be read: {describe_error(error)}"
        if error.errno == errno.EFBIG:
            return f"the report is too long, expected {SIZE_LIMIT_BYTES} bytes at most"
        if error.errno in MISSING_ERRNOS | NOT_REGULAR_ERRNOS:
            return "it is not there any more, expected a report"
        raise storage_error(f"reading {path!r}", error) from error


def _write_report(
    disk: Disk, folder: str, entry: str, rejection: Rejection, when_s: float | None
) -> None:
    """Say beside an entry of the quarantine why it is there. Nothing is raised.

    It is no part of any promise: it is not synced, and what could not be written whole is removed.
    """
    path = join(folder, report_name(entry))
    with contextlib.suppress(OSError):
        data = encode_report(_report(disk, folder, entry, rejection, when_s))
        disk.create(path)
        try:
            disk.write(path, data)
        except OSError:
            with contextlib.suppress(OSError):
                disk.unlink(path)
        finally:
            disk.close(path)


def _report(
    reader: DiskReader, folder: str, entry: str, rejection: Rejection, when_s: float | None
) -> QuarantineReport:
    name = parse_name(rejection.name) or GroupName(rejection.generation, 0)
    digest: str | None = None
    parts: tuple[PartReport, ...] = ()
    left_out = 0
    if rejection.found is not None:
        # A part was compared, so there is a manifest. It is read again: nothing keeps them all.
        with contextlib.suppress(LastgoodError, ValueError):
            group = read_group(reader, folder, name, entry)
            if isinstance(group, Group):
                parts, left_out = part_reports(group.manifest, rejection.found)
                digest = group.manifest.algorithm
    return QuarantineReport(
        str(name),
        entry,
        name.generation,
        name.step,
        rejection.reason,
        as_lease_holder(rejection).detail,
        None if when_s is None else max(0, int(when_s)),
        _version(),
        advice(str(name), entry, rejection.reason),
        digest,
        parts,
        left_out,
    )


@cache
def _version() -> str:
    try:
        return version("lastgood")
    except PackageNotFoundError:
        return "unknown"
